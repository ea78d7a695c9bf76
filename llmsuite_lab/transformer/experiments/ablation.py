"""What does each part do? Take it out of a trained model, change nothing else, and read the loss on text that the model did not see.

    damage(part) = loss(model without part) − loss(model)          nats per token, the same windows of text

A model was never trained without the part, so the damage says how much the rest relies on it, not how well a model could learn without it. Each function
below is a context manager: the part is gone inside the block and back after it, also when something goes wrong inside.

Source of the method for heads: Michel, Levy & Neubig, "Are Sixteen Heads Really Better than One?", 2019; for induction heads: Olsson et al. 2022.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.head_scores import repeated_sequence

Head = tuple[int, int]  # (layer, head)


@contextmanager
def without_heads(model: Decoder, heads: Sequence[Head]) -> Iterator[None]:
    """These heads hand nothing to W_O. Raises ValueError for one that the model does not have."""
    by_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        attention = _block(model, layer).attention
        if not 0 <= head < attention.n_heads:
            raise ValueError(f"head {head} does not exist: a layer of this model has heads 0 to {attention.n_heads - 1}")
        by_layer.setdefault(layer, []).append(head)

    def silence(chosen: list[int], n_heads: int, layer: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        joined = given[0].unflatten(-1, (n_heads, -1)).clone()  # [batch, seq, heads, d_head]
        joined[:, :, chosen] = 0
        return (joined.flatten(-2),)

    attentions = {layer: _block(model, layer).attention for layer in by_layer}
    hooks = [a.W_O.register_forward_pre_hook(partial(silence, by_layer[layer], a.n_heads)) for layer, a in attentions.items()]
    with _removed(hooks):
        yield


@contextmanager
def without_positions(model: Decoder) -> Iterator[None]:
    """Queries and keys are not turned by their position. Raises ValueError for a model whose positions are not rotary."""
    config = model.stack.config
    if config.positions != "rotary":
        raise ValueError(f"only rotary positions can be left out here, and this model's are {config.positions!r}")
    model.stack.config = replace(config, positions="none")
    try:
        yield
    finally:
        model.stack.config = config


@contextmanager
def without_mask(model: Decoder) -> Iterator[None]:
    """Every token sees the whole window, the one to be predicted included."""
    layers = [block.attention for block in model.stack.blocks]
    before = [layer.causal for layer in layers]
    try:
        for layer in layers:
            layer.causal = False
        yield
    finally:
        for layer, causal in zip(layers, before, strict=True):
            layer.causal = causal


@contextmanager
def without_residual(model: Decoder, layer: int) -> Iterator[None]:
    """The straight path past block `layer` is cut: only what the block adds goes on. Raises ValueError for a layer that is not there."""
    with _removed([_block(model, layer).register_forward_hook(lambda block, given, output: output - given[0])]):
        yield


@contextmanager
def without_sublayer(model: Decoder, layer: int, name: str) -> Iterator[None]:
    """The "attention" or "feed_forward" of block `layer` adds nothing. Raises ValueError for another name or layer."""
    if name not in ("attention", "feed_forward"):
        raise ValueError(f"name={name!r}, but a block has an attention and a feed_forward")
    with _removed([getattr(_block(model, layer), name).register_forward_hook(lambda part, given, output: torch.zeros_like(output))]):
        yield


def parts(model: Decoder, layer: int) -> dict[str, Callable[[], AbstractContextManager[Any]]]:
    """What `damages` takes out, by name: nothing, the first head of block `layer`, its two sublayers, its residual path, positions, the mask."""
    return {
        "nothing": nullcontext,
        f"head {layer}.0": lambda: without_heads(model, [(layer, 0)]),
        f"all heads of block {layer}": lambda: without_sublayer(model, layer, "attention"),
        f"the feed-forward of block {layer}": lambda: without_sublayer(model, layer, "feed_forward"),
        f"the path past block {layer}": lambda: without_residual(model, layer),
        "positions": lambda: without_positions(model),
        "the causal mask": lambda: without_mask(model),
    }


@torch.inference_mode()
def window_losses(model: Decoder, windows: Int[Tensor, "n seq"]) -> list[float]:
    """Mean loss in nats per token of each window, read one after the other."""
    return [model.loss(window[None, :-1], window[None, 1:]).item() for window in windows]


def damages(model: Decoder, windows: Int[Tensor, "n seq"], layer: int) -> dict[str, list[float]]:
    """{what was taken out: loss of each window}, "nothing" first. Raises ValueError as the functions above."""
    found = {}
    for name, without in parts(model, layer).items():
        with without():
            found[name] = window_losses(model, windows)
    return found


@torch.inference_mode()
def copying_losses(model: Decoder, heads: Sequence[Head] = (), n: int = 24, seeds: Sequence[int] = range(8)) -> list[float]:
    """Loss on the second half of n random tokens said twice, one number a seed, without `heads`: only copying can make it low."""
    losses = []
    with without_heads(model, heads):
        for seed in seeds:
            ids = repeated_sequence(model.config.vocab_size, n, seed=seed)
            targets = ids[:, 1:].clone()
            targets[:, : n - 1] = -100
            losses.append(model.loss(ids[:, :-1], targets).item())
    return losses


def best_heads(scores: Float[Tensor, "layers heads"], k: int) -> list[Head]:
    """The k heads with the highest scores, best first. Raises ValueError for more than there are."""
    if not 1 <= k <= scores.numel():
        raise ValueError(f"k={k}, but there are {scores.numel()} heads")
    return [divmod(int(place), scores.shape[1]) for place in scores.flatten().topk(k).indices]


def other_heads(model: Decoder, but: Sequence[Head], seed: int = 0) -> list[Head]:
    """As many heads drawn at random from the same layers' others: the control. Raises ValueError where a layer has too few left."""
    generator, drawn = torch.Generator().manual_seed(seed), []
    for layer in sorted({layer for layer, _ in but}):
        left = [head for head in range(model.config.n_heads) if (layer, head) not in but]
        wanted = sum(layer == other for other, _ in but)
        if wanted > len(left):
            raise ValueError(f"layer {layer} has {len(left)} other heads, {wanted} are needed")
        drawn += [(layer, left[i]) for i in torch.randperm(len(left), generator=generator)[:wanted].tolist()]
    return drawn


def _block(model: Decoder, layer: int) -> nn.Module:
    if not 0 <= layer < len(model.stack.blocks):
        raise ValueError(f"layer {layer} does not exist: this model has layers 0 to {len(model.stack.blocks) - 1}")
    return model.stack.blocks[layer]


@contextmanager
def _removed(hooks: Sequence[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
