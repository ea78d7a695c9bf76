"""`llmsuite bench generation`: `LanguageModel.complete` beside llama.cpp on the same published GGUF, same threads, greedy, the same prompts in one run.

llmsuite computes in the profile's dtype with the weights unpacked from the GGUF; llama.cpp reads the file's four-bit blocks as they are, so it streams a
quarter of our bytes for each token. That shows at batch 1; with several rows the products decide. With quantize="q4" we read the same blocks, one
prompt at a time: the tokens after the first, as llama.cpp times itself, and the whole call, the reading of the prompt included. llama.cpp comes prebuilt
in the wheel `xllamacpp`, which its authors compile for every processor (no AVX-512): one built for this machine is faster.
"""

import time
from collections.abc import Callable, Sequence

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.help_topics import topics
from llmsuite_lab.core.llama_cpp import LlamaCpp, wheel
from llmsuite_lab.core.runtime import profile
from llmsuite_lab.course.bench import Row, clock, compare, interleaved, say, seconds_unit
from llmsuite_lab.course.bench.transformer import TEXTS
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.transformer.generation import steps

BATCHES, NEW_TOKENS, ROUNDS = (1, 4, 16), 32, 5
SHORT, LONG_WORDS = 8, 1500
ALONE, ALONE_TOKENS = 4, 64  # prompts asked one by one, and the tokens of each: what `complete` writes by default
CONTEXT = 8192  # tokens, shared by all of llama.cpp's rows


def rows() -> list[Row]:
    """All rows; about seven minutes on two free cores. Needs the model in the cache and the wheel. Raises LabError without the wheel."""
    theirs = Llama()
    lm = LanguageModel.load()
    check_same(lm, theirs)
    unit = f"tokens/{seconds_unit()}"
    measured = []
    for batch in BATCHES:
        measured.append(compare(f"batch {batch} against llama.cpp", unit, *_rates(lm, theirs, TEXTS[:batch])))
    measured += four_bit_rows(lm, theirs)
    short, long = list(TEXTS[:SHORT]), long_prompt()
    mixed = f"{SHORT} short prompts beside one of {LONG_WORDS:,} words"
    measured.append(compare(f"{mixed} against llama.cpp", unit, *_rates(lm, theirs, [*short, long])))
    together, apart = lambda: _seconds(lm, [*short, long]), lambda: _seconds(lm, short) + _seconds(lm, [long])
    measured.append(compare(f"{mixed}, against the two apart", seconds_unit(), *interleaved(together, apart, n=ROUNDS)))
    return measured


def four_bit_rows(lm: LanguageModel, theirs: "Llama") -> list[Row]:
    """One prompt at a time from the 4-bit codes: tokens after the first, the whole call, and the whole call against the profile's dtype.

    Raises LabError where the 4-bit step cannot run, or llama.cpp does not answer.
    """
    four = LanguageModel.load(quantize="q4")
    if four.quantize is None:
        raise LabError("this machine cannot write from the 4-bit codes, as the warning above says: their rows cannot be measured")
    ids, unit = _ids(four, TEXTS[:ALONE]), f"tokens/{seconds_unit()}"
    decode = interleaved(lambda: decode_rate(four, ids), lambda: theirs.decode_rate(ids, ALONE_TOKENS), n=ROUNDS)

    def whole(one: LanguageModel) -> float:
        began = clock()
        return sum(one.complete([text], max_new_tokens=ALONE_TOKENS)[0].completion_tokens for text in TEXTS[:ALONE]) / (clock() - began)

    def reference() -> float:
        began, tokens = clock(), 0
        for prompt in ids:
            ((text, full),) = theirs.complete([prompt], ALONE_TOKENS)
            tokens += ALONE_TOKENS if full else four.count_tokens(text)
        return tokens / (clock() - began)

    ours, llama, floats = interleaved(lambda: whole(four), reference, lambda: whole(lm), n=ROUNDS)
    return [
        compare("four bits, tokens after the first, against llama.cpp", "tokens/s", *decode),
        compare("four bits, the whole call, against llama.cpp", unit, ours, llama),
        compare(f"four bits, the whole call, against {str(lm.model.dtype).removeprefix('torch.')}", unit, ours, floats),
    ]


def decode_rate(lm: LanguageModel, prompts: Sequence[Sequence[int]], new_tokens: int = ALONE_TOKENS) -> float:
    """Tokens a second of wall time after each prompt's first, over all prompts one by one; no end token stops them."""
    seconds = 0.0
    for ids in prompts:
        written = steps(lm.engine, [ids], new_tokens)
        next(written)
        began = time.perf_counter()
        tokens = sum(1 for _ in written)
        seconds += time.perf_counter() - began
    say(f"  {len(prompts)} prompts one by one, after the first token: {tokens * len(prompts) / seconds:,.1f} tokens/s")
    return tokens * len(prompts) / seconds


def long_prompt() -> str:
    """The first `LONG_WORDS` words of Python's own documentation of its statements. Raises LabError as `help_topics.topics`."""
    return " ".join(" ".join(topics().values()).split()[:LONG_WORDS])


class Llama:
    """The published GGUF in llama.cpp with the profile's threads; every round reads its prompts anew. Raises LabError when the wheel is not installed."""

    def __init__(self) -> None:
        wheel()  # before anything is downloaded
        self.engine = LlamaCpp(zoo.source_file(profile().model), CONTEXT, max(*BATCHES, SHORT + 1))

    def complete(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> list[tuple[str, bool]]:
        """Each greedy continuation, and whether it used all `new_tokens` (its count of tokens is that of the first prompt alone)."""
        answer = self.engine.ask({"prompt": [list(p) for p in prompts], "n_predict": new_tokens, "cache_prompt": False})
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        return [(choice["text"], choice["finish_reason"] == "length") for choice in choices]

    def decode_rate(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> float:
        """As our `decode_rate`, by llama.cpp's own clock: its time begins when the first token is there."""
        request = {"n_predict": new_tokens, "ignore_eos": True, "cache_prompt": False}
        answers = [self.engine.ask({"prompt": list(ids), **request})["timings"] for ids in prompts]
        rate = sum(told["predicted_n"] - 1 for told in answers) / sum(told["predicted_ms"] for told in answers) * 1000
        say(f"  {len(prompts)} prompts one by one in llama.cpp, after the first token: {rate:,.1f} tokens/s")
        return rate


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
