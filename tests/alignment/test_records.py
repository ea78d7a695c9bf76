"""What is read off the records of alignment: seeds averaged by prompt, ends compared with the start, curves met, figures drawn. The rows are made up."""

import math

import pytest
from matplotlib.colors import to_hex

from llmsuite_lab.alignment import figures, records
from llmsuite_lab.alignment.settings import METRICS, Progress
from llmsuite_lab.core import records as recorded
from llmsuite_lab.core.records import Record

ONLINE = ("ppo", "a2c", "rloo", "grpo", "rest", "rest_weighted", "dpo", "q_learning")


def row(method, gold, seed, *, at=4, last=True, count=8, proxy=None, tokens=100, **knobs):
    golds = [gold + 0.1 * (seed - 0.5) + 0.2 * (-1) ** i for i in range(count)]
    proxies = [gold / 2 if proxy is None else proxy] * (count - 1) + [(gold / 2 if proxy is None else proxy) + 0.01]
    return {"method": method, "knobs": knobs, "at": at, "last": last, "tokens": tokens, "gold": golds, "proxy": proxies,
            "toxic": [i % 2 for i in range(count)], "kl": 0.3 * at, "cpu_s": tokens / (200 if method == "ppo" else 50),
            "entropy": 0.5, "distinct": 0.2, "texts": ["Hello."] * 2}  # fmt: skip


def methods(seed):
    rows = [row("start", 0.0, seed, at=0, temperature=1.0), row("start", 0.4, seed, at=0, count=4, temperature=0.5)]
    for n, name in enumerate(ONLINE):
        rows += [row(name, 0.1 * n, seed, at=2, last=False, count=4), row(name, 0.2 + 0.1 * n, seed)]
    rows += [row("best of n", 0.1 * n, seed, at=n, last=n == 4, count=4, n=n) for n in (1, 4)]
    rows += [row(f"{name}, random reward", 0.05, seed) for name in ("ppo", "a2c")]
    return [*rows, row("rest, no filter", 0.1, seed, at=1, last=False, count=4), row("rest, no filter", 0.1, seed)]


def clip(seed):
    rows = []
    for lr in (1e-4, 1e-3):
        free, held = ([0.02, 0.04, None], [0.01, 0.02]) if lr > 5e-4 else ([0.01, 0.01], [0.01, 0.01])
        rows += [row("ppo", 0.1, seed, lr=lr, clip=None) | {"step_kl": free}, row("ppo", 0.1, seed, lr=lr, clip=0.2) | {"step_kl": held}]
    return rows


def entropy(seed):
    rows = [row("start", 0.0, seed, at=0, temperature=t) | {"variety": [t / 2] * 8} for t in (1.0, 0.5)]
    return rows + [row("ppo", 0.2, seed, entropy_weight=w) | {"variety": [0.3 + w + 0.01 * i for i in range(8)]} for w in (0.0, 0.05)]


def kl(seed):
    rows = [row("start", 0.0, seed, at=0, temperature=1.0)]
    for beta, gold, proxy in ((0.0, -0.5, 2.0), (0.2, 0.5, 1.0)):
        rows += [row("ppo", 0.1, seed, at=2, last=False, count=4, beta=beta), row("ppo", gold, seed, proxy=proxy, beta=beta)]
    return rows


def cost(seed):
    rows = [row("start", 0.0, seed, at=0, proxy=0.0, temperature=1.0)]
    rows += [row("ppo", 0.4, seed, at=1, last=False, proxy=0.5, tokens=400), row("ppo", 0.8, seed, at=2, proxy=1.0, tokens=800)]
    return rows + [row("rest", 0.2, seed, proxy=0.2, tokens=100, prompts=1), row("rest", 0.4, seed, proxy=0.4, tokens=200, prompts=2)]


def reward(seed):
    return [{"noise": n, "hits": [float(i < right + seed) for i in range(8)], "bins": [{"confidence": 0.6, "right": 0.5 + 0.1 * seed, "n": 4}]}
            for n, right in (("human", 5), ("tossed", 3))]  # fmt: skip


def toxic(seed):
    rude = {"ppo": {"toxic": [int(i <= seed) for i in range(8)]}}
    return [row(name, 0.1, seed) | {"start": start} | rude.get(name, {}) for start in ("as it is", "made toxic") for name in ("start", "ppo", "rest", "dpo")]


SETTINGS = {
    "align_methods": {"knobs": {"ppo": ["lr", "beta"]}, "chosen": {"ppo": {"lr": 1e-3}}},
    "align_kl": {"betas": [0.0, 0.2], "prompts": ["a", "b"]},
    "align_entropy": {"weights": [0.0, 0.05]},
    "align_cost": {"grow_prompts": [1, 2]},
}
RUNS = {"align_methods": methods, "align_bases": methods, "align_clip": clip, "align_entropy": entropy, "align_kl": kl, "align_cost": cost,
        "align_reward": reward, "align_toxic": toxic,
        "align_rates": lambda seed: [row("ppo", gold, seed, lr=lr) for lr, gold in ((1, 0.1), (2, 0.2))]}  # fmt: skip


@pytest.fixture(autouse=True)
def made(monkeypatch):
    how = {"command": "-", "versions": {}, "machine": "-", "date": "-", "wall_s": 1.0, "commit": "-"}

    def run(name, seed):
        return Record(name, seed, **how, settings=SETTINGS.get(name, {}), results=RUNS[name](seed))

    monkeypatch.setattr(recorded, "read_all", lambda name: [run(name, seed) for seed in (0, 1)])
    monkeypatch.setattr(recorded, "read", lambda name, seed=0: run(name, seed))


def test_a_prompts_score_is_its_mean_over_seeds_and_an_end_is_compared_with_the_start():
    assert records.seeds() == [0, 1]
    assert records.scores("ppo") == pytest.approx([0.4, 0.0] * 4)
    gain = records.gain("ppo")
    assert (gain.mean, gain.n) == (pytest.approx(0.2), 8)
    assert records.gain("ppo", "proxy").mean == pytest.approx(0.1)
    with pytest.raises(ValueError, match="no row of 'ppoo'"):
        records.scores("ppoo")
    assert [records.gain_from(start, "ppo").mean for start in (0, 1)] == pytest.approx([0.2, 0.2])
    assert records.gain_from(1, "dpo", "proxy").mean == pytest.approx(0.4)
    assert "ppo" in records.methods()
    assert records.by_seed("ppo") == {0: pytest.approx(0.15), 1: pytest.approx(0.25)}
    assert records.by_seed("ppo", "proxy", name="align_kl", beta=0.0) == {seed: pytest.approx(2 + 0.01 / 8) for seed in (0, 1)}
    with pytest.raises(ValueError, match="no row of 'ppo'"):
        records.by_seed("ppo", name="align_kl", beta=0.3)
    assert records.temperatures() == [1.0, 0.5]


def test_a_path_is_judged_on_the_prompts_that_all_its_places_share():
    rows = records.path("a2c")
    assert [(at, round(kl, 6), gold.n) for at, kl, gold, _ in rows] == [(2, 0.6, 4), (4, 1.2, 4)]
    assert rows[1][2].mean == pytest.approx(0.3)


def test_clipping_is_a_geometric_mean_over_what_both_runs_came_to():
    assert records.step_sizes() == [1e-4, 1e-3]
    ratio = records.clip_ratio([1e-3])
    assert (ratio.mean, ratio.n) == (pytest.approx(2), 2)
    assert records.clip_ratio([1e-4]).mean == pytest.approx(1)
    assert records.clip_ratio([1e-4, 1e-3]).mean == pytest.approx(math.sqrt(2))
    assert records.moved(1e-3, None).mean == pytest.approx(0.03)


def test_variety_and_the_penalty_are_paired_by_prompt():
    assert records.paired(records.variety(0.05), records.variety(0.0)).mean == pytest.approx(0.05)
    assert records.paired(records.variety_of_start(0.5), records.variety_of_start(1.0)).mean == pytest.approx(-0.25)
    assert records.with_kl_penalty().mean == pytest.approx(1.0)
    assert -records.with_kl_penalty("proxy").mean == pytest.approx(1.0)
    shown = records.hacked_replies()
    assert [one["prompt"] for one in shown] == ["a", "b"]
    assert shown[0]["β 0"]["proxy"] > shown[0]["β 0.2"]["proxy"]
    assert shown[0]["β 0"]["gold"] < shown[0]["β 0.2"]["gold"]


def test_a_run_that_was_stopped_stands_still_with_its_last_good_weights(monkeypatch):
    def one(seed):
        on_the_way = [row("ppo", 0.1, seed, at=2, last=False, count=4, beta=0.0), row("ppo", 0.3, seed, at=4, last=False, count=4, beta=0.0)]
        early = row("ppo", -0.7, seed, at=3, beta=0.0) | {"stopped": "KL explosion: too far"}
        return [on_the_way[0], early] if seed else [*on_the_way, row("ppo", 0.5, seed, at=8, beta=0.0)]

    monkeypatch.setitem(RUNS, "align_kl", one)
    assert [(at, round(gold.mean, 6)) for at, _, gold, _ in records.path("ppo", "align_kl", beta=0.0)] == [(2, 0.1), (4, -0.2), (8, -0.1)]
    assert records.stopped("align_kl", beta=0.0) == {1: (3, "KL explosion: too far")}


def test_equal_gold_is_where_the_lower_best_is_reached_and_costs_are_read_there():
    ratio, above = records.cost()
    assert (ratio.mean, ratio.n) == (pytest.approx(2), 8)  # 0.4 gold: 400 tokens of PPO, 200 of ReST
    assert above == pytest.approx(0.4)
    assert ratio.low <= 2 <= ratio.high


def test_at_equal_proxy_the_golds_are_compared_straight_between_points():
    difference, above = records.equal_proxy()
    assert above == pytest.approx(0.4)
    assert difference.mean == pytest.approx(0.4 - 0.4 * 0.4 / 0.5)  # PPO rises by 0.4 in gold while its proxy rises by 0.5
    tokens, gold = records.cost_curve("rest")
    assert tokens == [0, 100, 200]
    assert gold[2].mean == pytest.approx(0.4)
    with pytest.raises(ValueError, match="ppo, rest"):
        records.cost_curve("dpo")


def test_at_equal_cost_both_are_read_where_the_cheaper_one_ends():
    tokens, difference = records.at_equal_cost()
    assert tokens == 200
    assert (difference.mean, difference.n) == (pytest.approx(0.4 - 0.2), 8)  # PPO has 0.4 after 400 tokens
    seconds, difference = records.at_equal_cost("cpu_s")
    assert seconds == 4  # 800 tokens of PPO, 200 of ReST
    assert difference.mean == pytest.approx(0.4 - 0.8)
    assert records.cost_curve("ppo", "cpu_s")[0] == [0, 2, 4]
    with pytest.raises(ValueError, match="Known: cpu_s, tokens"):
        records.at_equal_cost("wall_s")


def test_steadiness_compares_spreads_over_runs_and_needs_three(monkeypatch):
    with pytest.raises(ValueError, match="3 or more"):
        records.steadiness()

    def spread(name):
        how = {"command": "-", "versions": {}, "machine": "-", "date": "-", "wall_s": 1.0, "commit": "-", "settings": {}}
        both = lambda seed: [row("ppo", 0.3 * seed, 0.5) | noise(seed), row("rest", 0.1 * seed, 0.5)]  # noqa: E731
        noise = lambda seed: {"gold": [0.3 * seed + 0.05 * (-1) ** (i * seed) for i in range(8)]}  # noqa: E731
        return [Record(name, seed, **how, results=both(seed)) for seed in range(4)]

    monkeypatch.setattr(recorded, "read_all", spread)
    ratio, control = records.steadiness()
    assert ratio.mean == pytest.approx(3, rel=0.1)
    assert ratio.n == 4
    assert control > 5


def test_reward_models_toxicity_and_knobs_are_found():
    assert records.reward_accuracy()["human"].mean == pytest.approx(5.5 / 8)
    assert records.calibration() == [(pytest.approx(0.6), pytest.approx(0.55))]
    with pytest.raises(ValueError, match="human, tossed"):
        records.calibration("sure")
    assert records.toxicity()["made toxic"]["before"].mean == pytest.approx(0.5)
    assert records.toxicity()["as it is"]["ppo"].mean == pytest.approx(1.5 / 8)
    assert records.toxicity_by_seed()["as it is"] == {"before": [0.5, 0.5], "ppo": [1 / 8, 2 / 8], "rest": [0.5, 0.5], "dpo": [0.5, 0.5]}
    assert records.knobs("ppo") == (2, {"lr": 1e-3})
    with pytest.raises(ValueError, match="ppo"):
        records.knobs("dpo")
    assert [knobs for knobs, *_ in records.swept()["ppo"]] == [{"lr": 1}, {"lr": 2}]
    last, control = records.improve_steps()
    assert last.n == control.n == 4
    assert last.mean > control.mean == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    "name",
    ["gold_against_kl", "without_knowledge", "hacking", "clipping", "entropy", "reward_accuracy", "calibration", "improve_steps", "cost", "toxicity"],
)
def test_figures_are_drawn_from_the_records(name):
    assert getattr(figures, name)().axes[0].get_title(loc="left") not in ("", "Not measured yet")


def test_a_method_has_one_colour_and_no_two_have_the_same():
    lines = {line.get_label(): (line.get_color(), line.get_linestyle()) for line in figures.gold_against_kl().axes[0].get_lines()}
    assert len({lines[label] for label in figures.NAMES.values()}) == len(figures.NAMES)
    legend = figures.toxicity().axes[0].get_legend()
    names = {text.get_text(): patch.get_facecolor() for text, patch in zip(legend.get_texts(), legend.get_patches())}
    for label in ("PPO", "ReST", "DPO"):
        assert to_hex(names[label]) == to_hex(lines[label][0])


def test_each_seed_s_gain_is_a_dot_beside_its_bar():
    dots = [line for line in figures.without_knowledge().axes[0].get_lines() if line.get_marker() == "o"]
    assert [len(line.get_ydata()) for line in dots] == [2] * 4
    assert dots[0].get_ydata() == pytest.approx([0.2, 0.2])  # PPO's end less the start's, which lie as far apart in both seeds


def test_a_live_run_is_drawn_in_two_panels_with_its_exact_divergence():
    told = dict.fromkeys(METRICS, 0.0)
    axes = figures.live(Progress([told | {"score": 0.1 * n, "kl": -1.0, "kl_exact": float(n)} for n in range(3)])).axes
    assert [list(ax.get_lines()[0].get_ydata()) for ax in axes] == [pytest.approx([0.0, 0.1, 0.2]), [0.0, 1.0, 2.0]]
