"""A reward model: one number for a reply, learnt from which of two replies somebody preferred.

    R(x, y) = w · h_end(x, y)            h_end: the trunk's hidden state at the end token, and nowhere else
    P(y_w ≻ y_l) = σ(R(x, y_w) − R(x, y_l))                                  Bradley and Terry 1952
    L = − mean log σ(R(x, y_w) − R(x, y_l) − m)                              m: a margin, 0 where none is given

Only differences are learnt, so a reward has no zero and no unit of its own: `normalise` gives it mean 0 and sd 1 over some replies, which is what a price
per nat (β) is set against. Source: paper 6; Christiano et al. 2017, Ouyang et al. 2022. In production: `trl.RewardTrainer`.
"""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn

from llmsuite_lab.alignment.actions import check_replies
from llmsuite_lab.alignment.pairs import Pair, PairBatch, check_pairs, collate_pairs
from llmsuite_lab.alignment.rollouts import width_of
from llmsuite_lab.core.errors import LabError, whole
from llmsuite_lab.core.fetch import sha256
from llmsuite_lab.core.files import load_tensors, whole_folder, write_json
from llmsuite_lab.core.history import History
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.lm.batching import Example, collate
from llmsuite_lab.lm.supervised import supervised_hidden
from llmsuite_lab.lm.training import fit
from llmsuite_lab.peft_methods.lora import names
from llmsuite_lab.transformer.evaluating import evaluating

KIND = "a reward model"
_WEIGHTS, _TOLD = "reward_model.safetensors", "reward_model.json"
_PROBE = "what the trunk says to the first ids"
ALIKE = 0.1  # of two trunks' answers, as a share of their length: bfloat16 differs from float32 by some hundredths, another trunk by more than 1


class RewardModel(nn.Module):
    """A trunk with one linear head. The trunk is used as it is: a causal model of ours or of transformers, with a LoRA where the base is to stay.

    `RewardModel.of(policy)` stands on a copy of a policy. seed: of the head, drawn small (sd 1 / √(d + 1)); None: the head starts
    at zero, and every reply at a reward of 0. Raises TypeError as `rollouts.width_of`.
    """

    def __init__(self, trunk: nn.Module, seed: int | None = 0) -> None:
        super().__init__()
        self.trunk = trunk
        width, device = width_of(trunk), next(trunk.parameters()).device
        generator = torch.Generator().manual_seed(seed or 0)
        drawn = torch.zeros(1, width) if seed is None else torch.randn(1, width, generator=generator) / (width + 1) ** 0.5
        self.head = nn.utils.skip_init(nn.Linear, width, 1, bias=False, device=device)
        self.head.weight.data.copy_(drawn)
        self.register_buffer("mean", torch.zeros((), device=device))
        self.register_buffer("sd", torch.ones((), device=device))

    @classmethod
    def of(cls, policy: nn.Module, seed: int | None = 0) -> "RewardModel":
        """On a copy of `policy`, which stays as it is. All of the copy is trained, or, where it carries a LoRA, that alone."""
        trunk = copy.deepcopy(policy)
        return cls(trunk if names(trunk) else trunk.requires_grad_(True), seed)

    def forward(self, replies: Sequence[Example]) -> Float[Tensor, " replies"]:
        """R(x, y) of replies with their end token, read there, before normalising. Differentiable. Raises ValueError for none, an empty one."""
        check_replies(replies)
        read = [Example([*r.prompt_ids, *r.completion_ids], [0]) for r in replies]  # the position whose next token would be asked is the reply's last
        hidden = supervised_hidden(self.trunk, collate(read).to(self.head.weight.device))
        return self.head(hidden.to(self.head.weight.dtype)).squeeze(-1).float()

    @torch.no_grad()
    def rewards(self, replies: Sequence[Example], batch_size: int = 128) -> Float[Tensor, " replies"]:
        """Normalised rewards, dropout off, in order: what a policy is tuned against (`rollouts.Reward`).

        Raises ValueError as `forward`, LabError for a reward that is not finite: it would rank below every other in silence.
        """
        whole("batch_size", batch_size, 1, 1_000_000)
        check_replies(replies)
        order = sorted(range(len(replies)), key=lambda i: len(replies[i]))
        found = torch.zeros(len(replies), device=self.head.weight.device)
        with evaluating(self):
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                found[rows] = self([replies[i] for i in rows])
        if not bool(found.isfinite().all()):
            bad = int((~found.isfinite()).nonzero()[0])
            raise LabError(f"the reward model gives reply {bad} a reward of {float(found[bad])}: its training diverged, or its dtype is too narrow")
        return (found - self.mean) / self.sd

    def normalise(self, replies: Sequence[Example]) -> None:
        """From now on `rewards` has mean 0 and sd 1 over these replies. Raises ValueError for fewer than 2, LabError when all are alike, or as `rewards`."""
        if len(replies) < 2:
            raise ValueError(f"{len(replies)} replies give no spread to normalise by: take 2 or more")
        raw = self.rewards(replies) * self.sd + self.mean
        spread = raw.std()
        if float(spread) < 1e-8:
            raise LabError(f"rewards of mean {float(raw.mean()):.3g} and sd {float(spread):.3g} cannot be normalised: the model ranks nothing")
        self.mean.copy_(raw.mean())
        self.sd.copy_(spread)


def bradley_terry(chosen: Float[Tensor, " pairs"], rejected: Float[Tensor, " pairs"], margin: Float[Tensor, " pairs"] | float = 0.0) -> Tensor:
    """− log σ(R_w − R_l − m) of each pair, in nats, without overflow for any difference."""
    return -F.logsigmoid(chosen - rejected - margin)


def pair_loss(model: RewardModel, batch: PairBatch) -> tuple[Float[Tensor, ""], int]:
    """The loss summed over the pairs, and their number: what `fit` takes."""
    chosen, rejected = batch.halves(model(batch.replies))
    return bradley_terry(chosen, rejected, batch.margin.to(chosen.device)).sum(), len(batch.margin)


def train(model: RewardModel, pairs: Sequence[Pair], *, epochs: float = 2, batch_size: int = 32, lr: float = 1e-3, seed: int = 0, **options: Any) -> History:
    """Learn from pairs, in place; the history's losses are nats a pair. `options` and errors as `lm.training.fit`, and `pairs.check_pairs`."""
    check_pairs(pairs, model.trunk)
    return fit(model, pairs, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, loss_fn=pair_loss, collate_fn=collate_pairs, **options)


def margins(model: RewardModel, pairs: Sequence[Pair]) -> Float[Tensor, " pairs"]:
    """R(chosen) − R(rejected) of each pair, in normalised units, without a gradient. Raises ValueError for no pair, LabError as `rewards`."""
    batch = collate_pairs(pairs)
    chosen, rejected = batch.halves(model.rewards(batch.replies))
    return chosen - rejected


def accuracy(model: RewardModel, pairs: Sequence[Pair]) -> Interval:
    """Share of pairs whose chosen reply gets the higher reward; a tie is half right. Over pairs."""
    return mean_interval([0.5 if m == 0 else float(m > 0) for m in margins(model, pairs).tolist()])


@dataclass(frozen=True)
class Bin:
    """Pairs of like confidence: mean `confidence` σ(|ΔR|), share `right`, and how many."""

    confidence: float
    right: float
    n: int


def calibration(model: RewardModel, pairs: Sequence[Pair], bins: int = 5) -> tuple[list[Bin], float]:
    """(bins of as many pairs each, expected calibration error): is the model right as often as it says? Confidences are of the raw rewards.

    Raises ValueError for fewer pairs than bins.
    """
    whole("bins", bins, 1, 1000)
    if len(pairs) < bins:
        raise ValueError(f"{len(pairs)} pairs for bins={bins}: every bin needs one at least")
    raw = margins(model, pairs) * model.sd
    order = raw.abs().argsort()
    confidence, right = raw.abs().sigmoid()[order], ((1 + raw.sign()) / 2)[order]  # a tie is half right
    rows = [Bin(float(c.mean()), float(r.mean()), len(c)) for c, r in zip(confidence.tensor_split(bins), right.tensor_split(bins))]
    return rows, sum(row.n * abs(row.confidence - row.right) for row in rows) / len(pairs)


def save(model: RewardModel, folder: Path) -> None:
    """Write what was trained, the head and the normalisation to `folder`, whole or not at all. Frozen weights are not written.

    Raises ValueError for weights that are not finite, LabError for a folder that holds something else.
    """
    from safetensors.torch import save_file

    kept = _kept(model)
    if broken := [name for name, tensor in kept.items() if not bool(tensor.isfinite().all())]:
        raise ValueError(f"{broken[0]} is not finite: the training diverged, and there is no reward model to write")
    with whole_folder(folder, KIND) as new:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}
        save_file(tensors | {_PROBE: _probe(model)}, new / _WEIGHTS)
        write_json(new / _TOLD, {"sha256": sha256(new / _WEIGHTS), "weights": sorted(kept), "reads": "the hidden state at the end token"})


def load(model: RewardModel, folder: Path) -> RewardModel:
    """Put the weights of `save` into a model made as that one was.

    Raises LabError, with nothing changed, when they are missing, damaged or of other names and shapes, and when the model does not then compute what the
    saved one did: its frozen base, or its adapter's scale, is another.
    """
    folder = Path(folder)
    if not (folder / _WEIGHTS).is_file():
        raise LabError(f"there is no reward model in {folder}: {_WEIGHTS} is missing")
    try:
        if sha256(folder / _WEIGHTS) != json.loads((folder / _TOLD).read_text(encoding="utf-8"))["sha256"]:
            raise ValueError("a wrong checksum")
        tensors = load_tensors(folder / _WEIGHTS)
        said = tensors.pop(_PROBE)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise LabError(f"the reward model in {folder} is damaged ({error}): get it again, or train it again") from error
    kept = _kept(model)
    for name in {**kept, **tensors}:
        if name not in tensors or name not in kept or tensors[name].shape != kept[name].shape:
            raise LabError(f"the reward model in {folder} belongs to another trunk: {name} does not fit")
    before = {name: tensor.detach().clone() for name, tensor in kept.items()}
    _put(kept, tensors)
    says = _probe(model)
    if says.shape != said.shape or not float((says - said).norm()) <= ALIKE * float(said.norm()):
        _put(kept, before)
        raise LabError(f"the reward model in {folder} belongs to another trunk: with its weights this one computes something else")
    return model


@torch.no_grad()
def _put(kept: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        kept[name].copy_(tensor)


@torch.no_grad()
def _probe(model: RewardModel) -> Float[Tensor, " d"]:
    """The trunk's hidden state behind a few fixed ids: tells two trunks apart, whatever dtype they compute in."""
    ids = [i % int(model.trunk.config.vocab_size) for i in range(8)]
    with evaluating(model.trunk):
        return supervised_hidden(model.trunk, collate([Example(ids, [0])]).to(model.head.weight.device))[0].float().cpu()


def _kept(model: RewardModel) -> dict[str, Tensor]:
    """What is written: trained parameters, once each where they are tied, the head, the normalisation."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return trained | {"head.weight": model.head.weight, "mean": model.mean, "sd": model.sd}
