"""A reward is read at the end token, learnt from pairs as trl learns it, and says how sure it is."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from llmsuite_lab.alignment import reward_model
from llmsuite_lab.alignment.pairs import Pair, collate_pairs, encode
from llmsuite_lab.alignment.reward_model import RewardModel, accuracy, bradley_terry, calibration
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.peft_methods.lora import add_lora

END = 1


def pairs(n=40, seed=0, wrong=0.0):
    """A reply that names token 5 is preferred; `wrong` of the labels are turned round."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(n):
        draw = torch.randint(6, 22, (9,), generator=generator).tolist()
        good, bad = [draw[0], 5, *draw[1 : 1 + draw[2] % 3], END], [*draw[3 : 5 + draw[6] % 3], END]
        if torch.rand((), generator=generator) < wrong:
            good, bad = bad, good
        found.append(Pair(draw[7:9], good, bad))
    return found


def test_a_reward_is_that_of_the_reply_alone_whatever_stands_beside_or_behind_it(tiny, replies):
    for family in ("decoder", "llama"):
        model = RewardModel(tiny(family)).eval()
        together = model(replies)
        for reply, value in zip(replies, together):
            torch.testing.assert_close(model([reply])[0], value, rtol=1e-5, atol=1e-5)
            ids = torch.tensor([[*reply.prompt_ids, *reply.completion_ids]])
            trunk = model.trunk
            hidden = trunk.hidden_states(ids) if family == "decoder" else trunk.base_model(ids).last_hidden_state
            torch.testing.assert_close(hidden[0, -1] @ model.head.weight[0], value, rtol=1e-4, atol=1e-5)


def test_the_loss_by_hand_and_without_overflow():
    values = bradley_terry(torch.tensor([1.0, 500.0, -500.0]), torch.tensor([0.0, -500.0, 500.0]), torch.tensor([0.5, 0.0, 0.0]))
    assert values.tolist() == pytest.approx([math.log(1 + math.exp(-0.5)), 0.0, 1000.0])


def test_loss_and_gradients_are_those_of_trl_s_trainer(tiny, tiny_tokenizer, tmp_path):
    from datasets import Dataset
    from transformers import LlamaForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    ours = RewardModel(tiny("llama"))
    config = ours.trunk.config
    config.num_labels, config.pad_token_id = 1, 0
    theirs = LlamaForSequenceClassification(config)
    theirs.model.load_state_dict(ours.trunk.model.state_dict())
    theirs.score.weight.data.copy_(ours.head.weight.data)
    some = pairs(6)
    batch = collate_pairs([Pair(p.prompt_ids, p.chosen_ids, p.rejected_ids, 0.1 * n) for n, p in enumerate(some)])
    loss, count = reward_model.pair_loss(ours, batch)
    (loss / count).backward()
    rows = [[*r.prompt_ids, *r.completion_ids] for r in batch.replies]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    data = Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}])
    arguments = RewardConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, gradient_checkpointing=False)
    trainer = RewardTrainer(theirs, arguments, train_dataset=data, processing_class=tiny_tokenizer)
    theirs.config.pad_token_id = 0  # the trainer put its tokenizer's there, and transformers finds the last token by it
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    expected = trainer.compute_loss(theirs, {"input_ids": ids, "attention_mask": mask, "margin": batch.margin})
    expected.backward()
    torch.testing.assert_close(loss / count, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.head.weight.grad, theirs.score.weight.grad, rtol=1e-4, atol=1e-6)
    mine, other = (m.layers[0].mlp.up_proj.weight.grad for m in (ours.trunk.model, theirs.model))
    torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_it_learns_what_is_preferred_and_shuffled_labels_teach_nothing(tiny):
    held_out = pairs(100, 1)
    found = {}
    for wrong in (0.0, 0.5):
        model = RewardModel.of(tiny())
        reward_model.train(model, pairs(200, 0, wrong), epochs=3, batch_size=20, lr=3e-3, progress=False)
        found[wrong] = accuracy(model, held_out)
    assert found[0.0].low > 0.85
    assert found[0.5].high < 0.8


def test_an_accuracy_counts_a_tie_as_half(tiny):
    model = RewardModel(tiny())
    nn.init.zeros_(model.head.weight)
    assert accuracy(model, pairs(8)).mean == 0.5


def test_confidence_is_compared_with_how_often_it_was_right(tiny, monkeypatch):
    model = RewardModel(tiny())
    raw = torch.tensor([2.0, math.log(3), math.log(3), 2.0, math.log(3), -math.log(3)])
    model.sd.fill_(4.0)  # a normalised reward is as sure as it was
    monkeypatch.setattr(reward_model, "margins", lambda m, p: raw / 4)
    rows, error = calibration(model, pairs(6), bins=2)
    assert [row.n for row in rows] == [3, 3]
    three, _ = calibration(model, pairs(6), bins=3)
    assert [row.confidence for row in three] == pytest.approx([0.75, 0.75, 1 / (1 + math.exp(-2))])
    assert three[2].right == 1
    one, _ = calibration(model, pairs(6), bins=1)
    assert one[0].right == pytest.approx(5 / 6)
    assert one[0].confidence == pytest.approx((4 * 0.75 + 2 / (1 + math.exp(-2))) / 6)
    assert error == pytest.approx(sum(row.n * abs(row.confidence - row.right) for row in rows) / 6)


def test_normalised_rewards_have_mean_zero_and_sd_one_and_keep_their_order(tiny, replies):
    model = RewardModel(tiny())
    before = model.rewards(replies)
    model.normalise(replies)
    after = model.rewards(replies)
    torch.testing.assert_close(after.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(after.std(), torch.tensor(1.0), atol=1e-5, rtol=0)
    assert before.argsort().tolist() == after.argsort().tolist()
    model.normalise(replies)
    torch.testing.assert_close(model.rewards(replies), after)
    nn.init.zeros_(model.head.weight)
    with pytest.raises(LabError, match="ranks nothing"):
        model.normalise(replies)


def test_a_model_on_a_lora_leaves_its_base_and_saves_what_it_learnt(tiny, tmp_path, replies):
    def fresh():
        return RewardModel(add_lora(tiny(), ["W_Q", "W_V"], rank=2), seed=4)

    model = fresh()
    reward_model.train(model, pairs(20), epochs=1, batch_size=10, progress=False)
    model.normalise(replies)
    reward_model.save(model, tmp_path / "rm")
    again = reward_model.load(fresh(), tmp_path / "rm")
    assert torch.equal(again.rewards(replies), model.rewards(replies))
    assert (tmp_path / "rm" / "reward_model.safetensors").stat().st_size < 30_000
    with pytest.raises(LabError, match="another trunk"):
        reward_model.load(RewardModel(tiny()), tmp_path / "rm")
    with pytest.raises(LabError, match="missing"):
        reward_model.load(fresh(), tmp_path)


def test_what_was_saved_is_what_loads_or_it_is_refused_and_nothing_changes(tiny, tmp_path, replies):
    def fresh(seed=3, alpha=16):
        return RewardModel(add_lora(tiny(seed=seed), ["W_Q", "W_V"], rank=2, alpha=alpha), seed=4)

    model, place = fresh(), tmp_path / "rm"
    reward_model.train(model, pairs(40), epochs=4, batch_size=10, lr=1e-2, progress=False)
    reward_model.save(model, place)
    half = fresh()
    half.trunk.to(torch.bfloat16)
    assert torch.allclose(reward_model.load(half, place).rewards(replies), model.rewards(replies), atol=0.1)
    for other in (fresh(seed=8), fresh(alpha=160)):
        before = other.rewards(replies)
        with pytest.raises(LabError, match="computes something else"):
            reward_model.load(other, place)
        assert torch.equal(other.rewards(replies), before)
    file = place / "reward_model.safetensors"
    written = file.read_bytes()
    for damaged in (written[:-7], written[:-4] + b"abcd"):
        file.write_bytes(damaged)
        with pytest.raises(LabError, match="damaged"):
            reward_model.load(fresh(), place)
    model.head.weight.data[0, 0] = math.inf
    with pytest.raises(ValueError, match="not finite"):
        reward_model.save(model, tmp_path / "broken")


def test_a_reward_that_is_no_number_is_not_ranked(tiny, replies):
    model = RewardModel(tiny())
    model.trunk.embedding.token.weight.data[15] = math.nan
    with pytest.raises(LabError, match="reply 1 a reward of nan"):
        model.rewards(replies)
    with pytest.raises(ValueError, match="pair 1 has margin=nan"):
        reward_model.train(model, [*pairs(1), Pair([5], [6, END], [7, END], math.nan)], progress=False)


def test_a_head_may_start_at_zero_and_learns_from_there(tiny, replies):
    model = RewardModel.of(tiny(), seed=None)
    assert not model.rewards(replies).any()
    assert calibration(model, pairs(8), bins=2)[1] == 0.0  # even odds, and right half the time
    history = reward_model.train(model, pairs(200), epochs=3, batch_size=20, lr=3e-3, progress=False)
    assert history.losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert accuracy(model, pairs(100, 1)).low > 0.85


def test_a_pair_beyond_the_context_is_refused_before_training(tiny):
    with pytest.raises(ValueError, match=r"first: number 1\) have more tokens than the model's context of 64"):
        reward_model.train(RewardModel(tiny("llama")), [*pairs(1), Pair([5] * 60, [END], [6, 7, 8, 9, END])], progress=False)


def said(prompt, chosen, rejected, margin=None):
    return SimpleNamespace(prompt=prompt, chosen=chosen, rejected=rejected, margin=margin)


def test_words_become_pairs_that_end_and_a_long_prompt_loses_its_beginning(tiny_tokenizer):
    whole = encode([said("a b c d", "e", "f g", 0.5)], tiny_tokenizer)[0]
    assert whole.chosen_ids[-1] == whole.rejected_ids[-1] == tiny_tokenizer.eos_token_id
    assert whole.margin == 0.5
    longest = max(len(whole.chosen_ids), len(whole.rejected_ids)) + 2
    cut = encode([said("a b c d", "e", "f g")], tiny_tokenizer, max_length=longest)[0]
    assert cut.prompt_ids == whole.prompt_ids[-2:]
    assert (cut.chosen_ids, cut.rejected_ids) == (whole.chosen_ids, whole.rejected_ids)


@pytest.mark.parametrize(
    ("preference", "length", "words"),
    [
        (said("", "a", "b"), None, "preference 0 has an empty prompt"),
        (said("a", "b", "b"), None, "prefers a reply to itself"),
        (said("a", "b " * 30, "b"), 12, "leaves none for the prompt"),
    ],
)
def test_preferences_that_teach_nothing_are_refused(tiny_tokenizer, preference, length, words):
    with pytest.raises(ValueError, match=words):
        encode([preference], tiny_tokenizer, length)


def test_a_tokenizer_without_an_end_token_is_refused(tiny_tokenizer):
    import copy

    endless = copy.deepcopy(tiny_tokenizer)
    endless.eos_token = None
    with pytest.raises(ValueError, match="no end-of-text token"):
        encode([said("a", "b", "c")], endless)


def test_a_control_token_in_a_preference_stays_text(tiny_tokenizer):
    end = tiny_tokenizer.eos_token
    pair = encode([said(f"a {end} b", f"c {end}", "d")], tiny_tokenizer)[0]
    assert tiny_tokenizer.eos_token_id not in pair.prompt_ids
    assert pair.chosen_ids.count(tiny_tokenizer.eos_token_id) == 1


def test_too_little_to_measure_on_is_told(tiny):
    with pytest.raises(ValueError, match="every bin needs one"):
        calibration(RewardModel(tiny()), pairs(3), bins=5)
    with pytest.raises(ValueError, match="list is empty"):
        collate_pairs([])
    with pytest.raises(ValueError, match="empty reply"):
        RewardModel(tiny())([Example([3], [])])
