"""Tiny random models of several families, sizes different on every axis."""

import pytest
import torch

SPECIAL = {"vocab_size": 259, "bos_token_id": 257, "eos_token_id": 258, "pad_token_id": 256, "initializer_range": 0.3}
TARGETS = {
    "llama": ["q_proj", "v_proj", "down_proj"],
    "gpt2": ["c_attn", "mlp.c_proj"],
    "bert": ["query", "output.dense"],
    "decoder": ["W_Q", "W_V", "W_down"],
}


def make(family: str, tied: bool = True):
    """A fresh float32 model in eval mode."""
    from transformers import AutoModelForCausalLM, BertConfig, BertModel, GPT2Config, LlamaConfig

    from llmsuite_lab.transformer.config import llama_config
    from llmsuite_lab.transformer.decoder import Decoder

    torch.manual_seed(11)
    if family == "llama":
        config = LlamaConfig(
            hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
            max_position_embeddings=96, tie_word_embeddings=tied, **SPECIAL,
        )  # fmt: skip
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    elif family == "gpt2":
        config = GPT2Config(n_embd=40, n_layer=2, n_head=5, n_positions=96, tie_word_embeddings=tied, **SPECIAL)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    elif family == "bert":
        config = BertConfig(
            vocab_size=259, hidden_size=36, num_hidden_layers=2, num_attention_heads=3, intermediate_size=56, max_position_embeddings=70
        )
        model = BertModel(config)
    else:
        model = Decoder(llama_config(259, n_layers=2, d_model=32, n_heads=4, d_ff=60, max_length=90))
    return model.eval()


@pytest.fixture
def tiny():
    """`tiny(family)`: a fresh model."""
    return make


@pytest.fixture
def targets():
    """Layers to adapt, by family."""
    return TARGETS


@pytest.fixture
def outputs():
    """`outputs(model, ids)`: logits, or hidden states of a model without any."""

    def run(model, ids, **options):
        out = model(ids, **options)
        return out if isinstance(out, torch.Tensor) else getattr(out, "logits", getattr(out, "last_hidden_state", None))

    return run


@pytest.fixture
def examples():
    """Supervised pairs of unequal length."""
    from llmsuite_lab.lm.training import Example

    return [Example([3 + i, 40, 7 + 2 * i][: 1 + i % 3], [5, 9 + i, 17, 4][: 2 + i % 3]) for i in range(12)]
