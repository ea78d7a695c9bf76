"""Adapters: small trained differences to a model, kept in PEFT's format (LoRA: W' = W + (alpha / r) · B A), loaded after a checksum.

    data/adapters/<name>/   adapter_config.json, adapter_model.safetensors (bfloat16), provenance.json

`provenance.json` says how it was made (command, seed, versions, device, wall time, commit, base) and holds the SHA-256 of the other two files.
Only safetensors are read: a folder with pickled weights is refused. In production: `peft.PeftModel.from_pretrained`.
"""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError, unknown, whole
from llmsuite_lab.core.fetch import sha256
from llmsuite_lab.core.files import whole_folder, write_json
from llmsuite_lab.core.paths import data_dir
from llmsuite_lab.core.swap import settle

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, CONFIG, PROVENANCE = "adapter_model.safetensors", "adapter_config.json", "provenance.json"
LORA_TARGETS = ("q_proj", "v_proj", "up_proj", "down_proj")  # at rank 8 in bfloat16 just under 3 MB for SmolLM2-135M
KIND = "an adapter"
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def adapters_dir() -> Path:
    """Where the course's adapters lie."""
    return data_dir() / "adapters"


def adapters() -> list[str]:
    """Names of the adapters in the course's data folder, sorted."""
    root = adapters_dir()
    return sorted(file.parent.relative_to(root).as_posix() for file in root.rglob(CONFIG)) if root.is_dir() else []


def adapter_path(name: str | Path) -> Path:
    """The folder of an adapter by name, or of any folder in PEFT format, checked (`adapter_damage`).

    Raises ValueError for an unknown name (with the nearest known one) and LabError for a damaged folder or one with pickled weights.
    """
    folder = adapters_dir() / name
    if not (folder / CONFIG).is_file():
        folder = Path(name)
        settle(folder)
        if not (folder / CONFIG).is_file():
            if folder.is_dir():
                raise ValueError(f"the folder {name} holds no {CONFIG}: it is not an adapter in PEFT format")
            raise ValueError(unknown("adapter", name, adapters()))
    if problem := adapter_damage(folder):
        raise LabError(f"the adapter in {folder} cannot be used: {problem}")
    return folder


def adapter_damage(folder: Path) -> str | None:
    """What is wrong with an adapter's folder, and what to do, or None. Hashes the files: they are small.

    A folder of your own making (`peft`'s `save_pretrained`) has no provenance.json, so its checksums are not checked.
    """
    pickled = [file.name for file in folder.iterdir() if file.suffix in _PICKLES]
    if pickled:
        return f"it holds {pickled[0]}, which may be a pickle and could run code; save it as safetensors and remove that file"
    if not (folder / WEIGHTS).is_file():
        return f"{WEIGHTS} is missing; get it again with git, or train it again with `llmsuite train`"
    if not (folder / PROVENANCE).is_file():
        return None
    try:
        checksums = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))["sha256"]
        wrong = [name for name in (WEIGHTS, CONFIG) if not (folder / name).is_file() or sha256(folder / name) != checksums[name]]
    except (ValueError, KeyError, TypeError):
        return f"{PROVENANCE} is unreadable or has no checksums; get it again with git, or train it again with `llmsuite train`"
    return f"{wrong[0]} has a wrong checksum; get it again with git, or train it again with `llmsuite train`" if wrong else None


def adapter_base(folder: Path) -> str | None:
    """Zoo name of the model an adapter was made for, from its provenance or else peft's config; None when that is not recorded.

    Raises LabError for files that are no JSON.
    """
    for file, key in ((folder / PROVENANCE, "base"), (folder / CONFIG, "base_model_name_or_path")):
        try:
            recorded = json.loads(file.read_text(encoding="utf-8")).get(key) if file.is_file() else None
        except (ValueError, AttributeError) as error:
            raise LabError(f"{file} is unreadable ({error}): get the adapter again") from error
        if recorded:
            return zoo_name(str(recorded))
    return None


def zoo_name(recorded: str | None) -> str | None:
    """The zoo's name for a model that is recorded by that name, the hub's, or a folder that ends in either; any other as it is, None for nothing."""
    last = Path(recorded or "").name.lower()
    known = [entry.name for entry in zoo.ENTRIES.values() if last in (entry.name.lower(), Path(entry.hub).name.lower())]
    return known[0] if known else recorded or None


def listing() -> list[dict[str, Any]]:
    """One row per adapter, as `zoo.listing` has them: name, kind, state ("ready", or what is damaged), MB, source, licence."""
    rows = []
    for name in adapters():
        folder = adapters_dir() / name
        mb = round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6, 1)
        source = f"adapter of {adapter_base(folder) or 'an unnamed model'}"
        state = adapter_damage(folder) or "ready"
        rows.append({"name": name, "kind": "adapter", "state": state, "mb": mb, "source": source, "licence": "Apache-2.0"})
    return rows


def verify() -> list[dict[str, Any]]:
    """Hash the files of every adapter: rows {name, ok, problem}."""
    damages = {name: adapter_damage(adapters_dir() / name) for name in adapters()}
    return [{"name": name, "ok": problem is None, "problem": problem} for name, problem in damages.items()]


def add_lora(model: Any, seed: int, *, rank: int = 8, alpha: int = 16, targets: Sequence[str] = LORA_TARGETS) -> Any:
    """`model` wrapped by peft with a fresh LoRA, h = W x + (alpha / rank) B A x: B = 0, A drawn with `seed`, everything else frozen.

    targets: modules by name or the end of it ("q_proj", "layers.3.mlp.up_proj"). Raises ValueError, with the model as it was, for a target that no
    layer is called (naming the nearest), a rank over a target's own, alpha that is not above zero, and a model that carries an adapter already.
    """
    from peft import LoraConfig, get_peft_model

    from llmsuite_lab.core.seeding import seeded

    if isinstance(targets, str) or not targets:
        raise ValueError(f"targets={targets!r} must be a list of module names, such as {list(LORA_TARGETS)}")
    whole("seed", seed, -(2**63), 2**63 - 1)
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1 or not 0 < alpha < float("inf"):
        raise ValueError(f"{rank=} must be a whole number from 1, and {alpha=} above zero")
    if carries_adapter(model):
        raise ValueError("the model carries an adapter already: merge or unload that one first, or load the base again")
    layers = {name: m for name, m in model.named_modules() if getattr(getattr(m, "weight", None), "ndim", 0) == 2}
    for target in targets:
        named = {name: m for name, m in layers.items() if name == target or name.endswith(f".{target}")}
        if not named:
            raise ValueError(unknown("module to put a LoRA on", target, sorted({name.rpartition(".")[2] for name in layers})))
        name, narrow = min(named.items(), key=lambda item: min(item[1].weight.shape))
        if rank > min(narrow.weight.shape):
            raise ValueError(f"rank={rank} is over the rank of {name}, whose matrix is {' × '.join(map(str, narrow.weight.shape))}")

    settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), lora_dropout=0.0, task_type="CAUSAL_LM")
    with seeded(seed), quiet_peft():
        return get_peft_model(model, settings)


def carries_adapter(model: Any) -> bool:
    """Whether peft, or `peft_methods`, has put an adapter into some layer, or in front, of the model."""
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    return isinstance(model, PeftModel) or any(isinstance(m, BaseTunerLayer) or hasattr(m, "base_layer") for m in model.modules())


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Without peft's warnings about an old name in transformers, which is for its authors, and about tied layers and the base, which `lm.merging` sees to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        warnings.filterwarnings(
            "ignore", message=".*tie_word_embeddings.*|.*tied_target_modules.*|.*base_model_name_or_path. was renamed.*"
        )
        yield


def write_adapter(
    folder: Path, adapter: "Any | tuple[dict[str, Tensor], dict[str, Any]]", provenance: dict[str, Any], *, base: str | None = None,
    exact: bool = False,
) -> Path:  # fmt: skip
    """Save an adapter whole or not at all: bfloat16 safetensors, config, and `provenance` with the files' SHA-256. Returns `folder`.

    `adapter`: a PeftModel, or (state dict in PEFT's naming, config as PEFT's JSON). `base`: the zoo name it belongs to. `exact` keeps the tensors'
    own dtype: twice the file, and what is loaded is what was saved.
    Raises ValueError for an adapter without weights, with values that are not finite (a diverged run is not worth keeping), or several active ones.
    """
    import torch
    from safetensors.torch import save_file

    if isinstance(adapter, tuple):
        state, config = adapter
    else:
        from peft import get_peft_model_state_dict

        if len(active := adapter.active_adapters) != 1:
            raise ValueError(f"{len(active)} adapters are active ({', '.join(active)}), and a folder holds one: choose it with set_adapter")
        # a LoRA on the embedding is small, the embedding is not
        state = get_peft_model_state_dict(adapter, adapter_name=active[0], save_embedding_layers=False)
        config = adapter.peft_config[active[0]].to_dict()
    if not state:
        raise ValueError("the adapter has no weights: nothing was written")
    if packed := [name for name, value in state.items() if not value.is_floating_point()]:
        raise ValueError(
            f"{packed[0]} is in {str(state[packed[0]].dtype).removeprefix('torch.')}, and an adapter holds floating values: nothing was written"
        )
    broken = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ValueError(f"{len(broken)} of {len(state)} adapter weights are not finite (first: {broken[0]}): nothing was written")
    config = {name: _plain(value) for name, value in config.items()} | {"inference_mode": True}
    if base is not None:
        config["base_model_name_or_path"] = base
    with whole_folder(folder, KIND) as new:
        tensors = {name: value.detach().to("cpu", value.dtype if exact else torch.bfloat16).clone().contiguous() for name, value in state.items()}
        save_file(tensors, new / WEIGHTS, metadata={"format": "pt"})
        (new / WEIGHTS).chmod(0o644)
        write_json(new / CONFIG, config)
        checksums = {name: sha256(new / name) for name in (WEIGHTS, CONFIG)}
        write_json(new / PROVENANCE, {**({"base": base} if base else {}), **provenance, "sha256": checksums})
    return folder


def _plain(value: Any) -> Any:
    """What JSON can hold: sets (target modules) in a fixed order, enums by value."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    return getattr(value, "value", value)
