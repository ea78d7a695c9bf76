"""Shared fixtures: the real model once per session, and tiny random models that need no files."""

import importlib.util
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may wait on the hub
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers with as many threads as cores each would wait for one another

import numpy as np
import pytest
import torch

TINY_CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<s>' + m['role'] + ': ' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant: ' }}{% endif %}"
)


@pytest.fixture(scope="session")
def bad_input():
    """tests/bad_input.py as a module: what every package's test_bad_input.py feeds its callables with."""
    spec = importlib.util.spec_from_file_location("bad_input", Path(__file__).with_name("bad_input.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def lm():
    """SmolLM2-135M-Instruct in float32: greedy text is the same whatever the batch, and loading maps the file instead of reading it."""
    from llmsuite_lab.core.errors import LabError
    from llmsuite_lab.lm.language_model import LanguageModel

    try:
        return LanguageModel.load(dtype=torch.float32, device="cpu")
    except LabError as error:
        pytest.skip(f"the real model is not here: {error}")


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """Byte-level tokenizer without merges: one token per byte, then <pad>, <s>, </s>; 259 in all. Any text, any script, no files."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in ("<pad>", "<s>", "</s>")])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", padding_side="left")
    wrapped.chat_template = TINY_CHAT_TEMPLATE
    return wrapped


@pytest.fixture
def llama(tmp_path, tiny_tokenizer):
    """Folder of a tiny random Llama with `tiny_tokenizer`, context 64, as somebody would bring a model of their own."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=259, max_position_embeddings=64, eos_token_id=258, bos_token_id=257, pad_token_id=256, **sizes)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    tiny_tokenizer.save_pretrained(tmp_path / "llama")
    return str(tmp_path / "llama")


@pytest.fixture(scope="session")
def tampered():
    """tampered(folder, tensors=None, **settings): the adapter's folder, returned, its tensors changed by a function or its settings replaced by hand."""
    from safetensors.torch import load_file, save_file

    from llmsuite_lab.lm.adapters import CONFIG, WEIGHTS

    def change(folder, tensors=None, **settings):
        (folder / "provenance.json").unlink(missing_ok=True)  # it holds the checksums of what was there
        if tensors is not None:
            read = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}  # no view of the file that is written
            save_file(tensors(read), folder / WEIGHTS, metadata={"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(json.loads((folder / CONFIG).read_text()) | settings))
        return folder

    return change


def make_tiny(family: str):
    """A random float32 causal model of 2–3 layers with sizes that differ on every axis; vocabulary of `tiny_tokenizer`, context 96."""
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

    special = {"vocab_size": 259, "bos_token_id": 257, "eos_token_id": 258, "pad_token_id": 256, "initializer_range": 0.4}
    config = {
        "llama": lambda: LlamaConfig(
            hidden_size=48,
            intermediate_size=80,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=2,
            max_position_embeddings=96,
            tie_word_embeddings=True,
            **special,
        ),
        "gpt2": lambda: GPT2Config(n_embd=40, n_layer=2, n_head=5, n_positions=96, **special),
    }[family]()
    torch.manual_seed(11)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.fixture
def tiny_model():
    """A fresh random Llama (see `make_tiny`): a test may change it."""
    return make_tiny("llama")


@pytest.fixture(params=["llama", "gpt2"])
def tiny_lm(request, tiny_tokenizer):
    """A LanguageModel over a random Llama and a random GPT-2."""
    from llmsuite_lab.lm.language_model import LanguageModel

    return LanguageModel(make_tiny(request.param), tiny_tokenizer, f"tiny-{request.param}")


@dataclass
class WordEmbedder:
    """Same interface as `Embedder`: every word has a random direction of its own, a text is their normalised sum. Counts what it embeds."""

    dimension: int = 40
    name: str = "words"
    embedded: int = 0

    @property
    def identity(self) -> str:
        return f"{self.name}, {self.dimension} dimensions"

    def embed(self, texts, batch_size: int = 32):
        from llmsuite_lab.retrieval.lexical import words

        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in words(text) or ["nothing"]:
                vectors[row] += np.random.default_rng(zlib.crc32(word.encode())).standard_normal(self.dimension)
        self.embedded += len(texts)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@pytest.fixture(scope="session")
def word_embedder():
    """An embedder without a model (the class): shared words mean near vectors."""
    return WordEmbedder


@pytest.fixture
def embedder(word_embedder):
    """A fresh one, which has counted nothing yet."""
    return word_embedder()


@pytest.fixture
def recorded():
    """A record of a run that nobody made: recorded(name, results, seed=0, history=None)."""
    from llmsuite_lab.core.records import NOT_RECORDED, Record

    def make(name, results, seed=0, history=None):
        how = dict.fromkeys(("command", "versions", "machine", "date", "wall_s", "commit"), NOT_RECORDED)
        tokens = sum(history.tokens) if history else None
        return Record(name, seed, **how, settings={}, results=results, tokens=tokens, history=history)

    return make


@pytest.fixture
def no_records(monkeypatch, tmp_path):
    """An empty data/runs, returned: what is recorded in the test is all there is."""
    from llmsuite_lab.core import records

    monkeypatch.setattr(records, "data_dir", lambda: tmp_path)
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"
