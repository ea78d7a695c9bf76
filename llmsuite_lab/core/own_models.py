"""A causal model of one's own: a folder in `transformers`' form, a GGUF file, or a repository of the Hugging Face hub.

    open_model("my-model/") · open_model("my-model.gguf") · open_model("owner/name")   →  (model, tokenizer)

Weights come from safetensors or GGUF alone, no code from a folder is run, and every weight that the family needs must be found: one that is missing would
be random, and the model would still write. In production: `transformers.AutoModelForCausalLM.from_pretrained`.
"""

import json
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsuite_lab.core import fetch, gguf
from llmsuite_lab.core.errors import LabError, unknown

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_ONLY: dict[str, Any] = {"trust_remote_code": False}


def open_model(
    name: str | Path, dtype: "torch.dtype | None" = None, device: "torch.device | str" = "cpu", *, known: Iterable[str] = ()
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """(model in eval mode, tokenizer that pads on the left) of a folder, a GGUF file, a folder with one GGUF file, or a hub id, in that order.

    A folder's configuration, weights and tokenizer are those that `save_pretrained` writes. The hub is asked only for what its cache lacks. `known`:
    names that may have been meant. Raises ValueError for what is none of these and for a model that is not causal, LabError for files that cannot be
    loaded whole: one line, which says what was not found.
    """
    if (file := gguf_file(name)) is not None:
        return _from_gguf(file, dtype, device)
    if (place := Path(name)).is_dir():
        return _from_folder(place, dtype, device)
    if _HUB_ID.fullmatch(str(name)) and "/" not in str(name).replace("/", "", 1):
        return _from_hub(str(name), dtype, device)
    raise ValueError(f"{unknown('model', name, list(known))}; there is no such folder or .gguf file either, and a hub id is owner/name")


def gguf_file(name: str | Path) -> Path | None:
    """The GGUF file that `open_model` reads for this name; None where it reads something else. Raises LabError for a folder that holds several."""
    place = Path(name)
    if place.is_file() or place.suffix.lower() == ".gguf":
        return place
    if not place.is_dir() or (place / "config.json").is_file() or not (files := sorted(place.glob("*.gguf"))):
        return None
    if len(files) > 1:
        raise LabError(f"{place} holds {len(files)} GGUF files ({', '.join(f.name for f in files[:3])}): name the one to load")
    return files[0]


def _from_folder(folder: Path, dtype: Any, device: Any) -> tuple[Any, Any]:
    from llmsuite_lab.core.runtime import offline

    config = folder / "config.json"
    if not config.is_file():
        other = "load an adapter with adapter=…" if (folder / "adapter_config.json").is_file() else "save a model there with save_pretrained"
        raise LabError(f"{folder} holds no config.json: {other}, or name a .gguf file")
    try:
        written = json.loads(config.read_text(encoding="utf-8"))
        family = written.get("model_type")
    except (ValueError, AttributeError) as error:
        raise LabError(f"{config} is no JSON object ({error}): save the model again") from error
    if not any(folder.glob("*.safetensors")):
        pickled = next((f.name for f in sorted(folder.iterdir()) if f.suffix in (".bin", ".pt", ".pth")), None)
        but = f", only {pickled}, which may be a pickle and could run code" if pickled else ""
        raise LabError(f"{folder} holds no *.safetensors{but}: save the model there with save_pretrained(safe_serialization=True)")
    with offline():
        return _loaded(folder, f"the model in {folder}", family, dtype, device, local_files_only=True)


def _from_hub(name: str, dtype: Any, device: Any) -> tuple[Any, Any]:
    from llmsuite_lab.core.runtime import offline, quiet

    try:
        with offline():
            return _loaded(name, name, None, dtype, device, local_files_only=True)
    except _Absent as absent:  # not all of it is in the hub's own cache
        try:
            fetch.probe_hub()
        except OSError as error:
            raise LabError(f"{name} is no folder here, it is not in the hub's cache, and the hub cannot be asked ({error})") from absent
    with quiet():
        return _loaded(name, f"{name} from the Hugging Face hub", None, dtype, device)


def _from_gguf(file: Path, dtype: Any, device: Any) -> tuple[Any, Any]:
    if not file.is_file():
        raise LabError(f"there is no file {file}")
    if file.suffix.lower() != ".gguf":
        raise ValueError(f"{file} is a file, but no .gguf: give a GGUF file or the folder of a model")
    from gguf import GGUFReader

    try:
        field = GGUFReader(file).get_field("general.architecture")
    except (ValueError, OSError, IndexError, KeyError) as error:
        raise LabError(f"{file} cannot be read as GGUF ({_first_line(error)}): get it again") from error
    family = field.contents() if field else None
    try:
        model, tokenizer = gguf.load(file)
    except LabError:
        raise
    except Exception as error:  # transformers' reader of GGUF raises whatever its step meets
        raise LabError(f"the GGUF file {file} of family {family!r} cannot be loaded: {_first_line(error)}") from error
    return _ready(model, tokenizer, dtype, device)


class _Absent(LabError):
    """Files that are not here."""


def _loaded(place: Path | str, called: str, family: str | None, dtype: Any, device: Any, **options: Any) -> tuple[Any, Any]:
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    from llmsuite_lab.core.seeding import torch_state_kept

    try:
        config = AutoConfig.from_pretrained(place, **_ONLY, **options)
    except Exception as error:  # transformers raises whatever its step meets in somebody's file, and errors of the hub's own kinds
        kind = _Absent if isinstance(error, OSError) else LabError
        named = f" of family {family!r}" if family else ""
        raise kind(f"{called}{named} has no configuration that this transformers knows: {_first_line(error)}") from error
    made = (config.architectures or [None])[0]
    causal = {name for names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() for name in ([names] if isinstance(names, str) else names)}
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or (made is not None and made not in causal):
        raise ValueError(f"{called} is a {made or type(config).__name__}, not a causal language model, which continues a text")
    try:
        with torch_state_kept():  # some families draw weights before they read them
            model, told = AutoModelForCausalLM.from_pretrained(
                place, config=config, dtype=dtype or torch.float32, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True, **_ONLY,
                **options,
            )
    except Exception as error:  # as above
        kind = _Absent if isinstance(error, OSError) and not any(Path(place).glob("*.safetensors")) else LabError
        raise kind(f"{called} cannot be loaded: {_first_line(error)}") from error
    gguf.refuse_lacking(called, model, told)
    if spare := sorted(told["unexpected_keys"]):
        was = f"{called} holds {len(spare)} weights that a {type(model).__name__} of its config.json has no place for (first: {spare[0]})"
        warnings.warn(f"{was}: they are left out", stacklevel=2)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **_ONLY, **options)
    except Exception as error:  # as above
        kind = _Absent if isinstance(error, OSError) and not Path(place).is_dir() else LabError
        raise kind(f"{called} has no tokenizer that can be loaded (tokenizer.json): {_first_line(error)}") from error
    if not set(tokenizer.get_vocab()) - set(tokenizer.get_added_vocab()):  # transformers makes an empty one where there are no files
        kind = LabError if Path(place).is_dir() else _Absent
        raise kind(f"{called} has no tokenizer (tokenizer.json): save it there as well, with its own save_pretrained")
    embedding = getattr(model.get_input_embeddings(), "weight", None)
    if embedding is not None and (rows := embedding.shape[0]) < tokenizer.vocab_size:
        raise LabError(f"{called} has a tokenizer of {tokenizer.vocab_size:,} tokens and a model with rows for {rows:,}: they do not belong together")
    return _ready(model, tokenizer, None, device)


def _ready(model: Any, tokenizer: Any, dtype: Any, device: Any) -> tuple[Any, Any]:
    tokenizer.padding_side = "left"  # what a batch needs to be continued
    return model.to(device=device, dtype=dtype).eval(), tokenizer


def _first_line(error: BaseException) -> str:
    """The first line that says something; one that ends in a colon with the next."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(",") if lines else type(error).__name__
