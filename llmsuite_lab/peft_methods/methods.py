"""The methods by name, as a person chooses them: what is frozen, what is put in, and which learning rates to try.

    lora = method("lora")
    model = lora.prepare(model, seed=0, rank=4)
    fit(model, examples, steps=100, lr=lora.rates[1], on_step=lora.on_step(model, 100))
    model = lora.finish(model)

Every method gets four rates, a factor of about four apart, around where it learns best: methods are compared at their own best rate, never at one
that suits one of them. In production: `peft.get_peft_model` with the method's config.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

from torch import nn

from llmsuite_lab.core.errors import unknown
from llmsuite_lab.lm.text import encode
from llmsuite_lab.peft_methods import adapters, adaptive, hybrid, selective
from llmsuite_lab.peft_methods.lora import LORA_TARGETS, add_lora
from llmsuite_lab.peft_methods.prompt_tuning import add_soft_prompt
from llmsuite_lab.peft_methods.targets import find_targets

LAYERS = (LORA_TARGETS, ("c_attn", "mlp.c_fc", "mlp.c_proj"), ("W_Q", "W_V", "W_up", "W_down"), ("q", "v", "wo"))  # Llama's kin, GPT-2, our Decoder, T5
ENDS = (adapters.ADAPTER_TARGETS, ("attn.c_proj", "mlp.c_proj"), ("W_O", "W_down"), ("o", "wo"))
_NO_GRADIENT = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")  # modules of torch's own quantised layers


@dataclass(frozen=True)
class Method:
    """`prepare(model, seed, tokenizer=None, **options)` freezes, adds what is trained, in place, and returns the model to be used from then on.

    name: what it is called; says: what is trained, in a line; rates: peak learning rates to sweep, low to high. `on_step(model, steps)` is what `fit` is to
    call after each of so many updates (None: nothing), `finish(model)` gives the model as it is used and saved after training.
    """

    name: str
    says: str
    prepare: Callable[..., nn.Module]
    rates: tuple[float, float, float, float]
    on_step: Callable[[nn.Module, int], Callable[[int, Any], None] | None] = lambda model, steps: None
    finish: Callable[[nn.Module], nn.Module] = lambda model: model


def method(name: str) -> Method:
    """The method of that name. Raises ValueError for another, with the nearest."""
    if name not in METHODS:
        raise ValueError(unknown("method", name, list(METHODS)))
    return METHODS[name]


def _full(model: nn.Module, seed: int, tokenizer: Any = None) -> nn.Module:
    if packed := [(name, p.dtype) for name, p in model.named_parameters() if not p.is_floating_point()]:
        name, dtype = packed[0][0], str(packed[0][1]).removeprefix("torch.")
        raise ValueError(f"{name} is in {dtype}, which full tuning cannot train: load the base in floating point, or take lora, adapter or prompt")
    return model.requires_grad_(True)


def _lora(model: nn.Module, seed: int, tokenizer: Any = None, **options: Any) -> nn.Module:
    """Options as `lora.add_lora`."""
    return add_lora(model, seed=seed, **_with_targets(model, LAYERS, options))


def _adaptive(model: nn.Module, seed: int, tokenizer: Any = None, **options: Any) -> nn.Module:
    """Options as `adaptive.add_adaptive`."""
    return adaptive.add_adaptive(model, seed=seed, **_with_targets(model, LAYERS, options))


def _norms(model: nn.Module, seed: int, tokenizer: Any = None) -> nn.Module:
    return selective.train_norms(model)


def _biases(model: nn.Module, seed: int, tokenizer: Any = None, *, add: bool = True) -> nn.Module:
    """`add`: linear layers without a bias get one of zeros."""
    return selective.train_biases(model, add)


def _last_layers(model: nn.Module, seed: int, tokenizer: Any = None, *, n: int = 1) -> nn.Module:
    return selective.train_last_layers(model, n)


def _adapter(model: nn.Module, seed: int, tokenizer: Any = None, **options: Any) -> nn.Module:
    """Options as `adapters.add_adapters`."""
    return adapters.add_adapters(model, seed=seed, **_with_targets(model, ENDS, options))


def _prompt(model: nn.Module, seed: int, tokenizer: Any = None, *, text: str | None = None, **options: Any) -> nn.Module:
    """Options as `prompt_tuning.add_soft_prompt`; `text` is what the prompt begins as, which needs the tokenizer."""
    return add_soft_prompt(model, seed=seed, **_with_ids(text, tokenizer, options))


def _hybrid(model: nn.Module, seed: int, tokenizer: Any = None, *, text: str | None = None, **options: Any) -> nn.Module:
    """Options as `hybrid.add_hybrid`; `text` as for a prompt."""
    return hybrid.add_hybrid(model, seed=seed, **_with_ids(text, tokenizer, _with_targets(model, LAYERS, options)))


def _with_ids(text: str | None, tokenizer: Any, options: dict[str, Any]) -> dict[str, Any]:
    if text is None:
        return options
    if tokenizer is None:
        raise ValueError(f"the text {text[:40]!r} can begin no prompt without a tokenizer: pass tokenizer=")
    return options | {"text_ids": encode(tokenizer, [text])[0]}


def _with_targets(model: nn.Module, families: Sequence[tuple[str, ...]], options: dict[str, Any]) -> dict[str, Any]:
    """The options, with the layers of the first family whose names the model has, unless they are named."""
    for targets in families if "targets" not in options else ():
        try:
            find_targets(model, targets)
        except ValueError:
            continue
        return options | {"targets": targets}
    return options


def _on_a_base_with_gradients(prepare: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """`prepare`, which first refuses layers of torch's own quantisation: no gradient comes through them, and only the first update would tell."""

    @wraps(prepare)
    def prepared(model: nn.Module, *arguments: Any, **options: Any) -> nn.Module:
        for name, module in model.named_modules():
            if type(module).__module__.startswith(_NO_GRADIENT):
                raise ValueError(
                    f"{name} is a layer of torch's quantisation ({type(module).__name__}), through which no gradient comes: tune the model before it is "
                    "quantised, or load the base in 8 bits with a library made for training, such as bitsandbytes"
                )
        return prepare(model, *arguments, **options)

    return prepared


METHODS: dict[str, Method] = {
    m.name: replace(m, prepare=_on_a_base_with_gradients(m.prepare))
    for m in (
        Method("full", "every weight", _full, (2e-5, 1e-4, 4e-4, 1.6e-3)),
        Method("lora", "rank-8 updates of the linear layers, W + s B A", _lora, (5e-4, 2e-3, 8e-3, 3.2e-2)),
        Method("norms", "scale and shift of every normalisation", _norms, (1e-3, 4e-3, 1.6e-2, 6.4e-2)),
        Method("biases", "the bias of every linear layer (BitFit)", _biases, (5e-4, 2e-3, 8e-3, 3.2e-2)),
        Method("last_layers", "the last block, whole", _last_layers, (5e-5, 2e-4, 8e-4, 3.2e-3)),
        Method("adapter", "a bottleneck of 16 behind attention and feed-forward", _adapter, (5e-4, 2e-3, 8e-3, 3.2e-2)),
        Method("prompt", "20 vectors in front of the input", _prompt, (1e-2, 5e-2, 2e-1, 8e-1)),
        Method(
            "adaptive", "a LoRA whose layers compete for rank, 8 on average", _adaptive, (5e-4, 2e-3, 8e-3, 3.2e-2), adaptive.RankBudget, adaptive.finish
        ),
        Method("hybrid", "a rank-4 LoRA and 10 vectors in front", _hybrid, (1e-3, 4e-3, 1.6e-2, 6.4e-2)),
    )
}
