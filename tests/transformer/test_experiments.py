"""The section's experiments: what they claim to compute, on sizes small enough for a test."""

import datetime
import math
import random
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from llmsuite_lab.core.records import Record
from llmsuite_lab.transformer.config import gpt2_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.experiments import date_translation, parity, pretraining, recall, retrieval_task, speed
from llmsuite_lab.transformer.experiments.lstm import LSTMLanguageModel, lstm_of_size


@pytest.fixture(scope="module")
def text():
    return pretraining.corpus(vocab_size=300)


def test_nothing_held_out_was_seen_in_training(text):
    training, held_out = pretraining.documents()
    seen = {paragraph for document in training for paragraph in document.split("\n\n") if paragraph}
    assert not seen & {paragraph for document in held_out for paragraph in document.split("\n\n")}
    assert 0.05 < len(text.held_out) / (len(text.train) + len(text.held_out)) < 0.2
    assert text.tokenizer.decode(text.train.tolist(), skip_special=True) == "".join(training)


def test_ngram_losses_equal_counts_by_hand():
    # training a b a b a c: unigram with add one a 4/9, b 3/9, c 2/9; after a: b twice, c once, two kinds; after b: a twice, one kind
    train_ids, held_out = torch.tensor([0, 1, 0, 1, 0, 2]), torch.tensor([0, 1, 0])
    unigram, bigram = pretraining.ngram_losses(train_ids, held_out, vocab_size=3)
    p = torch.tensor([4, 3, 2]).double() / 9
    assert unigram == pytest.approx(-(p[1].log() + p[0].log()).item() / 2)
    after_a, after_b = (2 + 2 * p[1]) / (3 + 2), (2 + 1 * p[0]) / (2 + 1)
    assert bigram == pytest.approx(-(after_a.log() + after_b.log()).item() / 2)
    with pytest.raises(ValueError, match="at least two tokens"):
        pretraining.ngram_losses(train_ids, held_out[:1], 3)


def test_bigram_probabilities_sum_to_one():
    generator = torch.Generator().manual_seed(0)
    train_ids = torch.randint(7, (60,), generator=generator)
    total = 0.0
    for following in range(7):
        total += torch.tensor(-pretraining.ngram_losses(train_ids, torch.tensor([3, following]), 7)[1]).exp().item()
    assert total == pytest.approx(1.0)


def test_pretraining_lowers_the_held_out_loss_and_repeats_exactly(text):
    runs, text = [], replace(text, held_out=text.held_out[:2000])
    for _ in range(2):
        torch.manual_seed(0)
        model = pretraining.small_decoder(300, d_model=16, n_layers=1, n_heads=2, max_length=64)
        runs.append(pretraining.pretrain(model, text, steps=20, batch_size=4, seq=32, evaluate_every=20, lr=1e-2))
    assert runs[0].history.losses == runs[1].history.losses
    assert [tokens for tokens, _ in runs[0].held_out] == [0, 20 * 4 * 32]
    assert runs[0].held_out[-1][1] < runs[0].held_out[0][1] - 0.3
    written = pretraining.sample(model, text.tokenizer, "The ", max_new_tokens=5)
    assert written.startswith("The ")
    assert written == pretraining.sample(model, text.tokenizer, "The ", max_new_tokens=5)


def test_held_out_loss_is_the_mean_cross_entropy(text):
    torch.manual_seed(1)
    model = pretraining.small_decoder(300, d_model=16, n_layers=1, n_heads=2, max_length=64)
    n = (len(text.held_out) - 1) // 32
    ids, targets = text.held_out[: n * 32].view(n, 32), text.held_out[1 : n * 32 + 1].view(n, 32)
    rest = text.held_out[n * 32 :]
    assert 1 < len(rest) < 33  # what fills no window counts as well
    with torch.no_grad():
        logits = torch.cat([model(ids).flatten(0, 1), model(rest[None, :-1])[0]])
    expected = F.cross_entropy(logits, torch.cat([targets.flatten(), rest[1:]]))
    assert pretraining.held_out_loss(model, text, seq=32) == pytest.approx(expected.item(), abs=1e-4)
    with pytest.raises(ValueError, match="at least two tokens, got 1"):
        pretraining.surprise(model, text.held_out[:1])


def test_asking_for_a_loss_switches_dropout_off_and_leaves_every_part_as_it_was(text):
    torch.manual_seed(1)
    model = Decoder(gpt2_config(300, 16, 1, 2, 24, dropout=0.5)).train()
    model.stack.eval()
    modes = [part.training for part in model.modules()]
    assert pretraining.surprise(model, text.held_out[:90], 32) == pretraining.surprise(model, text.held_out[:90], 32)
    assert [part.training for part in model.modules()] == modes
    with pytest.raises(ValueError, match="300"):
        pretraining.surprise(model, torch.full((9,), 300))
    assert [part.training for part in model.modules()] == modes


def test_every_form_of_a_date_names_that_day():
    date = datetime.date(2021, 3, 5)
    assert [form(date) for form in date_translation.FORMS] == [
        "March 5, 2021", "5 March 2021", "5 Mar 2021", "Mar 5th 2021", "Friday, 5th of March 2021", "Fri March 5 2021", "3/5/2021", "5.3.2021",
        "05-MAR-2021", "2021/3/5",
    ]  # fmt: skip
    assert [date_translation.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "30th"
    ]  # fmt: skip


def test_held_out_dates_are_never_drawn_for_training():
    drawn = {iso for _, iso in date_translation.draw_pairs(3000, random.Random(0))}
    held_out = {iso for _, iso in date_translation.draw_pairs(300, random.Random(1), held_out=True)}
    assert not drawn & held_out
    days = [date_translation.FIRST + datetime.timedelta(days=n) for n in range(3000)]
    assert 0.08 < sum(map(date_translation.is_held_out, days)) / 3000 < 0.12


def test_dates_are_encoded_without_loss_and_strange_characters_refused():
    for written, _ in date_translation.draw_pairs(200, random.Random(2)):
        assert date_translation.decode(date_translation.encode(written)) == written
    with pytest.raises(ValueError, match="'é'"):
        date_translation.encode("5 février 2021")


def test_the_date_model_learns_and_counts_its_errors():
    torch.manual_seed(0)
    model = date_translation.date_model(d_model=32, d_ff=64)
    history = date_translation.learn_dates(model, steps=30, batch_size=16)
    assert history.losses[-1] < 0.75 * history.losses[0]
    result = date_translation.evaluate(model, n=20)
    assert result.n == 20
    assert result.correct + len(result.errors) == 20
    assert all(right != got for _, right, got in result.errors)


def test_the_retrieval_task_asks_for_entries_that_exist():
    ids, values, distance = retrieval_task.draw(50, torch.Generator().manual_seed(0))
    keys = retrieval_task.KEYS
    assert ids.shape == (50, retrieval_task.SEQ)
    for row, value, back in zip(ids, values, distance):
        for q in range(retrieval_task.QUESTIONS):
            place = keys + q
            entry = row[place - back[q]]
            assert entry // retrieval_task.VALUES == row[place] - keys * retrieval_task.VALUES
            assert entry % retrieval_task.VALUES == value[q]


def test_fewer_entries_than_keys_are_asked_for_too():
    ids, values, distance = retrieval_task.draw(20, torch.Generator().manual_seed(0), entries=9, keys=13)
    assert ids.shape == (20, 9 + retrieval_task.QUESTIONS)
    for row, value, back in zip(ids, values, distance):
        keys = row[:9] // retrieval_task.VALUES
        assert len(set(keys.tolist())) == 9
        assert int(keys.max()) < 13
        for q in range(retrieval_task.QUESTIONS):
            entry = row[9 + q - back[q]]
            assert (entry // retrieval_task.VALUES, entry % retrieval_task.VALUES) == (row[9 + q] - 13 * retrieval_task.VALUES, value[q])
    for entries in (retrieval_task.QUESTIONS - 1, 14):
        with pytest.raises(ValueError, match="must lie between"):
            retrieval_task.draw(2, torch.Generator(), entries=entries, keys=13)


def test_a_curve_of_recall_has_its_marks_and_repeats_exactly():
    runs = [recall.learned("LSTM", 8, 1e-2, 3, marks=(1, 2), n=6) for _ in range(2)]
    assert runs[0] == runs[1]
    assert [tokens for tokens, _ in runs[0].curve] == [recall.TOKENS, 2 * recall.TOKENS]
    assert runs[0].curve[-1][1] == sum(runs[0].right) / (6 * retrieval_task.QUESTIONS)
    sizes = [sum(p.numel() for p in recall.new_model(name).parameters()) for name in recall.MODELS]
    assert abs(sizes[0] / sizes[1] - 1) < 0.02
    assert all(recall.TOKENS % (entries + retrieval_task.QUESTIONS) == 0 for entries in recall.ENTRIES)
    with pytest.raises(ValueError, match="choose one of attention, LSTM"):
        recall.new_model("GRU")


def test_recall_is_compared_at_each_models_best_rate_sequence_by_sequence():
    tried = [
        ("attention", 8, 3e-2, 1.0), ("attention", 8, 1e-2, 1.0), ("LSTM", 8, 1e-2, 0.3), ("LSTM", 8, 3e-3, 0.2),
        ("attention", 64, 3e-2, 0.4), ("attention", 64, 1e-2, 0.3), ("LSTM", 64, 1e-2, 0.2), ("LSTM", 64, 3e-3, 0.3),
    ]  # fmt: skip
    rows = [{"model": m, "entries": n, "lr": lr, "curve": [[9, share]]} for m, n, lr, share in tried]
    assert recall.best_rates(rows) == {"attention": {8: 1e-2, 64: 3e-2}, "LSTM": {8: 1e-2, 64: 3e-3}}

    def record(seed, attention, lstm):
        results = [
            {"model": m, "entries": 64, "curve": [[720, 0.5], [1440, sum(right) / 24]], "right": right}
            for m, right in zip(recall.MODELS, (attention, lstm))
        ]
        made = {"command": "llmsuite train recall", "versions": {}, "machine": "", "date": "", "wall_s": 1.0, "commit": ""}
        return Record("recall", seed, **made, settings={}, results=results)

    runs = [record(0, [8, 8, 4], [0, 4, 4]), record(1, [8, 4, 4], [4, 4, 4])]
    found = recall.gain(runs, 64)
    assert (found.mean, found.n) == (pytest.approx((0.75 + 0.25 + 0.0) / 3), 3)
    marks = recall.curves(runs, 64)
    assert [tokens for tokens, _ in marks["LSTM"]] == [720, 1440]
    assert marks["attention"][1][1] == pytest.approx([20 / 24, 16 / 24])


def test_order_comes_in_through_positions_or_through_a_causal_mask():
    assert parity.order_deviation(with_positions=False, causal=True) > 0.01
    assert parity.beginning_deviation(1, causal=True) < 1e-6 < 0.01 < parity.beginning_deviation(2, causal=True)
    assert parity.beginning_deviation(2, causal=False) < 1e-5


def test_attention_and_lstm_have_the_same_size():
    attention, lstm = retrieval_task.measure_reach(0, steps=2, batch_size=4, n=256)
    assert abs(attention.parameters / lstm.parameters - 1) < 0.02
    assert len(attention.accuracy) == retrieval_task.SEQ - 1


def test_the_reach_of_two_models_is_compared_sequence_by_sequence():
    def run(name, seed, far):
        return retrieval_task.Reach(name, seed, 10, [0.5] * 4, 3, [0.0] * 3, far)

    nan = math.nan  # no question was asked from that quarter
    runs = [
        run("attention", 0, [1.0, 0.5, nan]),
        run("attention", 1, [0.5, 0.5, nan]),
        run("LSTM", 0, [0.0, 0.5, nan]),
        run("LSTM", 1, [0.5, 0.0, nan]),
    ]
    gain = retrieval_task.gain(runs, "far")
    assert (gain.mean, gain.n) == (pytest.approx((0.5 + 0.25) / 2), 2)
    assert retrieval_task.gain(runs, "near").mean == 0
    assert retrieval_task.reach(runs, "LSTM", "far").mean == pytest.approx(0.25)


@pytest.mark.parametrize("compared", [parity.attention_differences, parity.multi_head_differences])
def test_a_spoilt_comparison_shows(compared):
    assert max(compared().values()) < 1e-6
    assert min(compared(fault=True).values()) > 0.01


def test_the_lstm_is_torchs_and_of_the_size_asked_for():
    model = lstm_of_size(11, 2, 5000)
    assert abs(sum(p.numel() for p in model.parameters()) / 5000 - 1) < 0.1
    ids = torch.randint(11, (2, 5), generator=torch.Generator().manual_seed(0))
    expected = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert torch.allclose(model.loss(ids[:, :-1], ids[:, 1:]), expected)
    with pytest.raises(ValueError, match="more than 10"):
        lstm_of_size(11, 2, 10)
    with pytest.raises(ValueError, match="at least 1"):
        LSTMLanguageModel(11, 0, 1)


def test_speed_is_measured_at_every_length():
    speeds = speed.measure_speed((4, 16), tokens=32, repeats=2, d_model=16, vocab_size=20)
    assert [s.length for s in speeds] == [4, 16]
    assert all(len(s.attention) == len(s.lstm) == len(s.ratio) == 2 and min(s.attention + s.lstm) > 0 for s in speeds)
    with pytest.raises(ValueError, match="cannot be cut"):
        speed.measure_speed((5,), tokens=32)


def test_parity_figures_are_small_and_see_a_broken_part(monkeypatch):
    assert max(parity.attention_differences().values()) < 1e-6
    assert max(parity.multi_head_differences().values()) < 1e-6
    assert parity.order_deviation(with_positions=False) < 1e-6
    assert parity.order_deviation(with_positions=True) > 0.01
    monkeypatch.setattr(parity, "scaled_dot_product_attention", lambda Q, K, V, mask: torch.softmax(Q @ K.transpose(-2, -1), -1) @ V)
    assert min(parity.attention_differences().values()) > 0.01


@pytest.mark.parametrize("family", parity.FAMILIES)
def test_every_family_agrees_with_transformers(family):
    assert parity.family_difference(family) < 1e-4
    with pytest.raises(ValueError, match="choose one of"):
        parity.tiny_reference("elmo")


def test_a_transplanted_model_with_one_weight_changed_differs(monkeypatch):
    def spoiled(theirs):
        ours = original(theirs)
        ours.stack.blocks[0].attention.W_V.weight.data[0, 0] += 0.5
        return ours

    original = parity.weights.from_transformers
    monkeypatch.setattr(parity.weights, "from_transformers", spoiled)
    assert parity.family_difference("llama") > 1e-3


def test_a_decoder_of_another_family_can_be_pretrained_too(text):
    model = Decoder(gpt2_config(300, 16, 1, 2, 32, 64))
    run = pretraining.pretrain(model, text, steps=2, batch_size=2, seq=16)
    assert run.history.steps == 2
    with pytest.raises(ValueError, match="a window needs"):
        pretraining.pretrain(model, text, seq=len(text.train))
