"""`llmsuite bench generation`: `LanguageModel.complete` beside llama.cpp on the same published GGUF, same threads, greedy, the same prompts in one run.

llmsuite computes in the profile's dtype with the weights unpacked from the GGUF; llama.cpp reads the file's four-bit blocks as they are, so it streams a
quarter of our bytes for each token. That shows at batch 1; with several rows the products decide. llama.cpp comes prebuilt in the
wheel `xllamacpp`, which its authors compile for every processor (no AVX-512): one built for this machine is faster.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.runtime import profile
from llmsuite_lab.course.bench import Row, clock, compare, interleaved, say, seconds_unit
from llmsuite_lab.course.bench.transformer import TEXTS
from llmsuite_lab.lm.language_model import LanguageModel

BATCHES, NEW_TOKENS, ROUNDS = (1, 4, 16), 32, 5
SHORT, LONG_WORDS = 8, 1500
CONTEXT = 8192  # tokens, shared by all of llama.cpp's rows


def rows() -> list[Row]:
    """All rows; about five minutes on two free cores. Needs the model in the cache and the wheel. Raises LabError without the wheel."""
    theirs = Llama()
    lm = LanguageModel.load()
    check_same(lm, theirs)
    unit = f"tokens/{seconds_unit()}"
    measured = []
    for batch in BATCHES:
        measured.append(compare(f"batch {batch} against llama.cpp", unit, *_rates(lm, theirs, TEXTS[:batch])))
    short, long = list(TEXTS[:SHORT]), long_prompt()
    mixed = f"{SHORT} short prompts beside one of {LONG_WORDS:,} words"
    measured.append(compare(f"{mixed} against llama.cpp", unit, *_rates(lm, theirs, [*short, long])))
    together, apart = lambda: _seconds(lm, [*short, long]), lambda: _seconds(lm, short) + _seconds(lm, [long])
    measured.append(compare(f"{mixed}, against the two apart", seconds_unit(), *interleaved(together, apart, n=ROUNDS)))
    return measured


def long_prompt() -> str:
    """The first `LONG_WORDS` words of Python's own documentation of its statements."""
    from pydoc_data.topics import topics

    return " ".join(" ".join(topics[key] for key in sorted(topics)).split()[:LONG_WORDS])


class Llama:
    """The published GGUF in llama.cpp with the profile's threads. Raises LabError when the wheel is not installed."""

    def __init__(self) -> None:
        try:
            import xllamacpp
        except ImportError as error:
            raise LabError("this benchmark compares with llama.cpp: install it with `pip install -e '.[bench]'` (the wheel xllamacpp)") from error
        params = xllamacpp.CommonParams()
        params.model.path = str(zoo.source_file(profile().model))
        params.n_ctx, params.n_parallel, params.kv_unified = CONTEXT, max(*BATCHES, SHORT + 1), True
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = torch.get_num_threads()
        params.cache_prompt, params.verbosity = False, 0  # every round reads its prompts anew
        self.server = xllamacpp.Server(params)

    def complete(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> list[tuple[str, bool]]:
        """Each greedy continuation, and whether it used all `new_tokens` (its count of tokens is that of the first prompt alone)."""
        request: dict[str, Any] = {"prompt": [list(p) for p in prompts], "n_predict": new_tokens, "temperature": 0.0, "cache_prompt": False}
        answer = self.server.handle_completions(request)
        if "choices" not in answer:
            raise LabError(f"llama.cpp did not answer: {str(answer)[:300]}")
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        return [(choice["text"], choice["finish_reason"] == "length") for choice in choices]


def check_same(lm: LanguageModel, theirs: Llama) -> None:
    """Both must run the same model: most prompts go on with the same words (rounding differs). Raises LabError when they do not."""
    ours = [c.text for c in lm.complete(TEXTS, max_new_tokens=3)]
    agree = sum(a.split()[:1] == b.split()[:1] for a, (b, _) in zip(ours, theirs.complete(_ids(lm, TEXTS), 3), strict=True))
    if agree < len(TEXTS) // 2:
        raise LabError(f"only {agree} of {len(TEXTS)} prompts go on with the same word in both: they do not run the same model")


def _ids(lm: LanguageModel, texts: Sequence[str]) -> list[list[int]]:
    from llmsuite_lab.lm.text import encode

    return encode(lm.tokenizer, texts)


def _rates(lm: LanguageModel, theirs: Llama, texts: Sequence[str]) -> list[list[float]]:
    ids = _ids(lm, texts)

    def rate(name: str, call: Callable[[], int]) -> Callable[[], float]:
        def timed() -> float:
            began = clock()
            tokens = call()
            value = tokens / (clock() - began)
            say(f"  {len(texts)} prompts, {name}: {tokens} tokens, {value:,.1f} tokens/{seconds_unit()}")
            return value

        return timed

    ours = rate("complete()", lambda: sum(c.completion_tokens for c in lm.complete(texts, max_new_tokens=NEW_TOKENS)))

    def count() -> int:
        done = theirs.complete(ids, NEW_TOKENS)
        return sum(NEW_TOKENS if whole else lm.count_tokens(text) for text, whole in done)

    reference = rate("llama.cpp", count)
    return interleaved(ours, reference, n=ROUNDS)


def _seconds(lm: LanguageModel, texts: Sequence[str]) -> float:
    began = clock()
    lm.complete(texts, max_new_tokens=NEW_TOKENS)
    return clock() - began
