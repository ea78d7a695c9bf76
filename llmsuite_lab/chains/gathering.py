"""One batch out of many threads: LangChain runs inputs side by side, a language model is fast on batches.

    n threads, one call each, within a moment of each other  →  one call of the model with n prompts

`Runnable.batch` gives every input a thread. If each of them generated alone, n inputs would take n times as long as one batch. Here the calls
that arrive together wait for one another, and one of them is made for all. In production: the continuous batching of a serving engine (vLLM).
"""

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm.language_model import Completion
from llmsuite_lab.lm.stops import stop_list

QUIET_S = 0.05  # the batch starts when no call has arrived for so long
LIMIT_S = 600.0


class Gathered:
    """`run`, which takes a list, as a function of one item that many threads may call at once. An error reaches the caller whose item it is.

    `sizes` keeps how large each batch was. Raises LabError when an answer takes longer than LIMIT_S.
    """

    def __init__(self, run: Callable[[list[Any]], Sequence[Any]], quiet_s: float = QUIET_S) -> None:
        self.run, self.quiet_s, self.sizes = run, quiet_s, []
        self._begin()
        begin = weakref.WeakMethod(self._begin)
        if hasattr(os, "register_at_fork"):  # the thread that works stays with the parent
            os.register_at_fork(after_in_child=lambda: begin() and begin()())

    def _begin(self) -> None:
        self._pending: list[tuple[Any, Future]] = []
        self._changed = threading.Condition()
        self._working = False

    def __call__(self, item: Any) -> Any:
        """The result for one item."""
        return self.all([item])[0]

    def all(self, items: Sequence[Any]) -> list[Any]:
        """The results for several items of one caller, in order."""
        futures: list[Future] = [Future() for _ in items]
        with self._changed:
            self._pending += zip(items, futures, strict=True)
            self._changed.notify()
            if not self._working and futures:
                self._working = True
                threading.Thread(target=self._work, daemon=True, name="gathered").start()
        try:
            return [future.result(LIMIT_S) for future in futures]
        except TimeoutError:
            raise LabError(f"no answer within {LIMIT_S:g} s: ask for fewer items at once, or fewer tokens") from None

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._changed.wait(self.quiet_s):  # True: somebody came; wait on for the next
                    continue
                taken, self._pending = self._pending, []
                if not taken:
                    self._working = False
                    return
            self.sizes.append(len(taken))
            try:
                results = self.run([item for item, _ in taken])
                for (_, future), result in zip(taken, results, strict=True):
                    future.set_result(result)
            except Exception as error:  # one item can spoil the batch: alone, each has its own answer or its own error
                for item, future in [pair for pair in taken if not pair[1].done()]:
                    self._alone(item, future, error if len(taken) == 1 else None)

    def _alone(self, item: Any, future: Future, error: Exception | None) -> None:
        try:
            if error is not None:
                raise error
            results = list(self.run([item]))
            if len(results) != 1:
                raise ValueError(f"{len(results)} results came back for one item")
        except Exception as own:  # it belongs to the caller, who waits
            future.set_exception(own)
        else:
            future.set_result(results[0])


class GatheringModel:
    """A `LanguageModel` whose `complete` batches the calls of several threads; everything else is the model's own.

    Only greedy calls may be gathered: what a sampled text becomes would depend on who else is asking. Sampled ones go straight through.
    """

    def __init__(self, language_model: Any, quiet_s: float = QUIET_S) -> None:
        self.language_model = language_model
        self.gathered = Gathered(self._run, quiet_s)

    def __getattr__(self, name: str) -> Any:
        if name == "language_model":  # not set yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.language_model, name)

    def complete(self, prompts: Sequence[str], max_new_tokens: int = 64, stop: str | Sequence[str] = (), **options: Any) -> list[Completion]:
        """As `LanguageModel.complete`."""
        if isinstance(prompts, str) or any(options.get(name) for name in ("temperature", "top_k", "top_p")):
            return self.language_model.complete(prompts, max_new_tokens=max_new_tokens, stop=stop, **options)
        return self.gathered.all([(prompt, max_new_tokens, tuple(stop_list(stop))) for prompt in prompts])

    def _run(self, items: list[tuple[str, int, tuple[str, ...]]]) -> list[Completion]:
        results: list[Any] = [None] * len(items)
        for settings in dict.fromkeys(item[1:] for item in items):
            rows = [i for i, item in enumerate(items) if item[1:] == settings]
            done = self.language_model.complete([items[i][0] for i in rows], max_new_tokens=settings[0], stop=list(settings[1]))
            for i, completion in zip(rows, done, strict=True):
                results[i] = completion
        return results
