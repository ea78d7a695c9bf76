"""Composition: a chain is a function of a list, and every step sees the whole batch once."""

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import reduce
from threading import Barrier, BrokenBarrierError

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong, expect
from llmsuite_lab.course.exercises.values import agrees, cloned


def compose(*steps):
    """The solution: each step is called once, with the results of the step before it."""

    def chain(batch):
        for step in steps:
            batch = step(batch)
        return batch

    return chain


def _same_input(*steps):
    return lambda batch: [step(list(batch)) for step in steps][-1] if steps else batch


def _used_up(*steps):
    steps = iter(steps)

    def chain(batch):
        for step in steps:
            batch = step(batch)
        return batch

    return chain


def _looks_twice(*steps):
    def chain(batch):
        for step in steps:
            if len(step(list(batch))) == len(batch):
                batch = step(batch)
        return batch

    return chain


def _at_once(*steps):
    for step in steps:
        step([])
    return compose(*steps)


def _first_result_for_all(*steps):
    made = []

    def chain(batch):
        made.append(compose(*steps)(batch))
        return made[0]

    return chain


def _remembers_results(*steps):
    made = {}

    def chain(batch):
        if str(batch) not in made:
            made[str(batch)] = compose(*steps)(batch)
        return made[str(batch)]

    return chain


class _KeepsItsBatch:
    def __init__(self, *steps):
        self.steps = steps

    def __call__(self, batch):
        self.batch = batch
        for step in self.steps:
            self.batch = step(self.batch)
        return self.batch


def _adds_up(*steps, all_steps=[]):  # noqa: B006
    all_steps.extend(steps)
    return compose(*all_steps)


def _reduced(*steps):
    return lambda batch: reduce(lambda results, step: step(results), steps, batch)


def _recursive(*steps):
    if not steps:
        return lambda batch: batch
    *before, last = steps
    return lambda batch: last(_recursive(*before)(batch))


class _Chain:
    def __init__(self, *steps):
        self.steps = list(steps)

    def __call__(self, batch):
        results = batch
        for i in range(len(self.steps)):
            results = self.steps[i](results)
        return results


def _nested(*steps):
    chain = lambda batch: batch  # noqa: E731
    for step in steps:
        chain = lambda batch, step=step, before=chain: step(before(batch))  # noqa: E731
    return chain


def _as_a_queue(*steps):
    def chain(batch):
        waiting = list(steps)
        while waiting:
            batch = waiting.pop(0)(batch)
        return list(batch)

    return chain


def _in_pairs(*steps):
    if len(steps) < 2:
        return steps[0] if steps else list
    first, second, *rest = steps
    return _in_pairs(lambda batch: second(first(batch)), *rest)


class _Steps:
    """Steps that note what they are called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list]] = []

    def make(self, name: str, of_item):
        def step(batch: list) -> list:
            self.calls.append((name, cloned(batch)))
            expect(isinstance(batch, list), f"Every step takes a list. The step {name} got {'a function' if callable(batch) else repr(batch)}.")
            return [of_item(item) for item in batch]

        step.__name__ = name
        return step


def _check(answer) -> None:
    steps = _Steps()
    add, double = steps.make("add", lambda x: x + 3), steps.make("double", lambda x: 2 * x)
    text, length = steps.make("text", lambda x: "=" * x), steps.make("length", len)
    plans = [  # steps, batches one after the other through the same chain, what comes out
        ((add, double), ([1, 5, 7], [0], [2, 2, 9], [0]), ([8, 16, 20], [6], [10, 10, 24], [6])),
        ((double, add), ([1, 5, 7],), ([5, 13, 17],)),
        ((add, double, add, double, double), ([1, 0], [2]), ([44, 36], [52])),
        ((text, length, add), ([2, 0, 5],), ([5, 3, 8],)),
        ((double,), ([4, 2], [7, 7, 7]), ([8, 4], [14, 14, 14])),
        ((add, double), ([],), ([],)),
        ((), ([4, 2], []), ([4, 2], [])),
    ]
    for chosen, batches, results in plans:
        written = f"compose({', '.join(step.__name__ for step in chosen)})"
        steps.calls.clear()
        chain = answer(*chosen)
        expect(callable(chain), f"`{written}` returns a function: the chain is built first and called later. Yours returns {chain!r}.")
        expect(not steps.calls, f"`{written}` only builds the chain. A step ran before the chain was given a list.")
        for number, (batch, want) in enumerate(zip(batches, results), start=1):
            steps.calls.clear()
            found = chain(cloned(batch))
            if not agrees(found, want):
                again = f" as list number {number} of the same chain" if number > 1 else ""
                why = _why(found) if batch == [1, 5, 7] and chosen == (add, double) else ""
                raise Mistake(f"`{written}({batch})`{again} should give {want}, yours gives {found!r}.{why}")
            called = [name for name, _ in steps.calls]
            expect(
                not batch or called == [step.__name__ for step in chosen],
                f"In `{written}({batch})` each step is called once, in order, with the whole batch. Yours calls {', '.join(called)}.",
            )
    _check_threads(answer)


def _why(found) -> str:
    """What the value of `compose(add, double)([1, 5, 7])` proves."""
    values = {(5, 13, 17): "The steps ran from the last to the first.", (4, 8, 10): "Only the first step ran.",
              (2, 10, 14): "Only the last step counts: each takes what the one before it made.", (1, 5, 7): "No step ran."}  # fmt: skip
    return next((f" {hint}" for value, hint in values.items() if agrees(found, value)), "")


def _check_threads(answer) -> None:
    """Run one chain in two threads, line by line in step, so that what it keeps outside its frame mixes every time."""
    chain, both = answer(lambda batch: [x + 1 for x in batch], lambda batch: [10 * x for x in batch]), Barrier(2)

    def wait(frame, event, _):
        with suppress(BrokenBarrierError):  # the other one has ended
            both.wait(timeout=0.2)
        return wait

    def work(batch: list) -> list:
        sys.settrace(wait)
        try:
            return chain(batch)
        finally:
            sys.settrace(None)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(work, ([1, 2], [5, 8])))
    expect(
        agrees(found, [[20, 30], [60, 90]]),
        f"Two threads used one chain at the same time and got {found[0]!r} and {found[1]!r}, not [20, 30] and [60, 90]: what the chain keeps mixes.",
    )


EXERCISE = Exercise(
    id="chains.compose",
    notebook="05_langchain_applications",
    title="a chain that keeps the batch together",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `compose(*steps)`. Every step takes a list and returns a list of the same length. The result is a function, which may be called often, and by "
        "several threads at once: it gives its list to the first step, what comes out to the second, and so on. Each step is called **once** per batch, and "
        "none before the function is called. `compose(add, double)([1, 5, 7])` is `[8, 16, 20]` when `add` adds 3. Without steps the list comes back as it is."
    ),
    name="compose",
    starter="def compose(*steps):\n    ...",
    check=_check,
    hints=(
        "Define a function inside and return it.",
        "One loop over the steps is enough; there is no loop over items.",
        "Inside: `for step in steps: batch = step(batch)`, then `return batch`.",
    ),
    solution=compose,
    wrong=(
        Wrong(lambda *steps: lambda batch: [compose(*steps)([item])[0] for item in batch], "each step is called once"),
        Wrong(lambda *steps: compose(*reversed(steps)), "from the last to the first"),
        Wrong(lambda *steps: compose(*steps[:1]), "Only the first step ran", shares_hint=True),
        Wrong(lambda *steps: compose(*steps[-1:]), "Only the last step counts", shares_hint=True),
        Wrong(_same_input, "Only the last step counts", shares_hint=True),
        Wrong(lambda *steps: compose(*steps[:2]), "`compose(add, double, add, double, double)([1, 0])` should give", shares_hint=True),
        Wrong(lambda *steps: compose(*steps[: max(1, len(steps) - 1)]), "Only the first step ran", shares_hint=True),
        Wrong(lambda *steps: lambda batch: compose(*steps[1:])(steps[0](batch)), "IndexError"),
        Wrong(
            lambda *steps: compose(*dict.fromkeys(steps)),
            "`compose(add, double, add, double, double)([1, 0])` should give",
            shares_hint=True,
        ),
        Wrong(_used_up, "as list number 2 of the same chain"),
        Wrong(_looks_twice, "each step is called once"),
        Wrong(_at_once, "only builds the chain"),
        Wrong(_first_result_for_all, "as list number 2"),
        Wrong(_remembers_results, "each step is called once"),
        Wrong(_KeepsItsBatch, "Two threads"),
        Wrong(_adds_up, "should give"),
    ),
    right=(_reduced, _recursive, _Chain, _nested, _as_a_queue, _in_pairs),
)
