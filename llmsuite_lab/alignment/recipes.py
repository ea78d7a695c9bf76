"""What takes long in this section, for `llmsuite train`: the small policy that all live parts start from, the sweep of settings, the methods side by side,
and what clipping, the entropy term, the KL penalty and the number of replies do."""

from dataclasses import replace
from typing import Any

from llmsuite_lab.core.runs import Outcome, Recipe, Run

THREE, TEN = (0, 1, 2), tuple(range(10))
SWEEP_SEED = 1_000  # of the pairs, the reward model and the runs by which settings are chosen: none of the seeds that are compared
MARKS = {"ppo": (2, 4, 8, 16), "a2c": (2, 4, 8, 16), "rest": (1, 2, 3), "rest_weighted": (1, 2, 3), "dpo": (24, 48, 94)}
NS = (1, 2, 4, 8, 16, 32)
COLDER = (0.8, 0.6, 0.4, 0.2)
STEP_SIZES, CLIP_ITERATIONS = (3e-5, 3e-4, 1e-3, 3e-3), 16
ENTROPY_WEIGHTS = (0.0, 0.01, 0.05)
BETAS, KL_ITERATIONS, KL_MARKS = (0.0, 0.05, 0.2), 60, (4, 8, 16, 24, 36, 48)
COST_ITERATIONS, COST_MARKS, GROW_PROMPTS = 48, (1, 2, 4, 8, 16, 24, 36), (32, 64, 128, 256)
NOISES = {"sure": (0.0, 0.0), "human": (0.7, 0.0), "human, 15 % flipped": (0.7, 0.15), "human, 30 % flipped": (0.7, 0.3), "tossed": (0.7, 0.5)}
JUDGED_PAIRS = 500


def _policy(run: Run) -> Outcome:
    from llmsuite_lab.alignment import small_policy

    return small_policy.measure(run)


def _rates(run: Run) -> Outcome:
    from llmsuite_lab.alignment import arms, benches, comparing
    from llmsuite_lab.world.preferences import cases

    made = benches.bench(benches.desk(), SWEEP_SEED + run.seed)
    asked = cases(made.budget.held_out, "validation", 0)
    rows = [comparing.at_start(made, asked)]
    for method, tried in arms.GRID.items():
        for knobs in tried:
            rows += comparing.run(made, method, knobs, asked=asked)
    return Outcome(benches.as_data(made.budget) | {"bench": made.made, "split": "validation"}, rows)


def _chosen(method: str) -> dict[str, Any]:
    """The knobs that the recorded sweep found. Raises LabError when it is not recorded: `llmsuite train align_rates` comes first."""
    from llmsuite_lab.alignment import comparing
    from llmsuite_lab.core import records

    return comparing.best(records.read("align_rates").results, method)


def _methods(run: Run, base: int | None = 0) -> Outcome:
    """base: seed of the policy; None: the run's own."""
    from llmsuite_lab.alignment import arms, benches, comparing, controls

    chosen = {method: _chosen(method) for method in arms.METHODS}
    made = benches.bench(benches.desk(run.seed if base is None else base), run.seed)
    few, dull = made.asked[: made.budget.along], controls.untrained(made).rewards
    rows = [comparing.at_start(made, made.asked), *(comparing.at_start(made, few, t) for t in COLDER)]
    for method, knobs in chosen.items():
        rows += comparing.run(made, method, knobs, marks=MARKS.get(method, ()))
    rows += comparing.best_of(made, NS, few)
    if base is not None:
        rows += comparing.run(made, "ppo", chosen["ppo"], name="ppo, random reward", reward=dull)
        rows += comparing.run(made, "a2c", chosen["a2c"], name="a2c, random reward", reward=dull)
        unfiltered = chosen["rest"] | {"missing_end": 0.0}
        rows += comparing.run(made, "rest", unfiltered, name="rest, no filter", reward=controls.by_chance(run.seed), marks=(1,))
        rows += comparing.run(made, "dpo", chosen["dpo"], name="dpo, tossed labels", told=controls.tossed(made.told, run.seed))
        dealt = controls.shuffled(made.model.rewards, run.seed)
        rows += comparing.run(made, "q_learning", chosen["q_learning"], name="q_learning, shuffled scores", reward=dealt)
    return Outcome(benches.as_data(made.budget) | {"bench": made.made, "chosen": chosen, "knobs": {m: list(k) for m, k in arms.KNOBS.items()}}, rows)


def _bases(run: Run) -> Outcome:
    return _methods(run, None)


def _clip(run: Run) -> Outcome:
    from llmsuite_lab.alignment import benches, comparing

    made = benches.bench(benches.desk(), run.seed, benches.Budget(items=200))
    knobs, rows = _chosen("ppo") | {"iterations": CLIP_ITERATIONS}, []
    for lr in STEP_SIZES:
        for clip in (0.2, None):
            rows += comparing.run(made, "ppo", knobs | {"lr": lr, "clip": clip})
    return Outcome(benches.as_data(made.budget) | {"bench": made.made, "step_sizes": list(STEP_SIZES)}, rows)


def _entropy(run: Run) -> Outcome:
    from llmsuite_lab.alignment import benches, comparing

    made = benches.bench(benches.desk(), run.seed, benches.Budget(items=200))
    knobs, rows = _chosen("ppo"), []
    for temperature in (1.0, 0.5):
        variety = comparing.varied(made, made.start.fresh(), made.asked, temperature=temperature)
        rows.append(comparing.at_start(made, made.asked, temperature) | {"variety": variety})
    for weight in ENTROPY_WEIGHTS:
        kept: list[Any] = []
        found = comparing.run(made, "ppo", knobs | {"entropy_weight": weight}, keep=kept)
        rows += [row | {"variety": comparing.varied(made, kept[0], made.asked)} for row in found]
    return Outcome(benches.as_data(made.budget) | {"bench": made.made, "weights": list(ENTROPY_WEIGHTS)}, rows)


def _kl(run: Run) -> Outcome:
    from llmsuite_lab.alignment import benches, comparing

    made = benches.bench(benches.desk(), run.seed)
    rows = [comparing.at_start(made, made.asked)]
    for beta in BETAS:
        rows += comparing.run(made, "ppo", _chosen("ppo") | {"beta": beta, "iterations": KL_ITERATIONS}, marks=KL_MARKS)
    shown = [case.prompt for case in made.asked[: comparing.SHOWN]]
    return Outcome(benches.as_data(made.budget) | {"bench": made.made, "betas": list(BETAS), "prompts": shown}, rows)


def _cost(run: Run) -> Outcome:
    from llmsuite_lab.alignment import benches, comparing

    made = benches.bench(benches.desk(), run.seed, benches.Budget(items=200))
    rows = [comparing.at_start(made, made.asked)]
    rows += comparing.run(made, "ppo", _chosen("ppo") | {"iterations": COST_ITERATIONS}, marks=COST_MARKS)
    for prompts in GROW_PROMPTS:
        rows += comparing.run(made, "rest", _chosen("rest") | {"prompts": prompts})
    return Outcome(benches.as_data(made.budget) | {"bench": made.made, "grow_prompts": list(GROW_PROMPTS)}, rows)


def _toxic(run: Run) -> Outcome:
    from llmsuite_lab.alignment import benches, comparing

    budget, rows = benches.Budget(pairs=2_000, iterations=16, items=200), []
    for name, start in {"as it is": benches.desk(), "made toxic": benches.toxic(benches.desk(), run.seed)}.items():
        made = benches.bench(start, run.seed, budget)
        found = [comparing.at_start(made, made.asked)]
        for method in ("ppo", "rest", "dpo"):
            found += comparing.run(made, method, _chosen(method))
        rows += [row | {"start": name} for row in found]
    return Outcome(benches.as_data(budget), rows)


def _reward(run: Run) -> Outcome:
    from llmsuite_lab.alignment import benches, pairs, reward_model
    from llmsuite_lab.world.preferences import Labeller

    start, budget = benches.desk(), benches.Budget()
    judged = pairs.encode(benches.sure_pairs(start, JUDGED_PAIRS), start.words)
    rows = []
    for name, (temperature, flips) in NOISES.items():
        made = benches.bench(start, run.seed, budget, Labeller(temperature, flips))
        found = reward_model.margins(made.model, judged)
        bins, error = reward_model.calibration(made.model, judged)
        rows.append({"noise": name, "temperature": temperature, "flips": flips, "hits": [float(m > 0) if m else 0.5 for m in found.tolist()],
                     "bins": [vars(one) for one in bins], "calibration_error": error} | made.made)  # fmt: skip
    return Outcome(benches.as_data(replace(budget, items=JUDGED_PAIRS)) | {"noises": NOISES}, rows)


def _smollm2(run: Run) -> Outcome:
    from llmsuite_lab.alignment import at_scale

    return at_scale.measure(run)


RECIPES = (
    Recipe("desk_policy", "the small policy that answers at the desk; the first seed ships", _policy, seeds=THREE, ships=True, shelf="policies"),
    Recipe("align_rates", "four settings for every method of alignment, by gold on validation prompts", _rates),
    Recipe("align_methods", "every method at its best settings: gold, proxy and KL along the run, with best of n and the controls", _methods, seeds=TEN),
    Recipe("align_bases", "the same methods from other small policies, trained from other seeds", _bases, seeds=(1, 2)),
    Recipe("align_reward", "reward models by the noise of their labels: accuracy and calibration", _reward, seeds=THREE),
    Recipe("align_clip", "PPO with clipping and without at four step sizes", _clip, seeds=THREE),
    Recipe("align_entropy", "PPO with three weights of the entropy term", _entropy, seeds=THREE),
    Recipe("align_kl", "PPO at three prices of a nat, long enough for the reward to be hacked", _kl, seeds=THREE),
    Recipe("align_cost", "PPO along its run, ReST by size of its Grow step: what a gold score costs", _cost, seeds=THREE),
    Recipe("align_toxic", "PPO, ReST and DPO from a rude start and a ruder one: share of toxic replies", _toxic, seeds=THREE),
    Recipe("align_smollm2", "PPO, DPO and ReST on SmolLM2 with a LoRA: gold, proxy and KL before and after", _smollm2),
)
