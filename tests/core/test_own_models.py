"""A model of one's own is loaded whole or refused in one line: tiny random models of each family in a folder, and GGUF files."""

import json
import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.own_models import open_model
from llmsuite_lab.lm.language_model import LanguageModel

LIMIT_S = 180
SPECIAL = {"vocab_size": 259, "bos_token_id": 257, "eos_token_id": 258, "pad_token_id": 256}


def configs():
    from transformers import BloomConfig, GPT2Config, MambaConfig, MptConfig, OPTConfig, Qwen2Config

    usual = {"hidden_size": 40, "num_hidden_layers": 2, "num_attention_heads": 5, **SPECIAL}
    return {
        "bloom": BloomConfig(hidden_size=40, n_layer=2, n_head=5, **SPECIAL),
        "mpt": MptConfig(d_model=40, n_layers=2, n_heads=5, max_seq_len=96, **SPECIAL),
        "mamba": MambaConfig(hidden_size=40, num_hidden_layers=2, state_size=6, **SPECIAL),
        "gpt2": GPT2Config(n_embd=40, n_layer=2, n_head=5, n_positions=96, **SPECIAL),
        "opt": OPTConfig(ffn_dim=60, word_embed_proj_dim=40, max_position_embeddings=96, **usual),
        "qwen2": Qwen2Config(intermediate_size=60, num_key_value_heads=5, max_position_embeddings=96, **usual),
    }


@pytest.fixture
def saved(tmp_path, tiny_tokenizer):
    """saved("mamba") → (folder with a random model of the family and a tokenizer, the model)."""
    from transformers import AutoModelForCausalLM

    def make(family):
        torch.manual_seed(4)
        model = AutoModelForCausalLM.from_config(configs()[family], dtype=torch.float32).eval()
        model.save_pretrained(tmp_path / family)
        tiny_tokenizer.save_pretrained(tmp_path / family)
        return tmp_path / family, model

    return make


@pytest.mark.parametrize("family", ["bloom", "mpt", "mamba", "gpt2", "opt", "qwen2"])
def test_a_folder_of_any_family_is_loaded_as_it_was_saved(saved, family):
    folder, model = saved(family)
    loaded, tokenizer = open_model(folder)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert (tokenizer.padding_side, loaded.training) == ("left", False)
    assert next(open_model(str(folder), torch.float64)[0].parameters()).dtype == torch.float64


def edit(folder, **values):
    """Change config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")


def drop_weight(folder):
    """Take one tensor out of the file."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["backbone.layers.1.mixer.x_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def as_pickle(folder):
    """Leave a file that may be a pickle in the place of the weights."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def save_smaller(folder):
    """Put a model with fewer words into the folder, as if the tokenizer were another model's."""
    from transformers import MambaConfig, MambaForCausalLM

    sizes = {"vocab_size": 100, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    MambaForCausalLM(MambaConfig(hidden_size=40, num_hidden_layers=1, state_size=6, **sizes)).save_pretrained(folder)


SPOILT = {
    "no config.json": lambda folder: (folder / "config.json").unlink(),
    "is no JSON object": lambda folder: (folder / "config.json").write_text("[1, 2", encoding="utf-8"),
    "family 'no_such_family' has no configuration": lambda folder: edit(folder, model_type="no_such_family"),
    "no \\*.safetensors, only pytorch_model.bin, which may be a pickle": as_pickle,
    "lacks 1 weights of a MambaForCausalLM .first: backbone.layers.1.mixer.x_proj.weight": drop_weight,
    "cannot be loaded": lambda folder: (folder / "model.safetensors").write_bytes(b"torn"),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "which is there in shape .* instead of": lambda folder: edit(folder, hidden_size=48, intermediate_size=96),
    "family 'mamba' has no configuration .* 'hidden_size' expected int, got str": lambda folder: edit(folder, hidden_size="big"),
    "holds no config.json: load an adapter with adapter=": lambda folder: (folder / "config.json").rename(folder / "adapter_config.json"),
    "has a tokenizer of 256 tokens and a model with rows for 100": lambda folder: save_smaller(folder),
}


@pytest.mark.parametrize("said", SPOILT)
def test_what_is_not_found_is_said_in_one_line(saved, said):
    folder, _ = saved("mamba")
    SPOILT[said](folder)
    with pytest.raises(LabError, match=said) as told:
        open_model(folder)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "opt"])
def test_a_folder_without_a_tokenizers_files_has_none(saved, family):
    """transformers makes an empty one of these families, and every prompt would be empty."""
    folder, _ = saved(family)
    for file in folder.glob("*token*"):
        file.unlink()
    with pytest.raises(LabError, match=f"{family} has no tokenizer .*save it there"):
        open_model(folder)


def test_weights_that_are_there_and_have_no_place_are_told(saved):
    folder, _ = saved("qwen2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_model(folder)
    edit(folder, num_hidden_layers=1, layer_types=["full_attention"])
    with pytest.warns(UserWarning, match=r"holds 12 weights that a Qwen2ForCausalLM .* no place for \(first: model.layers.1.input_layernorm.weight\)"):
        assert len(open_model(folder)[0].model.layers) == 1


def test_a_device_that_is_not_here_is_said_in_a_sentence(saved, monkeypatch):
    folder, _ = saved("gpt2")

    def without_gpu(self, *args, **kwargs):
        assert kwargs["device"] == "cpu", "Torch not compiled with CUDA enabled"
        return self

    monkeypatch.setattr("transformers.PreTrainedModel.to", without_gpu)
    with pytest.raises(ValueError, match="device='cuda' is no device here .Torch not compiled"):
        open_model(folder, device="cuda")
    assert open_model(folder, device="cpu")


def test_what_writes_no_text_or_is_nothing_is_refused(tmp_path, tiny_tokenizer):
    from transformers import BertConfig, BertModel, T5Config, T5ForConditionalGeneration

    for made, name in (
        (BertModel(BertConfig(vocab_size=259, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20)), "BertModel"),
        (T5ForConditionalGeneration(T5Config(vocab_size=259, d_model=24, num_layers=1, num_heads=2, d_kv=12, d_ff=20)), "T5ForConditional"),
    ):
        made.save_pretrained(tmp_path / name)
        tiny_tokenizer.save_pretrained(tmp_path / name)
        with pytest.raises(ValueError, match=f"is a {name}.*, not a causal language model"):
            open_model(tmp_path / name)
    with pytest.raises(ValueError, match="did you mean 'one-model'.*no such folder"):
        open_model("one-modle", known=["one-model"])
    with pytest.raises(LabError, match="no file .*gone.gguf"):
        open_model(tmp_path / "gone.gguf")
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    with pytest.raises(ValueError, match="no .gguf"):
        open_model(tmp_path / "notes.txt")
    (tmp_path / "torn.gguf").write_bytes(b"GGUF and no more")
    with pytest.raises(LabError, match="cannot be read as GGUF"):
        open_model(tmp_path / "torn.gguf")
    with pytest.raises(LabError, match="someone/such-a-model is no folder here, it is not in the hub's cache"):
        open_model("someone/such-a-model")


def test_a_hub_id_that_lies_in_the_hubs_cache_is_loaded_without_a_network(saved, tmp_path):
    folder, model = saved("qwen2")
    commit, place = "0123456789abcdef0123456789abcdef01234567", tmp_path / "hub" / "models--someone--small"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit, encoding="utf-8")
    shutil.copytree(folder, place / "snapshots" / commit)
    code = (
        "import json, sys, torch; from llmsuite_lab.lm.language_model import LanguageModel; lm = LanguageModel.load('someone/small', dtype=torch.float32); "
        "print(json.dumps([lm.name, lm.model(torch.tensor([[5, 9, 2]])).logits[0, -1].tolist()]))"
    )
    env = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr[-2000:]
    name, logits = json.loads(done.stdout.splitlines()[-1])
    assert name == "someone/small"
    assert torch.allclose(torch.tensor(logits), model(torch.tensor([[5, 9, 2]])).logits[0, -1], atol=1e-5)
    (place / "snapshots" / commit / "model.safetensors").unlink()  # the control: half a model in the cache is not loaded
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=LIMIT_S)
    assert "someone/small is no folder here, it is not in the hub's cache" in done.stderr


def gpt2_gguf(file, architecture="gpt2", leave_out=()):
    """A small random GPT-2 as a GGUF file, with a byte-level tokenizer."""
    import gguf
    from tokenizers import pre_tokenizers

    tokens = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "he"]
    writer = gguf.GGUFWriter(file, architecture)
    for name, value in {"block_count": 2, "context_length": 1024, "embedding_length": 64, "feed_forward_length": 256, "head_count": 4}.items():
        getattr(writer, f"add_{name}")(value)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    random = np.random.default_rng(3)
    shapes = {"token_embd.weight": (len(tokens), 64), "position_embd.weight": (1024, 64), "output_norm.weight": (64,), "output_norm.bias": (64,)}
    for i in range(2):
        inner = {"attn_qkv": (192, 64), "attn_output": (64, 64), "ffn_up": (256, 64), "ffn_down": (64, 256), "attn_norm": (64,), "ffn_norm": (64,)}
        for name, shape in inner.items():
            shapes |= {f"blk.{i}.{name}.weight": shape, f"blk.{i}.{name}.bias": shape[:1]}
    for name, shape in shapes.items():
        if name not in leave_out:
            writer.add_tensor(name, random.normal(0, 0.3, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_a_gguf_file_of_another_family_is_loaded_and_what_it_lacks_is_said(tmp_path):
    from gguf import GGUFReader

    file = gpt2_gguf(tmp_path / "own.gguf")
    model, tokenizer = open_model(file)
    tensors = {tensor.name: tensor.data for tensor in GGUFReader(file).tensors}
    assert np.array_equal(model.transformer.h[1].mlp.c_fc.weight.detach().numpy(), tensors["blk.1.ffn_up.weight"].T)
    assert tokenizer.decode(tokenizer("he said", add_special_tokens=False)["input_ids"]) == "he said"
    lm = LanguageModel.load(file, dtype=torch.float32, device="cpu", quantize="auto")  # no Llama: the codes are of no use, without a word
    assert (lm.quantize, lm.complete(["he"], 3)[0].completion_tokens) == (None, 3)
    (tmp_path / "folder").mkdir()
    file.rename(tmp_path / "folder" / "own.gguf")
    assert type(open_model(tmp_path / "folder")[0]).__name__ == "GPT2LMHeadModel"
    with pytest.raises(LabError, match="of family 'no_such_family' cannot be loaded"):
        open_model(gpt2_gguf(tmp_path / "other.gguf", "no_such_family"))
    with pytest.raises(LabError, match="lacks 1 weights of a GPT2LMHeadModel .first: transformer.h.1.mlp.c_fc.weight"):
        open_model(gpt2_gguf(tmp_path / "lacking.gguf", leave_out=["blk.1.ffn_up.weight"]))
    for name in "ab":
        (tmp_path / "folder" / f"{name}.gguf").write_bytes(b"")
    with pytest.raises(LabError, match="holds 3 GGUF files .*name the one"):
        open_model(tmp_path / "folder")
