"""A soft prompt written out: equal to peft's in logits, gradients and five updates; batches of unequal length, a KV cache, writing after training."""

from copy import deepcopy

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from llmsuite_lab.lm.adapters import add_lora as with_peft
from llmsuite_lab.lm.batching import collate
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.lm.supervised import supervised_logits
from llmsuite_lab.lm.training import fit
from llmsuite_lab.peft_methods.lora import add_lora
from llmsuite_lab.peft_methods.prompt_tuning import add_soft_prompt, place
from llmsuite_lab.peft_methods.switching import adapters_off
from llmsuite_lab.transformer.generation import generate

FAMILIES = ("llama", "gpt2", "decoder")
IDS = torch.tensor([[3, 200, 45, 8, 17], [9, 9, 31, 256, 256]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_same_vectors_give_peft_s_logits_gradients_and_five_updates(tiny, family):
    base = tiny(family).double()  # as for LoRA: Adam's first steps are signs, and rounding must not decide them
    reference = get_peft_model(deepcopy(base), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=7)).double().eval()
    P = reference.prompt_encoder["default"].embedding.weight
    ours, start = place(deepcopy(base), P.detach()).eval(), P.detach().clone()
    direction = torch.randn(2, 5, 259, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * MASK[..., None]
    optimizers = [torch.optim.AdamW([p], lr=1e-2) for p in (ours.P, P)]
    for _ in range(5):
        mine = ours(IDS, attention_mask=MASK).logits
        other = reference(input_ids=IDS, attention_mask=MASK.long()).logits[:, 7:]
        torch.testing.assert_close(mine[MASK], other[MASK], rtol=1e-9, atol=1e-9)
        for optimizer in optimizers:
            optimizer.zero_grad()
        (mine * direction).sum().backward()
        (other * direction).sum().backward()
        torch.testing.assert_close(ours.P.grad, P.grad, rtol=1e-6, atol=1e-9)
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours.P, P, rtol=1e-6, atol=1e-9)
    assert ours.P.data_ptr() != P.data_ptr()
    assert not torch.allclose(P, start, atol=1e-3)
    assert [name for name, p in ours.named_parameters() if p.requires_grad] == ["P"]


def test_the_paper_s_count():
    config = LlamaConfig(
        hidden_size=2048, head_dim=4, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, vocab_size=11
    )
    model = add_soft_prompt(LlamaForCausalLM(config), length=5)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 10_240


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_row_in_a_batch_of_unequal_length_is_the_row_alone_whichever_side_is_padded(tiny, outputs, family, side):
    model = add_soft_prompt(tiny(family), length=4, init="random", seed=2)
    rows = [[3, 200, 45, 8, 17, 5], [9, 31], [77, 250, 4]]
    pads = [[256] * (6 - len(row)) for row in rows]
    ids = torch.tensor([pad + row if side == "left" else row + pad for row, pad in zip(rows, pads)])
    mask = torch.tensor([[0] * len(pad) + [1] * len(row) if side == "left" else [1] * len(row) + [0] * len(pad) for row, pad in zip(rows, pads)])
    found = outputs(model, ids, attention_mask=mask.bool())
    for i, row in enumerate(rows):
        alone = outputs(model, torch.tensor([row]))[0]
        torch.testing.assert_close(found[i][mask[i].bool()], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_soft_prompt_is_the_words_it_was_made_of(tiny, outputs, family):
    """With no padding, P = E[w] in front of x is w in front of x."""
    base = tiny(family)
    model = add_soft_prompt(deepcopy(base), length=5, text_ids=[7, 70, 170])
    words = torch.tensor([[7, 70, 170, 7, 70]] * 2)
    expected = outputs(base, torch.cat([words, IDS], 1))[:, 5:]
    torch.testing.assert_close(outputs(model, IDS), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(add_soft_prompt(tiny(family), 3, seed=4).P, add_soft_prompt(tiny(family), 3, seed=4).P)
    with adapters_off(model):
        assert torch.equal(outputs(model, IDS), outputs(base, IDS))


@pytest.mark.parametrize("family", FAMILIES)
def test_with_a_cache_the_same_is_written_as_without_for_prompts_of_unequal_length(tiny, family, outputs):
    base = tiny(family)
    model = add_soft_prompt(deepcopy(base), length=6, init="random", seed=3)
    with torch.no_grad():
        model.P.mul_(2.0)
    prompts = [[3, 200, 45], [7, 8, 9, 10, 11, 12], [250]]
    written = [row.ids for row in generate(model, prompts, 10)]
    for prompt, ids in zip(prompts, written):
        rows = list(prompt)
        for _ in ids:
            with torch.no_grad():
                rows.append(int(outputs(model, torch.tensor([rows]))[0, -1].argmax()))
        assert rows[len(prompt) :] == ids
    plain = [row.ids for row in generate(base, prompts, 10)]
    assert written != plain
    with adapters_off(model):
        assert [row.ids for row in generate(model, prompts, 10)] == plain
    room = 90 if family == "decoder" else 96
    with pytest.raises(ValueError, match=str(room - 6)):
        generate(model, [[5] * (room - 8)], 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_in_bfloat16_moves_p_alone_and_the_model_writes_afterwards_without_reloading(tiny, examples, tiny_tokenizer, family, outputs):
    model = add_soft_prompt(tiny(family).to(torch.bfloat16), length=4)
    frozen = {name: p.clone() for name, p in model.base.named_parameters()}
    prompts = [[97, 98], [99, 100, 101]]
    before = [row.ids for row in generate(model, prompts, 8)]
    history = fit(model, examples, steps=20, batch_size=4, lr=0.3, dtype=torch.bfloat16, progress=False)
    if family != "decoder":  # whose random weights are too small for a prompt to steer in 20 steps
        assert history.losses[-1] < history.losses[0]
    assert all(torch.equal(frozen[name], p) for name, p in model.base.named_parameters())
    assert model.P.dtype == torch.float32
    assert outputs(model, IDS).dtype == torch.bfloat16
    assert [row.ids for row in generate(model, prompts, 8)] != before
    if family != "decoder":
        lm = LanguageModel(model, tiny_tokenizer, "tiny")
        assert len(lm.complete(["ab", "cde"], 4)) == 2
        assert lm.score(["ab"], ["cd"])[0].tokens == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_reads_the_tokens_behind_the_prompt(tiny, examples, outputs, family):
    model = add_soft_prompt(tiny(family), length=4)
    batch = collate(examples[:5])
    logits = outputs(model, batch.ids, attention_mask=batch.attention_mask)
    torch.testing.assert_close(supervised_logits(model, batch), logits[batch.mask], rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_refused_and_the_model_stays_as_it_was(tiny):
    model = tiny("llama")
    for options, says in (
        ({"length": 0}, "whole number from 1"),
        ({"length": 96}, "below the context of 96"),
        ({"length": 2.0}, "whole number"),
        ({"init": "words"}, "unknown init 'words'"),
        ({"text_ids": []}, "at least one"),
        ({"text_ids": [3, 259]}, "from 0 to 258"),
    ):
        with pytest.raises(ValueError, match=says):
            add_soft_prompt(model, **options)
    with pytest.raises(ValueError, match=r"takes \[p, 48\]"):
        place(model, torch.zeros(3, 40))
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(ValueError, match="in front already"):
        add_soft_prompt(add_soft_prompt(model))
    with pytest.raises(ValueError, match="is none"):
        add_soft_prompt(tiny("bert"))
    adapted = add_lora(tiny("llama"))
    with pytest.raises(ValueError, match="carries an adapter already"):
        with_peft(adapted, 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_piece_by_piece_with_a_cache_is_the_whole_at_once_and_the_prompt_lies_in_the_cache_once(tiny, outputs, family):
    from transformers import DynamicCache

    from llmsuite_lab.transformer.cache import KVCache

    model = add_soft_prompt(tiny(family), length=4)
    row = torch.tensor([[3, 200, 45, 8, 17]])
    ours = family == "decoder"
    cache = KVCache(model.config.n_layers) if ours else DynamicCache(config=model.config)
    options = {"cache": cache} if ours else {"past_key_values": cache, "use_cache": True}
    with torch.no_grad():
        parts = [outputs(model, row[:, a:b], **options) for a, b in ((0, 2), (2, 3), (3, 5))]
        torch.testing.assert_close(torch.cat(parts, 1), outputs(model, row), rtol=1e-4, atol=1e-4)
    assert (cache.length if ours else cache.get_seq_length()) == 4 + 5


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_that_begin_alike_are_written_on_as_each_alone(tiny, family):
    model = add_soft_prompt(tiny(family), length=4, init="random", seed=2)
    rows = [[60 + i for i in range(20)] + rest for rest in ([3, 200, 45, 8], [9], [250, 1, 7])]
    together = [row.ids for row in generate(model, rows, 8)]
    assert together == [generate(model, [row], 8)[0].ids for row in rows]
