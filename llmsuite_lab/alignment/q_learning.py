"""Implicit Q-learning for text: learn from logged replies what each next token is worth, and lean on that when writing.

    V(s) ≈ an upper expectile of Q(s, a) over the tokens that were written       L_V = |τ − 1[u < 0]| u²,  u = Q̄(s, a) − V(s)
    Q(s, a) ← r + γ V(s′)                                                        L_Q = (r + γ V(s′) − Q(s, a))²;  behind the end token V is 0
    L_C = − log softmax(Q(s, ·))[a]                                              keeps Q low for tokens that nobody wrote (conservative)
    π(a | s) ∝ π_base(a | s) exp(g (Q(s, a) − V(s)))                             g: the guidance at writing; the base policy stays as it is

Heads on the frozen base's hidden states, a slow copy Q̄ of Q as the target. No reply is written in training: the log must hold good and bad ones.

Source: paper 6.1 names Q-learning in passing; Snell et al. 2023 (ILQL), Kostrikov et al. 2022. In production: no library has it for language models.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmsuite_lab.alignment.actions import action_mask, check_replies, grid, masked_mean
from llmsuite_lab.alignment.rollouts import width_of
from llmsuite_lab.core.errors import within
from llmsuite_lab.core.history import History
from llmsuite_lab.lm.batching import Example, collate
from llmsuite_lab.lm.supervised import supervised_hidden
from llmsuite_lab.lm.training import fit
from llmsuite_lab.transformer.cache import KVCache
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.evaluating import evaluating


@dataclass(frozen=True)
class Logged:
    """A reply that was written, with the reward it got at its end."""

    reply: Example
    reward: float


class QHeads(nn.Module):
    """Q(s, ·) over the vocabulary, V(s), and the slow copy of Q, on the hidden states of `base`, which is frozen here. Both heads start at zero.

    slow: share of the new Q that the copy takes on after each update. Raises TypeError as `rollouts.width_of`, ValueError for numbers out of range.
    """

    def __init__(self, base: nn.Module, vocabulary: int, *, tau: float = 0.7, gamma: float = 1.0, conservative: float = 0.01, slow: float = 0.05) -> None:
        super().__init__()
        within("tau", tau, 0.5, 0.999)
        within("gamma", gamma, 0, 1)
        within("conservative", conservative, 0, 1e3)
        within("slow", slow, 1e-4, 1)
        self.base = base.requires_grad_(False)
        self.tau, self.gamma, self.conservative, self.slow = tau, gamma, conservative, slow
        width, device = width_of(base), next(base.parameters()).device
        self.q, self.v = _head(width, vocabulary, device), _head(width, 1, device)
        self.target = copy.deepcopy(self.q).requires_grad_(False)

    def follow(self) -> None:
        """Let the slow copy take a step towards Q: after every update."""
        with torch.no_grad():
            for theirs, mine in zip(self.target.parameters(), self.q.parameters(), strict=True):
                theirs.lerp_(mine, self.slow)


def _head(width: int, out: int, device: torch.device) -> nn.Sequential:
    last = nn.Linear(2 * width, out, device=device)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(width, 2 * width, device=device), nn.ReLU(), last)


def expectile_loss(u: Float[Tensor, "*actions"], tau: float) -> Float[Tensor, "*actions"]:
    """|τ − 1[u < 0]| u²: at τ = ½ half the squared error, towards 1 the mean moves up to the best."""
    return torch.where(u < 0, 1 - tau, tau) * u.square()


def losses(heads: QHeads, items: Sequence[Logged]) -> tuple[Float[Tensor, ""], int]:
    """L_Q + L_V + conservative · L_C summed over actions, and their number: what `fit` takes. Raises ValueError as `actions.check_replies`."""
    replies = [item.reply for item in items]
    check_replies(replies)
    batch = collate(replies).to(next(heads.base.parameters()).device)
    with torch.no_grad(), evaluating(heads.base):
        hidden = supervised_hidden(heads.base, batch)
    mask = action_mask([len(reply.completion_ids) for reply in replies]).to(hidden.device)
    chosen = batch.targets[:, None]
    every = heads.q(hidden.float())
    Q, V = grid(every.gather(1, chosen)[:, 0], mask), grid(heads.v(hidden.float())[:, 0], mask)
    slow = grid(heads.target(hidden.float()).gather(1, chosen)[:, 0], mask).detach()
    following = torch.cat([V[:, 1:], V.new_zeros(len(V), 1)], 1).detach()  # V is 0 behind the last action
    reward = torch.zeros_like(Q)
    reward[torch.arange(len(replies)), mask.sum(1) - 1] = torch.tensor([item.reward for item in items], device=Q.device)
    parts = (reward + heads.gamma * following - Q).square() + expectile_loss(slow - V, heads.tau)
    conservative = F.cross_entropy(every, batch.targets, reduction="none")
    count = int(mask.sum())
    return masked_mean(parts, mask) * count + heads.conservative * conservative.sum(), count


def train(heads: QHeads, log: Sequence[Logged], *, epochs: float = 2, batch_size: int = 64, lr: float = 1e-3, seed: int = 0, **options: Any) -> History:
    """Learn the heads from a log, in place. `options` and errors as `lm.training.fit`; ValueError for a reward that is not finite."""
    for n, item in enumerate(log):
        if not -1e9 < item.reward < 1e9:
            raise ValueError(f"reply {n} of the log has the reward {item.reward}: a finite number is needed")
    follow = lambda step, history: heads.follow()  # noqa: E731
    return fit(heads, log, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, loss_fn=losses, collate_fn=list, on_step=follow, **options)


class Guided(nn.Module):
    """The base policy, its logits moved by g (Q − V): a decoder like any other, which `transformer.generation` and `actions.score` drive.

    Raises TypeError for a base that is not our `Decoder` (it lends its hidden states and logits apart), ValueError for a guidance below zero.
    """

    def __init__(self, heads: QHeads, guidance: float = 4.0) -> None:
        super().__init__()
        within("guidance", guidance, 0, 1e3)
        if not isinstance(heads.base, Decoder):
            raise TypeError(f"writing with guidance takes a transformer.Decoder for a base, got {type(heads.base).__name__}")
        self.heads, self.guidance, self.config = heads, guidance, heads.base.config

    def hidden_states(
        self, ids: Int[Tensor, "batch seq"], attention_mask: Bool[Tensor, "batch total"] | None = None, cache: KVCache | None = None
    ) -> Float[Tensor, "batch seq d"]:
        """Those of the base. Arguments and errors as `Decoder.hidden_states`."""
        return self.heads.base.hidden_states(ids, attention_mask, cache)

    def logits(self, hidden: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch vocabulary"]:
        """The base's logits, moved."""
        return self.heads.base.logits(hidden) + self.guidance * (self.heads.q(hidden) - self.heads.v(hidden))
