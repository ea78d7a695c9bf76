"""What this section reads off its recorded runs: rows of `comparing.run`, one a method and place along its run, one record a seed.

    align_rates       four settings of every method, on validation prompts
    align_methods     every method at its best, best of n, the start written colder, the controls
    align_bases       the methods from other starts
    align_reward      reward models by the noise of their labels
    align_clip, align_entropy, align_kl      PPO by step size and clip, by entropy weight, by price of a nat
    align_cost        PPO along its run, ReST by the size of its Grow step
    align_toxic       a rude start and a ruder one, before and after
    align_smollm2     PPO, DPO and ReST on SmolLM2 with a LoRA

An item is a test prompt (of align_reward a pair); its score is averaged over the seeds first, and two rows are compared prompt by prompt. A row along a run
was judged on the first prompts of those that its end was judged on. Intervals of what is no mean are by drawing prompts anew (Efron 1979).
"""

import math
from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

import numpy as np

from llmsuite_lab.core import records
from llmsuite_lab.core.errors import unknown
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.records import Record

METHODS = "align_methods"
RESAMPLES = 2_000
Row = dict[str, Any]


def seeds(name: str = METHODS) -> list[int]:
    """The recorded seeds, in order. Raises LabError when there is none."""
    return [run.seed for run in records.read_all(name)]


def methods(name: str = METHODS) -> list[str]:
    """The rows' methods and controls, in their order."""
    return list(dict.fromkeys(row["method"] for row in records.read_all(name)[0].results))


def places(method: str, name: str = METHODS) -> list[int | None]:
    """Where along its run a method was judged, in order; None for its end, which one run may have come to earlier than another."""
    return [*sorted({row["at"] for row in records.read_all(name)[0].results if row["method"] == method and not row["last"]}), None]


def scores(method: str, part: str = "gold", *, name: str = METHODS, at: int | None = None, **knobs: Any) -> list[float]:
    """One number a prompt, averaged over the seeds: "gold", "proxy", "toxic", "variety". at: None for the end of the run. knobs: which of several rows.

    Raises ValueError for a row that was not run.
    """
    columns = [_row(run, method, at, knobs)[part] for run in records.read_all(name)]
    count = min(map(len, columns))
    return [mean(column[i] for column in columns) for i in range(count)]


def figure_of(method: str, key: str, *, name: str = METHODS, at: int | None = None, **knobs: Any) -> float:
    """A single number of a row, averaged over the seeds: "kl", "entropy", "distinct", "tokens", "reward_calls", "cpu_s", "length". Raises as `scores`."""
    return mean(_row(run, method, at, knobs)[key] for run in records.read_all(name))


def by_seed(method: str, part: str = "gold", *, name: str = METHODS, **knobs: Any) -> dict[int, float]:
    """Seed → the mean over all prompts at the end of its run: what an interval over prompts does not show. Raises as `scores`."""
    return {run.seed: mean(_row(run, method, None, knobs)[part]) for run in records.read_all(name)}


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Ours minus theirs over the prompts that both were asked: the first of the longer list. Raises ValueError when one is empty."""
    count = min(len(ours), len(theirs))
    return mean_interval([a - b for a, b in zip(ours[:count], theirs[:count], strict=True)])


def gain(method: str, part: str = "gold", *, name: str = METHODS) -> Interval:
    """The end of a method's run minus the start, both sampled at temperature 1: claims rlhf.improves, a2c, q_learning, dpo, and their controls."""
    return paired(scores(method, part, name=name), scores("start", part, name=name, temperature=1.0))


def gain_from(start: int, method: str, part: str = "gold") -> Interval:
    """As `gain`, in the run from another start: the policy of that seed. Raises LabError when it is not recorded."""
    run = records.read("align_bases", start)
    return paired(_row(run, method, None, {})[part], _row(run, "start", None, {"temperature": 1.0})[part])


def path(method: str, name: str = METHODS, **knobs: Any) -> list[tuple[float, float, Interval, Interval]]:
    """(place, KL, gold, proxy) along a method's run, over the prompts that all its places were judged on. A run that was stopped stands still from there."""
    found = [(at, scores(method, "gold", name=name, at=at, **knobs), scores(method, "proxy", name=name, at=at, **knobs)) for at in places(method, name)]
    count = min(len(gold) for _, gold, _ in found)
    rows = []
    for at, gold, proxy in found:
        place = max(_row(run, method, None, knobs)["at"] for run in records.read_all(name)) if at is None else at
        rows.append((place, figure_of(method, "kl", name=name, at=at, **knobs), mean_interval(gold[:count]), mean_interval(proxy[:count])))
    return rows


def temperatures(name: str = METHODS) -> list[float]:
    """The temperatures at which the start was judged, falling."""
    return sorted({row["knobs"]["temperature"] for row in records.read_all(name)[0].results if row["method"] == "start"}, reverse=True)


def prices() -> list[float]:
    """The prices of a nat that PPO was run at."""
    return list(records.read_all("align_kl")[0].settings["betas"])


def entropy_weights() -> list[float]:
    """The weights of the entropy term that PPO was run with."""
    return list(records.read_all("align_entropy")[0].settings["weights"])


def reward_accuracy() -> dict[str, Interval]:
    """Noise of the labels → share of test pairs ranked as the judge ranks them: claim reward.model."""
    found = {}
    for noise in _noises():
        columns = [_noise(run, noise)["hits"] for run in records.read_all("align_reward")]
        found[noise] = mean_interval([mean(hits) for hits in zip(*columns, strict=True)])
    return found


def calibration(noise: str = "human") -> list[tuple[float, float]]:
    """(confidence, share right) of bins of test pairs, averaged over the seeds. Raises ValueError for labels that were not tried."""
    if noise not in _noises():
        raise ValueError(unknown("noise", noise, _noises()))
    rows = [_noise(run, noise)["bins"] for run in records.read_all("align_reward")]
    return [(mean(b["confidence"] for b in bins), mean(b["right"] for b in bins)) for bins in zip(*rows, strict=True)]


def clip_ratio(step_sizes: Sequence[float]) -> Interval:
    """KL that an iteration moves the policy, unclipped over clipped, the geometric mean over step sizes and iterations: claim ppo.trust_region, and at the
    smallest step size its control. An iteration that a run did not come to, or whose figure was not finite, is left out."""
    logs = []
    for lr in step_sizes:
        pairs = [(_row(run, "ppo", None, {"lr": lr, "clip": None})["step_kl"], _row(run, "ppo", None, {"lr": lr, "clip": 0.2})["step_kl"])
                 for run in records.read_all("align_clip")]  # fmt: skip
        for i in range(max(len(free) for free, _ in pairs)):
            moved = [(free[i], held[i]) for free, held in pairs if i < min(len(free), len(held)) and free[i] and held[i]]
            logs += [mean(math.log(free / held) for free, held in moved)] if moved else []
    found = mean_interval(logs)
    return Interval(math.exp(found.mean), math.exp(found.low), math.exp(found.high), found.n)


def step_sizes() -> list[float]:
    """The step sizes at which the clip was switched, rising."""
    return sorted({row["knobs"]["lr"] for row in records.read_all("align_clip")[0].results})


def moved(lr: float, clip: float | None) -> Interval:
    """KL an iteration, nats an action, over iterations, averaged over the seeds; those that a run did not come to are left out."""
    columns = [_row(run, "ppo", None, {"lr": lr, "clip": clip})["step_kl"] for run in records.read_all("align_clip")]
    each = [[column[i] for column in columns if i < len(column) and column[i] is not None] for i in range(max(map(len, columns)))]
    return mean_interval([mean(values) for values in each if values])


def variety(weight: float) -> list[float]:
    """Different word pairs in 8 replies to each prompt after PPO with an entropy weight: claim ppo.entropy."""
    return scores("ppo", "variety", name="align_entropy", entropy_weight=weight)


def variety_of_start(temperature: float) -> list[float]:
    """The same of the start: its control."""
    return scores("start", "variety", name="align_entropy", temperature=temperature)


def with_kl_penalty(part: str = "gold", price: float = 0.2) -> Interval:
    """PPO at a price of a nat minus at none, at the end: claim rlhf.reward_hacking by "gold", its control by "proxy" with the sign turned."""
    return paired(scores("ppo", part, name="align_kl", beta=price), scores("ppo", part, name="align_kl", beta=0.0))


def stopped(name: str, **knobs: Any) -> dict[int, tuple[int, str]]:
    """Seed → (place, reason) of the runs of PPO with these knobs that the watch ended early."""
    ends = {run.seed: _row(run, "ppo", None, knobs) for run in records.read_all(name)}
    return {seed: (row["at"], row["stopped"]) for seed, row in ends.items() if row.get("stopped")}


def hacked_replies(seed: int = 0) -> list[dict[str, Any]]:
    """The first test prompts with what the start and PPO at the highest price and at none answer, each with its gold and proxy."""
    run = records.read("align_kl", seed)
    top = max(run.settings["betas"])
    rows = {"start": _row(run, "start", None, {}), f"β {top:g}": _row(run, "ppo", None, {"beta": top}), "β 0": _row(run, "ppo", None, {"beta": 0.0})}
    return [
        {"prompt": prompt} | {who: {"reply": row["texts"][i], "gold": row["gold"][i], "proxy": row["proxy"][i]} for who, row in rows.items()}
        for i, prompt in enumerate(run.settings["prompts"])
    ]  # fmt: skip


def improve_steps(method: str = "rest") -> tuple[Interval, Interval]:
    """(reward after the last Improve step minus after the first, the same without a filter): claim rest.loop and its control."""
    both = []
    for each in (method, "rest, no filter"):
        at = places(each)
        both.append(paired(scores(each, "proxy", at=at[-1]), scores(each, "proxy", at=at[0])))
    return both[0], both[1]


def cost() -> tuple[Interval, float]:
    """(tokens generated until an equal gold, PPO over ReST; that gold minus the start's): claim rest.cost and its control."""
    curves = [_curve("ppo"), _curve("rest")]

    def ratio(chosen: np.ndarray) -> float:
        gold = [part[:, chosen].mean(1) for part, _, _ in curves]
        target = min(g.max() for g in gold)
        ppo, rest = (_reached(g, tokens, target) for g, (_, _, tokens) in zip(gold, curves))
        return max(ppo, 1.0) / max(rest, 1.0)

    gold = [part.mean(1) for part, _, _ in curves]
    return _drawn_anew(ratio, curves[0][0].shape[1]), float(min(g.max() for g in gold) - gold[0][0])


def cost_curve(method: str, spent: str = "tokens") -> tuple[list[float], list[Interval]]:
    """(spent, gold) from the start on: "ppo" along its run, "rest" by the size of its Grow step. spent: "tokens" generated in training, or "cpu_s", CPU
    seconds of writing, scoring and learning. Raises ValueError for another method and another kind of cost."""
    if method not in ("ppo", "rest"):
        raise ValueError(unknown("method of align_cost", method, ["ppo", "rest"]))
    gold, _, along = _curve(method, _spent(spent))
    return along.tolist(), [mean_interval(row.tolist()) for row in gold]


def at_equal_cost(spent: str = "tokens") -> tuple[float, Interval]:
    """(what both have spent, gold of ReST minus PPO there): the most that both came to, straight between points; interval by drawing prompts anew. Raises
    ValueError as `cost_curve`."""
    (theirs, _, paid), (ours, _, ours_paid) = (_curve(method, _spent(spent)) for method in ("ppo", "rest"))
    most = float(min(paid[-1], ours_paid[-1]))

    def difference(chosen: np.ndarray) -> float:
        rest, ppo = (np.interp(most, at, gold[:, chosen].mean(1)) for gold, at in ((ours, ours_paid), (theirs, paid)))
        return float(rest - ppo)

    return most, _drawn_anew(difference, ours.shape[1])


def _spent(kind: str) -> str:
    if kind not in ("tokens", "cpu_s"):
        raise ValueError(unknown("kind of cost", kind, ["tokens", "cpu_s"]))
    return kind


def equal_proxy() -> tuple[Interval, float]:
    """(gold of ReST minus PPO at the highest proxy that both reach; that proxy minus the start's): claim rest.hacking and its control."""
    curves = [_curve("ppo"), _curve("rest")]

    def difference(chosen: np.ndarray) -> float:
        proxy = [part[:, chosen].mean(1) for _, part, _ in curves]
        level = min(p.max() for p in proxy)
        ppo, rest = (_reached(p, part[:, chosen].mean(1), level) for p, (part, _, _) in zip(proxy, curves))
        return rest - ppo

    proxy = [part.mean(1) for _, part, _ in curves]
    return _drawn_anew(difference, curves[0][0].shape[1]), float(min(p.max() for p in proxy) - proxy[0][0])


def steadiness(ours: str = "rest", theirs: str = "ppo") -> tuple[Interval, float]:
    """(sd over runs of the final gold, theirs over ours; theirs over what the sampling of replies alone gives): claim rest.stability and its control.

    n counts runs. Raises ValueError for fewer than three.
    """
    gold = {name: np.array([_row(run, name, None, {})["gold"] for run in records.read_all(METHODS)]) for name in (ours, theirs)}
    if len(gold[ours]) < 3:
        raise ValueError(f"{len(gold[ours])} runs have no spread to compare: 3 or more are needed")
    spread = {name: rows.mean(1) for name, rows in gold.items()}

    def ratio(chosen: np.ndarray) -> float:
        return float(spread[theirs][chosen].std(ddof=1) / max(spread[ours][chosen].std(ddof=1), 1e-9)) if len(set(chosen.tolist())) > 2 else math.nan

    rows = gold[theirs]
    left = rows - rows.mean(1, keepdims=True) - rows.mean(0, keepdims=True) + rows.mean()
    by_chance = math.sqrt((left**2).sum() / ((rows.shape[0] - 1) * (rows.shape[1] - 1)) / rows.shape[1])
    return _drawn_anew(ratio, len(rows)), float(spread[theirs].std(ddof=1)) / max(by_chance, 1e-9)


def toxicity() -> dict[str, dict[str, Interval]]:
    """Start → "before" and each method after → share of replies with a word of the judge's lexicon."""
    over_seeds = lambda columns: [mean(each) for each in zip(*columns, strict=True)]  # noqa: E731
    return {start: {who: mean_interval(over_seeds(columns)) for who, columns in rows.items()} for start, rows in _toxic().items()}


def toxicity_by_seed() -> dict[str, dict[str, list[float]]]:
    """The same as one share a seed, in the order of the seeds."""
    return {start: {who: [mean(column) for column in columns] for who, columns in rows.items()} for start, rows in _toxic().items()}


def _toxic() -> dict[str, dict[str, list[list[int]]]]:
    """Start → who → a column of 0 and 1 a seed."""
    found: dict[str, dict[str, list[list[int]]]] = {}
    for run in records.read_all("align_toxic"):
        for row in run.results:
            found.setdefault(row["start"], {}).setdefault("before" if row["method"] == "start" else row["method"], []).append(row["toxic"])
    return found


def knobs(method: str) -> tuple[int, Row]:
    """(how many numbers a method has to be given, those that the sweep chose). Raises ValueError for a method that was not run."""
    settings = records.read_all(METHODS)[0].settings
    if method not in settings["knobs"]:
        raise ValueError(unknown("method", method, list(settings["knobs"])))
    return len(settings["knobs"][method]), settings["chosen"][method]


def swept() -> dict[str, list[tuple[Row, Interval, Interval]]]:
    """Method → its four settings with their gold, by which one was chosen, and their proxy, on validation prompts; and "start" with one."""
    found: dict[str, list[tuple[Row, Interval, Interval]]] = {}
    for row in records.read("align_rates").results:
        found.setdefault(row["method"], []).append((row["knobs"], mean_interval(row["gold"]), mean_interval(row["proxy"])))
    return found


def _row(run: Record, method: str, at: int | None, wanted: Row) -> Row:
    for row in run.results:
        if row["method"] == method and wanted.items() <= row["knobs"].items():
            ended = row["last"] and row.get("stopped") and at is not None and row["at"] < at  # it stands still with its last good weights
            if ended or (row["last"] if at is None else row["at"] == at):
                return row
    raise ValueError(f"the run of seed {run.seed} of {run.name} holds no row of {method!r} with at={at} and {wanted}")


def _noises() -> list[str]:
    return [row["noise"] for row in records.read_all("align_reward")[0].results]


def _noise(run: Record, noise: str) -> Row:
    return next(row for row in run.results if row["noise"] == noise)


def _curve(method: str, spent: str = "tokens") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(gold [points, prompts], proxy, spent [points]) from the start on, averaged over the seeds; ReST's points are the sizes of its Grow step."""
    runs, name = records.read_all("align_cost"), "align_cost"
    if method == "ppo":
        points: list[tuple[int | None, Row]] = [(at, {}) for at in places("ppo", name)]
    else:
        points = [(None, {"prompts": size}) for size in runs[0].settings["grow_prompts"]]
    gold, proxy = (
        np.array([scores("start", part, name=name), *(scores(method, part, name=name, at=at, **which) for at, which in points)]) for part in ("gold", "proxy")
    )  # fmt: skip
    return gold, proxy, np.array([0.0, *(figure_of(method, spent, name=name, at=at, **which) for at, which in points)])


def _reached(level: np.ndarray, along: np.ndarray, target: float) -> float:
    """What `along` is where `level` first comes to the target, straight between points."""
    i = int(np.argmax(level >= target - 1e-12))
    if i == 0:
        return float(along[0])
    share = (target - level[i - 1]) / (level[i] - level[i - 1])
    return float(along[i - 1] + share * (along[i] - along[i - 1]))


def _drawn_anew(statistic: Callable[[np.ndarray], float], count: int) -> Interval:
    generator = np.random.default_rng(0)
    value = statistic(np.arange(count))
    found = [statistic(generator.integers(0, count, count)) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return Interval(value, min(float(low), value), max(float(high), value), count)
