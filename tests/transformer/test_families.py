"""The stacks as models: the 2017 transformer against torch.nn.Transformer, its size to the digit, learning, and input that does not fit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from llmsuite_lab.transformer.attention import causal_mask
from llmsuite_lab.transformer.cache import KVCache
from llmsuite_lab.transformer.config import TransformerConfig, bert_config, gpt2_config, llama_config, original_config, t5_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.encoder import Encoder, MaskedLanguageModel, l2_normalise, mean_pool
from llmsuite_lab.transformer.encoder_decoder import EncoderDecoder, parameter_table
from llmsuite_lab.transformer.fused import written_out
from llmsuite_lab.transformer.optimizer import AdamW
from llmsuite_lab.transformer.weights import count_parameters


def test_the_2017_base_model_has_63_045_632_parameters():
    config = original_config(37_000)
    table = parameter_table(config)
    assert sum(table.values()) == 63_045_632
    with torch.device("meta"):
        assert count_parameters(EncoderDecoder(config)) == 63_045_632
        with_biases = EncoderDecoder(original_config(37_000, attention_bias=True))
        stacks = torch.nn.Transformer(512, 8, 6, 6, 2048)  # has biases everywhere and, unlike the paper, a norm after each stack
    assert sum(parameter_table(with_biases.config).values()) == count_parameters(with_biases) == 63_045_632 + 18 * 4 * 512
    assert sum(p.numel() for p in stacks.parameters()) == count_parameters(with_biases) - 37_000 * 512 + 2 * 2 * 512
    odd = original_config(43, d_model=12, n_layers=2, n_decoder_layers=3, n_heads=3, d_ff=20, d_head=5, attention_bias=True)
    assert sum(parameter_table(odd).values()) == count_parameters(EncoderDecoder(odd))
    with pytest.raises(ValueError, match="2017"):
        parameter_table(t5_config(43, 12, 2, 3, 20))


@torch.no_grad()
def test_the_2017_stacks_equal_torchs_transformer():
    torch.manual_seed(0)
    theirs = torch.nn.Transformer(12, 3, 2, 2, 20, dropout=0.0, batch_first=True).eval()
    theirs.encoder.norm = theirs.decoder.norm = None
    for parameter in theirs.parameters():
        parameter.normal_(std=0.4)
    ours = EncoderDecoder(original_config(43, 12, 2, 3, 20, 17, attention_bias=True)).eval()
    for stack, reference in ((ours.encoder, theirs.encoder), (ours.decoder, theirs.decoder)):
        for block, layer in zip(stack.blocks, reference.layers):
            attentions = [(block.attention, layer.self_attn)] + (
                [(block.cross_attention, layer.multihead_attn)] if block.cross_attention else []
            )
            for mine, other in attentions:
                for name, weight, bias in zip("QKV", other.in_proj_weight.chunk(3), other.in_proj_bias.chunk(3)):
                    getattr(mine, f"W_{name}").load_state_dict({"weight": weight, "bias": bias})
                mine.W_O.load_state_dict(other.out_proj.state_dict())
            norms = (
                [block.attention_norm, block.cross_attention_norm, block.feed_forward_norm]
                if block.cross_attention
                else [block.attention_norm, block.feed_forward_norm]
            )
            for i, norm in enumerate(norms, 1):
                norm.load_state_dict(getattr(layer, f"norm{i}").state_dict())
            block.feed_forward.W_up.load_state_dict(layer.linear1.state_dict())
            block.feed_forward.W_down.load_state_dict(layer.linear2.state_dict())
    source, target = torch.randint(0, 43, (2, 9)), torch.randint(0, 43, (2, 6))
    real = torch.arange(9)[None] < torch.tensor([9, 4])[:, None]
    embed = lambda ids: ours.encoder_embedding(ids, torch.arange(ids.shape[1])[None])  # noqa: E731
    hidden = theirs(embed(source), embed(target), tgt_mask=~causal_mask(6), src_key_padding_mask=~real, memory_key_padding_mask=~real)
    expected = F.linear(hidden, ours.encoder_embedding.token.weight)
    torch.testing.assert_close(ours(source, target, real), expected, atol=1e-5, rtol=0)
    with written_out():
        torch.testing.assert_close(ours(source, target, real), expected, atol=1e-5, rtol=0)


SMALL = Decoder(llama_config(31, 12, 2, 6, 20, 24, n_kv_heads=3)).eval()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=2, max_size=12), st.integers(0, 6), st.lists(st.integers(1, 4), max_size=4))
@torch.no_grad()
def test_padding_and_caching_never_change_a_row(ids, pad, cuts):
    alone = SMALL(torch.tensor([ids]))[0]
    row, mask = torch.tensor([[0] * pad + ids]), torch.tensor([[False] * pad + [True] * len(ids)])
    torch.testing.assert_close(SMALL(row, mask)[0, pad:], alone, atol=1e-5, rtol=0)
    cache, parts, start = KVCache(2), [], 0
    for size in [*cuts, row.shape[1]]:
        piece = row[:, start : start + size]
        if piece.shape[1]:
            parts.append(SMALL(piece, mask[:, : start + piece.shape[1]], cache))
        start += piece.shape[1]
    torch.testing.assert_close(torch.cat(parts, 1)[0, pad:], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_later_token_cannot_change_an_earlier_logit():
    ids = torch.randint(0, 31, (2, 9), generator=torch.Generator().manual_seed(0))
    changed = ids.clone()
    changed[:, 6] = (changed[:, 6] + 1) % 31
    before, after = SMALL(ids), SMALL(changed)
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


def test_loss_counts_only_what_it_is_told_to():
    ids = torch.randint(0, 31, (2, 9), generator=torch.Generator().manual_seed(0))
    targets = ids.roll(-1, 1).clone()
    full = F.cross_entropy(SMALL(ids).flatten(0, 1), targets.flatten())
    torch.testing.assert_close(SMALL.loss(ids, targets), full)
    targets[:, :4] = -100
    torch.testing.assert_close(SMALL.loss(ids, targets), F.cross_entropy(SMALL(ids).flatten(0, 1), targets.flatten()))
    with pytest.raises(ValueError, match="none of the"):
        SMALL.loss(ids, torch.full_like(ids, -100))


@pytest.mark.parametrize("make", [llama_config, gpt2_config])
def test_a_decoder_learns_to_copy_and_a_fresh_one_knows_nothing(make):
    torch.manual_seed(0)
    model = Decoder(make(11, 16, 2, 2, 32, 16))
    ids = torch.randint(0, 11, (4, 9))
    first = model.loss(ids[:, :-1], ids[:, 1:]).item()
    assert first == pytest.approx(torch.tensor(11.0).log().item(), abs=0.2)
    optimizer = AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * first


def test_pooling_ignores_padding_and_an_empty_row_is_zero():
    hidden = torch.arange(24.0).view(2, 4, 3)
    pooled = mean_pool(hidden, torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]).bool())
    assert pooled.tolist() == [[1.5, 2.5, 3.5], [0, 0, 0]]
    torch.testing.assert_close(l2_normalise(pooled), F.normalize(pooled))
    with pytest.raises(ValueError, match=r"\(2, 4\); got \(2, 3\)"):
        mean_pool(hidden, torch.ones(2, 3))


def test_input_that_does_not_fit_is_refused_with_its_shape():
    encoder = Encoder(bert_config(31, 12, 1, 3, 20, 8))
    both = EncoderDecoder(original_config(31, 12, 1, 3, 20, 8))
    ids = torch.zeros(2, 5, dtype=torch.long)
    for call, message in (
        (lambda: SMALL(torch.zeros(25, dtype=torch.long)), r"\(25,\)"),
        (lambda: SMALL(torch.zeros(1, 25, dtype=torch.long)), "25 tokens is longer than the model's max_length=24"),
        (lambda: SMALL(torch.full((1, 3), 31)), r"token id 31 .*\(1, 3\)"),
        (lambda: SMALL(ids, torch.ones(2, 4).bool()), r"\(2, 5\); got \(2, 4\)"),
        (lambda: encoder(torch.zeros(1, 9, dtype=torch.long)), "max_length=8"),
        (lambda: encoder(torch.zeros(1, 0, dtype=torch.long)), "at least one token"),
        (lambda: both(ids, torch.zeros(3, 5, dtype=torch.long)), r"batch=3"),
        (lambda: both.greedy(ids, start_id=1, eos_id=2, max_new_tokens=9), "max_length=8"),
        (lambda: both.decoder.blocks[0](torch.zeros(1, 2, 12)), "pass memory"),
        (lambda: TransformerConfig(31, 10, 1, 3, 20, 8), "d_model=10 cannot be split into n_heads=3"),
        (lambda: TransformerConfig(31, 12, 1, 6, 20, 8, n_kv_heads=4), "n_kv_heads=4 must divide"),
        (lambda: TransformerConfig(31, 12, 1, 3, 20, 8, positions="alibi"), "'alibi'.*rotary"),
        (lambda: TransformerConfig(0, 12, 1, 3, 20, 8), "vocab_size=0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@torch.no_grad()
def test_a_row_of_nothing_but_padding_gives_numbers_not_nan():
    ids = torch.zeros(2, 4, dtype=torch.long)
    mask = torch.tensor([[True] * 4, [False] * 4])
    for model in (SMALL, Encoder(bert_config(31, 12, 1, 3, 20, 8))):
        assert bool(torch.isfinite(model(ids, mask)).all())
        with written_out():
            assert bool(torch.isfinite(model(ids, mask)).all())


@pytest.mark.parametrize("model", [SMALL, Encoder(bert_config(61, 24, 1, 3, 40, 16)), MaskedLanguageModel(bert_config(61, 24, 1, 3, 40, 16))])
def test_what_is_no_mask_is_refused_in_a_masks_place(model):
    """`model(x, y)`, written out of habit for a loss: the targets must not become a mask that hides token 0 and shows the rest."""
    x, y = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[6, 0, 8, 1]])
    with pytest.raises(ValueError, match="holds 8, neither 0 nor 1: are these token ids, or targets"):
        model(x, y)
    with pytest.raises(ValueError, match=r"mask must be \(batch, cached \+ new tokens\) = \(1, 4\)"):
        model(x, y[0])
    for wrong in (torch.zeros(1, 4), [[1, 1, 1, 1]], 3):
        with pytest.raises(TypeError, match="tensor of True and False, or of 1 and 0; got"):
            model(x, wrong)
    assert torch.equal(model(x, torch.tensor([[1, 1, 1, 0]])), model(x, torch.tensor([[True, True, True, False]])))


def test_neither_mask_of_an_encoder_decoder_takes_ids():
    model = EncoderDecoder(t5_config(61, 24, 1, 3, 40)).eval()
    x, y = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[6, 0, 8]])
    for masks in ((x, None), (None, y)):
        with pytest.raises(ValueError, match="holds 8, neither 0 nor 1"):
            model(x, y, *masks)
