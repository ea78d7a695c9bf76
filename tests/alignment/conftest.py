"""Tiny random policies, sizes different on every axis, and replies of unequal length."""

import pytest
import torch

from llmsuite_lab.lm.batching import Example
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder

VOCABULARY, END = 23, 1


def make(family: str = "decoder", seed: int = 3):
    """A fresh float32 model: our decoder, or a Llama of transformers."""
    torch.manual_seed(seed)
    if family == "decoder":
        return Decoder(llama_config(VOCABULARY, n_layers=2, d_model=24, n_heads=3, d_ff=40, max_length=64))
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64, bos_token_id=0, eos_token_id=END, pad_token_id=2, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).float()


@pytest.fixture
def tiny():
    """`tiny(family, seed)`: a fresh model."""
    return make


@pytest.fixture
def replies():
    """Four replies of unequal length to prompts of unequal length; the last is the end token alone, the second was cut."""
    return [
        Example([5, 6, 7, 8], [9, 10, 11, END]),
        Example([12], [13, 14, 15, 16, 17, 18]),
        Example([5, 1, 6], [19, END]),  # an end token inside the prompt
        Example([20, 21, 22, 3, 4], [END]),
    ]
