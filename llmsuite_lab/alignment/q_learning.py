"""Implicit Q-learning for text: learn from logged replies what each next token is worth, and lean on that when writing.

    V(s) ≈ an upper expectile of Q(s, a) over the tokens that were written       L_V = |τ − 1[u < 0]| u²,  u = Q̄(s, a) − V(s)
    Q(s, a) ← r + γ V(s′)                                                        L_Q = (r + γ V(s′) − Q(s, a))²;  behind the end token V is 0
    L_C = − log softmax(Q(s, ·))[a]                                              keeps Q low for tokens that nobody wrote (conservative)
    π(a | s) ∝ π_base(a | s) exp(g (Q(s, a) − V(s)))                             g: the guidance at writing; the base policy stays as it is

Heads on the frozen base's hidden states, a slow copy Q̄ of Q as the target. No reply is written in training: the log must hold good and bad ones. V in
the last line moves all tokens alike and so no probability; it makes what is added an advantage. A reply that was cut ends at its last token like any other.

`twins`: two heads Q learn the same from different beginnings, and Q̄ and the guidance take the lower of the two, since what one of them overrates by chance
is what an upper expectile picks up (clipped double Q-learning, Fujimoto et al. 2018). IQL and ILQL were run with two; the equations above need one, and
the recorded runs have one.

Source: paper 6.1 names Q-learning in passing; Snell et al. 2023 (ILQL), Kostrikov et al. 2022. In production: AgileRL's `ILQL`; seldom used.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from llmsuite_lab.alignment.actions import Grid, action_mask, check_replies, grid, masked_mean
from llmsuite_lab.alignment.rollouts import width_of
from llmsuite_lab.core.errors import within
from llmsuite_lab.core.history import History
from llmsuite_lab.lm.batching import Example, check_examples, collate
from llmsuite_lab.lm.supervised import supervised_hidden
from llmsuite_lab.lm.training import fit, limits
from llmsuite_lab.transformer.evaluating import evaluating


@dataclass(frozen=True)
class Logged:
    """A reply that was written, with the reward it got at its end."""

    reply: Example
    reward: float


class QHeads(nn.Module):
    """Q(s, ·) over the vocabulary, V(s), and the slow copy of Q, on the hidden states of `base`, which is frozen here. Both heads start at zero.

    tau: the expectile; gamma: discount a token; conservative: weight of L_C; slow: share of the new Q that the copy takes on after each update; twins: two
    heads in place of one, the lower of which is believed.
    Raises TypeError as `rollouts.width_of`, ValueError for numbers out of range.
    """

    def __init__(
        self, base: nn.Module, *, tau: float = 0.7, gamma: float = 1.0, conservative: float = 0.01, slow: float = 0.05, twins: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        within("tau", tau, 0.5, 0.999)
        within("gamma", gamma, 0, 1)
        within("conservative", conservative, 0, 1e3)
        within("slow", slow, 1e-4, 1)
        width, device = width_of(base), next(base.parameters()).device
        generator = torch.Generator().manual_seed(seed)
        self.tau, self.gamma, self.conservative, self.slow = tau, gamma, conservative, slow
        self.base = base.requires_grad_(False)
        self.q, self.v = (_head(width, out, generator).to(device) for out in (int(base.config.vocab_size), 1))
        if twins:
            self.q = Twins(self.q, _head(width, int(base.config.vocab_size), generator).to(device))
        for name, p in self.q.named_parameters():  # buffers: a checkpoint keeps them
            self.register_buffer(_slow(name), p.detach().clone())

    def slow_q(self, hidden: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch vocabulary"]:
        """Q̄(s, ·), without a gradient to itself."""
        return functional_call(self.q, {name: getattr(self, _slow(name)) for name, _ in self.q.named_parameters()}, (hidden,))

    @torch.no_grad()
    def follow(self) -> None:
        """Let the slow copy take a step towards Q: after every update."""
        for name, p in self.q.named_parameters():
            getattr(self, _slow(name)).lerp_(p, self.slow)

    def extra_repr(self) -> str:
        """What it learns by, for print and for fingerprints."""
        twins = isinstance(self.q, Twins)
        return f"tau={self.tau:g}, gamma={self.gamma:g}, conservative={self.conservative:g}, slow={self.slow:g}, twins={twins}"


class Twins(nn.Module):
    """Two heads Q, of which the lower is believed, token by token."""

    def __init__(self, one: nn.Module, other: nn.Module) -> None:
        super().__init__()
        self.heads = nn.ModuleList([one, other])

    def forward(self, hidden: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch vocabulary"]:
        return torch.minimum(*self.each(hidden))

    def each(self, hidden: Float[Tensor, "*batch d"]) -> list[Float[Tensor, "*batch vocabulary"]]:
        """What each of the two says: both learn."""
        return [head(hidden) for head in self.heads]


def _slow(name: str) -> str:
    return f"slow_{name.replace('.', '_')}"


def _head(width: int, out: int, generator: torch.Generator) -> nn.Sequential:
    first, last = (nn.utils.skip_init(nn.Linear, *sizes) for sizes in ((width, 2 * width), (2 * width, out)))
    nn.init.kaiming_uniform_(first.weight, a=math.sqrt(5), generator=generator)
    for p in (first.bias, last.weight, last.bias):
        nn.init.zeros_(p)
    return nn.Sequential(first, nn.ReLU(), last)


def expectile_loss(u: Float[Tensor, "*actions"], tau: float) -> Float[Tensor, "*actions"]:
    """|τ − 1[u < 0]| u²: at τ = ½ half the squared error, towards 1 the mean moves up to the best."""
    return torch.where(u < 0, 1 - tau, tau) * u.square()


def losses(heads: QHeads, items: Sequence[Logged]) -> tuple[Float[Tensor, ""], int]:
    """L_Q + L_V + conservative · L_C summed over actions, and their number: what `fit` takes. Raises ValueError as `actions.check_replies`."""
    hidden, chosen, mask = _states(heads, [item.reply for item in items])
    every = heads.q.each(hidden) if isinstance(heads.q, Twins) else [heads.q(hidden)]
    V = grid(heads.v(hidden)[:, 0], mask)
    slow = grid(heads.slow_q(hidden).gather(1, chosen)[:, 0], mask).detach()
    following = torch.cat([V[:, 1:], V.new_zeros(len(V), 1)], 1).detach()  # V is 0 behind the last action
    reward = torch.zeros_like(V)
    reward[torch.arange(len(items)), mask.sum(1) - 1] = torch.tensor([float(item.reward) for item in items], device=V.device)
    parts = expectile_loss(slow - V, heads.tau)
    conservative = torch.zeros((), device=V.device)
    for each in every:
        parts = (reward + heads.gamma * following - grid(each.gather(1, chosen)[:, 0], mask)).square() + parts
        conservative = conservative + F.cross_entropy(each, chosen[:, 0], reduction="none").sum()
    count = int(mask.sum())
    return masked_mean(parts, mask) * count + heads.conservative * conservative, count


@torch.no_grad()
def values(heads: QHeads, replies: Sequence[Example]) -> tuple[Grid, Grid]:
    """(Q(s_t, a_t), V(s_t)) of each action, in the reward's unit, 0 where there is none. Raises ValueError as `actions.check_replies`."""
    hidden, chosen, mask = _states(heads, replies)
    return grid(heads.q(hidden).gather(1, chosen)[:, 0], mask), grid(heads.v(hidden)[:, 0], mask)


def _states(heads: QHeads, replies: Sequence[Example]) -> tuple[Float[Tensor, "total d"], Tensor, Tensor]:
    """(hidden states before the actions, the actions [total, 1], their grid's mask), of the base, dropout off."""
    check_replies(replies)
    batch = collate(replies).to(next(heads.base.parameters()).device)
    with torch.no_grad(), evaluating(heads.base):
        hidden = supervised_hidden(heads.base, batch).float()
    return hidden, batch.targets[:, None], action_mask([len(reply.completion_ids) for reply in replies]).to(hidden.device)


def train(
    heads: QHeads, log: Sequence[Logged], *, epochs: float = 2, batch_size: int = 64, lr: float = 1e-3, seed: int = 0,
    on_step: Callable[[int, History], None] | None = None, **options: Any,
) -> History:  # fmt: skip
    """Learn the heads from a log, in place; the history's losses are of `losses`, an action. `options` and errors as `lm.training.fit`.

    Raises ValueError for a reward that is not finite, and a reply beyond the base's context or vocabulary.
    """
    check_examples([item.reply for item in log], **limits(heads.base))
    for n, item in enumerate(log):
        if not math.isfinite(item.reward):
            raise ValueError(f"reply {n} of the log has the reward {item.reward}: a finite number is needed")

    def after(step: int, history: History) -> None:
        heads.follow()
        if on_step is not None:
            on_step(step, history)

    return fit(heads, log, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, loss_fn=losses, collate_fn=list, on_step=after, **options)


def guided(heads: QHeads, guidance: float = 4.0) -> nn.Module:
    """The base policy with its logits moved by g (Q − V): a model of the base's own class, which `generate` and `actions.score` take like any other.

    It shares all weights with `heads`, and the base stays as it is. guidance: g, per unit of reward. Raises ValueError for a guidance below zero, TypeError
    for a base whose output layer is not its own child (a wrapper of peft: take the model inside).
    """
    within("guidance", guidance, 0, 1e3)
    base = heads.base
    head = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else getattr(base, "unembedding", None)
    place = next((name for name, child in base.named_children() if child is head), None)
    if head is None or place is None:
        raise TypeError(f"{type(base).__name__} has no output layer of its own: take a transformer.Decoder or a causal transformers model")
    moved = copy.copy(base)
    moved._modules = dict(base._modules)  # the copy's own table of children; the children are the same
    moved._modules[place] = _GuidedHead(head, heads, guidance, getattr(base.config, "logit_scale", 1.0))
    return moved


class _GuidedHead(nn.Module):
    """In the place of a model's output layer. scale: what the model has multiplied the hidden state by on its way here."""

    def __init__(self, head: nn.Module, heads: QHeads, guidance: float, scale: float) -> None:
        super().__init__()
        self.head, self.q, self.v, self.guidance, self.scale = head, heads.q, heads.v, guidance, scale

    @property
    def weight(self) -> Tensor:
        return self.head.weight

    @property
    def bias(self) -> Tensor | None:
        return self.head.bias

    def forward(self, hidden: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch vocabulary"]:
        plain = self.head(hidden)
        if self.guidance == 0:
            return plain
        state = hidden.float() / self.scale
        return plain + (self.guidance * (self.q(state) - self.v(state))).to(plain.dtype)
