"""The recipe of the two shipped reasoning adapters: PAL, and chain of thought as its matched control; and of answers without any step.

Same problems in the same order, same number of updates, same LoRA (W + (α/r) B A on q, v, up and down; Hu et al. 2022): only the completion
differs, program, worked-out text or the bare answer. One example in twelve of PAL's teaches the last call: "# output: 74 / A: The answer is" → " 74.".
The training part of `world.word_problems` is used; every eighth sentence kind is held back for development, the test sentences are elsewhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

from llmsuite_lab.core.errors import within
from llmsuite_lab.lm.lora import LoraSettings, train_lora
from llmsuite_lab.lm.training import Example, History, encode
from llmsuite_lab.reasoning.prompting import COT, DIRECT, PAL, completion, final_prompt, prompt
from llmsuite_lab.world.word_problems import Part, Problem, problems

KINDS = (PAL, COT, DIRECT)
TRAIN_DIGITS = (1, 1, 2, 2, 3, 3, 4, 5, 6)  # short numbers are cheap, and most of what there is to learn is in the sentences
TRAIN_STEPS = (2, 2, 2, 3, 3, 3, 4, 4, 5, 6)


@dataclass(frozen=True)
class Settings(LoraSettings):
    """What a run is made of (`lm.lora`), and the `kind` of completion it learns, "pal", "cot" or "direct"."""

    steps: int = 600
    lr: float = 2e-3
    kind: str = PAL


def training_problems(count: int, seed: int = 0, part: Part = "train") -> list[Problem]:
    """`count` problems in training order; the same for all kinds."""
    within("count", count, 0, 1_000_000)
    return list(islice(problems(part, seed, TRAIN_DIGITS, TRAIN_STEPS), count))


def pairs(kind: str, chosen: Sequence[Problem], seed: int = 0) -> Iterator[tuple[str, str]]:
    """(prompt, completion) of every problem. Raises ValueError for a kind other than "pal", "cot" and "direct"."""
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}, but the recipes are {' and '.join(KINDS)}")
    rng = Random(f"final call {seed}")
    for problem in chosen:
        if kind == PAL and rng.random() < 1 / 12:
            yield final_prompt(problem.text, problem.program, str(problem.answer)), f" {problem.answer}.\n"
        else:
            yield prompt(kind, problem.text), completion(kind, problem)


def examples(kind: str, tokenizer: Any, chosen: Sequence[Problem], seed: int = 0) -> list[Example]:
    """The same as token ids."""
    return [encode(tokenizer, question, answer) for question, answer in pairs(kind, chosen, seed)]


def train(seed: int = 0, settings: Settings | None = None, **options: Any) -> tuple[Any, History, dict[str, Any]]:
    """Train one adapter: (the peft model, the history, the settings as data). `options` as for `lm.lora.train_lora`, errors too.

    Raises ValueError for an unknown kind.
    """
    settings = settings or Settings()
    chosen = training_problems(settings.steps * settings.batch_size, seed)
    return train_lora(settings, lambda tokenizer: examples(settings.kind, tokenizer, chosen, seed), seed, **options)
