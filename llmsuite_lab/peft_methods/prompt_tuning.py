"""Prompt tuning: p trained vectors in front of the input's embeddings, and not one weight of the model changed.

    max over P of  log p(Y | [P; X]),      P ∈ R^{p×e},  X ∈ R^{n×e} the embedded input

P stands first (`soft_prompt`), so that its keys and values are computed once per batch and lie in the cache: a generated token costs what it costs
without.

p · e numbers are trained: 5 vectors of 2,048 are 10,240. P begins as the embeddings of a text, of random words of the vocabulary, or as
random vectors of the embeddings' spread.

Source: Lester, Al-Rfou & Constant 2021. In production: `peft.PromptTuningConfig`.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmsuite_lab.core.errors import unknown
from llmsuite_lab.lm.supervised import RESCALED, head_alone, is_encoder_decoder
from llmsuite_lab.peft_methods.soft_prompt import SoftPrompt, SoftPromptDecoder, SoftPromptModel
from llmsuite_lab.peft_methods.targets import freeze
from llmsuite_lab.transformer.decoder import Decoder

INITS = ("vocabulary", "random")


def add_soft_prompt(
    model: nn.Module, length: int = 20, init: str = "vocabulary", text_ids: Sequence[int] | None = None, seed: int = 0, train_base: bool = False
) -> SoftPrompt:
    """The model with `length` vectors in front, which alone are trained; `train_base` leaves as it is what the base trains (a LoRA).

    init: "vocabulary" (embeddings of random words) or "random" (normal, of the embeddings' spread); with `text_ids` (tokens of a text, repeated or cut
    to length) the text's embeddings instead. Raises ValueError for a length below 1 or that leaves no context, an unknown init, ids outside the
    vocabulary, a model with a soft prompt already, an encoder–decoder, and one that rescales its logits.
    """
    table = _table(model)
    e = table.weight.shape[1]
    context = getattr(model.config, "max_length" if isinstance(model, Decoder) else "max_position_embeddings", None) or math.inf
    if isinstance(length, bool) or not isinstance(length, int) or not 1 <= length < context:
        raise ValueError(f"length={length!r} must be a whole number from 1, below the context of {context} tokens")
    if init not in INITS:
        raise ValueError(unknown("init", init, list(INITS)))
    generator = torch.Generator().manual_seed(seed)
    weight = table.weight.detach()
    if text_ids is not None:
        ids = list(text_ids)
        if not ids or not all(isinstance(i, int) and 0 <= i < len(weight) for i in ids):
            raise ValueError(f"text_ids={ids[:8]} must be token ids from 0 to {len(weight) - 1}, at least one")
        P = weight[[ids[i % len(ids)] for i in range(length)]]
    elif init == "vocabulary":
        P = weight[torch.randperm(len(weight), generator=generator)[:length]]
    else:
        P = torch.randn(length, e, generator=generator).to(weight.device) * weight.float().std()
    if len(P) < length:
        raise ValueError(f"length={length} is over the vocabulary's {len(weight)} words: take init='random'")
    return place(model, P.float() if weight.dtype != torch.float64 else P.double(), train_base)


def place(model: nn.Module, P: Float[Tensor, "p e"], train_base: bool = False) -> SoftPrompt:
    """The model with these vectors in front. Errors as `add_soft_prompt`, and for vectors of another width than the model's embeddings."""
    e = _table(model).weight.shape[1]
    if P.dim() != 2 or P.shape[1] != e or not P.is_floating_point():
        raise ValueError(f"P of shape {list(P.shape)} does not fit: this model's embeddings have {e} numbers, so it takes [p, {e}]")
    if not train_base:
        freeze(model)
    kind = SoftPromptDecoder if isinstance(model, Decoder) else SoftPromptModel
    return kind(model, P.to(_table(model).weight.device).clone()).train(model.training)


def _table(model: nn.Module) -> nn.Module:
    if isinstance(model, SoftPrompt):
        raise ValueError("the model has a soft prompt in front already: take its `base`")
    if isinstance(model, Decoder):
        return model.embedding.token
    if is_encoder_decoder(model) or not hasattr(model, "get_output_embeddings") or model.get_output_embeddings() is None:
        raise ValueError(f"a soft prompt goes in front of a causal language model, and {type(model).__name__} is none")
    if not head_alone(model):
        what = next((name for name in RESCALED if getattr(model.config, name, None) not in (None, 1.0)), "more than its output layer stands before them")
        raise ValueError(f"{type(model).__name__} rescales its logits ({what}), which our soft prompt does not compute: use peft's PromptTuningConfig")
    return model.get_input_embeddings()
