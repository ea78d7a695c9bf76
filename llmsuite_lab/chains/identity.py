"""What a cached answer depends on: the model as it is now, and every option that changes the text.

    key = (prompt, identity, options)      equal keys, equal answers

LangChain keeps answers under the prompt and what a model says about itself (`_identifying_params`). An option left out of that gives an old answer to
a new question, so all are in. The weights are told apart by a few values of each: a model that was trained on, or another of the same name, is another.
"""

import hashlib
from typing import Any

import torch

SAMPLED = 4  # values at either end of each parameter: training moves them all


def identity(language_model: Any) -> dict[str, Any]:
    """Name, adapter, dtype and a digest of the weights; for a stand-in without weights, name and adapter."""
    model = getattr(language_model, "model", None)
    known = {"name": language_model.name, "adapter": language_model.adapter}
    if not isinstance(model, torch.nn.Module):
        return known
    digest = hashlib.sha256()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            flat = weight.detach().reshape(-1)
            ends = torch.cat([flat[:SAMPLED], flat[-SAMPLED:]]).double().cpu()
            digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode() + ends.numpy().tobytes())
    dtype = next((str(weight.dtype) for weight in model.parameters()), None)
    return {**known, "dtype": dtype, "weights": digest.hexdigest()}
