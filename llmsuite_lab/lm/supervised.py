"""The completion-only loss: L = −Σ_t log softmax(W h_t)[y_t] over supervised positions t only.

The vocabulary projection W (49 152 × 576 in SmolLM2) is a fifth of a small model's work, and prompts outnumber completions: so the hidden
states are gathered first, `W h[mask]`, and no logit exists that the loss does not read. Mind the shape of that gather: a boolean mask gives
one contiguous [supervised, d_model] matrix, where a slice such as `h[:, s:-1]` is a strided view that costs twice the time on a CPU.

What a model must offer: any `transformers` causal model or encoder–decoder, bare or wrapped by peft, works, and so do `transformer.Decoder` and
`transformer.EncoderDecoder`. A plain `nn.Module` needs `hidden_states(ids, attention_mask) -> [batch, seq, d_model]` and, for what follows,
`lm_head` or `logits(hidden)`; an encoder–decoder of that kind sets `is_encoder_decoder = True`, a `start_id`, and takes
`hidden_states(ids, attention_mask, decoder_ids)`. Anything else brings a `loss_fn`.

The saving is for causal models. An encoder–decoder of `transformers`, a model with a prompt tuned in front, and one that does more than W h between
its last hidden state and its logits (Gemma 2 bends them, BERT transforms h first) compute all their logits.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from llmsuite_lab.lm.batching import Batch
from llmsuite_lab.transformer.evaluating import evaluating

Head = Callable[[Tensor], Tensor]  # [rows, d_model] -> [rows, vocab]
CHUNK = 64  # rows of logits alive at once: 64 × 49 152 × 4 bytes is 12 MB
RESCALED = ("final_logit_softcapping", "logit_scale", "logits_scaling")  # these models do more than W h between hidden state and logits
_alone: "WeakKeyDictionary[nn.Module, bool]" = WeakKeyDictionary()  # whether others do, as it was found out


def is_encoder_decoder(model: nn.Module) -> bool:
    """Whether the model reads a source and writes a target (T5, BART, ours with `is_encoder_decoder = True`)."""
    config = getattr(model, "config", None)
    return bool(getattr(config, "is_encoder_decoder", False) or getattr(model, "is_encoder_decoder", False))


def supervised_loss(model: nn.Module, batch: Batch) -> tuple[Float[Tensor, ""], int]:
    """Summed cross-entropy in nats over the batch's supervised tokens, and their number. Differentiable; float32.

    Raises TypeError for a plain module that offers no hidden states, or nothing to make logits of them; ValueError for a token id that it has no row for.
    """
    with _ids_told(batch):
        hidden, head = _hidden_and_head(model, batch)
        gathered = hidden[batch.mask]
        if type(head) is nn.Linear and head.bias is None and not head.weight.requires_grad:
            return _FrozenHeadLoss.apply(gathered, head.weight, batch.targets), batch.count
        logits = gathered if head is None else head(gathered)
        return F.cross_entropy(logits.float(), batch.targets, reduction="sum"), batch.count


def supervised_logits(model: nn.Module, batch: Batch) -> Float[Tensor, "supervised vocab"]:
    """Logits at the supervised positions only, in the order of `batch.targets`. Raises as `supervised_loss`."""
    with _ids_told(batch):
        hidden, head = _hidden_and_head(model, batch)
        return hidden[batch.mask] if head is None else head(hidden[batch.mask])


def supervised_logprobs(model: nn.Module, batch: Batch) -> Float[Tensor, " supervised"]:
    """log P(y_t | y_<t) in nats of each supervised token, float64 on the CPU: what `LanguageModel.score` sums. Raises as `supervised_loss`."""
    logits = supervised_logits(model, batch).float()
    with _ids_told(batch):
        return -F.cross_entropy(logits, batch.targets, reduction="none").double().cpu()


@contextmanager
def _ids_told(batch: Batch) -> Iterator[None]:
    """A model that does not tell its vocabulary stumbles over an id beyond it: say so, instead of torch's "index out of range in self"."""
    try:
        yield
    except (IndexError, RuntimeError) as error:
        said = (str(error).splitlines() or [""])[0]
        if isinstance(error, RuntimeError) and "out of bounds" not in said:
            raise
        ids = torch.cat([part.flatten() for part in (batch.ids, batch.decoder_ids, batch.targets) if part is not None])
        raise ValueError(
            f"the batch holds token ids from {int(ids.min())} to {int(ids.max())}, and the model has no row for one of them ({said}): "
            "does the tokenizer belong to the model?"
        ) from error


class _FrozenHeadLoss(torch.autograd.Function):
    """Σ cross-entropy of h Wᵀ for a frozen W, a few rows at a time: the gradient (softmax − onehot) W is taken while a chunk's logits are
    still in the processor's cache, so that [supervised, vocab] never exists as a whole (as in Liger's fused linear cross-entropy)."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, W: Tensor, targets: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        gradient = torch.empty_like(hidden)
        chunk = CHUNK if hidden.device.type == "cpu" else 16 * CHUNK
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            logits = (hidden[rows] @ W.T).float()
            chosen = targets[rows, None]
            normaliser = logits.logsumexp(-1, keepdim=True)
            total += (normaliser - logits.gather(1, chosen)).sum()
            if ctx.needs_input_grad[0]:
                probabilities = logits.sub_(normaliser).exp_()
                probabilities.scatter_add_(1, chosen, torch.full_like(normaliser, -1.0))
                torch.matmul(probabilities.to(W.dtype), W, out=gradient[rows])
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        return ctx.saved_tensors[0] * upstream.to(ctx.saved_tensors[0].dtype), None, None


def hidden_and_logits(model: nn.Module, batch: Batch) -> tuple[Float[Tensor, "supervised d"], Float[Tensor, "supervised vocab"]]:
    """Hidden states and logits at the supervised positions, of one pass: for a head of one's own beside the model's. Differentiable.

    Raises TypeError for a model that gives no hidden states before its logits (as `supervised_loss`; an encoder–decoder of transformers, one that
    rescales its logits, one with a prompt tuned in front); ValueError as `supervised_loss`.
    """
    with _ids_told(batch):
        hidden, head = _hidden_and_head(model, batch)
        if head is None:
            raise TypeError(_NO_HIDDEN.format(type(model).__name__))
        gathered = hidden[batch.mask]
        return gathered, head(gathered)


def supervised_hidden(model: nn.Module, batch: Batch) -> Float[Tensor, "supervised d"]:
    """Hidden states at the supervised positions, and no logits at all. Differentiable. Raises as `hidden_and_logits`."""
    with _ids_told(batch):
        hidden, head = _hidden_and_head(model, batch)
        if head is None:
            raise TypeError(_NO_HIDDEN.format(type(model).__name__))
        return hidden[batch.mask]


_NO_HIDDEN = "{} gives logits and no hidden state before them, so no other head can stand on it: take a causal model"


def _hidden_and_head(model: nn.Module, batch: Batch) -> tuple[Float[Tensor, "batch seq d"], Head | None]:
    """Hidden states and the projection still to be applied; None when the first are logits already."""
    inner = _without_peft(model)
    if batch.decoder_ids is not None:
        return _encoder_decoder(model, inner, batch)
    if (own := _own_head(inner)) is not None:
        return inner.hidden_states(batch.ids, batch.attention_mask), own
    if not hasattr(inner, "get_output_embeddings"):
        raise TypeError(
            f"{type(inner).__name__} has no `hidden_states(ids, attention_mask)` with `lm_head` or `logits(hidden)`: add them, or pass loss_fn"
        )
    head = inner.get_output_embeddings()
    if head is None or _prompt_learning(model) or not head_alone(inner):
        logits = model(input_ids=batch.ids, attention_mask=batch.attention_mask, use_cache=False).logits
        return logits[:, -batch.ids.shape[1] :], None  # prompt learning puts virtual tokens in front
    # No attention mask: padding is on the right, where no real position of a causal model looks; without one, torch's fused kernel runs.
    return inner.base_model(input_ids=batch.ids, use_cache=False).last_hidden_state, head


def head_alone(model: nn.Module) -> bool:
    """Whether nothing but the output layer of this causal `transformers` model stands between its last hidden states and its logits.

    Its config may say no; else both are computed once for three tokens and compared.
    """
    if any(getattr(model.config, name, None) not in (None, 1.0) for name in RESCALED):
        return False
    if model not in _alone:
        _alone[model] = _compared(model)
    return _alone[model]


def _compared(model: nn.Module) -> bool:
    head = model.get_output_embeddings()
    ids = torch.arange(3, device=next(model.parameters()).device)[None]
    with torch.no_grad(), evaluating(model):
        hidden = getattr(model.base_model(input_ids=ids, use_cache=False), "last_hidden_state", None)
        if hidden is None or getattr(head, "in_features", hidden.shape[-1]) != hidden.shape[-1]:
            return False
        whole, own = model(input_ids=ids, use_cache=False).logits, head(hidden)
    room = 1e-4 if whole.dtype in (torch.float32, torch.float64) else 2e-2
    return whole.shape == own.shape and bool((whole - own).abs().max() <= room * whole.abs().max())


def _encoder_decoder(model: nn.Module, inner: nn.Module, batch: Batch) -> tuple[Float[Tensor, "batch out d"], Head | None]:
    if (own := _own_head(inner)) is not None:
        shifted = torch.cat([torch.full_like(batch.decoder_ids[:, :1], inner.start_id), batch.decoder_ids[:, :-1]], dim=1)
        return inner.hidden_states(batch.ids, batch.attention_mask, shifted), own
    shifted = inner.prepare_decoder_input_ids_from_labels(labels=batch.decoder_ids)
    arguments: dict[str, Any] = {"input_ids": batch.ids, "attention_mask": batch.attention_mask, "decoder_input_ids": shifted}
    return model(**arguments, use_cache=False).logits, None  # nearly every target position is supervised: nothing to save


def _own_head(inner: nn.Module) -> Head | None:
    """What makes logits of the hidden states of a plain module that follows the protocol; None for any other."""
    return getattr(inner, "lm_head", None) or getattr(inner, "logits", None) if hasattr(inner, "hidden_states") else None


def _without_peft(model: nn.Module) -> nn.Module:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _prompt_learning(model: nn.Module) -> bool:
    return bool(getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False))
