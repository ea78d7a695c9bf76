"""How far back can it reach? A dictionary is read entry by entry, then keys are asked for: which value stood with each?

    k₇v₂  k₁₂v₀  k₃v₃  …  k₁₁v₁   k₁₂?  k₃? …   →   v₀  v₃ …            distance = positions from the question back to its entry

Attention compares the question with every entry at once: one step, whatever the distance. A recurrent network has to carry all entries in
one state vector through every step between. Every key occurs once, values are random, so nothing but the entry answers; guessing gets 1 / VALUES. The
nearest quarter tells what distance has to do with it: a model that fails there too has not learned to keep the entries at all. How many entries a model
learns to keep, and after how much training, is measured in `recall`.

Source of the claim: Vaswani et al. 2017, section 4 and table 1 (maximum path length O(1) against O(n)). The task is associative recall:
Graves et al., "Neural Turing Machines", 2014, section 4.3; Arora et al., "Zoology", 2023.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.seeding import seeded
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.experiments.lstm import lstm_of_size
from llmsuite_lab.transformer.layers import cross_entropy
from llmsuite_lab.transformer.training_loop import train

KEYS, VALUES, QUESTIONS = 16, 4, 8
SEQ = KEYS + QUESTIONS
HELD_OUT = 10_000  # seed of the test sequences
VOCAB_SIZE = KEYS * VALUES + KEYS  # an entry (key, value) is one token, a question (key) another


def draw(
    n: int, generator: torch.Generator, entries: int = KEYS, keys: int = KEYS
) -> tuple[Int[Tensor, "n seq"], Int[Tensor, "n questions"], Int[Tensor, "n questions"]]:
    """n sequences: `entries` different ones of `keys` keys in random order, each with a value, then QUESTIONS of those keys.

    Returns ids, right values, and the distances back to the entry, 1 … entries + QUESTIONS - 1. Raises ValueError for more entries than keys, or fewer
    than QUESTIONS.
    """
    if not QUESTIONS <= entries <= keys:
        raise ValueError(f"entries={entries} must lie between the {QUESTIONS} questions and the {keys} keys")
    chosen = torch.rand(n, keys, generator=generator).argsort(1)[:, :entries]
    values = torch.randint(VALUES, (n, entries), generator=generator)
    place = torch.rand(n, entries, generator=generator).argsort(1)[:, :QUESTIONS]
    questions = keys * VALUES + chosen.gather(1, place)
    distance = entries + torch.arange(QUESTIONS) - place
    return torch.cat([chosen * VALUES + values, questions], dim=1), values.gather(1, place), distance


def attention_model(d_model: int = 64, n_heads: int = 1, vocab_size: int = VOCAB_SIZE, seq: int = SEQ) -> Decoder:
    """One block of causal attention without positions: the task needs content only."""
    return Decoder(
        llama_config(vocab_size, d_model, 1, n_heads, 2 * d_model, seq, positions="none", tie_embeddings=False, scale_embedding=True)
    )


def answers(model: nn.Module, ids: Int[Tensor, "n seq"]) -> Float[Tensor, "n questions values"]:
    """Scores of the VALUES answers at each question; the first rows of the output matrix serve as them."""
    return model.logits(model.hidden_states(ids)[:, -QUESTIONS:])[..., :VALUES]


@dataclass(frozen=True)
class Reach:
    """Accuracy of one trained model: `accuracy[d - 1]` at distance d, and for each of the `n` held-out sequences its share of right answers
    among the questions asked from the nearest and from the farthest quarter of the distances (nan: none was)."""

    name: str
    seed: int
    parameters: int
    accuracy: list[float]
    n: int
    near_items: list[float]
    far_items: list[float]


def measure_reach(seed: int, *, steps: int = 200, batch_size: int = 32, lr: float = 1e-2, n: int = 2048) -> tuple[Reach, Reach]:
    """Train attention and an LSTM of the same parameter count on the same batches; (attention, LSTM) by distance."""
    with seeded(seed):
        attention = attention_model()
        size = sum(p.numel() for p in attention.parameters())
        models = {"attention": attention, "LSTM": lstm_of_size(VOCAB_SIZE, 1, size)}
    return tuple(_train_and_measure(name, model, seed, steps, batch_size, lr, n) for name, model in models.items())


def _train_and_measure(name: str, model: nn.Module, seed: int, steps: int, batch_size: int, lr: float, n: int) -> Reach:
    generator = torch.Generator().manual_seed(seed)

    tokens = batch_size * SEQ

    def loss(model: nn.Module, drawn: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, int]:
        ids, values, _ = drawn
        return cross_entropy(answers(model, ids), values) * tokens, tokens

    train(model, lambda step: [draw(batch_size, generator)], loss, steps=steps, lr=lr, floor=lr / 10, warmup=0.1)
    ids, values, distance = draw(n, torch.Generator().manual_seed(HELD_OUT))  # the same sequences for every model and seed
    with torch.inference_mode():
        right = (answers(model, ids).argmax(-1) == values).double()
    accuracy = [right[distance == d].mean().item() for d in range(1, SEQ)]
    quarter = (SEQ - 1) // 4
    near, far = (right.where(asked, torch.nan).nanmean(1).tolist() for asked in (distance <= quarter, distance >= SEQ - quarter))
    return Reach(name, seed, sum(p.numel() for p in model.parameters()), accuracy, n, near, far)


def gain(runs: Sequence[Reach], quarter: str) -> Interval:
    """Attention minus LSTM over the "near" or "far" quarter, on the same held-out sequences; interval over those with a question from that quarter."""
    apart = [a - b for a, b in zip(_scores(runs, "attention", quarter), _scores(runs, "LSTM", quarter), strict=True)]
    return mean_interval(apart, differences=True)


def reach(runs: Sequence[Reach], name: str, quarter: str) -> Interval:
    """Accuracy of one kind of model over the "near" or "far" quarter; interval over sequences."""
    return mean_interval(_scores(runs, name, quarter))


def _scores(runs: Sequence[Reach], name: str, quarter: str) -> list[float]:
    """One number per held-out sequence: its score, averaged over the training seeds."""
    columns = [getattr(run, f"{quarter}_items") for run in runs if run.name == name]
    means = (sum(row) / len(row) for row in zip(*columns, strict=True))
    return [mean for mean in means if not math.isnan(mean)]
