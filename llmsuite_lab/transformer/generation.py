"""Generation: read the prompts in one pass (prefill), then one token per row and step (decode) from a cache of keys and values.

    x_{t+1} = argmax p(· | x_1..x_t)      or a draw from it (`sampling`), until an end token, a stop rule or the limit

Rows of unequal length are padded on the left, so that every row's last token stands in the last column; a mask keeps padding out of attention and
positions start at each row's first real token. Rows that have ended leave the batch, so the rest do not pay for them.

Production: `transformers.GenerationMixin.generate`, vLLM. The tests hold greedy tokens equal to `generate`'s in float32.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch

from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.fast_batch import FastBatch
from llmsuite_lab.transformer.fast_decoder import FastDecoder
from llmsuite_lab.transformer.packing import choose_layout
from llmsuite_lab.transformer.sampling import check_sampling, draw, token_probabilities

COMPACT_AT = 0.75  # rows leave the batch when at most this share still runs: copying their keys and values costs about a step


@dataclass(frozen=True)
class GeneratedRow:
    """New token ids of one row, and why it ended: "eos" (the end token, left out of ids), "stop" (`should_stop`, token kept) or "length"."""

    ids: list[int]
    finish_reason: str


@dataclass(frozen=True)
class NewToken:
    """One token of one row as it is generated; `finish_reason` is set on the row's last one."""

    row: int
    id: int
    finish_reason: str | None


class Generator:
    """Generates with a Decoder's weights, packed on first use for one row or for several.

    Args:
        model: a `Decoder` (any family; `weights.from_transformers(hf_model, share=True)` makes one without a second copy).
        dtype: of weights and cache while generating; default the model's own. float32 gives `transformers.generate`'s greedy tokens.
    """

    def __init__(self, model: Decoder, dtype: torch.dtype | None = None) -> None:
        self.model = model
        self.dtype = dtype or model.embedding.token.weight.dtype
        self._packed: dict[str, FastDecoder] = {}

    def decoder(self, rows: int) -> FastDecoder:
        """The packed weights that serve `rows` rows at a time; packed once per layout. Call `forget` after the model's weights changed."""
        layout = choose_layout(self.dtype, self.model.embedding.token.weight.device, rows)
        if layout not in self._packed:
            self._packed[layout] = FastDecoder(self.model, self.dtype, layout, rows)
        return self._packed[layout]

    def forget(self) -> None:
        """Drop the packed copies: the next call packs the model's weights as they are then (after a training step, say)."""
        self._packed.clear()

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int = 64,
        *,
        eos_ids: int | Collection[int] = (),
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | Sequence[int] = 0,
        should_stop: Callable[[int, list[int]], bool] | None = None,
    ) -> list[GeneratedRow]:
        """Continue every prompt; rows come back in order.

        Args:
            prompts: token ids, one list per row; lengths may differ.
            max_new_tokens: limit per row, in tokens.
            eos_ids: token or tokens that end a row.
            temperature, top_k, top_p: 0 is greedy; else see `sampling`.
            seed: one number (row i draws from seed and i) or one per row. A row's draws do not depend on the other rows.
            should_stop: asked after each token with (row, its new ids so far); True ends the row with "stop".

        Raises:
            ValueError: no prompt or an empty one, ids outside the vocabulary, prompt + new tokens beyond max_length, sampling options out of range.
        """
        ids: list[list[int]] = [[] for _ in prompts]
        reasons = ["length"] * len(ids)
        options = {"eos_ids": eos_ids, "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed, "should_stop": should_stop}
        for step in self.steps(prompts, max_new_tokens, **options):
            for token in step:
                if token.finish_reason != "eos":
                    ids[token.row].append(token.id)
                reasons[token.row] = token.finish_reason or reasons[token.row]
        return [GeneratedRow(row, reason) for row, reason in zip(ids, reasons)]

    def steps(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int = 64,
        *,
        eos_ids: int | Collection[int] = (),
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | Sequence[int] = 0,
        should_stop: Callable[[int, list[int]], bool] | None = None,
    ) -> Iterator[list[NewToken]]:
        """The same, token by token: each item holds the new token of every row still running. Arguments and errors as `generate`."""
        check_sampling(temperature, top_k, top_p)
        eos = {eos_ids} if isinstance(eos_ids, int) else set(eos_ids)
        self._check(prompts, max_new_tokens)
        batch = len(prompts)
        seeds = [(seed * 1_000_003 + i) for i in range(batch)] if isinstance(seed, int) else list(seed)
        if len(seeds) != batch:
            raise ValueError(f"{len(seeds)} seeds for {batch} prompts: give one number, or one per prompt")
        draws = [torch.Generator().manual_seed(s) for s in seeds] if temperature else []
        return self._run(prompts, max_new_tokens, eos, (temperature, top_k, top_p), draws, should_stop)

    def _run(self, prompts, max_new_tokens, eos, sampling, draws, should_stop) -> Iterator[list[NewToken]]:
        batch = FastBatch(self.decoder(len(prompts)), prompts, max_new_tokens)
        live = list(range(len(prompts)))  # which prompt each row of the running batch belongs to
        ended = [False] * len(prompts)
        written: list[list[int]] = [[] for _ in prompts]
        for count in range(1, max_new_tokens + 1):
            if sampling[0] == 0:
                chosen = batch.logits.argmax(-1)
            else:
                chosen = draw(token_probabilities(batch.logits, *sampling), [draws[row] for row in live])
            yield self._advance(chosen.tolist(), live, ended, written, eos, count == max_new_tokens, should_stop)
            running = [i for i, row in enumerate(live) if not ended[row]]
            if not running:
                return
            if len(running) <= COMPACT_AT * len(live):
                batch.select(running)
                chosen, live = chosen[running], [live[i] for i in running]
            batch.advance(chosen)

    def _advance(self, chosen, live, ended, written, eos, last, should_stop) -> list[NewToken]:
        """Book one step's tokens and find the rows that end with it."""
        step = []
        for row, token in zip(live, chosen):
            if ended[row]:
                continue
            written[row].append(token)
            reason = "length" if last else None
            if token in eos:
                reason = "eos"
            elif should_stop is not None and should_stop(row, written[row]):
                reason = "stop"
            ended[row] = reason is not None
            step.append(NewToken(row, token, reason))
        return step

    def _check(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
        config = self.model.config
        if not prompts or not all(len(p) for p in prompts):
            empty = [i for i, p in enumerate(prompts) if not len(p)]
            raise ValueError(f"every prompt needs at least one token id; got {len(prompts)} prompts, empty: {empty[:10]}")
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={max_new_tokens} must be at least 1")
        longest = max(map(len, prompts))
        if longest + max_new_tokens > config.max_length:
            raise ValueError(
                f"the longest prompt has {longest} tokens; with max_new_tokens={max_new_tokens} that is {longest + max_new_tokens},"
                f" over the model's max_length={config.max_length}: shorten the prompt or ask for fewer"
            )
        low, high = min(min(p) for p in prompts), max(max(p) for p in prompts)
        if low < 0 or high >= config.vocab_size:
            raise ValueError(f"token id {low if low < 0 else high} is outside the vocabulary 0..{config.vocab_size - 1}")
