"""Bytes by kind: equal to counting by hand, on the paper's shapes and on real modules; the model stays as it was."""

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from llmsuite_lab.lm.batching import collate
from llmsuite_lab.lm.memory import held
from llmsuite_lab.peft_methods.lora import add_lora
from llmsuite_lab.peft_methods.memory import count, measure
from llmsuite_lab.peft_methods.methods import METHODS
from llmsuite_lab.peft_methods.prompt_tuning import add_soft_prompt


def test_the_paper_s_two_counts():
    layer = nn.Sequential(nn.Linear(64, 512, bias=False))
    assert count(layer).total == 32_768
    assert count(add_lora(layer, ["0"], rank=8)).trained == 4_608
    config = LlamaConfig(
        hidden_size=2048, head_dim=4, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, vocab_size=11
    )
    assert count(add_soft_prompt(LlamaForCausalLM(config), length=5)).trained == 10_240


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", METHODS)
def test_every_kind_is_what_counting_gives_and_the_model_stays_as_it_was(tiny, examples, name, dtype):
    model = METHODS[name].prepare(tiny("llama"), 1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found, n = measure(model, collate(examples[:4]), dtype), count(model)
    size = 4 if dtype == torch.float32 else 2
    buffers = held(model.buffers())
    assert found.weights == n.total * size + buffers
    assert found.gradients == n.trained * size
    assert found.moments == 8 * n.trained
    assert found.masters == (0 if size == 4 else 4 * n.trained)
    assert found.optimizer == found.masters + found.moments
    assert found.activations > 0
    assert found.total == found.weights + found.optimizer + found.gradients + found.activations
    assert not model.training
    assert all(torch.equal(before[key], value) and before[key].dtype == value.dtype for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_activations_by_hand():
    """x (frozen input) → W x → relu → V h: saved are x for W's gradient, relu's result (for V's and its own), and what the loss keeps."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.W, self.V = nn.Linear(5, 7, bias=False), nn.Linear(7, 3, bias=False)

        def forward(self, x):
            return self.V(torch.relu(self.W(x)))

    model, x = Two(), torch.randn(11, 5)
    loss = lambda model, x: (model(x).sum(), 1)  # noqa: E731
    assert measure(model, x, loss_fn=loss).activations == 4 * 11 * (5 + 7)
    model.W.requires_grad_(False)  # nothing before V needs a gradient any more
    assert measure(model, x, loss_fn=loss).activations == 4 * 11 * 7
    assert measure(model, torch.randn(22, 5), loss_fn=loss).activations == 4 * 22 * 7


def test_tied_weights_count_once_and_nothing_to_train_is_refused(tiny, examples):
    tied, apart = tiny("llama"), tiny("llama", tied=False)
    assert count(apart).total - count(tied).total == 259 * 48
    assert count(tied).share == 1
    with pytest.raises(ValueError, match="no parameter requires a gradient"):
        measure(tied.requires_grad_(False), collate(examples[:2]))
    with pytest.raises(ValueError, match="no parameters to count"):
        count(nn.Identity())
