"""LoRAs and soft prompts in PEFT's own files, both ways: what is saved here loads in `peft`, what `peft` saved loads here.

    adapter_config.json          peft_type, r, lora_alpha, target_modules, …    or   num_virtual_tokens, token_dim, …
    adapter_model.safetensors    base_model.model.<layer>.lora_A.weight (r × d_in), …lora_B.weight (d_out × r)    or   prompt_embeddings (p × e)

Nothing is loaded in part: a tensor that belongs to no layer, one that is missing, a setting that changes what a LoRA computes and is not written
here (DoRA, trained biases, …) are refused before the model is touched. In production: `save_pretrained`, `peft.PeftModel.from_pretrained`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmsuite_lab.core.errors import unknown
from llmsuite_lab.lm.adapters import adapter_path, write_adapter, zoo_name
from llmsuite_lab.lm.merging import misfit, read_adapter, refuse_another_base, unusable
from llmsuite_lab.lm.supervised import is_encoder_decoder
from llmsuite_lab.peft_methods import lora, prompt_tuning
from llmsuite_lab.peft_methods.lora import LoRALinear
from llmsuite_lab.peft_methods.soft_prompt import SoftPrompt
from llmsuite_lab.peft_methods.targets import ALL_LINEAR, dimensions, find_targets, is_linear, is_transposed

PREFIX = "base_model.model."  # peft's, in front of the base's own names
OTHERWISE = (  # settings under which an adapter computes something else than s B A x, or trains something else beside it
    "use_dora", "lora_bias", "modules_to_save", "trainable_token_indices", "target_parameters", "alora_invocation_tokens", "use_qalora",
    "use_bdlora", "layer_replication", "kasa_config", "velora_config", "monteclora_config", "arrow_config",
)  # fmt: skip
_PLAIN_INITS = (True, False, "gaussian", "eva", "orthogonal")  # the others change the base's own weights


def save(folder: Path, model: nn.Module, provenance: dict[str, Any] | None = None, *, base: str | None = None, name: str | None = None) -> Path:
    """Write the model's LoRA or soft prompt, in its own dtype, whole or not at all. Returns the folder.

    base: zoo name or hub id of the model it belongs to; by default the name the model has. name: which LoRA, where there are several.
    Raises ValueError for a model without any, several LoRAs and no name, an unknown one, a LoRA under a soft prompt (`hybrid.save` writes both), and
    weights that are not finite; LabError for a folder that holds something else.
    """
    if isinstance(model, SoftPrompt):
        if lora.names(model):
            raise ValueError("the model has a LoRA and a soft prompt, and a folder in PEFT's format holds one of them: use hybrid.save")
        state, config = prompt_tensors(model)
        model = model.base
    else:
        state, config = lora_tensors(model, name)
    return write_adapter(Path(folder), (state, config), provenance or {}, base=base or zoo_name(_recorded(model)), exact=True)


def load(model: nn.Module, folder: Path | str, name: str = "default", train: bool = False) -> nn.Module:
    """Put the adapter of a folder, or of that name in the course's data, into the model, active and frozen, or with `train` trained alone.

    Returns the model to use: the same with a LoRA (called `name`) in its layers, or a new one with the soft prompt in front. Raises ValueError, with the
    model as it was, for one that does not fit wholly, was made for another base, or is of a kind that is not written here; LabError for damaged files.
    """
    folder = adapter_path(folder)
    refuse_another_base(model, folder)
    settings, config, state = read_adapter(folder)
    if settings.peft_type not in ("LORA", "PROMPT_TUNING"):
        raise ValueError(f"the adapter in {folder} is {config['peft_type']}: LORA and PROMPT_TUNING can be loaded here, others with peft")
    try:
        if settings.peft_type == "PROMPT_TUNING":
            P = _prompt(state, config)
            wrapped = prompt_tuning.place(model, P, train_base=False)
            wrapped.P.requires_grad_(train)
            return wrapped
        lora.check_new(model, name, 1.0, float(config.get("lora_dropout") or 0.0))
        _put_lora(model, settings, config, state, name)
    except ValueError as error:
        raise ValueError(f"the adapter in {folder} does not fit this model: {error}") from error
    lora.activate(model, name, train=[name] if train else [])
    return model


def lora_tensors(model: nn.Module, name: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(state dict, config) of one LoRA, as PEFT has them. Raises as `save`."""
    from peft import LoraConfig

    layers, known = lora.lora_layers(model), lora.names(model)
    if name is None and len(known) > 1:
        raise ValueError(f"the model has {len(known)} LoRAs ({', '.join(known)}), and a folder holds one: choose it with name=")
    name = known[0] if name is None else name
    if name not in known:
        raise ValueError(unknown("adapter", name, known))
    layers = {key: layer for key, layer in layers.items() if name in layer.A}
    first = next(iter(layers.values()))
    if len({(layer.rslora[name], layer.dropout[name], is_transposed(layer.base_layer)) for layer in layers.values()}) > 1:
        raise ValueError(f"the layers of {name!r} differ in more than rank and alpha, which PEFT's format cannot say: save two LoRAs")
    r, alpha = first.A[name].shape[0], first.alpha[name]
    state, ranks, alphas = {}, {}, {}
    for key, layer in layers.items():
        state |= {f"{PREFIX}{key}.lora_A.weight": layer.A[name], f"{PREFIX}{key}.lora_B.weight": layer.B[name]}
        ranks |= {key: layer.A[name].shape[0]} if layer.A[name].shape[0] != r else {}
        alphas |= {key: layer.alpha[name]} if layer.alpha[name] != alpha else {}
    config = LoraConfig(
        task_type=_task(model), r=r, lora_alpha=alpha, lora_dropout=first.dropout[name], use_rslora=first.rslora[name], rank_pattern=ranks,
        alpha_pattern=alphas, target_modules=list(layers), fan_in_fan_out=is_transposed(first.base_layer),
    )  # fmt: skip
    return state, config.to_dict()


def prompt_tensors(model: SoftPrompt) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(state dict, config) of the soft prompt, as PEFT has them."""
    from peft import PromptTuningConfig

    config = model.base.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    p, e = model.P.shape
    sizes = {
        "num_layers": getattr(config, "num_hidden_layers", None) or getattr(config, "n_layers", None),
        "num_attention_heads": getattr(config, "num_attention_heads", None) or getattr(config, "n_heads", None),
    }
    settings = PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=p, token_dim=e, num_transformer_submodules=1, prompt_tuning_init="RANDOM", **sizes
    )
    return {"prompt_embeddings": model.P}, settings.to_dict()


def _put_lora(model: nn.Module, settings: Any, config: dict[str, Any], state: dict[str, Tensor], name: str) -> None:
    """Every tensor into its layer. Raises ValueError before anything is put in."""
    from peft.utils.other import get_pattern_key

    if problem := unusable(settings, config):
        raise ValueError(problem)
    if other := [key for key in OTHERWISE if config.get(key)] or [key for key in ("bias",) if config.get(key, "none") != "none"]:
        raise ValueError(f"its settings have {other[0]}={config[other[0]]!r}, which is more than s B A x: load it with peft")
    if (init := config.get("init_lora_weights", True)) not in _PLAIN_INITS:
        raise ValueError(f"its settings have init_lora_weights={init!r}, which changes the base's own weights: load it with peft")
    layers = _named(model, settings)
    ranks = {key: settings.rank_pattern.get(get_pattern_key(settings.rank_pattern, key), settings.r) for key in layers}
    wanted: dict[str, Tensor] = {}
    for key, layer in layers.items():
        d_out, d_in = dimensions(layer)
        for letter, shape in (("A", (ranks[key], d_in)), ("B", (d_out, ranks[key]))):
            wanted[f"{PREFIX}{key}.lora_{letter}.weight"] = torch.empty(shape, device="meta")
    own = {key.replace(".base_layer.", "."): p for key, p in model.named_parameters(remove_duplicate=False)}
    if problem := misfit(state, wanted, own, config):
        raise ValueError(problem)
    for key in layers:
        A, B = (state[f"{PREFIX}{key}.lora_{letter}.weight"] for letter in "AB")
        alpha = settings.alpha_pattern.get(get_pattern_key(settings.alpha_pattern, key), settings.lora_alpha)
        lora.place(model, key, name, A.clone(), B.clone(), alpha, settings.lora_dropout, settings.use_rslora)


def _named(model: nn.Module, settings: Any) -> dict[str, nn.Module]:
    """The layers that peft's settings name."""
    from peft.tuners.tuners_utils import check_target_module_exists

    if settings.target_modules == ALL_LINEAR:
        return find_targets(model, [ALL_LINEAR])
    wrapped = tuple(f"{key}." for key, module in model.named_modules() if isinstance(module, LoRALinear))
    found = {key: m for key, m in model.named_modules() if key and not key.startswith(wrapped) and check_target_module_exists(settings, key)}
    if not found:
        raise ValueError(f"its target_modules={settings.target_modules!r} name no layer of this model")
    if odd := [key for key, module in found.items() if not is_linear(module)]:
        raise ValueError(f"it changes {odd[0]}, which is a {type(found[odd[0]]).__name__}, and our LoRA changes linear layers only: load it with peft")
    return found


def _prompt(state: dict[str, Tensor], config: dict[str, Any]) -> Tensor:
    p, P = config.get("num_virtual_tokens"), state.get("prompt_embeddings")
    if P is None or len(state) > 1 or P.dim() != 2:
        raise ValueError(f"its file holds {', '.join(sorted(state)) or 'nothing'}, and prompt_embeddings alone belong there")
    if len(P) != p:
        raise ValueError(f"it has {len(P)} vectors, and its settings say {p}")
    if not bool(P.float().isfinite().all()):
        raise ValueError("prompt_embeddings holds values that are not finite")
    return P.float()


def _recorded(model: nn.Module) -> str | None:
    return getattr(getattr(model, "config", None), "_name_or_path", None) or None


def _task(model: nn.Module) -> str | None:
    if not hasattr(model, "get_output_embeddings") or model.get_output_embeddings() is None:
        return None
    return "SEQ_2_SEQ_LM" if is_encoder_decoder(model) else "CAUSAL_LM"
