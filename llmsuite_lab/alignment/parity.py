"""Our PPO beside the last one that trl released: the tensors of one of its iterations go through our functions, and what comes out is held against its own.

    data/alignment/trl_ppo.json      trl 1.12.0's `experimental.ppo.PPOTrainer`, its local variables (written by tools/freeze_trl_ppo.py)

Two things are arranged otherwise there. trl puts the score of a reply that ended one cell behind its last action, learns a value for that cell too, and
bootstraps from it; so rewards, advantages, returns and value loss are taken over `wide`, the actions and that cell, and everything else over `mask`.
And its loss has no entropy term: entropies are compared as it reports them. Everything else is the same call as in `ppo` and `update`.

Source: trl 1.12.0, trl/experimental/ppo/ppo_trainer.py; later releases have no PPO. In production: OpenRLHF, verl.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from llmsuite_lab.alignment import objectives
from llmsuite_lab.alignment.actions import entropies
from llmsuite_lab.alignment.advantages import gae, token_rewards, whiten
from llmsuite_lab.alignment.divergence import estimate
from llmsuite_lab.core.errors import unknown
from llmsuite_lab.core.paths import data_dir

Wrong = Literal["clip", "kl"]


def frozen() -> dict[str, Any]:
    """What was recorded: versions, weights' seeds and configuration, replies, and `cases` by name."""
    return json.loads((data_dir() / "alignment" / "trl_ppo.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Compared:
    """One quantity, ours and trl's, in cells that both hold."""

    name: str
    ours: Tensor
    trls: Tensor

    @property
    def difference(self) -> float:
        """The largest absolute difference, in the quantity's unit."""
        return float((self.ours - self.trls).abs().max())


def compared(name: str, wrong: Wrong | None = None) -> list[Compared]:
    """Every quantity of one of `frozen()["cases"]`, in the order in which an iteration makes them.

    `wrong` breaks ours on purpose, as a control: "clip" takes the larger of the two surrogates, "kl" pays for going away from the reference.
    Raises ValueError for another one, and for a case that is not there.
    """
    cases = frozen()["cases"]
    if name not in cases:
        raise ValueError(unknown("case", name, list(cases)))
    if wrong is not None and wrong not in get_args(Wrong):
        raise ValueError(unknown("control", wrong, list(get_args(Wrong))))
    case, options = cases[name], cases[name]["options"]
    mask, wide = ~torch.tensor(case["padding_mask"]), ~torch.tensor(case["padding_mask_p1"])
    logprobs, reference, values = (torch.tensor(case[name]) for name in ("logprobs", "ref_logprobs", "values"))
    ended = torch.tensor([case["end"] in reply for reply in case["responses"]])
    gained = torch.tensor(case["unpenalised"]) - options["missing_eos_penalty"] * (~ended).float()
    k1 = estimate(logprobs, reference).where(mask, 0.0)
    rewards = token_rewards(gained, options["kl_coef"] * (-k1 if wrong == "kl" else k1), wide)
    advantages, returns = gae(rewards, values, wide, options["gamma"], options["lam"])
    whitened = whiten(advantages, mask)
    grids = {"kl": (k1, mask), "rewards": (rewards, wide), "advantages_unwhitened": (advantages, wide), "returns": (returns, wide)}
    found = [Compared("scores", gained, torch.tensor(case["scores"]))]
    found += [Compared(name, ours[cells], torch.tensor(case[name])[cells]) for name, (ours, cells) in grids.items()]
    found.append(Compared("advantages", whitened[mask], torch.tensor(case["advantages"])[mask]))
    for n, update in enumerate(case["updates"]):
        rows = torch.tensor(update["mini_batch_inds"])
        batch = [grid[rows] for grid in (logprobs, values, whitened, returns, mask, wide)]
        found += [Compared(f"update {n}: {c.name}", c.ours, c.trls) for c in _update(update, *batch, options, wrong)]
    return found


def _update(
    update: dict[str, Any], old: Tensor, values: Tensor, advantages: Tensor, returns: Tensor, mask: Tensor, wide: Tensor, options: dict[str, Any],
    wrong: Wrong | None,
) -> list[Compared]:  # fmt: skip
    now, V = (torch.tensor(update[name], requires_grad=True) for name in ("new_logprobs", "vpred"))
    if wrong == "clip":
        policy_loss = -objectives.clipped_loss(now, old, -advantages, mask, options["cliprange"])
    else:
        policy_loss = objectives.clipped_loss(now, old, advantages, mask, options["cliprange"])
    value_loss = objectives.clipped_value_loss(V, values, returns, wide, options["cliprange_value"])
    loss = policy_loss + options["vf_coef"] * value_loss
    loss.backward()
    entropy = entropies(torch.tensor(update["logits"]).log_softmax(-1))
    pairs = {
        "pg_loss": policy_loss.detach(), "vf_loss": value_loss.detach(), "loss": loss.detach(), "logprobs_grad": now.grad, "values_grad": V.grad,
        "entropy": entropy,
    }  # fmt: skip
    return [Compared(name, ours, torch.tensor(update[name])) for name, ours in pairs.items()]


def largest_difference(wrong: Wrong | None = None) -> float:
    """Over all cases and quantities, each in its unit. Raises as `compared`."""
    return max(c.difference for name in frozen()["cases"] for c in compared(name, wrong))
