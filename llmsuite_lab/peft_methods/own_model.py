"""The model that is to be tuned, by name or from a folder of one's own: weights from safetensors, every one of them, and no code of a stranger's.

    folder/   config.json, *.safetensors, the tokenizer's files       what `save_pretrained` of a model and of its tokenizer write

A folder whose file lacks a weight of the model would load with random numbers in its place: it is refused. In production:
`AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, trust_remote_code=False)`.
"""

import json
from pathlib import Path
from typing import Any

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError, unknown
from llmsuite_lab.core.runtime import profile
from llmsuite_lab.core.seeding import torch_state_kept


def load_base(name: str) -> tuple[Any, Any]:
    """(model, tokenizer) of a zoo name or a folder, in the profile's training dtype and on its device.

    Raises ValueError for another name and a model that writes no text, LabError for a folder that cannot be loaded wholly.
    """
    dial = profile()
    if name in zoo.ENTRIES:
        if zoo.entry(name).kind == "encoder":
            raise ValueError(f"{name} writes no text: choose {', '.join(n for n, e in zoo.ENTRIES.items() if e.kind != 'encoder')}")
        return zoo.load_model(name, dial.train_dtype, dial.device), zoo.load_tokenizer(name)
    folder = Path(name)
    if not folder.is_dir():
        raise ValueError(f"{unknown('model', name, list(zoo.ENTRIES))}, or give a folder in transformers' format")
    if not list(folder.glob("*.safetensors")) or not (folder / "config.json").is_file():
        raise LabError(f"{folder} holds no config.json with *.safetensors: weights are loaded from safetensors only, save the model in that form first")
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    only: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = AutoModelForSeq2SeqLM if written.get("is_encoder_decoder") else AutoModelForCausalLM
        with torch_state_kept():  # some families draw weights before they read them
            model, told = kind.from_pretrained(folder, use_safetensors=True, dtype=dial.train_dtype, output_loading_info=True, **only)
        tokenizer = AutoTokenizer.from_pretrained(folder, **only)
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        raise LabError(f"the model in {folder} cannot be loaded: {(str(error).strip().splitlines() or ['no reason given'])[0]}") from error
    if lacking := sorted(map(str, [*told["missing_keys"], *told["mismatched_keys"]])):
        raise LabError(f"the files in {folder} lack {len(lacking)} weights of a {type(model).__name__} (first: {lacking[0]}): save the whole model there")
    return model.to(dial.device).eval(), tokenizer
