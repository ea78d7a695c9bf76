"""One method from one start: rows along the run and at its end, costs counted, controls that know nothing."""

import dataclasses
from statistics import mean

import pytest
import torch

from llmsuite_lab.alignment import arms, benches, comparing, controls, rest, small_policy
from llmsuite_lab.alignment.settings import Settings
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.world.preferences import cases, judge

TINY = benches.Budget(pairs=16, iterations=2, rollouts=8, items=6, along=4, held_out=4, max_new_tokens=6)


@pytest.fixture(scope="module")
def made():
    words = small_policy.desk_tokenizer()
    torch.manual_seed(0)
    policy = Decoder(llama_config(len(words), n_layers=1, d_model=16, n_heads=2, d_ff=24, max_length=200))
    return benches.bench(benches.Start.of(policy, words), 3, TINY, epochs=1)


@pytest.mark.parametrize("method", arms.METHODS)
def test_every_method_gives_rows_along_its_run_and_one_on_all_cases(made, method):
    before = {name: p.clone() for name, p in made.start.fresh().state_dict().items()}
    rows = comparing.run(made, method, arms.GRID[method][0], marks=(1,), asked=cases(6, "validation"))
    assert [len(row["gold"]) for row in rows] == ([6] if method in ("q_learning", "dpo") else [4, 6])  # 16 pairs are one update of DPO, the last
    last = rows[-1]
    assert last["last"]
    assert last["method"] == method
    if method != "dpo":
        assert last["reward_calls"] == TINY.replies
        assert TINY.replies <= last["tokens"] <= TINY.replies * TINY.max_new_tokens
    assert last["updates"] >= 1
    assert last["cpu_s"] > 0
    assert all(torch.equal(p, before[name]) for name, p in made.start.fresh().state_dict().items())  # the start is where it was


def test_all_methods_have_as_many_settings_tried_and_their_knobs_are_fields():
    assert {len(tried) for tried in arms.GRID.values()} == {4}
    assert set(arms.GRID) == set(arms.KNOBS) == set(arms.METHODS)
    for method, kind in {"ppo": Settings, "a2c": Settings, "rloo": Settings, "grpo": Settings, "rest": rest.Settings, "rest_weighted": rest.Settings}.items():
        assert set(arms.KNOBS[method]) <= {f.name for f in dataclasses.fields(kind)}
    for method, tried in arms.GRID.items():
        assert {name for knobs in tried for name in knobs} <= set(arms.KNOBS[method])


def test_the_start_has_no_distance_from_itself_and_a_colder_one_has(made):
    assert comparing.at_start(made, made.asked)["kl"] == pytest.approx(0, abs=1e-5)
    colder = comparing.at_start(made, made.asked, 0.3)
    assert colder["kl"] > 0.01
    assert colder["entropy"] < comparing.at_start(made, made.asked)["entropy"]
    assert colder["tokens"] == 0


def test_the_best_of_more_replies_pleases_the_reward_model_more_and_costs_more(made):
    rows = comparing.best_of(made, (1, 4), made.asked)
    assert mean(rows[1]["proxy"]) > mean(rows[0]["proxy"])
    assert rows[1]["tokens"] == pytest.approx(4 * rows[0]["tokens"])
    assert [row["kl"] for row in rows] == pytest.approx([0, 0.636294])


def test_controls_keep_everything_but_what_is_to_be_learnt(made):
    reward = made.model.rewards
    replies = [pair.chosen for pair in made.told]
    dealt = controls.shuffled(reward, 0)(replies)
    assert sorted(dealt.tolist()) == pytest.approx(sorted(reward(replies).tolist()), abs=1e-5)
    assert not torch.allclose(dealt, reward(replies), atol=1e-3)
    told = controls.tossed(made.told, 0)
    turned = sum(a.chosen_ids != b.chosen_ids for a, b in zip(told, made.told, strict=True))
    assert 0 < turned < len(told)
    assert all({tuple(a.chosen_ids), tuple(a.rejected_ids)} == {tuple(b.chosen_ids), tuple(b.rejected_ids)} for a, b in zip(told, made.told, strict=True))
    chance = controls.by_chance(0)(replies)
    assert 0 <= chance.min() < chance.max() <= 1
    dull = controls.untrained(made).rewards(replies)
    assert abs(torch.corrcoef(torch.stack([dull, reward(replies)]))[0, 1]) < 0.999


def test_ranked_pairs_hold_no_tie_and_the_better_reply_first(made):
    found = benches.sure_pairs(made.start, 1)
    case = next(case for case in cases(4, "test", 0) if case.prompt == found[0].prompt)
    assert judge(case, found[0].chosen).gold > judge(case, found[0].rejected).gold


def test_a_policy_whose_replies_are_all_worth_the_same_gives_no_ranked_pairs(made, monkeypatch):
    monkeypatch.setattr(benches, "write", lambda policy, ids, k, **options: ([Example(row, [7]) for row in ids for _ in range(k)], []))
    with pytest.raises(LabError, match="too much alike"):
        benches.sure_pairs(made.start, 2)


def test_a_start_made_toxic_writes_more_like_the_grumpy(made):
    words = made.start.words
    before, after = made.start.fresh(), benches.toxic(made.start, replies=256).fresh()
    rude = words.convert_tokens_to_ids("▁stupid")
    with torch.no_grad():
        ids = torch.tensor([made.prompts(1)[0]])
        assert after(ids)[0, :, rude].mean() - after(ids).mean() > before(ids)[0, :, rude].mean() - before(ids).mean()


def test_variety_is_a_share_for_each_case(made):
    found = comparing.varied(made, made.start.fresh(), made.asked, k=3)
    assert len(found) == 6
    assert all(0 <= share <= 1 for share in found)


def test_the_highest_gold_chooses_among_a_methods_settings():
    rows = [{"method": "ppo", "last": True, "knobs": {"lr": lr}, "gold": [gold]} for lr, gold in ((1, 0.1), (2, 0.4), (3, 0.2))]
    rows += [{"method": "a2c", "last": True, "knobs": {"lr": 9}, "gold": [3.0]}, {"method": "ppo", "last": False, "knobs": {"lr": 7}, "gold": [2.0]}]
    assert comparing.best(rows, "ppo") == {"lr": 2}
    with pytest.raises(ValueError, match="a2c, ppo"):
        comparing.best(rows, "dpo")


def test_what_is_not_known_is_refused(made):
    with pytest.raises(ValueError, match="ppo"):
        comparing.run(made, "ppoo")
    with pytest.raises(TypeError, match="unexpected"):
        comparing.run(made, "ppo", {"rate": 1})
