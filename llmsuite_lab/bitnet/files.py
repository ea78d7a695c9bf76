"""A packed model on disk: the bytes that the kernel reads, in safetensors, and a config.json that says what they are.

    config.json          {"format", "form", "config": of the decoder, "sha256": of the weights}
    model.safetensors    …W_Q.packed (uint8), …W_Q.scale, …W_Q.norm.weight, embedding, head, final norm

Written whole or not at all. What is loaded is checked first: checksum, names, shapes, that every byte is a code of three values and padding is zero.
In production: `transformers.BitNetForCausalLM.from_pretrained`, whose files hold two bits a weight as well, in another order.
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from llmsuite_lab.bitnet.linear import BitLinear
from llmsuite_lab.bitnet.model import to_bits
from llmsuite_lab.bitnet.packed_linear import PackedLinear
from llmsuite_lab.bitnet.packing import Ternary
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.fetch import sha256
from llmsuite_lab.core.files import load_tensors, whole_folder, write_json
from llmsuite_lab.transformer.config import TransformerConfig
from llmsuite_lab.transformer.decoder import Decoder

KIND, FORMAT = "a packed one-bit model", "llmsuite-lab ternary 1"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
_TIED = "unembedding.weight"


def save_packed(model: Decoder, folder: Path) -> Path:
    """Write a packed model (`model.packed`) to a new or empty folder, or in the place of one that it wrote. Returns the folder.

    Raises TypeError for what is no Decoder; ValueError for a model that is not packed, or in two forms; LabError for a folder that holds something else;
    OSError for a full disk.
    """
    if not isinstance(model, Decoder):
        raise TypeError(f"model must be a transformer.decoder.Decoder, got a {type(model).__name__}")
    forms = {module.form for module in model.modules() if isinstance(module, PackedLinear)}
    if len(forms) != 1 or any(isinstance(module, BitLinear) for module in model.modules()):
        raise ValueError(f"the model holds {len(forms)} packed forms {sorted(forms)}, and one is needed for all its layers: pack it with model.packed")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_embeddings:
        tensors.pop(_TIED)
    with whole_folder(Path(folder), KIND) as new:
        save_file(tensors, new / WEIGHTS)
        write_json(new / CONFIG, {"format": FORMAT, "form": forms.pop(), "config": asdict(model.config), "sha256": sha256(new / WEIGHTS)})
    return Path(folder)


def load_packed(folder: Path) -> Decoder:
    """The packed model of a folder, on the CPU, in eval mode. Raises LabError for a missing, damaged or foreign folder, and says what does not fit."""
    folder = Path(folder)
    try:
        said = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise ValueError(f"its format is {str(said['format'])[:60]!r}, not {FORMAT!r}")
        if sha256(folder / WEIGHTS) != said["sha256"]:
            raise ValueError(f"{WEIGHTS} has a wrong checksum")
        return _built(TransformerConfig(**said["config"]), said["form"], load_tensors(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise LabError(f"{folder} holds no packed model that can be read ({error}): get it again, or save it again with save_packed") from error


def bits_per_weight(folder: Path) -> float:
    """Bits that a saved model's file spends on each ternary weight, padding and scales counted. Raises LabError as `load_packed`."""
    model = load_packed(folder)
    packed = [module for module in model.modules() if isinstance(module, PackedLinear)]
    held = sum(module.packed.numel() + module.scale.element_size() for module in packed)
    return 8 * held / sum(module.shape[0] * module.shape[1] for module in packed)


def _built(config: TransformerConfig, form: str, tensors: dict[str, torch.Tensor]) -> Decoder:
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced
        model = to_bits(Decoder(config))
    for name in [name for name, module in model.named_modules() if isinstance(module, BitLinear)]:
        layer, scale = model.get_submodule(name), tensors[f"{name}.scale"]
        weight = Ternary(tensors[f"{name}.packed"], float(scale), tuple(layer.weight.shape), form).check()
        model.set_submodule(name, PackedLinear(weight, layer.norm))
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if not (config.tie_embeddings and name == _TIED)}
    if wrong := sorted(name for name in {*expected, *tensors} if expected.get(name) != (tuple(tensors[name].shape) if name in tensors else None)):
        raise ValueError(f"tensors without a place, without a source or of another shape: {', '.join(wrong[:5])}")
    model.load_state_dict(tensors, strict=False, assign=True)
    model.tie()
    return model.eval()
