"""An adapter added into the weights, W ← W + (α / r) · B A: applied wholly, each tensor of its file and each layer it names, or refused.

An adapter that matches no layer loads without a word in most libraries and changes nothing; so what was applied is counted here. Where the output
layer is tied to the embedding and either carries a LoRA, the two are untied first: merged into the shared matrix, the LoRA of one would
change the other. In production: `peft.PeftModel.from_pretrained(...).merge_and_unload()`.
"""

import itertools
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import load_tensors
from llmsuite_lab.core.forks import compute_safely
from llmsuite_lab.lm.adapters import CONFIG, WEIGHTS, adapter_base, adapter_damage, carries_adapter, quiet_peft, zoo_name

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

_PREFIX = "base_model.model."  # peft's, in front of the base's own names


def merge_adapter(model: "PreTrainedModel", folder: Path) -> "PreTrainedModel":
    """The model with the adapter added into its weights (in the model's dtype: use float32), eval mode.

    Raises ValueError, with the model as it was, for an adapter that does not fit, naming the first tensor that does not (missing, of no layer, of
    another shape or rank, not floating, not finite), for settings that cannot be added to weights (virtual tokens, replicated layers, no α), one made
    for another base, a model in int8, one that carries a LoRA already or into which an adapter was merged before; LabError for files that cannot
    be read or that are not those of their provenance. Without a provenance the settings are believed as peft believes them.
    """
    from peft import get_peft_model, get_peft_model_state_dict

    from llmsuite_lab.core.runtime import offline
    from llmsuite_lab.core.seeding import torch_state_kept

    _refuse_model(model, folder)
    settings, config, state = read_adapter(folder)
    compute_safely()
    own = dict(model.named_parameters(remove_duplicate=False))
    put_back = _remembered(model)
    if problem := unusable(settings, config):
        raise ValueError(f"the adapter in {folder} cannot be merged: {problem}")
    with offline(), quiet_peft(), torch_state_kept():  # peft draws an A, which is replaced
        try:
            wrapped = get_peft_model(model, settings)
            if problem := misfit(state, get_peft_model_state_dict(wrapped, save_embedding_layers=False), own, config) or _not_applied(state, wrapped):
                raise ValueError(problem)
            _untie(wrapped)
            _rehearse(wrapped)
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, re.error) as error:  # peft's own, for settings it cannot follow
            put_back()
            raise ValueError(f"the adapter in {folder} does not fit this model: {_first_line(error)}") from error
        merged = wrapped.merge_and_unload(safe_merge=True).eval()
    merged.merged_adapter = str(folder)
    return merged


def read_adapter(folder: Path) -> tuple[Any, dict[str, Any], "dict[str, Tensor]"]:
    """(peft's config, the same as its file has it, the tensors) of an adapter's folder. Raises LabError as `merge_adapter`."""
    from peft import PeftConfig, PeftType
    from safetensors import SafetensorError

    if problem := adapter_damage(folder) if folder.is_dir() else None:
        raise LabError(f"the adapter in {folder} cannot be used: {problem}")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        state = load_tensors(folder / WEIGHTS)
        if (kind := config["peft_type"]) not in PeftType.__members__:
            raise ValueError(f"it is {str(kind)[:40]}, which is no kind that peft knows; one of bottlenecks or parameters is for parameter_files")
        return PeftConfig.from_pretrained(folder), config, state
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise LabError(f"the adapter in {folder} cannot be read: {_first_line(error)}") from error


def _refuse_model(model: "nn.Module", folder: Path) -> None:
    import torch

    if before := getattr(model, "merged_adapter", None):
        raise ValueError(f"the adapter in {before} was merged into this model already: load the base again for the one in {folder}")
    if carries_adapter(model):
        raise ValueError("the model carries an adapter that is not merged: merge or unload that one first")
    tensors = itertools.chain(model.named_parameters(), model.named_buffers())
    if packed := next((name for name, tensor in tensors if tensor.ndim > 1 and tensor.dtype in (torch.int8, torch.uint8)), None):
        raise ValueError(f"{packed} is in int8, to which nothing can be added: load the model in float32, merge, and quantise then")
    refuse_another_base(model, folder)


def refuse_another_base(model: "nn.Module", folder: Path) -> None:
    """Raise ValueError for an adapter's folder that names another base model than this one, as far as both say."""
    made_for, name = adapter_base(folder), zoo_name(getattr(getattr(model, "config", None), "_name_or_path", None))
    if made_for and name and made_for.lower() != name.lower():
        raise ValueError(f"the adapter in {folder} was made for {made_for}, not for {name}")


def misfit(state: "dict[str, Tensor]", wanted: "dict[str, Tensor]", own: "dict[str, Tensor]", config: dict[str, Any]) -> str | None:
    """What an adapter's file holds that the model has no place for, or lacks, in words; None when all is well.

    wanted: tensors of the shapes that the model and the settings `config` ask for, in PEFT's naming; own: the base's own parameters.
    """
    for key, value in state.items():
        if key not in wanted:
            copied = own.get(key.removeprefix(_PREFIX).replace(".base_layer.", "."))
            if copied is not None and copied.shape == value.shape and bool((copied.to(value.dtype) == value).all()):
                continue  # peft saves the base's own embedding beside a LoRA on it: nothing to apply
            return f"{key} belongs to no layer of it that the adapter's settings name"
        if not value.is_floating_point():
            return f"{key} is in {str(value.dtype).removeprefix('torch.')}, and only floating values can be added to weights"
        if value.shape != wanted[key].shape:
            return f"{key} has the shape {list(value.shape)}, where the model and rank {config.get('r')} of {CONFIG} ask for {list(wanted[key].shape)}"
        if not bool(value.float().isfinite().all()):
            return f"{key} holds values that are not finite"
    missing = [key for key in wanted if key not in state]
    return f"{missing[0]} is missing, one of {len(missing)} of {len(wanted)} tensors" if missing else None


def _not_applied(state: "dict[str, Tensor]", wrapped: Any) -> str | None:
    """Put the tensors in; the first one that did not arrive, in words."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    wanted = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    set_peft_model_state_dict(wrapped, {key: state[key].float() for key in wanted})
    arrived = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    wrong = [key for key, value in arrived.items() if not bool((value == state[key].to(value)).all())]
    return f"{wrong[0]} was not taken over, one of {len(wrong)} of {len(arrived)} tensors" if wrong else None


def unusable(settings: Any, config: dict[str, Any]) -> str | None:
    """What in the adapter's settings cannot be added to weights, in words; None when all can."""
    if settings.is_prompt_learning:
        return f"it is {config['peft_type']}, which has no weights to be added to the model's"
    if getattr(settings, "layer_replication", None):
        return "it replicates layers, and a weight that stands in two places can take only one of two differences: keep it unmerged"
    if settings.peft_type == "LORA":
        r, alpha = config.get("r"), config.get("lora_alpha")
        if not isinstance(r, int) or not isinstance(alpha, int | float) or not 0 < abs(alpha) < math.inf:
            return f"{CONFIG} says r={r!r} and lora_alpha={alpha!r}, and W + (alpha / r) B A needs two numbers: get the adapter again"
    return None


def _remembered(model: "nn.Module") -> Callable[[], None]:
    """What puts the model back as it is now: its modules, which of its parameters are whose, and what is trained. Weights are not copied."""
    parts = {module: (dict(module._modules), dict(module._parameters), module.training) for module in model.modules()}
    asked = {parameter: parameter.requires_grad for parameter in model.parameters()}
    config, attributes = getattr(model, "config", None), set(vars(model))
    tied = getattr(config, "tie_word_embeddings", None)

    def put_back() -> None:
        for module, (modules, parameters, training) in parts.items():
            module._modules.clear()
            module._modules.update(modules)
            module._parameters.clear()
            module._parameters.update(parameters)
            module.training = training
        for parameter, wanted in asked.items():
            parameter.requires_grad_(wanted)
        for name in set(vars(model)) - attributes:
            delattr(model, name)
        if tied is not None:
            config.tie_word_embeddings = tied

    return put_back


def _rehearse(wrapped: Any) -> None:
    """Merge each layer alone and take it back, so that one that cannot be merged is found before another is. Raises what peft does."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in [module for module in wrapped.modules() if isinstance(module, BaseTunerLayer) and hasattr(module, "merge")]:
        kept = {parameter: parameter.data for parameter in layer.get_base_layer().parameters()}
        for parameter, data in kept.items():
            parameter.data = data.clone()
        try:
            layer.merge(safe_merge=True)
        finally:
            if layer.merged:
                layer.unmerge()
            for parameter, data in kept.items():  # bit by bit: what was added and taken off again is rounded
                parameter.data = data


def _untie(wrapped: Any) -> None:
    """Give a tied output layer a matrix of its own when it or the embedding carries an adapter."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from torch import nn

    model = wrapped.get_base_model()
    ends = [model.get_input_embeddings(), model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None]
    bare = [end.get_base_layer() if isinstance(end, BaseTunerLayer) else end for end in ends]
    if bare[1] is None or bare[0].weight is not bare[1].weight or not any(isinstance(end, BaseTunerLayer) for end in ends):
        return
    if getattr(model.config, "is_encoder_decoder", False):
        raise ValueError("it changes an output layer that is tied to the embedding, and this family rescales when they are apart: keep it unmerged")
    bare[1].weight = nn.Parameter(bare[1].weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = False


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
