"""Generation: read the prompts in one pass (prefill), then one token per row and step (decode) from a cache of keys and values.

    x_{t+1} = argmax p(· | x_1..x_t)      or a draw from it (`sampling`), until an end token, a stop rule or the limit

An *engine* owns a model's state for one batch. It is small on purpose, so that another one can take its place:

    engine.logits               [rows, vocabulary]: what follows each row
    engine.advance(tokens)      append one token to each row; `logits` are new
    engine.select(rows)         go on with these rows only: finished ones stop costing

Neighbours in a batch. A row's random numbers never depend on them. Its logits do by rounding: padding and batch size change the order of sums. In float32
and float64 that is some 1e-6 and 1e-14 of a logit's size, so a token is the row's own unless two are that nearly equal; in bfloat16
and float16 it is some 1e-2, and rows do come out differently in other company. The tests hold all three sentences.

Production: `transformers.GenerationMixin.generate`, vLLM. The tests hold greedy tokens equal to `generate`'s in float32.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmsuite_lab.transformer.cached_engine import CachedEngine
from llmsuite_lab.transformer.layout import leaving
from llmsuite_lab.transformer.packed_engine import PackedEngine
from llmsuite_lab.transformer.packed_weights import packed
from llmsuite_lab.transformer.row_engine import RowEngine, needs_rows_of_its_own
from llmsuite_lab.transformer.sampling import Sampling

GREEDY = Sampling()


class Engine(Protocol):
    """The state of one batch being written."""

    logits: Float[Tensor, "rows vocabulary"]

    def advance(self, tokens: Int[Tensor, " rows"]) -> None:
        """Append one token to each row; `logits` are new."""

    def select(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order."""


EngineFactory = Callable[[Sequence[Sequence[int]], int], Engine]  # (prompts as token ids, most tokens that will follow each)


@dataclass(frozen=True)
class NewToken:
    """One token of one row as it is generated; `finish_reason` is set on the row's last one. Log-probabilities (nats) only when asked for."""

    row: int
    id: int
    finish_reason: str | None
    sampled_logprob: float | None = None
    model_logprob: float | None = None


@dataclass
class GeneratedRow:
    """What one row wrote, and why it ended.

    `ids`: its new tokens, without the end token. `finish_reason`: "eos", "stop" (`should_stop`, token kept) or "length".
    `end_id`: the end token when that is how it ended, else None. When asked for, one log-probability in nats per entry of `actions`:
    `sampled_logprobs` under the distribution drawn from (after temperature, top-k and top-p; greedy: 0), `model_logprobs` under the model itself.
    """

    ids: list[int] = field(default_factory=list)
    finish_reason: str = ""
    end_id: int | None = None
    sampled_logprobs: list[float] = field(default_factory=list)
    model_logprobs: list[float] = field(default_factory=list)

    @property
    def actions(self) -> list[int]:
        """All that the model chose, the end token included: what a policy gradient sums over."""
        return self.ids if self.end_id is None else [*self.ids, self.end_id]


def engine_for(model: nn.Module) -> EngineFactory:
    """What generates with `model` as it is at that moment: the packed engine where it can drive it, else what its first layer with a `writer` offers for
    these prompts (a packed one-bit layer), else the model's own forward pass.

    Args:
        model: our `Decoder`, or any causal `transformers` model, bare or wrapped by peft; linear layers may be swapped or wrapped.

    Raises:
        ValueError: a peft wrapper that puts virtual tokens in front (prompt tuning), whose own `generate` must be used; an encoder–decoder.
        TypeError: a module of another kind.
    """
    inner = _bare(model)

    def start(prompts: Sequence[Sequence[int]], room: int) -> Engine:
        decoder = packed(inner)
        if decoder is not None:
            return PackedEngine(decoder, prompts, room)
        offers = (layer.writer(inner, prompts, room) for layer in inner.modules() if hasattr(layer, "writer"))
        if (offered := next(offers, None)) is not None:
            return offered
        return (RowEngine if needs_rows_of_its_own(inner) else CachedEngine)(inner, prompts, room)

    return start


def _bare(model: nn.Module) -> nn.Module:
    """The model inside a peft wrapper; its wrapped layers are in it."""
    config = getattr(model, "config", None)
    if not isinstance(model, nn.Module) or config is None:
        raise TypeError(f"generation takes a transformer.Decoder or a causal transformers model, got {type(model).__name__}")
    if getattr(model, "is_encoder_decoder", False) or getattr(config, "is_encoder_decoder", False):
        raise ValueError(f"{type(model).__name__} is an encoder–decoder: use its own greedy() or generate()")
    if getattr(config, "positions", None) == "relative":
        raise ValueError("relative positions belong to encoder–decoders: they are decoded by EncoderDecoder.greedy")
    if not hasattr(model, "get_base_model"):
        return model
    if bool(getattr(model.active_peft_config, "is_prompt_learning", False)):
        raise ValueError(f"{model.active_peft_config.peft_type} puts virtual tokens in front of the prompt: use the model's own generate()")
    return model.get_base_model()


def generate(
    model: nn.Module | EngineFactory,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int = 64,
    *,
    eos_ids: int | Collection[int] = (),
    sampling: Sampling = GREEDY,
    should_stop: Callable[[int, list[int]], bool] | None = None,
    logprobs: bool = False,
    streams: Sequence[np.random.Generator | None] | None = None,
) -> list[GeneratedRow]:
    """Continue every prompt; rows come back in order.

    Args:
        model: as `engine_for`, or what it returns.
        prompts: token ids, one list per row; lengths may differ.
        max_new_tokens: limit per row, in tokens.
        eos_ids: token or tokens that end a row.
        sampling: greedy by default; temperature, top-k, top-p and seed.
        should_stop: asked after each token with (row, its new ids so far); True ends the row with "stop".
        logprobs: keep each chosen token's log-probabilities, the end token's too.
        streams: each row's random numbers, from `sampling.streams`; by default made of the prompts' ids.

    Raises:
        ValueError: no prompt or an empty one, ids outside the vocabulary, prompt + new tokens beyond the context, streams of another number; and as
            `engine_for`.
        LabError: a model whose scores are nan.
    """
    rows = [GeneratedRow() for _ in prompts]
    options = {"eos_ids": eos_ids, "sampling": sampling, "should_stop": should_stop, "logprobs": logprobs, "streams": streams}
    for step in steps(model, prompts, max_new_tokens, **options):
        for token in step:
            row = rows[token.row]
            row.finish_reason = token.finish_reason or ""
            if token.finish_reason == "eos":
                row.end_id = token.id
            else:
                row.ids.append(token.id)
            if logprobs:
                row.sampled_logprobs.append(token.sampled_logprob)
                row.model_logprobs.append(token.model_logprob)
    return rows


def steps(
    model: nn.Module | EngineFactory,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int = 64,
    *,
    eos_ids: int | Collection[int] = (),
    sampling: Sampling = GREEDY,
    should_stop: Callable[[int, list[int]], bool] | None = None,
    logprobs: bool = False,
    streams: Sequence[np.random.Generator | None] | None = None,
) -> Iterator[list[NewToken]]:
    """The same, token by token: each item holds the new token of every row still running. The prompts are read, and refused, at the call."""
    eos = {eos_ids} if isinstance(eos_ids, int) else set(eos_ids)
    start = engine_for(model) if isinstance(model, nn.Module) else model
    engine = start(prompts, max_new_tokens)
    streams = sampling.streams(prompts) if streams is None else streams
    if len(streams) != len(prompts) or (sampling.temperature > 0 and None in streams):
        raise ValueError(f"{len(prompts)} prompts need as many streams of random numbers, got {len(streams)}: take them from sampling.streams(prompts)")
    return _run(engine, max_new_tokens, eos, sampling, streams, should_stop, logprobs)


def _run(engine, max_new_tokens, eos, sampling, streams, should_stop, logprobs) -> Iterator[list[NewToken]]:
    live = list(range(len(streams)))  # which prompt each row of the running batch belongs to
    written: list[list[int]] = [[] for _ in streams]
    ended = [False] * len(streams)
    for count in range(1, max_new_tokens + 1):
        draws = [streams[row] for row in live]
        scores: list[list[float]] | None = None
        if logprobs:
            chosen, *both = sampling.pick_scored(engine.logits, draws)
            scores = [values.tolist() for values in both]
        else:
            chosen = sampling.pick(engine.logits, draws)
        step = []
        for i, (row, token) in enumerate(zip(live, chosen.tolist())):
            if ended[row]:
                continue
            written[row].append(token)
            reason = "length" if count == max_new_tokens else None
            if token in eos:
                reason = "eos"
            elif should_stop is not None and should_stop(row, written[row]):
                reason = "stop"
            ended[row] = reason is not None
            step.append(NewToken(row, token, reason) if scores is None else NewToken(row, token, reason, scores[0][i], scores[1][i]))
        yield step
        going = [i for i, row in enumerate(live) if not ended[row]]
        if not going:
            return
        if leaving(going, len(live)):
            engine.select(going)
            chosen, live = chosen[going], [live[i] for i in going]
        engine.advance(chosen)
