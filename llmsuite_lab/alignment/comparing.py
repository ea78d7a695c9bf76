"""One method from one start against one reward model: what every comparison of this section is made of.

    start → pairs of its own replies, labelled → reward model                         `benches`: one a seed; all methods share it
    method + knobs → tuned policy                                                     `arms`
    tuned policy → rows: gold, proxy, KL, entropy …                                   here: along the run and at its end

CPU seconds are the method's own, without what measures it. Source: paper 6; Gao et al. 2023, whose figures have the same axes. In production: `trl`'s
trainers and people.
"""

import time
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import torch
from torch import nn

from llmsuite_lab.alignment import arms, best_of_n, measuring, pairs
from llmsuite_lab.alignment.benches import Bench, Row
from llmsuite_lab.alignment.rollouts import Reward, write
from llmsuite_lab.core.errors import unknown
from llmsuite_lab.world.preferences import Case

SHOWN = 6  # replies kept as text


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
    """Tune by a method of `arms.METHODS`; rows after each of `marks` (iterations, Improve steps, updates of DPO) and one at the end.

    A row: {"method" (or `name`), "knobs", "at", "last", "tokens" (generated so far), "reward_calls", "updates", "cpu_s"} and what `view` gives: on the
    first `budget.along` of the cases, at the end on all. reward: in place of the reward model in training (the judge of "proxy" stays). asked: cases; None: the
    test's. told: pairs for DPO, None: the bench's. keep: a list that the tuned policy is put into. Raises ValueError for an unknown method or knob.
    """
    asked, knobs, rows, spent = asked or made.asked, dict(knobs or {}), [], 0.0
    few = asked[: made.budget.along]
    began = time.process_time()

    def watch(at: int, policy: nn.Module, cost: Row) -> None:
        nonlocal spent
        if at in marks:
            now = time.process_time()
            rows.append(_row(name or method, knobs, at, cost, now - began - spent) | _seen(view(made, policy, few)))
            spent += time.process_time() - now

    policy, at, cost = arms.tuned(made, method, knobs, reward or made.model.rewards, told or made.told, watch)
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


def best(rows: Sequence[Row], method: str) -> Row:
    """The knobs with the highest mean gold among rows of a sweep; the first of equals. Raises ValueError when it holds none of the method."""
    found = [row for row in rows if row["method"] == method and row["last"]]
    if not found:
        raise ValueError(unknown("method among the rows", method, sorted({row["method"] for row in rows})))
    return max(found, key=lambda row: mean(row["gold"]))["knobs"]
