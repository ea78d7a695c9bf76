"""The recipe of the two shipped reasoning adapters: PAL, and chain of thought as its matched control.

Same problems in the same order, same number of updates, same LoRA (W + (α/r) B A on q, v, up and down; Hu et al. 2022): only the completion
differs, program or worked-out text. One example in twelve of PAL's teaches the last call: "# output: 74 / A: The answer is" → " 74.".
The training part of `world.word_problems` is used; every eighth sentence kind is held back for development, the test sentences are elsewhere.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from llmsuite_lab.core.adapters import LORA_TARGETS, add_lora
from llmsuite_lab.core.training import Example, History, encode, fit
from llmsuite_lab.reasoning.prompting import COT, PAL, completion, final_prompt, prompt
from llmsuite_lab.world.word_problems import Part, Problem, problems

if TYPE_CHECKING:
    import torch

KINDS = (PAL, COT)
TRAIN_DIGITS = (1, 1, 2, 2, 3, 3, 4, 5, 6)  # short numbers are cheap, and most of what there is to learn is in the sentences
TRAIN_STEPS = (2, 2, 2, 3, 3, 3, 4, 4, 5, 6)


@dataclass(frozen=True)
class Recipe:
    """What a run is made of. `rank`, `alpha`: the LoRA; `lr`: peak of the cosine; `steps` updates from `batch_size` problems each."""

    steps: int = 600
    batch_size: int = 4
    lr: float = 2e-3
    warmup: float = 0.08
    rank: int = 8
    alpha: int = 16
    model: str = "smollm2-135m-instruct"


def training_problems(count: int, seed: int = 0, part: Part = "train") -> list[Problem]:
    """`count` problems in training order; the same for both kinds."""
    return list(islice(problems(part, seed, TRAIN_DIGITS, TRAIN_STEPS), count))


def pairs(kind: str, chosen: Sequence[Problem], seed: int = 0) -> Iterator[tuple[str, str]]:
    """(prompt, completion) of every problem. Raises ValueError for a kind other than "pal" and "cot"."""
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


def train(
    kind: str,
    seed: int = 0,
    recipe: Recipe | None = None,
    *,
    checkpoint: Path | None = None,
    dtype: "torch.dtype | None" = None,
    progress: bool = True,
    on_step: Callable[[int, History], None] | None = None,
) -> tuple[Any, History, dict[str, Any]]:
    """Train one adapter: (the peft model, the history, the settings as data). With `checkpoint` an interrupted run goes on where it stopped.

    Raises ValueError for an unknown kind, LabError for a loss that is not finite.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from llmsuite_lab.core import zoo
    from llmsuite_lab.core.runtime import profile

    recipe = recipe or Recipe()
    dtype = dtype or profile().train_dtype
    data = examples(kind, zoo.load_tokenizer(recipe.model), training_problems(recipe.steps * recipe.batch_size, seed), seed)
    model = add_lora(zoo.load_model(recipe.model, dtype), seed, rank=recipe.rank, alpha=recipe.alpha)
    with sdpa_kernel(
        SDPBackend.MATH
    ):  # for short sequences in bfloat16 on a CPU the fused kernel's backward pass costs a fifth of the step
        history = fit(
            model, data, steps=recipe.steps, batch_size=recipe.batch_size, lr=recipe.lr, warmup=recipe.warmup, seed=seed, dtype=dtype,
            checkpoint=checkpoint, checkpoint_every=20, resume=checkpoint is not None, progress=progress, on_step=on_step,
        )  # fmt: skip
    settings = asdict(recipe) | {
        "kind": kind,
        "seed": seed,
        "dtype": str(dtype).removeprefix("torch."),
        "targets": list(LORA_TARGETS),
        "examples": len(data),
    }
    return model, history, settings
