"""A language model as one object: lists of prompts in, lists of completions with token counts and wall time out.

    P(text) = Π_t P(x_t | x_<t)      `complete` and `chat` continue it, `score` measures it, `stream` shows it being written

Everything later in the course (retrieval, programs, agents, chains, rollouts) uses this object. Prompts are sorted by length, batched,
padded on the left and returned in order; finished sequences leave the batch. In production: vLLM's `LLM`, or a `transformers` pipeline.
"""

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm.auto import tqdm

from llmsuite_lab.core import zoo
from llmsuite_lab.core.runtime import profile
from llmsuite_lab.lm import adapters
from llmsuite_lab.lm.decoding import Sampling, batches, evaluating, first_stop, held_back, stop_list
from llmsuite_lab.lm.packed_decoding import engine_for

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

COMPACT_AT = 0.8  # the batch shrinks when at most this part of it is still writing: copying the cache costs about one step


@dataclass(frozen=True)
class Completion:
    """One generated text.

    `finish_reason`: "eos" (the model ended its text), "stop" (a stop string, which is cut off `text`) or "length" (max_new_tokens).
    `completion_tokens` counts all tokens generated, those of the stop string included, the end-of-text token not.
    `wall_s`: seconds from the start of its batch to its last token.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    wall_s: float


@dataclass(frozen=True)
class Score:
    """Sum of a continuation's token log-probabilities (natural log), its length in tokens, and the wall time of its batch in seconds."""

    logprob: float
    tokens: int
    wall_s: float

    @property
    def perplexity(self) -> float:
        """exp(−logprob / tokens): the number of equally likely tokens that would be as surprising."""
        return math.exp(-self.logprob / self.tokens)


@dataclass
class _Row:
    """One sequence while it is being written."""

    prompt_ids: list[int]
    draws: np.random.Generator | None
    ids: list[int] = field(default_factory=list)
    finish_reason: str = ""
    wall_s: float = 0.0


class LanguageModel:
    """A causal language model with its tokenizer. Make one with `LanguageModel.load()`, or from any `transformers` model and tokenizer.

    `engine` is the class that decodes (see lm.decoding): the course's own transformer where it can drive the model, else transformers'.
    """

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", name: str, adapter: str | None = None) -> None:
        self.model, self.tokenizer, self.name, self.adapter = model, tokenizer, name, adapter
        self.engine = engine_for(model)
        eos = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
        self._eos = {tokenizer.eos_token_id, *(eos if isinstance(eos, list) else [eos])} - {None}

    @classmethod
    def load(
        cls,
        name: str | None = None,
        adapter: "str | Path | None" = None,
        dtype: torch.dtype | None = None,
        device: "torch.device | str | None" = None,
        *,
        source: str | None = None,
    ) -> "LanguageModel":
        """Load a causal model of the zoo, ready to write. None means the profile's choice (with an adapter: the model it was made for).

        `adapter` (a zoo name or a folder in PEFT format) is merged into the weights in float32 before they are cast to `dtype`.
        Raises ValueError for unknown names and an adapter of another model, LabError when the files cannot be had.
        """
        dial = profile()
        folder = None if adapter is None else adapters.adapter_path(adapter)
        base = adapters.adapter_base(folder) if folder else None
        name = name or base or dial.model
        if base is not None and base != name:
            raise ValueError(f"adapter {adapter} was made for {base}, not for {name}: leave the name out, or load {base}")
        if zoo.entry(name).kind != "causal":
            raise ValueError(f"{name} is no causal language model; use zoo.load_model({name!r}) and zoo.load_tokenizer({name!r})")
        dtype, device = dtype or dial.dtype, device or dial.device
        if folder is None:
            model = zoo.load_model(name, dtype, device, source=source)
        else:
            model = adapters.merge_adapter(zoo.load_model(name, torch.float32, "cpu", source=source), folder).to(device=device, dtype=dtype)
        return cls(model, zoo.load_tokenizer(name, source=source), name, None if adapter is None else str(adapter))

    @property
    def context_length(self) -> int:
        """Most tokens that a prompt and its completion may have together."""
        return self.model.config.max_position_embeddings

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` has."""
        return len(self._encode([text])[0])

    def complete(
        self,
        prompts: Sequence[str],
        max_new_tokens: int = 64,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> list[Completion]:
        """Continue each prompt; results in the order of the prompts.

        Greedy at temperature 0. A sample depends on (seed, prompt, how often the same prompt came before), not on its neighbours or the batch
        size; what can still differ between batchings is the rounding of the logits, which matters when two tokens are all but equally likely.
        `stop`: the text ends before the first of these strings. `batch_size` None means the profile's; long prompts run in smaller batches.
        Raises TypeError for a bare string, ValueError for an empty prompt, or one that does not leave room for max_new_tokens in the context.
        """
        sampling, stop = Sampling(temperature, top_k, top_p, seed), stop_list(stop)
        rows = self._rows(prompts, max_new_tokens, sampling)
        with tqdm(total=len(rows), unit="text", disable=not progress) as bar:
            for batch in self._batches(rows, batch_size, max_new_tokens):
                for finished in self._write(batch, max_new_tokens, stop, sampling):
                    bar.update(finished)
        return [self._completion(row, stop) for row in rows]

    def chat(self, conversations: Sequence[Any], **options: Any) -> list[Completion]:
        """Answer each conversation: a list of {"role", "content"} messages, or a string (one user message). Options as in `complete`.

        The model's own chat template is applied; SmolLM2's adds a default system message when there is none.
        """
        return self.complete([self.chat_prompt(conversation) for conversation in _listed(conversations, "chat", (str, list))], **options)

    def chat_prompt(self, conversation: "str | list[dict[str, str]]") -> str:
        """The prompt that the chat template makes of a conversation, ending where the assistant speaks. Raises ValueError for a bad message."""
        turns = [{"role": "user", "content": conversation}] if isinstance(conversation, str) else conversation
        for turn in turns:
            if not isinstance(turn, dict) or not isinstance(turn.get("role"), str) or not isinstance(turn.get("content"), str):
                raise ValueError(f'a message must be {{"role": "user", "content": "…"}} with two strings, got {turn!r}')
        if not turns:
            raise ValueError("a conversation needs at least one message")
        return self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)

    def stream(
        self,
        prompt: str,
        max_new_tokens: int = 64,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """Pieces of the completion as they are written; joined they are `complete([prompt], …)[0].text`. Errors as there, at the call.

        A piece is held back while it could be the beginning of a stop string or an unfinished character.
        """
        if not isinstance(prompt, str):
            raise TypeError(f"stream() takes one string, got {type(prompt).__name__}")
        sampling, stop = Sampling(temperature, top_k, top_p, seed), stop_list(stop)
        rows = self._rows([prompt], max_new_tokens, sampling)
        return self._pieces(rows, max_new_tokens, stop, sampling)

    def score(self, prompts: Sequence[str], continuations: Sequence[str], batch_size: int | None = None) -> list[Score]:
        """log P(continuation | prompt) of each pair, with logits computed at the continuation's positions only.

        Prompt and continuation are tokenised apart, as they are when the model writes: begin the continuation with its space.
        Raises ValueError for lists of unequal length, an empty text, or a pair longer than the context.
        """
        from llmsuite_lab.lm.batching import Example, collate
        from llmsuite_lab.lm.supervised import supervised_logits

        prompts, continuations = _listed(prompts, "score"), _listed(continuations, "score")
        if len(prompts) != len(continuations):
            raise ValueError(
                f"score() takes one continuation per prompt, got {len(prompts)} prompts and {len(continuations)} continuations"
            )
        pairs = [_Row(p, None, c) for p, c in zip(self._encode(prompts), self._encode(continuations))]
        for i, row in enumerate(pairs):
            if not row.prompt_ids or not row.ids:
                raise ValueError(f"{'prompts' if not row.prompt_ids else 'continuations'}[{i}] is empty: there is nothing to score")
            self._check_length(i, row.prompt_ids, len(row.ids), "a continuation of")
        scores: dict[int, Score] = {}
        for batch in self._batches(pairs, batch_size, room=0):
            start = time.perf_counter()
            inputs = collate([Example(row.prompt_ids, row.ids) for row in batch]).to(self.model.device)
            with torch.no_grad(), evaluating(self.model):
                logits = supervised_logits(self.model, inputs).float()
                logprobs = -torch.nn.functional.cross_entropy(logits, inputs.targets, reduction="none").double().cpu()
            wall_s = time.perf_counter() - start
            for row, part in zip(batch, logprobs.split([len(row.ids) for row in batch])):
                scores[id(row)] = Score(float(part.sum()), len(row.ids), wall_s)
        return [scores[id(row)] for row in pairs]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []

    def _rows(self, prompts: Sequence[str], max_new_tokens: int, sampling: Sampling) -> list[_Row]:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={max_new_tokens} must be at least 1")
        rows, seen, prompts = [], Counter(), _listed(prompts, "complete")
        for i, (prompt, ids) in enumerate(zip(prompts, self._encode(prompts))):
            if not ids:
                raise ValueError(f"prompts[{i}] is empty: give the model at least one token to continue")
            self._check_length(i, ids, max_new_tokens, "max_new_tokens =")
            rows.append(_Row(ids, sampling.draws(prompt, seen[prompt])))
            seen[prompt] += 1
        return rows

    def _batches(self, rows: list[_Row], batch_size: int | None, room: int) -> Iterator[list[_Row]]:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        lengths = [len(row.prompt_ids) + len(row.ids) for row in rows]
        for batch in batches(lengths, batch_size or profile().batch_size, profile().batch_tokens, room):
            yield [rows[i] for i in batch]

    def _check_length(self, i: int, prompt_ids: list[int], more: int, what: str) -> None:
        if len(prompt_ids) + more > self.context_length:
            raise ValueError(
                f"prompts[{i}] has {len(prompt_ids):,} tokens and {what} {more:,} makes {len(prompt_ids) + more:,}, but the context of "
                f"{self.name} holds {self.context_length:,}: shorten one of them"
            )

    def _write(self, rows: list[_Row], max_new_tokens: int, stop: list[str], sampling: Sampling) -> Iterator[int]:
        """Write one batch to its end; yields after each step how many rows it finished."""
        start = time.perf_counter()
        tail = max((len(text.encode()) for text in stop), default=0) + 1  # a token is at least one byte: a new stop lies in so many tokens
        with evaluating(self.model):
            engine = self.engine(self.model, [row.prompt_ids for row in rows], max_new_tokens)
            while True:
                tokens = sampling.pick(engine.logits, [row.draws for row in rows])
                before, going = sum(not row.finish_reason for row in rows), []
                for i, (row, token) in enumerate(zip(rows, tokens.tolist())):
                    if row.finish_reason:
                        continue
                    if token in self._eos:
                        row.finish_reason = "eos"
                    else:
                        row.ids.append(token)
                        if stop and first_stop(self._decode(row.ids[-tail:]), stop) is not None:
                            row.finish_reason = "stop"
                        elif len(row.ids) == max_new_tokens:
                            row.finish_reason = "length"
                    if row.finish_reason:
                        row.wall_s = time.perf_counter() - start
                    else:
                        going.append(i)
                yield before - len(going)
                if not going:
                    return
                if len(going) <= COMPACT_AT * len(rows):
                    engine.select(going)
                    rows, tokens = [rows[i] for i in going], tokens[going]
                engine.advance(tokens)

    def _pieces(self, rows: list[_Row], max_new_tokens: int, stop: list[str], sampling: Sampling) -> Iterator[str]:
        shown = 0
        for _ in self._write(rows, max_new_tokens, stop, sampling):
            text = self._completion(rows[0], stop).text
            safe = len(text) if rows[0].finish_reason else len(text.rstrip("\ufffd")) - held_back(text, stop)
            if safe > shown:
                yield text[shown:safe]
                shown = safe

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _completion(self, row: _Row, stop: list[str]) -> Completion:
        text = self._decode(row.ids)
        cut = first_stop(text, stop)
        return Completion(text[:cut], len(row.prompt_ids), len(row.ids), row.finish_reason, row.wall_s)


def _listed(values: Sequence[Any], method: str, kinds: tuple[type, ...] = (str,)) -> list[Any]:
    """The argument as a list. Raises TypeError for a bare string (the usual slip) and for entries of another type."""
    if isinstance(values, str | dict):
        raise TypeError(f"{method}() takes a list: write {method}([…])[0] for a single one")
    values = list(values)
    for i, value in enumerate(values):
        if not isinstance(value, kinds):
            raise TypeError(f"{method}() takes a list of {' or '.join(k.__name__ for k in kinds)}; entry {i} is {type(value).__name__}")
    return values
