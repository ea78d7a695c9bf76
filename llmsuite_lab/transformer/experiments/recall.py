"""How many entries can it learn to hold, and after how much training? The retrieval task with 8, 16, 32 or 64 entries, accuracy over tokens read.

    k₇v₂ k₁₂v₀ … (n entries of 64 keys)   k₁₂? k₃? … (8 questions)   →   v₀ v₃ …            tokens per step: the same for every n and both models

Attention finds an entry by comparing; a recurrent network must hold the n values, two bits each, in one vector. Given the same tokens and its own best
learning rate, each model of the same size is measured as it learns (`learned`); `best_rates` picks the rate, for each n, on sequences that are not the test's.

Source of the task: Graves et al. 2014, section 4.3; Arora et al., "Zoology", 2023, who ask the same at a larger scale.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from llmsuite_lab.core.history import History
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.records import Record, mean_over_seeds, paired_differences
from llmsuite_lab.core.seeding import seeded
from llmsuite_lab.transformer.experiments.lstm import lstm_of_size
from llmsuite_lab.transformer.experiments.retrieval_task import HELD_OUT, QUESTIONS, VALUES, answers, attention_model, draw
from llmsuite_lab.transformer.layers import cross_entropy
from llmsuite_lab.transformer.training_loop import train

KEYS, ENTRIES = 64, (8, 16, 32, 64)
MODELS = ("attention", "LSTM")
TOKENS = 720  # a step: divides by every length, entries + QUESTIONS
STEPS, MARKS = 3200, (100, 200, 400, 800, 1600, 3200)
RATES = (3e-3, 1e-2, 3e-2)
SEQUENCES = 256  # of the test, the same for every model and seed
VOCAB_SIZE = KEYS * VALUES + KEYS


@dataclass(frozen=True)
class Learned:
    """One model as it learned: (tokens read, share of right answers) at each mark, and the right answers of each test sequence at the end."""

    model: str
    entries: int
    lr: float
    parameters: int
    curve: list[tuple[int, float]]
    right: list[int]


def new_model(name: str) -> nn.Module:
    """ "attention" or "LSTM", of the same size within 2 %. Raises ValueError for another name."""
    if name not in MODELS:
        raise ValueError(f"model={name!r} is not in this comparison: choose one of {', '.join(MODELS)}")
    attention = attention_model(vocab_size=VOCAB_SIZE, seq=KEYS + QUESTIONS)
    return attention if name == "attention" else lstm_of_size(VOCAB_SIZE, 1, sum(p.numel() for p in attention.parameters()))


def learned(
    name: str, entries: int, lr: float, seed: int = 0, *, marks: Sequence[int] = MARKS, test_seed: int = HELD_OUT, n: int = SEQUENCES
) -> Learned:
    """Train one model to the last of `marks` (steps), asking the same `n` test sequences at each. Raises ValueError as `draw` and `new_model`."""
    with seeded(seed):
        model = new_model(name)
    generator = torch.Generator().manual_seed(seed)
    batch = max(1, TOKENS // (entries + QUESTIONS))
    ids, values, _ = draw(n, torch.Generator().manual_seed(test_seed), entries, KEYS)
    curve: list[tuple[int, float]] = []
    right = torch.zeros(n)

    def loss(model: nn.Module, drawn: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, int]:
        return cross_entropy(answers(model, drawn[0]), drawn[1]) * drawn[0].numel(), drawn[0].numel()

    def after(done: int, history: History) -> None:
        nonlocal right
        if done in marks:
            with torch.inference_mode():
                right = (answers(model, ids).argmax(-1) == values).sum(1)
            curve.append((done * batch * (entries + QUESTIONS), right.sum().item() / values.numel()))

    train(
        model, lambda step: [draw(batch, generator, entries, KEYS)], loss, steps=max(marks), lr=lr, floor=lr / 10, warmup=0.1, on_step=after
    )
    return Learned(name, entries, lr, sum(p.numel() for p in model.parameters()), curve, right.tolist())


def rate_rows(steps: int = STEPS, entries: Sequence[int] = ENTRIES, seed: int = 100) -> list[dict]:
    """Each model at each of RATES among each number of entries, trained as long as in the comparison, on test sequences of another seed than its."""
    return [asdict(learned(name, n, lr, seed, marks=(steps,), test_seed=seed)) for n in entries for name in MODELS for lr in RATES]


def best_rates(rows: Sequence[Mapping]) -> dict[str, dict[int, float]]:
    """{model: {entries: the learning rate with the most right answers at the end}}; the smaller one of two equal ones.

    For each number of entries by itself: a rate picked where a model learns nothing at any rate is picked by chance.
    """
    best: dict[str, dict[int, float]] = {name: {} for name in MODELS}
    for name in MODELS:
        for n in sorted({row["entries"] for row in rows}):
            tried = [row for row in rows if (row["model"], row["entries"]) == (name, n)]
            best[name][n] = max(tried, key=lambda row: (row["curve"][-1][1], -row["lr"]))["lr"]
    return best


def gain(records: Sequence[Record], entries: int) -> Interval:
    """Attention minus LSTM after all tokens, among `entries` entries: paired by test sequence, seeds averaged, interval over sequences."""
    scores = [mean_over_seeds(records, lambda record, m=name: _shares(record, m, entries)) for name in MODELS]
    return mean_interval(paired_differences(*scores), differences=True)


def curves(records: Sequence[Record], entries: int) -> dict[str, list[tuple[int, list[float]]]]:
    """{model: (tokens, accuracy of each seed) at each mark}."""
    found = {}
    for name in MODELS:
        runs = [_row(record, name, entries)["curve"] for record in records]
        found[name] = [(marks[0][0], [share for _, share in marks]) for marks in zip(*runs, strict=True)]
    return found


def _row(record: Record, name: str, entries: int) -> Mapping:
    return next(row for row in record.results if (row["model"], row["entries"]) == (name, entries))


def _shares(record: Record, name: str, entries: int) -> list[float]:
    return [right / QUESTIONS for right in _row(record, name, entries)["right"]]
