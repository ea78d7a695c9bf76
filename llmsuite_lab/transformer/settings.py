"""What a module computes with beside its weights: the numbers it is set to (a norm's ε, attention's scale) and its buffers (rotary frequencies).

    model.model.norm.variance_epsilon = 0.1      settings(model.model.norm) → (("variance_epsilon", 0.1),)

Whoever computes a model's function from its weights alone (`views`, `packed_weights`) asks here whether these are still what the config says.
"""

from collections.abc import Hashable

import torch
from torch import Tensor, nn

PLAIN = (int, float, bool, str, tuple, torch.dtype, type(None))
IDLE = {  # for training or a note of it, names, and sizes that the weights tell
    "training", "gradient_checkpointing", "loss_type", "p", "inplace", "attention_dropout", "recorded", "name_or_path", "merged_adapter",
    "kernel_config", "padding_idx", "vocab_size", "num_embeddings", "max_seq_len_cached",
}  # fmt: skip


def settings(module: object) -> tuple[tuple[str, Hashable], ...]:
    """The plain attributes of a module (not of those inside it), or of a config, that can change what it computes in evaluation, by name."""
    return tuple((name, value) for name, value in vars(module).items() if type(value) in PLAIN and name[0] != "_" and name not in IDLE)


def buffers(module: nn.Module, exact: int) -> tuple[Hashable, ...]:
    """What tells whether a module's own buffers are as they were: their bits up to `exact` numbers, address and version counter beyond."""
    return tuple((name, _told(buffer, exact)) for name, buffer in module._buffers.items() if buffer is not None)


def _told(buffer: Tensor, exact: int) -> Hashable:
    if buffer.numel() > exact:
        return buffer.data_ptr(), 0 if buffer.is_inference() else buffer._version
    return buffer.dtype, buffer.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def as_built(module: nn.Module, fresh: nn.Module, config: object) -> bool:
    """Whether `module` is set as `fresh` is, one of its class just built from `config`, and holds the same buffers to the rounding of their dtype.

    `fresh` may lie on the meta device, where buffers have no values: a module that has buffers is built once more for them.
    """
    if settings(module) != settings(fresh) or list(module._buffers) != list(fresh._buffers):
        return False
    if not any(buffer is not None for buffer in module._buffers.values()):
        return True
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        built = type(module)(config)
    return all(_near(buffer, built._buffers[name]) for name, buffer in module._buffers.items() if buffer is not None)


def _near(found: Tensor, built: Tensor) -> bool:
    if found.shape != built.shape:
        return False
    found, rounded = found.detach().cpu(), built.to(found.dtype)
    return torch.equal(found, rounded) or (
        found.is_floating_point() and torch.allclose(found, rounded, rtol=4 * torch.finfo(found.dtype).eps, atol=0.0)
    )
