"""ReST: what passes a threshold, what it weighs, what it took, and that it gets better on a bandit."""

import math
from dataclasses import replace

import pytest
import torch

from llmsuite_lab.alignment import best_of_n, rest
from llmsuite_lab.alignment.actions import score
from llmsuite_lab.alignment.rest import Settings, Weighted, keep, weighted_loss, weights
from llmsuite_lab.alignment.rollouts import write
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm.batching import Example, collate
from llmsuite_lab.lm.supervised import supervised_loss
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder

END, ARMS = 1, {2: 0.0, 3: 0.5, 4: 1.0}
SMALL = Settings(prompts=32, replies=4, max_new_tokens=1, lr=1e-2, thresholds=(0.3, 0.6, 0.8), epochs=4, missing_end=0.0)


def arm(replies):
    return torch.tensor([ARMS.get(reply.completion_ids[0], -1.0) for reply in replies])


def policy(seed=0):
    torch.manual_seed(seed)
    return Decoder(llama_config(6, n_layers=1, d_model=16, n_heads=2, d_ff=24, max_length=16))


def run(settings=SMALL, reward=arm, seed=0):
    model = policy(seed)
    return model, rest.train(model, reward, [[2, 3]] * 32, settings, end_id=END, seed=seed, progress=False)


def test_strictly_above_the_threshold_passes():
    scores = torch.tensor([0.0, 1.0, 2.0, 3.0, 1.0])
    assert keep(scores, 1.0, share=False) == ([2, 3], 1.0)
    assert keep(scores, 0.5) == ([2, 3], 1.0)
    assert keep(scores, 0.0)[0] == [0, 1, 2, 3, 4]
    assert keep(scores, 9.0, share=False)[0] == []
    assert keep(torch.ones(4), 0.5)[0] == []


def test_all_weights_one_give_the_supervised_loss_and_a_weight_of_two_doubles_a_reply(tiny, replies):
    model = tiny()
    plain, count = supervised_loss(model, collate(replies))
    mine, n = weighted_loss(model, [Weighted(reply, 1.0) for reply in replies])
    assert n == count
    torch.testing.assert_close(mine, plain, rtol=1e-5, atol=1e-5)
    first, _ = supervised_loss(model, collate(replies[:1]))
    doubled, _ = weighted_loss(model, [Weighted(replies[0], 2.0), *(Weighted(reply, 1.0) for reply in replies[1:])])
    torch.testing.assert_close(doubled, plain + first, rtol=1e-5, atol=1e-4)


def test_weights_rise_with_the_reward_and_have_mean_one():
    F = weights(torch.tensor([0.0, 1.0, 2.0]), 0.5)
    assert F.mean().item() == pytest.approx(1)
    assert (F[1] / F[0]).item() == pytest.approx(math.exp(2))


@pytest.mark.parametrize("weigh", [None, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_on_a_bandit_the_best_arm_becomes_the_likeliest(seed, weigh):
    model, ledger = run(replace(SMALL, weigh=weigh, grows=2), seed=seed)
    with torch.no_grad():
        after = score(model, [Example([2, 3], [0])], distribution=True).distribution[0, 0]
    assert after.argmax() == 4
    assert after[4].exp() > 0.5


def test_what_it_took_is_counted_and_a_reply_is_used_again():
    _, ledger = run()
    assert ledger.tokens == ledger.reward_calls == 128
    assert [row["threshold"] for row in ledger.rows] == sorted(row["threshold"] for row in ledger.rows)
    kept = [row["kept"] for row in ledger.rows]
    assert ledger.read == 4 * sum(kept)
    assert ledger.reuse == ledger.read / 128
    passed = [row["score"] for row in ledger.rows if row["kept"]]
    assert passed == sorted(passed)


def test_each_grow_step_writes_anew():
    seen = []
    run(replace(SMALL, grows=3, lr=1e-12), reward=lambda replies: arm(seen.append([reply.completion_ids for reply in replies]) or replies))
    assert len(seen) == 3
    assert seen[0] != seen[1] != seen[2] != seen[0]


def test_what_is_read_is_counted_where_an_improve_step_is_no_whole_epoch():
    _, ledger = run(replace(SMALL, epochs=0.5, batch_size=3))
    steps = [max(1, round(0.5 * math.ceil(row["kept"] / 3))) for row in ledger.rows]
    assert ledger.updates == sum(steps)
    assert 3 * sum(steps) - 2 * len(steps) <= ledger.read <= 3 * sum(steps)


def test_a_reply_that_was_cut_is_held_back_by_the_missing_end():
    """Two actions are allowed, so a reply ends with the end token or is cut; both have the same reward."""
    settings = replace(SMALL, max_new_tokens=2, thresholds=(0.5,), shares=False)
    alike = lambda replies: torch.ones(len(replies))  # noqa: E731
    for missing, kept in ((1.0, "ended"), (0.0, "all")):
        _, ledger = run(replace(settings, missing_end=missing), reward=alike)
        row = ledger.rows[0]
        assert 0 < row["ended"] < 1
        assert row["kept"] == (round(128 * row["ended"]) if kept == "ended" else 128)
        assert row["score"] == 1.0


def test_replies_that_are_all_empty_end_the_run_by_name_before_an_update():
    model = policy()
    model.unembedding = torch.nn.Linear(16, 6)
    torch.nn.init.zeros_(model.unembedding.weight)
    model.unembedding.bias.data[END] = 50.0
    ledger = rest.train(model, arm, [[2, 3]] * 32, SMALL, end_id=END, progress=False)
    assert ledger.stopped.startswith("replies empty: in Grow step 1")
    assert (ledger.updates, ledger.rows, ledger.reward_calls) == (0, [], 128)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    settings, place = replace(SMALL, grows=3, epochs=1), tmp_path / "run"
    whole_run, expected = run(settings)
    calls = []

    def stop(step, history):
        calls.append(step)
        if len(calls) == expected.updates - 1:
            raise KeyboardInterrupt

    def go(**options):
        model = policy()
        return model, rest.train(model, arm, [[2, 3]] * 32, settings, end_id=END, progress=False, checkpoint=place, **options)

    _, first = go(on_step=stop)
    assert first.interrupted
    assert first.grows == 2
    assert first.updates == expected.updates - 1
    model, second = go(resume=True)
    assert repr(second) == repr(expected)  # a nan equals its like in print alone
    for mine, theirs in zip(model.parameters(), whole_run.parameters()):
        assert torch.equal(mine, theirs)
    with pytest.raises(LabError, match="lr: 0.01 then, 0.02 now"):
        rest.train(policy(), arm, [[2, 3]] * 32, replace(settings, lr=0.02), end_id=END, progress=False, checkpoint=place, resume=True)


def test_the_stop_button_while_it_writes_or_scores_ends_it_too():
    def stopped(replies):
        raise KeyboardInterrupt

    _, ledger = run(reward=stopped)
    assert ledger.interrupted
    assert ledger.rows == []


def test_a_threshold_that_keeps_nothing_is_a_row_without_an_update():
    model, ledger = run(reward=lambda replies: torch.ones(len(replies)))
    assert [row["kept"] for row in ledger.rows] == [0, 0, 0]
    assert ledger.updates == 0
    for a, b in zip(model.parameters(), policy().parameters()):
        assert torch.equal(a, b)


def test_a_reward_that_is_no_number_ends_it_before_an_update():
    with pytest.raises(LabError, match="is nan"):
        run(reward=lambda replies: torch.full((len(replies),), math.nan))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Settings(thresholds=(0.8, 0.5)), "at or above the one before"),
        (lambda: Settings(thresholds=()), "at least one"),
        (lambda: Settings(thresholds=(1.5,)), "threshold"),
        (lambda: Settings(weigh=0.0), "weigh=0"),
        (lambda: Settings(thresholds=(math.nan,), shares=False), "finite number"),
        (lambda: Settings(temperature=0.0), "temperature=0"),
        (lambda: Settings(lr=math.nan), "lr=nan"),
        (lambda: Settings(missing_end=-1.0), "missing_end"),
        (lambda: rest.train(policy().requires_grad_(False), arm, [[2]] * 32, SMALL, end_id=END), "nothing to train"),
        (lambda: rest.train(policy(), arm, [[2]] * 32, SMALL, end_id=END, resume=True), "needs a checkpoint"),
        (lambda: rest.train(policy(), arm, [[2]], SMALL, end_id=END), "1 prompts"),
        (lambda: keep(torch.tensor([math.nan]), 0.5), "finite number"),
    ],
)
def test_what_cannot_work_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        wrong()


def test_best_of_n_is_chosen_by_the_proxy_and_judged_by_gold():
    proxy = torch.tensor([[0.0, 3.0, 1.0, 2.0], [5.0, 1.0, 4.0, 4.0]])
    gold = torch.tensor([[10.0, 20.0, 30.0, 40.0], [1.0, 2.0, 3.0, 4.0]])
    assert best_of_n.best(proxy).tolist() == [1, 0]
    assert best_of_n.best(proxy, 1).tolist() == [0, 0]
    one, two, four = best_of_n.curve(proxy, gold, (1, 2, 4))
    assert one[2].tolist() == [1.5, 3.5]
    assert one[3].tolist() == [25.0, 2.5]
    assert two[2].tolist() == [2.5, 4.5]
    assert two[3].tolist() == [30.0, 2.0]  # of 4.0 and 4.0 the first
    assert four[3].tolist() == [20.0, 1.0]
    assert [row[1] for row in (one, four)] == pytest.approx([0, math.log(4) - 0.75])


def test_the_best_of_the_replies_that_the_policy_itself_writes(tiny):
    prompts, how = [[5, 6], [7]], {"end_id": END, "max_new_tokens": 4, "seed": 2}
    most = lambda replies: torch.tensor([float(max(reply.completion_ids)) for reply in replies])  # noqa: E731
    chosen, scores = best_of_n.choose(tiny(), most, prompts, 5, missing_end=0.0, **how)
    written, ended = write(tiny(), prompts, k=5, **how)
    assert scores.flatten().tolist() == most(written).tolist()
    assert [max(reply.completion_ids) for reply in chosen] == scores.max(1).values.tolist()
    assert all(reply in written[n * 5 : n * 5 + 5] for n, reply in enumerate(chosen))
    assert 0 < sum(ended) < 10
    whole, _ = best_of_n.choose(tiny(), most, prompts, 5, missing_end=1e3, **how)
    for n, reply in enumerate(whole):
        assert (reply.completion_ids[-1] == END) == any(ended[n * 5 : n * 5 + 5])


def test_the_bound_is_the_divergence_of_best_of_n_where_all_replies_differ():
    """Uniform over 1,000 ranks: the best of n has P(rank ≤ k) = (k / 1000)^n."""
    n, ranks = 8, torch.arange(0, 1001, dtype=torch.float64) / 1000
    p = ranks.pow(n).diff()
    assert best_of_n.kl_bound(n) == pytest.approx((p * (p * 1000).clamp(min=1e-300).log()).sum().item(), abs=5e-3)


def test_best_of_none_is_refused():
    with pytest.raises(ValueError, match="n=0"):
        best_of_n.kl_bound(0)
    with pytest.raises(ValueError, match="n=5"):
        best_of_n.best(torch.zeros(2, 4), 5)
    with pytest.raises(ValueError, match="finite numbers"):
        best_of_n.best(torch.tensor([[math.nan]]))
