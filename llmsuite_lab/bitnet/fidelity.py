"""How near the 4-bit step comes to the same weights in float32, and llama.cpp beside it on the same codes.

    agreement  = share of positions t at which the likeliest token after x_1..x_t is the one that float32 finds likeliest
    perplexity = exp( −(1/n) Σ_t log p(x_{t+1} | x_1..x_t) )

Each is given the text's own tokens, never those it would have written (teacher forcing), so that one early difference does not decide all that
follows. The weights are the same numbers everywhere: what is measured is the rounding of the activations, to int8 here and in llama.cpp, and that of
everything to bfloat16, the package's usual dtype on many processors. An engine that is known to be worse is read as well, float32 with one block in three
values: a measure that does not see it sees nothing. n counts positions; the engines are paired, position by position. `llmsuite train q4_fidelity` records it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from llmsuite_lab.bitnet.after_training import blocks_of, rounded
from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError, whole
from llmsuite_lab.core.help_topics import topics
from llmsuite_lab.core.llama_cpp import LlamaCpp
from llmsuite_lab.core.metrics import Interval, mean_interval, proportion_interval
from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.core.runtime import profile
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.lm.text import encode
from llmsuite_lab.transformer.generation import EngineFactory
from llmsuite_lab.transformer.q4_engine import q4_engine

WINDOWS, LENGTH = 12, 512  # texts, and tokens of each: 12 · 511 positions are judged
WORSE = "one block in three values"
LIKELIEST = 256  # tokens that llama.cpp lists in its first answer; it is asked again, for all, where the text's own is not among them


@dataclass
class Reading:
    """What one engine made of a text: the likeliest token after each position but the last, and log p (nats) of the text's own next one."""

    likeliest: list[int]
    logprobs: list[float]


def texts(words: int = 2000) -> list[str]:
    """Two registers, both at hand offline: Python's documentation of its statements (this Python's version), and the handbook of a company.

    Raises LabError as `help_topics.topics`.
    """
    from llmsuite_lab.world import handbook

    documentation = " ".join(topics().values())
    return [" ".join(text.split()[:words]) for text in (documentation, " ".join(p.text for p in handbook.load().passages))]


def windows(lm: LanguageModel, n: int = WINDOWS, length: int = LENGTH) -> list[list[int]]:
    """`n` runs of `length` token ids, as many of each register. Raises ValueError for sizes that the texts do not hold."""
    whole("n", n, 1, 100)
    whole("length", length, 2, min(lm.context_length, 4096))
    sources = encode(lm.tokenizer, texts(2 * n * length))
    cut = [ids[i : i + length] for i in range(0, n * length, length) for ids in sources]
    found = [ids for ids in cut if len(ids) == length][:n]
    if len(found) < n:
        raise ValueError(f"the texts hold {len(found)} windows of {length} tokens, and n={n}: ask for fewer or shorter ones")
    return found


@torch.no_grad()
def read_whole(model: Any, ids: Sequence[int]) -> Reading:
    """By the model's own forward pass over the whole text."""
    return _reading(model(torch.tensor([list(ids)])).logits[0, :-1], ids)


def read_stepwise(start: EngineFactory, ids: Sequence[int]) -> Reading:
    """Token by token, as the engine writes."""
    engine = start([list(ids[:1])], len(ids))
    seen = [engine.logits[0]]
    for token in ids[1:-1]:
        engine.advance(torch.tensor([token]))
        seen.append(engine.logits[0])
    return _reading(torch.stack(seen), ids)


def _reading(logits: torch.Tensor, ids: Sequence[int]) -> Reading:
    logits = logits.float()
    own = torch.tensor(list(ids[1:]))[:, None]
    return Reading(logits.argmax(-1).tolist(), (logits.gather(1, own)[:, 0] - logits.logsumexp(-1)).tolist())


def read_llama_cpp(theirs: LlamaCpp, ids: Sequence[int]) -> Reading:
    """As `read_stepwise`, in llama.cpp: after the first, each request evaluates one token. Raises LabError as `LlamaCpp.listed`."""
    reading = Reading([], [])
    for t in range(1, len(ids)):
        listed = theirs.listed(ids[:t], LIKELIEST)
        reading.likeliest.append(next(iter(listed)))
        if ids[t] not in listed:
            listed = theirs.listed(ids[:t], 10**6)
        reading.logprobs.append(listed[ids[t]])
    return reading


def compare(readings: dict[str, list[Reading]]) -> dict[str, dict[str, Any]]:
    """For each engine, window by window: `agrees` (1 where its likeliest token is that of "float32") and `logprob`, summed over the window."""
    reference = readings["float32"]
    return {
        name: {
            "agrees": [[int(a == b) for a, b in zip(one.likeliest, wanted.likeliest)] for one, wanted in zip(read, reference)],
            "logprob": [math.fsum(one.logprobs) for one in read],
        }
        for name, read in readings.items()
    }


def table(results: dict[str, Any]) -> list[dict[str, Any]]:
    """A row an engine: `agreement` with its interval over positions, `perplexity`, `perplexity_ratio` to float32's with its interval over windows (None for
    float32), and `against_llama_cpp`, the paired difference in agreement."""
    rows = []
    other = [a for window in results.get("llama.cpp", {"agrees": []})["agrees"] for a in window]
    for name, found in results.items():
        agrees = [a for window in found["agrees"] for a in window]
        row = {"engine": name, "n": len(agrees), "agreement": proportion_interval(sum(agrees), len(agrees))}
        row["perplexity"] = math.exp(-math.fsum(found["logprob"]) / len(agrees))
        row["perplexity_ratio"] = None if name == "float32" else _ratio(found, results["float32"])
        if other and name != "llama.cpp":
            row["against_llama_cpp"] = mean_interval([a - b for a, b in zip(agrees, other)], differences=True)
        rows.append(row)
    return rows


def _ratio(found: dict[str, Any], reference: dict[str, Any]) -> Interval:
    sizes = [len(window) for window in found["agrees"]]
    more = [(ours - theirs) / size for ours, theirs, size in zip(found["logprob"], reference["logprob"], sizes, strict=True)]
    log_ratio = mean_interval([-one for one in more], proportion=False)  # nats a token, the windows being of one length
    return replace(log_ratio, mean=math.exp(log_ratio.mean), low=math.exp(log_ratio.low), high=math.exp(log_ratio.high))


def measure(n: int = WINDOWS, length: int = LENGTH) -> Outcome:
    """Every engine on every window: float32, the worse one and bfloat16 by whole passes, the 4-bit step and llama.cpp token by token; minutes on a free core.

    llama.cpp is left out, and the settings say so, where its wheel is not installed. Raises LabError where the step cannot run.
    """
    lm = LanguageModel.load(dtype=torch.float32, device="cpu")
    file = zoo.source_file(lm.name)
    start, ids = q4_engine(lm.model, file), windows(lm, n, length)
    readings = {"float32": [read_whole(lm.model, one) for one in ids], "q4": [read_stepwise(start, one) for one in ids]}
    with rounded(lm.model, [len(blocks_of(lm.model)) // 2]):
        readings[WORSE] = [read_whole(lm.model, one) for one in ids]
    half = LanguageModel.load(dtype=torch.bfloat16, device="cpu")
    readings["bfloat16"] = [read_whole(half.model, one) for one in ids]
    settings = {"model": lm.name, "file": file.name, "windows": n, "tokens": length, "threads": profile().threads, "llama.cpp": "xllamacpp"}
    try:
        theirs = LlamaCpp(file, length + 8)  # and a few for what it writes
    except LabError as error:
        settings["llama.cpp"] = str(error)
    else:
        readings["llama.cpp"] = [read_llama_cpp(theirs, one) for one in ids]
    return Outcome(settings, compare(readings))
