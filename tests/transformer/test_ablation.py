"""Parts taken out of a model, and a reader's functions put into it: the effect is the part's own, and afterwards all is as it was."""

import pytest
import torch

from llmsuite_lab.transformer.config import gpt2_config, llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.experiments import ablation, transplant
from llmsuite_lab.transformer.multi_head import record_attention

LAYERS, HEADS, VOCABULARY = 3, 4, 61


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Decoder(llama_config(VOCABULARY, 24, LAYERS, HEADS, 40, 64, n_kv_heads=2)).eval()


@pytest.fixture
def windows():
    return torch.randint(VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(1))


def test_every_part_changes_the_loss_and_comes_back(model, windows):
    before = model(windows)
    found = ablation.damages(model, windows, layer=1)
    assert list(found)[0] == "nothing"
    assert found["nothing"] == ablation.window_losses(model, windows)
    assert all(len(losses) == len(windows) for losses in found.values())
    assert all(losses != found["nothing"] for name, losses in found.items() if name != "nothing")
    assert torch.equal(model(windows), before)


def test_a_silenced_head_is_a_head_whose_columns_of_w_o_are_zero(model, windows):
    with ablation.without_heads(model, [(1, 2), (0, 1), (0, 3)]):
        silenced = model(windows)
    with torch.no_grad():
        for layer, head in ((1, 2), (0, 1), (0, 3)):
            model.stack.blocks[layer].attention.W_O.weight[:, head * 6 : head * 6 + 6] = 0
    assert torch.allclose(silenced, model(windows), atol=1e-6)


def test_a_block_without_sublayers_hands_its_input_on(model, windows):
    with ablation.without_sublayer(model, 0, "attention"), ablation.without_sublayer(model, 0, "feed_forward"):
        x = torch.randn(1, 5, 24)
        assert torch.equal(model.stack.blocks[0](x), x)
        with ablation.without_residual(model, 0):
            assert not model.stack.blocks[0](x).any()


def test_without_positions_or_mask_attention_is_another(model, windows):
    with ablation.without_mask(model), record_attention(model) as maps:
        model(windows)
        assert next(iter(maps.values())).recorded[..., 0, -1].min() > 0
    assert all(block.attention.causal for block in model.stack.blocks)
    with ablation.without_positions(model):
        assert model.stack.config.positions == "none"
    assert model.stack.config.positions == "rotary"


def test_parts_that_are_not_there_are_refused_and_nothing_stays_changed(model):
    for broken in (
        lambda: ablation.without_heads(model, [(0, HEADS)]),
        lambda: ablation.without_heads(model, [(LAYERS, 0)]),
        lambda: ablation.without_residual(model, -1),
        lambda: ablation.without_sublayer(model, 0, "norm"),
        lambda: ablation.without_positions(Decoder(gpt2_config(9, 8, 1, 2, 8, 8))),
    ):
        with pytest.raises(ValueError, match=r"exist|only rotary|a block has"), broken():
            pass
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_copying_is_scored_on_the_second_half_alone_and_the_control_draws_other_heads(model):
    losses = ablation.copying_losses(model, n=7, seeds=(0, 1))
    assert len(losses) == 2
    assert losses == ablation.copying_losses(model, n=7, seeds=(0, 1))
    scores = torch.arange(LAYERS * HEADS).float().view(LAYERS, HEADS)
    best = ablation.best_heads(scores, 3)
    assert best == [(2, 3), (2, 2), (2, 1)]
    with pytest.raises(ValueError, match="layer 2 has 1 other heads, 3 are needed"):
        ablation.other_heads(model, best)
    others = ablation.other_heads(model, [(2, 3), (0, 1)])
    assert [layer for layer, _ in others] == [0, 2]
    assert not set(others) & {(2, 3), (0, 1)}
    with pytest.raises(ValueError, match="there are 12 heads"):
        ablation.best_heads(scores, 13)


class Letters:
    """A tokenizer of one id a letter."""

    def encode(self, text, allow_special=True):
        return [ord(c) % VOCABULARY for c in text]

    def decode(self, ids):
        return " ".join(map(str, ids))


def test_a_model_with_somebodys_right_functions_says_the_same_and_with_wrong_ones_something_else(model):
    own = transplant.speak(model, Letters(), "hello", 5)
    mask = lambda queries, keys: [[j <= i for j in range(keys)] for i in range(queries)]  # noqa: E731
    split = lambda x, n: x.unflatten(-1, (n, -1)).transpose(1, 2).numpy()  # noqa: E731
    theirs = lambda Q, K, V, mask: torch.nn.functional.scaled_dot_product_attention(Q, K, V, attn_mask=mask).tolist()  # noqa: E731
    layers = [block.attention for block in model.stack.blocks]
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.inference_mode():
        right = model(ids)
        with transplant.transplanted(model, theirs, mask, split):
            assert torch.allclose(model(ids), right, atol=1e-5)
            assert transplant.speak(model, Letters(), "hello", 5) == own
            with pytest.raises(ValueError, match="reads whole sequences"):
                model(ids, torch.ones(1, 5, dtype=torch.bool))
        with transplant.transplanted(model, lambda Q, K, V, mask: V, mask, split):
            assert not torch.allclose(model(ids), right, atol=1e-3)
    assert [block.attention for block in model.stack.blocks] == layers
    with pytest.raises(ValueError, match="no token"):
        transplant.speak(model, Letters(), "")
    with transplant.transplanted(model, lambda Q, K, V, mask: None, mask, split), pytest.raises(ValueError, match="returned None"):
        transplant.speak(model, Letters(), "hello", 1)
