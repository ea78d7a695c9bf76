"""LoRA, low-rank adaptation: the change of a frozen weight matrix is a product of two thin ones.

    h = W_0 x + ΔW x = W_0 x + s · B A x,      A ∈ R^{r×d_in} drawn,  B ∈ R^{d_out×r} zero,  r ≪ min(d_out, d_in)
    s = α / r, or α / √r (rank-stabilised: the size of the update then does not shrink as r grows)

B = 0 makes the first step start from the base model exactly; A and B both zero would never leave it, since each one's gradient holds the other.
r · (d_out + d_in) numbers are trained instead of d_out · d_in: 512 × 64 at r = 8 has 4,608 instead of 32,768. Afterwards W_0 + s B A is one
matrix again (`merge`), and inference costs what the base costs.

Sources: Hu et al. 2022; Kalajdzievski 2023 (√r). In production: `peft.LoraConfig`, `get_peft_model`.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from llmsuite_lab.core.errors import unknown
from llmsuite_lab.lm.adapters import LORA_TARGETS
from llmsuite_lab.peft_methods.targets import check_rank, dimensions, find_targets, freeze, layer_called, put


class LoRALinear(nn.Module):
    """A frozen linear layer with any number of low-rank updates, by name; those in `active` are added to its output.

    A and B stay in float32 under a base of fewer bits; the output has the base's dtype.
    """

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.A, self.B = nn.ParameterDict(), nn.ParameterDict()
        self.scaling: dict[str, float] = {}
        self.alpha: dict[str, float] = {}
        self.dropout: dict[str, float] = {}
        self.rslora: dict[str, bool] = {}
        self.active: tuple[str, ...] = ()
        self.enabled = True
        self.merged: tuple[str, ...] = ()
        self._base_weight: list[nn.Parameter] = []  # what was there before a merge; in a list, so that it is no parameter of this module

    @property
    def out_features(self) -> int:
        """d_out."""
        return dimensions(self.base_layer)[0]

    @property
    def in_features(self) -> int:
        """d_in."""
        return dimensions(self.base_layer)[1]

    @property
    def weight(self) -> Tensor:
        """The base's weight, for code that asks for its dtype or ties it. The layer computes more than that."""
        return self.base_layer.weight

    @property
    def bias(self) -> Tensor | None:
        """The base's bias."""
        return self.base_layer.bias

    def add(self, name: str, A: Tensor, B: Tensor, alpha: float, dropout: float = 0.0, rslora: bool = False) -> None:
        """Put in the update `name`, inactive; r is A's number of rows."""
        self.A[name], self.B[name] = nn.Parameter(A, requires_grad=False), nn.Parameter(B, requires_grad=False)
        r = A.shape[0]
        self.alpha[name], self.scaling[name] = alpha, alpha / math.sqrt(r) if rslora else alpha / r
        self.dropout[name], self.rslora[name] = dropout, rslora

    def delta(self, names: Iterable[str]) -> Float[Tensor, "d_out d_in"]:
        """ΔW = Σ s B A over these updates, whichever way the base stores its own matrix."""
        return sum(self.scaling[name] * (self.B[name] @ self.A[name]) for name in names)

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        if self.merged and not self.enabled:
            return functional_call(self.base_layer, {"weight": self._base_weight[0]}, (x,))
        h = self.base_layer(x)
        if self.merged or not self.enabled:
            return h
        for name in self.active:
            A, B = self.A[name], self.B[name]
            z = F.linear(F.dropout(x, self.dropout[name], self.training).to(A.dtype), A)  # (*batch, r)
            z = z.reshape(-1, z.shape[-1])
            # one fused product, h + s z Bᵀ: no (*batch, d_out) tensor beside h is made, none kept for the backward pass
            wide = h.reshape(-1, h.shape[-1]).to(A.dtype)
            h = torch.addmm(wide, z, B.t(), alpha=self.scaling[name]).view(h.shape).to(h.dtype)
        return h

    def plain(self) -> nn.Module | None:
        """The base layer while it computes what this layer does: merged, and not switched off. None otherwise."""
        return self.base_layer if self.merged and self.enabled else None

    def extra_repr(self) -> str:
        """Ranks and scales, for print and for fingerprints."""
        return ", ".join(f"{name}: r={self.A[name].shape[0]}, scaling={self.scaling[name]:g}, dropout={self.dropout[name]:g}" for name in self.A)


def add_lora(
    model: nn.Module,
    targets: Sequence[str] = LORA_TARGETS,
    rank: int = 8,
    alpha: float = 16,
    dropout: float = 0.0,
    rslora: bool = False,
    name: str = "default",
    seed: int = 0,
) -> nn.Module:
    """Put a fresh LoRA called `name` on the target layers, in place; it alone is active and trained. Returns the model.

    targets: as `targets.find_targets`. alpha: the scale's numerator. dropout: share of x dropped before A, in training only.
    A second call with another name adds a second adapter; `activate` chooses. Raises ValueError, with the model as it was, for a target that matches
    nothing, a rank over a layer's dimensions, alpha that is not above zero, dropout outside [0, 1), and a name that is taken or holds a dot.
    """
    layers = find_targets(model, targets)
    check_rank(rank, layers)
    check_new(model, name, alpha, dropout)
    generator = torch.Generator().manual_seed(seed)
    for layer_name, layer in layers.items():
        d_out, d_in = dimensions(layer)
        A = torch.empty(rank, d_in)
        nn.init.kaiming_uniform_(A, a=math.sqrt(5), generator=generator)
        place(model, layer_name, name, A, torch.zeros(d_out, rank), alpha, dropout, rslora)
    activate(model, name)
    return model


def check_new(model: nn.Module, name: str, alpha: float, dropout: float) -> None:
    """Raise ValueError unless an adapter of this name, scale and dropout can be put into the model."""
    if not name or "." in name:
        raise ValueError(f"name={name!r} must be a word without a dot")
    if name in names(model):
        raise ValueError(f"the model has an adapter called {name!r} already: take another name, or unload that one first")
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha={alpha} must be above zero, and finite")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout} is the share of the input dropped in training: it lies in [0, 1)")
    _refuse_merged(model)


def place(model: nn.Module, layer_name: str, name: str, A: Tensor, B: Tensor, alpha: float, dropout: float = 0.0, rslora: bool = False) -> LoRALinear:
    """Put one layer's A (r × d_in) and B (d_out × r) in, inactive, wrapping the layer if need be. Float32, or float64 on such a base."""
    layer = layer_called(model, layer_name)
    if not isinstance(layer, LoRALinear):
        layer = LoRALinear(layer)
        put(model, layer_name, layer)
    tensors = [tensor for tensor in (*layer.base_layer.parameters(), *layer.base_layer.buffers()) if tensor.is_floating_point()]
    like = tensors[0] if tensors else next(model.parameters())
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    layer.add(name, A.to(like.device, dtype), B.to(like.device, dtype), alpha, dropout, rslora)
    return layer


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """The layers that carry a LoRA of ours, by name. Raises ValueError where there are none."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    if not found:
        raise ValueError("the model carries no LoRA of ours: put one in with add_lora, or load one with files.load")
    return found


def names(model: nn.Module) -> list[str]:
    """Names of the LoRAs in the model, in the order they came; [] for none."""
    return list(dict.fromkeys(name for module in model.modules() if isinstance(module, LoRALinear) for name in module.A))


def activate(model: nn.Module, *adapters: str, train: Sequence[str] | None = None) -> None:
    """Let these adapters, and no other, be added up; those in `train` (None: all of them; []: none) are trained, and nothing else of the model.

    Raises ValueError for no name, an unknown one (naming the nearest), one to be trained that is not active, and for a model that is merged.
    """
    layers, train = lora_layers(model), list(adapters if train is None else train)
    if not adapters:
        raise ValueError("name at least one adapter, or use adapters_off(model) to run without any")
    for name in (*adapters, *train):
        if name not in names(model):
            raise ValueError(unknown("adapter", name, names(model)))
    if idle := [name for name in train if name not in adapters]:
        raise ValueError(f"adapter {idle[0]!r} cannot be trained while it is not active: activate it too")
    _refuse_merged(model)
    freeze(model)
    for layer in layers.values():
        layer.active = tuple(name for name in dict.fromkeys(adapters) if name in layer.A)
        for name in layer.active:
            layer.A[name].requires_grad_(name in train)
            layer.B[name].requires_grad_(name in train)


def _refuse_merged(model: nn.Module) -> None:
    if any(module.merged for module in model.modules() if isinstance(module, LoRALinear)):
        raise ValueError("the model's LoRA is merged into its weights: unmerge it first")
