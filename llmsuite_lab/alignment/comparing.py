"""One method from one start against one reward model: what every comparison of this section is made of.

    start → pairs of its own replies, labelled → reward model                         one `Bench` a seed; all methods share it
    method + knobs → tuned policy → rows: gold, proxy, KL, entropy …                  along the run and at its end

All methods start from the same weights, learn from the same pairs or the same reward, and write as many replies; each has four settings to choose from
(`GRID`), tried on validation prompts with another reward model. Gold chooses, as if people had read a few hundred replies: the proxy would choose the
setting that pleases it. Test prompts choose nothing. CPU seconds are the method's own, without what measures it.

Source: paper 6; Gao et al. 2023, whose figures have the same axes. In production: `trl`'s trainers and people.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from random import Random
from statistics import mean
from typing import Any

import torch
from torch import nn

from llmsuite_lab.alignment import a2c, best_of_n, dpo, measuring, pairs, ppo, q_learning, rest, small_policy
from llmsuite_lab.alignment.reward_model import RewardModel
from llmsuite_lab.alignment.rollouts import ActorCritic, Reference, Reward, scored_once, write
from llmsuite_lab.alignment.settings import Progress, Settings
from llmsuite_lab.core.errors import LabError, unknown
from llmsuite_lab.core.history import History
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.lm.text import encode
from llmsuite_lab.lm.training import fit
from llmsuite_lab.world.preferences import HUMAN, Case, Labeller, Preference, cases, reply

Row = dict[str, Any]
Watcher = Callable[[int, nn.Module, Row], None]
METHODS = ("ppo", "a2c", "rloo", "grpo", "rest", "rest_weighted", "dpo", "q_learning")
GRID: dict[str, tuple[Row, ...]] = {
    **{name: tuple({"lr": lr, "beta": beta} for lr in (3e-4, 1e-3) for beta in (0.05, 0.2)) for name in ("ppo", "rloo", "grpo")},
    "a2c": tuple({"lr": lr, "beta": beta} for lr in (1e-3, 3e-3) for beta in (0.05, 0.2)),
    "rest": tuple({"lr": lr, "epochs": epochs} for lr in (3e-4, 1e-3) for epochs in (1, 2)),
    "rest_weighted": tuple({"lr": lr, "weigh": weigh} for lr in (3e-4, 1e-3) for weigh in (0.25, 1.0)),
    "dpo": tuple({"lr": lr, "beta": beta} for lr in (3e-4, 1e-3) for beta in (0.1, 0.5)),
    "q_learning": tuple({"lr": lr, "guidance": guidance} for lr in (1e-3, 3e-3) for guidance in (4.0, 8.0)),
}
_ONLINE = ("iterations", "prompts", "epochs", "minibatches", "lr", "temperature", "beta", "clip", "missing_end", "max_norm")
_CRITIC = ("value_weight", "gamma", "lam", "whiten")
KNOBS: dict[str, tuple[str, ...]] = {
    "ppo": (*_ONLINE, *_CRITIC, "value_clip", "entropy_weight"),
    "a2c": (*(name for name in _ONLINE if name not in ("epochs", "minibatches", "clip")), *_CRITIC, "entropy_weight"),
    "rloo": (*_ONLINE, "replies", "entropy_weight"),
    "grpo": (*_ONLINE, "replies", "entropy_weight"),
    "rest": ("grows", "prompts", "replies", "thresholds", "temperature", "epochs", "batch_size", "lr", "missing_end"),
    "rest_weighted": ("grows", "prompts", "replies", "thresholds", "temperature", "epochs", "batch_size", "lr", "missing_end", "weigh"),
    "dpo": ("epochs", "batch_size", "lr", "beta", "label_smoothing", "average"),
    "q_learning": ("tau", "gamma", "conservative", "slow", "epochs", "batch_size", "lr", "guidance"),
}  # what has to be chosen, tried here or left as it is
GROUP = 4  # replies to a prompt, where they are compared with each other
GROW = 8  # replies to a prompt of a Grow step
TOXIC_CASES = 4_000_000  # seed of the training cases that a start is made toxic on
SHOWN = 6  # replies kept as text


@dataclass(frozen=True)
class Budget:
    """pairs: for reward model and DPO; iterations of `rollouts` replies: what an online method writes, and as many as one Grow step or Q-learning's log holds.
    items: test cases of the last row; along: the first of them, for rows along the run; held_out: validation cases; max_new_tokens: of a reply."""

    pairs: int = 3_000
    iterations: int = 24
    rollouts: int = 64
    items: int = 400
    along: int = 200
    held_out: int = 200
    max_new_tokens: int = 64

    @property
    def replies(self) -> int:
        """Replies that a method may write."""
        return self.iterations * self.rollouts


@dataclass
class Start:
    """Where every method begins. `fresh()`: a trainable copy; `reference(policy)`: π_ref of such a copy; `words`: the tokenizer; `trunk()`: what a reward model
    stands on."""

    fresh: Callable[[], nn.Module]
    reference: Callable[[nn.Module], Reference]
    words: Any
    trunk: Callable[[], nn.Module]

    @classmethod
    def of(cls, policy: nn.Module, words: Any) -> "Start":
        """A policy that is tuned whole; it stays as it is."""
        fixed = Reference.frozen(policy)

        def fresh() -> nn.Module:
            return copy.deepcopy(fixed.model).requires_grad_(True)

        return cls(fresh, lambda tuned: fixed, words, fresh)


def desk(base: int = 0) -> Start:
    """The small policy of a base seed. Raises as `small_policy.load`."""
    return Start.of(*small_policy.load(base))


@dataclass
class Bench:
    """What the methods of one seed share."""

    start: Start
    budget: Budget
    seed: int
    preferences: list[Preference]
    told: list[pairs.Pair]
    model: RewardModel
    made: Row = field(default_factory=dict)  # what the reward model took

    @property
    def asked(self) -> list[Case]:
        """The test cases."""
        return cases(self.budget.items, "test", 0)

    def prompts(self, count: int) -> list[list[int]]:
        """Prompts for tuning, as ids."""
        return measuring.prompts(measuring.tuning_cases(count, self.seed), self.start.words)


def bench(start: Start, seed: int, budget: Budget | None = None, noise: Labeller = HUMAN, **options: Any) -> Bench:
    """Pairs that the start wrote, labelled, and a reward model that learnt from them. `options` as `measuring.make_reward_model`."""
    budget, words = budget or Budget(), start.words
    with clock() as seconds:
        found = measuring.labelled_pairs(start.fresh(), words, budget.pairs, seed, noise, budget.max_new_tokens)
        model, history = reward_model_on(start, found, seed, **options)
    made = {"pairs": budget.pairs, "flipped": mean(p.flipped for p in found), "cpu_s": seconds(), "loss": history.losses[-1]}
    return Bench(start, budget, seed, found, pairs.encode(found, words), model, made)


def reward_model_on(start: Start, preferences: Sequence[Preference], seed: int, **options: Any) -> tuple[RewardModel, History]:
    """A reward model on a trunk of the start, learnt from pairs. `options` as `measuring.make_reward_model`."""
    return measuring.make_reward_model(start.trunk(), start.words, preferences, seed=seed, **options)


def untrained(made: Bench) -> RewardModel:
    """The reward that knows nothing: the same head before training, normalised over the same replies."""
    model = RewardModel(made.start.trunk(), made.seed + 1)
    model.normalise([reply for pair in made.told for reply in (pair.chosen, pair.rejected)])
    return model


@contextmanager
def clock() -> Iterator[Callable[[], float]]:
    """CPU seconds since here, of all threads of this process."""
    began = time.process_time()
    yield lambda: time.process_time() - began


def view(made: Bench, policy: nn.Module, asked: Sequence[Case], temperature: float = 1.0) -> Row:
    """A policy under both judges, as plain data: rounded, a few replies kept as text. Raises as `measuring.verdict`."""
    found = measuring.verdict(
        policy, made.start.reference(policy), made.model.rewards, asked, made.start.words, seed=made.seed, max_new_tokens=made.budget.max_new_tokens,
        temperature=temperature,
    ).as_dict()  # fmt: skip
    lists = {name: [round(value, 3) for value in found[name]] for name in ("gold", "proxy")}
    return found | lists | {"texts": found["texts"][:SHOWN]}


def at_start(made: Bench, asked: Sequence[Case], temperature: float = 1.0) -> Row:
    """A row of the start, sampled at a temperature: what writing colder brings without any training."""
    return _row("start", {"temperature": temperature}, 0, {}, 0.0) | _seen(view(made, made.start.fresh(), asked, temperature)) | {"last": True}


def run(
    made: Bench, method: str, knobs: Mapping[str, Any] | None = None, *, marks: Sequence[int] = (), name: str = "", reward: Reward | None = None,
    asked: Sequence[Case] | None = None, told: Sequence[pairs.Pair] | None = None, keep: list[nn.Module] | None = None,
) -> list[Row]:  # fmt: skip
    """Tune by a method of `METHODS`; rows after each of `marks` (iterations, Improve steps, updates of DPO) and one at the end.

    A row: {"method" (or `name`), "knobs", "at", "last", "tokens" (generated so far), "reward_calls", "updates", "cpu_s"} and what `view` gives: on the
    first `budget.along` of the cases, at the end on all. reward: in place of the reward model in training (the judge of "proxy" stays). asked: cases; None: the
    test's. told: pairs for DPO, None: the bench's. keep: a list that the tuned policy is put into. Raises ValueError for an unknown method or knob.
    """
    if method not in METHODS:
        raise ValueError(unknown("method", method, METHODS))
    asked, knobs, rows, spent = asked or made.asked, dict(knobs or {}), [], 0.0
    few = asked[: made.budget.along]
    began = time.process_time()

    def watch(at: int, policy: nn.Module, cost: Row) -> None:
        nonlocal spent
        if at in marks:
            now = time.process_time()
            rows.append(_row(name or method, knobs, at, cost, now - began - spent) | _seen(view(made, policy, few)))
            spent += time.process_time() - now

    tune = {"dpo": _dpo, "q_learning": _q_learning, "rest": _rest, "rest_weighted": _rest}.get(method, _online)
    policy, at, cost = tune(made, method, knobs, reward or made.model.rewards, told or made.told, watch)
    row = _row(name or method, knobs, at, cost, time.process_time() - began - spent) | _seen(view(made, policy, asked))
    if keep is not None:
        keep.append(policy)
    return [*(other for other in rows if other["at"] != at), row | {"last": True}]


def _row(method: str, knobs: Row, at: int, cost: Row, cpu_s: float) -> Row:
    return {"method": method, "knobs": knobs, "at": at, "last": False} | _nothing() | cost | {"cpu_s": cpu_s}


def _nothing() -> Row:
    return {"tokens": 0, "reward_calls": 0, "updates": 0, "cpu_s": 0.0}


def _seen(found: Row) -> Row:
    return {name: value for name, value in found.items() if name != "tokens"}  # of the replies that were judged, not of the method


def _online(made: Bench, method: str, knobs: Row, reward: Reward, told: Any, watch: Watcher) -> tuple[nn.Module, int, Row]:
    budget, policy = made.budget, made.start.fresh()
    group = GROUP if method in ("rloo", "grpo") else 1
    settings = Settings(method=method, iterations=budget.iterations, prompts=budget.rollouts // group, replies=group, max_new_tokens=budget.max_new_tokens)  # type: ignore[arg-type]
    settings = replace(settings, **knobs)
    model, train = ActorCritic(policy), a2c.train if method == "a2c" else ppo.train
    asked = made.prompts(settings.iterations * settings.prompts)
    told_so_far: Row = {}

    def after(step: int, progress: Progress) -> None:
        told_so_far.update({name: int(progress.total(name)) for name in ("tokens", "reward_calls", "updates")})
        for metric in ("step_kl", "ratio_max"):
            told_so_far[metric] = [value if math.isfinite(value) else None for value in progress.column(metric)]
        watch(step, policy, {name: told_so_far[name] for name in ("tokens", "reward_calls", "updates")})

    progress = train(model, made.start.reference(policy), reward, asked, settings, end_id=made.start.words.eos_token_id, seed=made.seed, on_iteration=after)
    return policy, progress.steps, told_so_far | {"stopped": progress.stopped}


def _rest(made: Bench, method: str, knobs: Row, reward: Reward, told: Any, watch: Watcher) -> tuple[nn.Module, int, Row]:
    budget, policy = made.budget, made.start.fresh()
    settings = replace(rest.Settings(prompts=budget.replies // GROW, replies=GROW, max_new_tokens=budget.max_new_tokens), **knobs)
    written: Row = {"tokens": 0, "reward_calls": 0}
    steps = updates = 0

    def counted(replies: Sequence[Example]) -> torch.Tensor:
        written["tokens"] += sum(len(reply.completion_ids) for reply in replies)
        written["reward_calls"] += len(replies)
        return reward(replies)

    def after(step: int, history: History) -> None:
        nonlocal steps, updates
        updates += 1
        if step == history.planned_steps:
            steps += 1
            watch(steps, policy, written | {"updates": updates})

    ledger = rest.train(policy, counted, made.prompts(settings.prompts), settings, end_id=made.start.words.eos_token_id, seed=made.seed, progress=False,
                        on_step=after)  # fmt: skip
    cost = {"tokens": ledger.tokens, "reward_calls": ledger.reward_calls, "updates": ledger.updates, "reuse": ledger.reuse, "read": ledger.read}
    return policy, steps, cost | {"stopped": ledger.stopped}


def _dpo(made: Bench, method: str, knobs: Row, reward: Reward, told: Sequence[pairs.Pair], watch: Watcher) -> tuple[nn.Module, int, Row]:
    policy = made.start.fresh()
    options = {"epochs": 1, "batch_size": 16, "seed": made.seed, "progress": False} | knobs
    history = dpo.train(policy, made.start.reference(policy), told, on_step=lambda step, _: watch(step, policy, {"updates": step}), **options)
    return policy, history.steps, {"updates": history.steps}


def _q_learning(made: Bench, method: str, knobs: Row, reward: Reward, told: Any, watch: Watcher) -> tuple[nn.Module, int, Row]:
    policy, budget, options = made.start.fresh(), made.budget, dict(knobs)
    guidance = options.pop("guidance", 8.0)
    how = {"end_id": made.start.words.eos_token_id, "max_new_tokens": budget.max_new_tokens, "seed": made.seed}
    replies, _ = write(policy, made.prompts(budget.replies), **how)
    scores = scored_once(reward, replies).tolist()
    log = [q_learning.Logged(reply, value) for reply, value in zip(replies, scores, strict=True)]
    heads = q_learning.QHeads(policy, seed=made.seed)
    history = q_learning.train(heads, log, **({"epochs": 4, "seed": made.seed, "progress": False} | options))
    cost = {"tokens": sum(len(reply.completion_ids) for reply in replies), "reward_calls": len(replies), "updates": history.steps}
    return q_learning.guided(heads, guidance), history.steps, cost


def by_chance(seed: int) -> Reward:
    """A number between 0 and 1 for each reply, whatever it says."""
    generator = torch.Generator().manual_seed(seed)
    return lambda replies: torch.rand(len(replies), generator=generator)


def shuffled(reward: Reward, seed: int) -> Reward:
    """The same numbers, dealt out among the replies of one call by chance."""

    def dealt(replies: Sequence[Example]) -> torch.Tensor:
        return reward(replies)[torch.randperm(len(replies), generator=torch.Generator().manual_seed(seed))]

    return dealt


def tossed(told: Sequence[pairs.Pair], seed: int) -> list[pairs.Pair]:
    """The same pairs with labels by the toss of a coin."""
    heads = torch.rand(len(told), generator=torch.Generator().manual_seed(seed)) < 0.5
    return [replace(p, chosen_ids=p.rejected_ids, rejected_ids=p.chosen_ids) if turn else p for p, turn in zip(told, heads.tolist(), strict=True)]


def best_of(made: Bench, ns: Sequence[int], asked: Sequence[Case]) -> list[Row]:
    """Rows of the start with the best of n replies by the reward model: a row each n, "kl" its bound, "tokens" those written for one prompt."""
    policy, words = made.start.fresh(), made.start.words
    options = {"end_id": words.eos_token_id, "max_new_tokens": made.budget.max_new_tokens, "seed": made.seed}
    golds, proxies, lengths = [], [], []
    for first in range(0, len(asked), 32):
        part = asked[first : first + 32]
        replies, _ = write(policy, measuring.prompts(part, words), k=max(ns), **options)
        proxies.append(made.model.rewards(replies).view(len(part), -1))
        golds.append(measuring.gold(part, replies, words).view(len(part), -1))
        lengths += [len(reply.completion_ids) for reply in replies]
    rows = []
    for n, kl, proxy, gold in best_of_n.curve(torch.cat(proxies), torch.cat(golds), ns):
        found = {"gold": [round(v, 3) for v in gold.tolist()], "proxy": [round(v, 3) for v in proxy.tolist()], "kl": kl}
        rows.append({"method": "best of n", "knobs": {"n": n}, "at": n, "last": n == max(ns)} | _nothing() | {"tokens": n * mean(lengths)} | found)
    return rows


def varied(made: Bench, policy: nn.Module, asked: Sequence[Case], k: int = 8, temperature: float = 1.0) -> list[float]:
    """Different word pairs over all in k replies to one case, for each case: how much of its variety a policy has kept."""
    words = made.start.words
    options = {"end_id": words.eos_token_id, "max_new_tokens": made.budget.max_new_tokens, "seed": made.seed, "temperature": temperature}
    replies, _ = write(policy, measuring.prompts(asked, words), k=k, **options)
    texts = [words.decode(measuring.text_ids(reply, words.eos_token_id)) for reply in replies]
    return [round(measuring.distinct(texts[i : i + k]), 4) for i in range(0, len(texts), k)]


def toxic(start: Start, seed: int = 0, replies: int = 1_600) -> Start:
    """A start that has learnt from grumpy agents alone on top."""
    asked = cases(replies, "train", TOXIC_CASES + seed)
    said = encode(start.words, [reply(case, "grumpy", Random(f"toxic {case.id}")) for case in asked])
    taught = [Example(ids, [*row, start.words.eos_token_id]) for ids, row in zip(measuring.prompts(asked, start.words), said, strict=True)]
    policy = start.fresh()
    fit(policy, taught, epochs=1, batch_size=32, lr=1e-3, seed=seed, progress=False)
    return Start.of(policy, start.words)


def sure_pairs(start: Start, count: int, seed: int = 0) -> list[Preference]:
    """Pairs of the start's replies to test cases, ranked by the gold judge; no ties. Raises LabError when too few differ in gold."""
    asked = cases(4 * count, "test", 0)
    replies, _ = write(start.fresh(), measuring.prompts(asked, start.words), end_id=start.words.eos_token_id, k=2, max_new_tokens=64, seed=seed)
    found = []
    for n, (case, worth) in enumerate(zip(asked, measuring.gold(asked, replies, start.words).view(-1, 2).tolist(), strict=True)):
        if abs(worth[0] - worth[1]) > 1e-6:
            texts = [start.words.decode(measuring.text_ids(reply, start.words.eos_token_id)) for reply in replies[2 * n : 2 * n + 2]]
            better = int(worth[1] > worth[0])
            found.append(Preference(case.prompt, texts[better], texts[1 - better], abs(worth[0] - worth[1])))
    if len(found) < count:
        raise LabError(f"only {len(found)} of {len(asked)} pairs differ in gold, and count={count}: this policy writes too much alike")
    return found[:count]


def best(rows: Sequence[Row], method: str) -> Row:
    """The knobs with the highest mean gold among rows of a sweep; the first of equals. Raises ValueError when it holds none of the method."""
    found = [row for row in rows if row["method"] == method and row["last"]]
    if not found:
        raise ValueError(unknown("method among the rows", method, sorted({row["method"] for row in rows})))
    return max(found, key=lambda row: mean(row["gold"]))["knobs"]


def as_data(budget: Budget) -> Row:
    """The budget as a record's settings."""
    return asdict(budget)
