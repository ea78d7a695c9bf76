"""A language model as one object: lists of prompts in, lists of completions with token counts and wall time out.

    P(text) = Π_t P(x_t | x_<t)      `complete` and `chat` continue it, `score` measures it, `stream` shows it being written

Everything later in the course (retrieval, programs, agents, chains, rollouts) uses this object. Prompts are sorted by length, batched,
padded on the left and returned in order; finished sequences leave the batch. In production: vLLM's `LLM`, or a `transformers` pipeline.
"""

import math
import os
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm.auto import tqdm

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError, no_empty_name, unknown
from llmsuite_lab.core.forks import ForkSafeLock, compute_safely
from llmsuite_lab.core.own_models import gguf_file, open_model
from llmsuite_lab.core.runtime import profile, return_freed_memory
from llmsuite_lab.lm import adapters, text
from llmsuite_lab.lm.length_batches import batches
from llmsuite_lab.lm.merging import merge_adapter
from llmsuite_lab.lm.stops import first_stop, held_back, stop_list
from llmsuite_lab.lm.text import listed
from llmsuite_lab.transformer.evaluating import evaluating
from llmsuite_lab.transformer.generation import EngineFactory, engine_for, steps
from llmsuite_lab.transformer.q4_engine import q4_engine, why_not
from llmsuite_lab.transformer.row_engine import longest_context
from llmsuite_lab.transformer.sampling import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_loading = ForkSafeLock()  # transformers sets the default dtype of the whole process while it builds a model

QUANTIZE = ("q4", "auto")


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
    stream: np.random.Generator | None = None
    ids: list[int] = field(default_factory=list)
    finish_reason: str = ""
    wall_s: float = 0.0


class LanguageModel:
    """A causal language model with its tokenizer. Make one with `LanguageModel.load()`, or from any `transformers` model and tokenizer.

    What generates is `transformer.generation` with the engine that drives the model as it is at that moment: trained further, with a LoRA put in, with
    linear layers swapped. `engine` (a factory, `generation.EngineFactory`) puts another one in its place. May be used from several threads at once;
    in a forked process it computes on one thread (`core.forks`), and on an accelerator torch refuses it there.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        name: str,
        adapter: str | None = None,
        engine: EngineFactory | None = None,
    ) -> None:
        self.model, self.tokenizer, self.name, self.adapter, self._engine = model, tokenizer, name, adapter, engine
        self.quantize: str | None = None  # "q4" where `load` found the codes and the machine can use them
        eos = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
        self._eos = {tokenizer.eos_token_id, *(eos if isinstance(eos, list) else [eos])} - {None}

    @classmethod
    def load(
        cls,
        name: "str | Path | None" = None,
        adapter: "str | Path | None" = None,
        dtype: torch.dtype | None = None,
        device: "torch.device | str | None" = None,
        *,
        source: str | None = None,
        quantize: str | None = None,
    ) -> "LanguageModel":
        """Load a causal model, ready to write. None means the profile's choice (with an adapter: the model it was made for).

        `name`: a model of the zoo, a folder in `transformers`' form, a GGUF file, or a hub id "owner/name" (`core.own_models.open_model`).
        `adapter` (a zoo name or a folder in PEFT format) is merged into the weights in float32 before they are cast to `dtype`.
        `source` is for the zoo's models. `quantize="q4"`: tokens are written from the 4-bit codes of the model's GGUF file by one compiled call each
        (`transformer.q4_engine`), fastest for one answer at a time; prompts and scores keep to `dtype`, an adapter's matrices to 8 bits. Where that
        cannot run, a warning says why, and `.quantize` is None. "auto" is "q4" where that can run and nothing else where not, without a word: for whoever waits
        for one answer and measures nothing. Raises ValueError for unknown and empty names, an adapter of another model and a model without
        such codes, LabError when the files cannot be had.
        """
        no_empty_name("name", name)
        no_empty_name("adapter", adapter)
        dial = profile()
        folder = None if adapter is None else adapters.adapter_path(adapter)
        base = adapters.adapter_base(folder) if folder else None
        name = str(name or base or dial.model)
        if name.startswith("~"):
            name = os.path.expanduser(name)
        if base is not None and name != base and not _same_folder(base, name):
            raise ValueError(f"adapter {adapter} was made for {base}, not for {name}: leave the name out, or load {base}")
        if name in zoo.ENTRIES and zoo.entry(name).kind != "causal":
            raise ValueError(f"{name} is no causal language model; use zoo.load_model({name!r}) and zoo.load_tokenizer({name!r})")
        if name not in zoo.ENTRIES and source is not None:
            raise ValueError(f"source={source!r} is for the zoo's models, and {name} is none: leave it out")
        dtype, device = dtype or dial.dtype, device or dial.device
        codes = None if quantize is None else _codes(name, quantize, source, device)
        first: tuple[torch.dtype, Any] = (dtype, device) if folder is None else (torch.float32, "cpu")
        return_freed_memory()
        with _loading:
            if name in zoo.ENTRIES:
                model, tokenizer = zoo.load_model(name, *first, source=source), zoo.load_tokenizer(name, source=source)
            else:
                model, tokenizer = open_model(name, *first, known=zoo.ENTRIES)
            if folder is not None:
                model = merge_adapter(model, folder).to(device=device, dtype=dtype)
            try:
                engine = None if codes is None else q4_engine(model, codes, merged=folder is not None)
            except LabError:  # codes, but of a model that is no Llama
                if quantize != "auto":
                    raise
                engine = codes = None
            lm = cls(model, tokenizer, name, None if adapter is None else str(adapter), engine)
            lm.quantize = None if codes is None else "q4"
            return lm

    @property
    def context_length(self) -> int:
        """Most tokens that a prompt and its completion may have together; 2³¹ − 1 for a model that names no limit (Mamba)."""
        return longest_context(self.model.config)

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` has: of a `chat_prompt` its control tokens count one each, in any other text they are text."""
        return len(self._encode(listed([text], "count_tokens"))[0])

    def complete(
        self,
        prompts: Sequence[str],
        max_new_tokens: int = 64,
        stop: str | Sequence[str] = (),
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> list[Completion]:
        """Continue each prompt; results in the order of the prompts.

        A prompt is text: "<|im_end|>" in it is so many characters, unless `chat_prompt` made it. Greedy at temperature 0. A sample's random numbers
        depend on (seed, prompt, how often the same prompt came before) alone; its logits on the neighbours in the batch only by rounding, which
        `transformer.generation` says for each dtype. `stop`: the text ends before the first of these strings (one string is one stop string).
        `batch_size` None means the profile's; prompts of similar length run together, long ones in smaller batches.
        Raises TypeError for a bare string, ValueError for an empty prompt, or one that does not leave room for max_new_tokens in the context.
        """
        sampling, stop = Sampling(temperature, top_k, top_p, seed), stop_list(stop)
        rows = self._rows(prompts, max_new_tokens, sampling)
        with tqdm(total=len(rows), unit="text", disable=not progress) as bar:
            for batch in self._batches(rows, batch_size, max_new_tokens):
                for finished in self._write(batch, max_new_tokens, stop, sampling):
                    bar.update(finished)
        return [self._completion(row, stop) for row in rows]

    def chat(self, conversations: Sequence[Any], *, tools: Sequence[dict[str, Any]] = (), **options: Any) -> list[Completion]:
        """Answer each conversation: a list of {"role", "content"} messages, or a string (one user message). Options as in `complete`.

        The model's own chat template is applied; SmolLM2's adds a default system message when there is none. With `tools` (schemas) an answer may hold
        calls, which `lm.tool_calls.read_reply` reads.
        """
        prompts = [self.chat_prompt(conversation, tools) for conversation in listed(conversations, "chat", (str, list))]
        return self.complete(prompts, **options)

    def chat_prompt(self, conversation: "str | list[dict[str, Any]]", tools: Sequence[dict[str, Any]] = ()) -> text.Prompt:
        """The prompt that the chat template makes of a conversation, ending where the assistant speaks. Errors as `lm.text.chat_prompt`.

        Only the template's own control tokens are any: what a message holds stays text.
        """
        turns = [{"role": "user", "content": conversation}] if isinstance(conversation, str) else conversation
        return text.chat_prompt(self.tokenizer, turns, tools=tools)

    def stream(
        self,
        prompt: str,
        max_new_tokens: int = 64,
        stop: str | Sequence[str] = (),
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> Generator[str, None, Completion]:
        """Pieces of the completion as they are written; joined they are `complete([prompt], …)[0].text`. Errors as there, at the call.

        A piece is held back while it could be the beginning of a stop string or an unfinished character. The generator returns the completion
        (`completion = yield from lm.stream(…)`).
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
        from llmsuite_lab.lm.supervised import supervised_logprobs

        prompts, continuations = listed(prompts, "score"), listed(continuations, "score")
        if len(prompts) != len(continuations):
            raise ValueError(
                f"score() takes one continuation per prompt, got {len(prompts)} prompts and {len(continuations)} continuations"
            )
        pairs = [_Row(p, ids=c) for p, c in zip(self._encode(prompts), self._encode(continuations))]
        for i, row in enumerate(pairs):
            if not row.prompt_ids or not row.ids:
                raise ValueError(f"{'prompts' if not row.prompt_ids else 'continuations'}[{i}] is empty: there is nothing to score")
            self._check_length(i, row.prompt_ids, len(row.ids), "a continuation of")
        scores: dict[int, Score] = {}
        compute_safely()
        for batch in self._batches(pairs, batch_size, room=0):
            start = time.perf_counter()
            inputs = collate([Example(row.prompt_ids, row.ids) for row in batch]).to(self.model.device)
            with torch.no_grad(), evaluating(self.model):
                logprobs = supervised_logprobs(self.model, inputs)
            wall_s = time.perf_counter() - start
            for row, part in zip(batch, logprobs.split([len(row.ids) for row in batch])):
                scores[id(row)] = Score(float(part.sum()), len(row.ids), wall_s)
        return [scores[id(row)] for row in pairs]

    @property
    def engine(self) -> EngineFactory:
        """What generates: the engine given, else the one that fits the model as it is now (`transformer.generation.engine_for`)."""
        return self._engine or engine_for(self.model)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return text.encode(self.tokenizer, texts)

    def _rows(self, prompts: Sequence[str], max_new_tokens: int, sampling: Sampling) -> list[_Row]:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={max_new_tokens} must be at least 1")
        prompts = listed(prompts, "complete")
        rows = [_Row(ids, stream) for ids, stream in zip(self._encode(prompts), sampling.streams(prompts))]
        for i, row in enumerate(rows):
            if not row.prompt_ids:
                raise ValueError(f"prompts[{i}] is empty: give the model at least one token to continue")
            self._check_length(i, row.prompt_ids, max_new_tokens, "max_new_tokens =")
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
        tail = max((len(word.encode()) for word in stop), default=0) + 1  # a token is at least one byte: a new stop lies in so many tokens
        options = {"eos_ids": self._eos, "sampling": sampling, "streams": [row.stream for row in rows]}
        if stop:
            options["should_stop"] = lambda _, ids: first_stop(self._decode(ids[-tail:]), stop) is not None
        for step in steps(self.engine, [row.prompt_ids for row in rows], max_new_tokens, **options):
            finished = 0
            for token in step:
                row = rows[token.row]
                if token.finish_reason != "eos":
                    row.ids.append(token.id)
                if token.finish_reason:
                    row.finish_reason, row.wall_s = token.finish_reason, time.perf_counter() - start
                    finished += 1
            yield finished

    def _pieces(self, rows: list[_Row], max_new_tokens: int, stop: list[str], sampling: Sampling) -> Generator[str, None, Completion]:
        shown = 0
        for _ in self._write(rows, max_new_tokens, stop, sampling):
            written = self._completion(rows[0], stop).text
            safe = len(written) if rows[0].finish_reason else len(written.rstrip("\ufffd")) - held_back(written, stop)
            if safe > shown:
                yield written[shown:safe]
                shown = safe
        return self._completion(rows[0], stop)

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _completion(self, row: _Row, stop: list[str]) -> Completion:
        written = self._decode(row.ids)
        return Completion(written[: first_stop(written, stop)], len(row.prompt_ids), len(row.ids), row.finish_reason, row.wall_s)


def _codes(name: str, quantize: str, source: str | None, device: Any) -> Path | None:
    """The GGUF file whose codes are to be written from; None where this machine cannot: with a warning, unless quantize is "auto"."""
    if quantize not in QUANTIZE:
        raise ValueError(unknown("quantize", quantize, list(QUANTIZE)))
    auto, on_cpu = quantize == "auto", torch.device(device).type == "cpu"
    in_wheel = name in zoo.ENTRIES and source != "hub" and zoo.entry(name).gguf is not None
    none_there = not in_wheel and (name in zoo.ENTRIES or gguf_file(name) is None)
    if auto and (not on_cpu or none_there or why_not()):
        return None
    if not on_cpu:
        raise ValueError(f"quantize={quantize!r} computes on the CPU, not on {device}: pass device='cpu', or leave quantize out")
    if none_there:
        raise ValueError(f"quantize={quantize!r} reads the codes of a GGUF file, and there is none of {name} (source={source}): leave quantize out")
    if reason := why_not():
        warnings.warn(f"{name} is written by the packed engine, not from its 4-bit codes: {reason}", stacklevel=3)
        return None
    return zoo.source_file(name) if in_wheel else gguf_file(name)


def _same_folder(one: str, other: str) -> bool:
    return Path(one).is_dir() and Path(other).is_dir() and Path(one).samefile(other)
