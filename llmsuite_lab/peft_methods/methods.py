"""The methods by name, as a person chooses them: what is frozen, what is put in, and which learning rates to try.

    model = METHODS["lora"].prepare(model, seed=0, rank=4)      # then fit(model, examples, lr=METHODS["lora"].rates[1])

Every method gets three rates, a factor of about four apart, around where it learns best: methods are compared at their own best rate, never at one
that suits one of them. In production: `peft.get_peft_model` with the method's config.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from llmsuite_lab.core.errors import unknown
from llmsuite_lab.peft_methods.lora import add_lora
from llmsuite_lab.peft_methods.prompt_tuning import add_soft_prompt


@dataclass(frozen=True)
class Method:
    """`prepare(model, seed, tokenizer=None, **options)` freezes, adds what is trained, in place, and returns the model to be used from then on.

    name: what it is called; says: what is trained, in a line; rates: peak learning rates to sweep, low to high.
    """

    name: str
    says: str
    prepare: Callable[..., nn.Module]
    rates: tuple[float, float, float]


def method(name: str) -> Method:
    """The method of that name. Raises ValueError for another, with the nearest."""
    if name not in METHODS:
        raise ValueError(unknown("method", name, list(METHODS)))
    return METHODS[name]


def _full(model: nn.Module, seed: int, tokenizer: Any = None) -> nn.Module:
    return model.requires_grad_(True)


def _lora(model: nn.Module, seed: int, tokenizer: Any = None, **options: Any) -> nn.Module:
    """Options as `lora.add_lora`."""
    return add_lora(model, seed=seed, **options)


def _prompt(model: nn.Module, seed: int, tokenizer: Any = None, *, text: str | None = None, **options: Any) -> nn.Module:
    """Options as `prompt_tuning.add_soft_prompt`; `text` is what the prompt begins as, which needs the tokenizer."""
    return add_soft_prompt(model, seed=seed, text_ids=_ids(text, tokenizer), **options)


def _ids(text: str | None, tokenizer: Any) -> list[int] | None:
    if text is None:
        return None
    if tokenizer is None:
        raise ValueError(f"the text {text[:40]!r} can begin no prompt without a tokenizer: pass tokenizer=")
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        Method("full", "every weight", _full, (2e-5, 1e-4, 4e-4)),
        Method("lora", "rank-8 updates of the linear layers, W + s B A", _lora, (5e-4, 2e-3, 8e-3)),
        Method("prompt", "20 vectors in front of the input", _prompt, (1e-2, 5e-2, 2e-1)),
    )
}
