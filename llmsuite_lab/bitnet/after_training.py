"""A trained model whose weights are rounded to three values afterwards: what that costs, block by block, and eight bits as the control.

    three values   W ← γ T                        (`quantize.ternary_weights`), everything else as it was: norms, embedding, activations
    eight bits     W ← m/127 · round(127 W/m)     with m = max |W|, one m a matrix, as one γ is one a matrix

Both round the same matrices with one scale each; they differ in how many values a weight may have. The loss is that of the text's own tokens, nats per
token. A one-bit model is not made this way: it is trained as one (`twins`), and its full-precision weights move until their roundings fit.

In production: `transformers` quantises after training to 8 or 4 bits (`BitsAndBytesConfig`, `torchao`), never to three values.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmsuite_lab.bitnet.quantize import Q_MAX, check_matrix, ternary_weights
from llmsuite_lab.core.errors import unknown, whole
from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.transformer.evaluating import evaluating

WINDOWS, LENGTH = 4, 256
COUNTS = (1, 2, 4, 8, 16)  # blocks rounded, from either end; and then all


def three_values(W: Float[Tensor, "d_out d_in"]) -> Float[Tensor, "d_out d_in"]:
    """γ T. Raises ValueError as `ternary_weights`."""
    T, gamma = ternary_weights(W)
    return gamma * T


def eight_bits(W: Float[Tensor, "d_out d_in"]) -> Float[Tensor, "d_out d_in"]:
    """m/127 · round(127 W/m). Raises ValueError for what is no matrix of floats."""
    check_matrix("W", W)
    m = W.abs().max().clamp(min=torch.finfo(W.dtype).tiny)
    return (W * (Q_MAX / m)).round() * (m / Q_MAX)


ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {"three values": three_values, "eight bits": eight_bits}


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """The blocks of our Decoder, or of a transformers model with `model.layers`. Raises TypeError for another."""
    for name in ("stack.blocks", "model.layers"):
        found: Any = model
        for part in name.split("."):
            found = getattr(found, part, None)
        if isinstance(found, nn.ModuleList):
            return found
    raise TypeError(f"a {type(model).__name__} has no stack.blocks and no model.layers: give a Decoder or a Llama of transformers")


@contextmanager
def rounded(model: nn.Module, blocks: Sequence[int], how: str = "three values") -> Iterator[int]:
    """The model with the linear weights of `blocks` rounded, within the block; gives how many weights those are. Afterwards they are what they were.

    Raises ValueError for an unknown rounding and a block that is not there.
    """
    if how not in ROUNDINGS:
        raise ValueError(unknown("rounding", how, list(ROUNDINGS)))
    held = blocks_of(model)
    for i in blocks:
        whole("a block", i, 0, len(held) - 1)
    layers = [module for i in sorted(set(blocks)) for module in held[i].modules() if isinstance(module, nn.Linear)]
    before = [layer.weight.detach().clone() for layer in layers]
    try:
        with torch.no_grad():
            for layer in layers:
                layer.weight.copy_(ROUNDINGS[how](layer.weight))
        yield sum(layer.weight.numel() for layer in layers)
    finally:
        with torch.no_grad():
            for layer, weight in zip(layers, before, strict=True):
                layer.weight.copy_(weight)


def losses(model: nn.Module, windows: Sequence[Sequence[int]] | Int[Tensor, "n length"]) -> list[float]:
    """Mean loss of each window of token ids, nats per token; of our Decoder, or of a model of transformers."""
    found = []
    with torch.inference_mode(), evaluating(model):
        for ids in windows:
            row = torch.as_tensor(ids, device=next(model.parameters()).device)[None]
            answer = model(row[:, :-1])
            logits = getattr(answer, "logits", answer)[0].float()
            found.append(nn.functional.cross_entropy(logits, row[0, 1:]).item())
    return found


def choices(n_blocks: int, counts: Sequence[int] = COUNTS) -> list[tuple[str, str, list[int]]]:
    """(rounding, from which end, blocks) of each row: none, ever more from the first and from the last, all, and all in eight bits."""
    last = list(range(n_blocks))
    some = [n for n in counts if n < n_blocks]
    rows = [("three values", "none", [])]
    rows += [("three values", "first", last[:n]) for n in some] + [("three values", "last", last[-n:]) for n in some]
    return [*rows, ("three values", "all", last), ("eight bits", "all", last)]


def table(model: nn.Module, windows: Sequence[Sequence[int]], counts: Sequence[int] = COUNTS) -> list[dict[str, Any]]:
    """Rows {"how", "end", "blocks", "weights", "losses"}, as `choices` names them."""
    rows = []
    for how, end, blocks in choices(len(blocks_of(model)), counts):
        with rounded(model, blocks, how) as weights:
            rows.append({"how": how, "end": end, "blocks": len(blocks), "weights": weights, "losses": losses(model, windows)})
    return rows


def measure(n: int = WINDOWS, length: int = LENGTH) -> Outcome:
    """SmolLM2 on windows of the two texts of `fidelity`, in float32; a few minutes on a free core."""
    from llmsuite_lab.bitnet import fidelity
    from llmsuite_lab.lm.language_model import LanguageModel

    lm = LanguageModel.load(dtype=torch.float32, device="cpu")
    return Outcome({"model": lm.name, "windows": n, "tokens": length, "counts": list(COUNTS)}, table(lm.model, fidelity.windows(lm, n, length)))
