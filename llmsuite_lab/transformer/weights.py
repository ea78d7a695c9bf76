"""Carry a transformers checkpoint into our modules: the same numbers under other names.

    ours = from_transformers(theirs)        BERT, GPT-2, Llama, T5, BART: the same logits
    ours = load("smollm2-135m-instruct")    straight from a folder's config.json and model.safetensors, without building their model

A table per family says which of their names is which of ours ("#" stands for the block's number). Everything must find its place: a tensor left over
on either side is an error, because a model with one layer at its random start still talks, only badly.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import load_tensors
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.encoder import Encoder, MaskedLanguageModel
from llmsuite_lab.transformer.encoder_decoder import EncoderDecoder
from llmsuite_lab.transformer.names import IGNORED, NAMES
from llmsuite_lab.transformer.published import published_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BART_POSITION_OFFSET = 2  # BART's position table starts with two rows that no token ever uses
Model = Decoder | Encoder | MaskedLanguageModel | EncoderDecoder


def from_transformers(model: "PreTrainedModel", share: bool = False) -> Model:
    """Our model with the weights of a transformers BERT, GPT-2, Llama, T5 or BART, in the same dtype, on the same device, in eval mode.

    Args:
        share: use their tensors instead of copies: no second copy in memory, but training one then changes the other.

    Raises:
        ValueError: a family or option that we do not have, by name.
    """
    state = {name: tensor.detach() if share else tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return from_state(model.config.to_dict(), state)


def load(name: str | Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Model:
    """Our model with the weights of a zoo model ("smollm2-135m-instruct", "all-minilm-l6-v2"), or of a folder with config.json and model.safetensors.

    Raises:
        LabError: the folder lacks a file, or the zoo cannot fetch the model.
        ValueError: a family or option that we do not have.
    """
    folder = Path(name) if Path(name).is_dir() else zoo.path(str(name))
    config, weights = folder / "config.json", folder / "model.safetensors"
    for file in (config, weights):
        if not file.is_file():
            raise LabError(f"{folder} holds no {file.name}; a model folder needs config.json and model.safetensors")
    state = {key: tensor.to(device, dtype) for key, tensor in load_tensors(weights).items()}
    return from_state(json.loads(config.read_text(encoding="utf-8")), state)


def load_encoder(name: str | Path = "all-minilm-l6-v2", dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Encoder:
    """The encoder alone of a BERT-like model, for `encoder.sentence_embeddings`. Raises ValueError when the model is of another kind."""
    model = load(name, dtype, device)
    encoder = model.encoder if isinstance(model, MaskedLanguageModel) else model
    if not isinstance(encoder, Encoder):
        raise ValueError(f"{name} is a {type(model).__name__}, not an encoder; name a BERT-like model such as all-minilm-l6-v2")
    return encoder


def from_state(config: Mapping[str, object], state: Mapping[str, Tensor]) -> Model:
    """Our model from a transformers config (as a dict) and state dict. Raises ValueError: unknown family or option, missing or unknown tensors."""
    family = str(config.get("model_type"))
    ours_config = published_config(config)
    renamed = rename(family, state)
    kind = _kind(family, renamed)
    if kind is MaskedLanguageModel:
        renamed = {name if name.startswith(("transform", "unembedding")) else f"encoder.{name}": t for name, t in renamed.items()}
    with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
        model = kind(ours_config)
    if isinstance(model, Decoder | MaskedLanguageModel) and "unembedding.weight" not in renamed:
        if not ours_config.tie_embeddings:
            raise ValueError("the checkpoint says tie_word_embeddings=false but holds no output matrix (lm_head.weight)")
    shared = _tied_names(model)
    missing = [name for name in model.state_dict() if name not in renamed and not any(twin in renamed for twin in shared.get(name, ()))]
    unknown = sorted(set(renamed) - set(model.state_dict()))
    if missing or unknown:
        raise ValueError(f"the {family} checkpoint does not fit: without a source {missing[:5]}, without a place {unknown[:5]}")
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = [f"{n} {tuple(t.shape)} instead of {expected[n]}" for n, t in renamed.items() if tuple(t.shape) != expected[n]]
    if wrong:
        raise ValueError(f"the {family} checkpoint has other sizes than its config: {'; '.join(wrong[:5])}")
    model.load_state_dict(renamed, strict=False, assign=True)
    model.tie()
    return model.eval()


def rename(family: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict under our names; GPT-2's matrices transposed and its joint W_QKV split. Raises ValueError for a name no rule covers."""
    if family not in NAMES:
        raise ValueError(f"model_type={family!r} is not one of ours: {', '.join(sorted(NAMES))}")
    rules = [(re.compile("^" + re.escape(theirs).replace(r"\#", r"(\d+)") + "$"), ours) for theirs, ours in NAMES[family].items()]
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        name = re.sub(r"^(bert|transformer)\.", "", name)
        if re.search(IGNORED[family], name):
            continue
        for pattern, ours in rules:
            if match := pattern.match(name):
                ours = ours.replace("#", match[1]) if match.groups() else ours
                break
        else:
            raise ValueError(f"the {family} checkpoint holds {name!r} {tuple(tensor.shape)}, which has no place in our model")
        if family == "gpt2" and ".attention.W_QKV." in ours:
            for letter, part in zip("QKV", tensor.T.chunk(3) if tensor.dim() == 2 else tensor.chunk(3)):
                renamed[ours.replace("W_QKV", f"W_{letter}")] = part.contiguous()
        elif family == "gpt2" and ".W_" in ours and tensor.dim() == 2:  # GPT-2 stores (d_in, d_out)
            renamed[ours] = tensor.T.contiguous()
        elif family == "bart":
            renamed[ours] = (
                tensor[BART_POSITION_OFFSET:]
                if ours.endswith("position.weight")
                else tensor.flatten()
                if ours == "unembedding.bias"
                else tensor
            )
        else:
            renamed[ours] = tensor
    return renamed


def _kind(family: str, renamed: Mapping[str, Tensor]) -> type[nn.Module]:
    if family in ("t5", "bart"):
        return EncoderDecoder
    if family == "bert":
        return MaskedLanguageModel if "transform.weight" in renamed else Encoder
    return Decoder


def _tied_names(model: nn.Module) -> dict[str, set[str]]:
    """For each parameter's name, all names under which the same parameter is reached."""
    by_id: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        by_id.setdefault(id(parameter), set()).add(name)
    return {name: names for names in by_id.values() for name in names}


def count_parameters(model: nn.Module) -> int:
    """Numbers that the model learns, a shared matrix counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
