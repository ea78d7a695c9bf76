"""Twins: one decoder with full-precision weights, one with BitLinear, otherwise alike, trained on the same tokens in the same order; at three sizes.

    gap(size) = loss(ternary) − loss(full precision)        nats per token on windows held out of training, window by window
    closed    = gap(smallest) − gap(largest)                above 0 where the ternary model catches up as both grow

Text: the docstrings of Python's standard library and the topics behind `help()`, written by people, in every CPython. Every window is read once, so that no
model learns it by heart; a paragraph stands in one document only, so that nothing held out was trained on. With the first seed both twins of each size
are tried at learning rates by one rule (three rates, and the next while the best lies at an end); each goes on at its own best by windows that are not scored.

A ternary layer also carries a norm, which the full-precision twin's has not: the gap is that of both. A third model, full precision with those norms, takes
them apart: gap = (ternary − normed) + (normed − full precision), what the rounding costs and what the norms bring.

Source: Ma et al. 2024, table 1 and figure 3 (700M to 3.9B weights on 100B tokens: the gap is gone at 3B). Here: a thousandth of that size, so nothing
is said about 3B.
"""

import hashlib
import inspect
import re
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from llmsuite_lab.bitnet.after_training import losses
from llmsuite_lab.bitnet.model import bit_decoder, count, normed_decoder
from llmsuite_lab.core.errors import LabError, unknown, whole
from llmsuite_lab.core.help_topics import topics
from llmsuite_lab.core.history import History
from llmsuite_lab.core.records import Record, mean_over_seeds, paired_differences
from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.core.seeding import seeded
from llmsuite_lab.transformer.bpe_training import train_bpe
from llmsuite_lab.transformer.config import TransformerConfig, llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.tokenizer import BPETokenizer
from llmsuite_lab.transformer.training_loop import train

SIZES = {"small": (32, 2, 2), "middle": (64, 3, 2), "large": (128, 4, 4)}  # d_model, blocks, heads
KINDS = {"full": Decoder, "ternary": bit_decoder}
CONTROL = {"normed": normed_decoder}  # full precision with a norm in each layer, where the ternary model has one
RATES, APART, MOST_RATES = (3e-3, 9e-3, 2.7e-2), 3, 5  # tried first; where an end is the best, the next one, three times as far, until there are five
END = "<|endoftext|>"
_DOCSTRING = re.compile(r'^[ \t]*[rRuU]?"""(.*?)"""', re.DOTALL | re.MULTILINE)
_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "ensurepip"}


@dataclass(frozen=True)
class Budget:
    """`steps` updates of `batch_size` windows of `length` tokens, each window read once; `validation` windows choose the rate, `items` others are scored."""

    vocabulary: int = 1024
    length: int = 128
    batch_size: int = 8
    steps: int = 300
    validation: int = 64
    items: int = 200


@dataclass(frozen=True)
class Text:
    """Windows of length + 1 token ids, to be read in this order; the tokenizer, learned on the training part; `sha256` of all documents."""

    tokenizer: BPETokenizer
    train: Int[Tensor, "windows length_1"]
    validation: Int[Tensor, "validation length_1"]
    held_out: Int[Tensor, "items length_1"]
    sha256: str


def documents() -> list[str]:
    """One text a file of the standard library with docstrings, one a topic, in a fixed order; a paragraph stands where it comes first.

    Raises LabError as `help_topics.topics`: a build without its documentation would train on another text.
    """
    seen: set[str] = set()
    found = []
    for text in _texts():
        kept = [p for p in dict.fromkeys(text.split("\n\n")) if p.strip() and p not in seen]
        seen.update(kept)
        if kept:
            found.append("\n\n".join(kept))
    return found


def _texts() -> Iterator[str]:
    root = Path(sysconfig.get_path("stdlib"))
    for file in sorted(root.rglob("*.py")):
        if not _LEFT_OUT & set(file.relative_to(root).parts):
            docstrings = _DOCSTRING.findall(file.read_text(encoding="utf-8", errors="replace"))
            yield "\n\n".join(inspect.cleandoc(one) for one in docstrings)
    yield from topics().values()


def text(budget: Budget, seed: int = 0, documents_: list[str] | None = None) -> Text:
    """Every tenth document is held out; its first windows validate, the next ones are scored. `seed` shuffles the order of the training windows.

    documents_: other texts than `documents()`. Raises LabError where they do not hold as many tokens as the budget asks for.
    """
    given = documents() if documents_ is None else documents_
    parts = {"train": [d for n, d in enumerate(given) if n % 10 != 5], "held out": [d for n, d in enumerate(given) if n % 10 == 5]}
    tokenizer = train_bpe(parts["train"], budget.vocabulary, [END])
    wanted = {"train": budget.steps * budget.batch_size, "held out": budget.validation + budget.items}
    cut = {}
    for name, part in parts.items():
        ids = torch.tensor([token for one in part for token in (tokenizer.special_tokens[END], *tokenizer.encode(one, allow_special=False))])
        cut[name] = ids[: len(ids) // (budget.length + 1) * (budget.length + 1)].view(-1, budget.length + 1)
        if len(cut[name]) < wanted[name]:
            raise LabError(f"the {name} text holds {len(cut[name])} windows of {budget.length + 1} tokens, and {wanted[name]} are asked for: take fewer")
    mixed = torch.Generator().manual_seed(0)
    held_out = cut["held out"][torch.randperm(len(cut["held out"]), generator=mixed)]  # no seed: the same items for all
    order = torch.randperm(len(cut["train"]), generator=torch.Generator().manual_seed(seed))
    digest = hashlib.sha256(END.join(given).encode()).hexdigest()
    scored = held_out[budget.validation : wanted["held out"]]
    return Text(tokenizer, cut["train"][order[: wanted["train"]]], held_out[: budget.validation], scored, digest)


def config(size: str, budget: Budget | None = None) -> TransformerConfig:
    """The shape of both twins. Raises ValueError for an unknown size."""
    if not isinstance(size, str) or size not in SIZES:
        raise ValueError(unknown("size", size, list(SIZES)))
    budget, (width, blocks, heads) = budget or Budget(), SIZES[size]
    wide = -(-8 * width // 3 // 32) * 32
    return llama_config(budget.vocabulary, width, blocks, heads, wide, budget.length, tie_embeddings=False, scale_embedding=True)


def twin(kind: str, size: str, seed: int = 0, budget: Budget | None = None) -> Decoder:
    """A model at its random start: all kinds start from the same numbers. Raises ValueError for an unknown kind or size."""
    made = KINDS | CONTROL
    if not isinstance(kind, str) or kind not in made:
        raise ValueError(unknown("kind", kind, list(made)))
    with seeded(seed):
        return made[kind](config(size, budget))


def learn(model: Decoder, read: Text, lr: float, budget: Budget, progress: bool = False) -> History:
    """Train in place on the windows of `read`, in their order, each once.

    Raises ValueError for more steps than there are windows for, LabError for a loss that is no number.
    """
    whole("steps", budget.steps, 1, len(read.train) // budget.batch_size)
    terms = budget.batch_size * budget.length

    def loss(model: Decoder, chosen: Tensor) -> tuple[Tensor, int]:
        return model.loss(chosen[:, :-1], chosen[:, 1:]) * terms, terms

    batches = read.train[: budget.steps * budget.batch_size].split(budget.batch_size)
    return train(model, lambda step: [batches[step]], loss, steps=budget.steps, lr=lr, progress=progress)


def run(kind: str, size: str, lr: float, read: Text, seed: int, budget: Budget) -> dict[str, Any]:
    """One training as a row: {"kind", "size", "weights", "ternary", "lr", "validation" (nats), "losses" of the items, "train_loss" in twenty parts}."""
    model = twin(kind, size, seed, budget)
    history = learn(model, read, lr, budget)
    part = max(1, budget.steps // 20)
    along = [sum(history.losses[i : i + part]) / part for i in range(0, budget.steps // part * part, part)]
    held = count(config(size, budget))
    chosen = losses(model, read.validation)
    row = {"kind": kind, "size": size, "weights": sum(p.numel() for p in model.parameters()), "ternary": held.ternary, "lr": lr}
    return row | {"validation": sum(chosen) / len(chosen), "losses": losses(model, read.held_out), "train_loss": along}


def best_rate(rows: list[dict[str, Any]], kind: str, size: str) -> float:
    """The rate with the lowest validation loss. Raises LabError where none was tried."""
    tried = [row for row in rows if (row["kind"], row["size"]) == (kind, size)]
    if not tried:
        raise LabError(f"no rate was tried for the {kind} model of size {size}: `llmsuite train bitnet_twins --seed 0` tries them")
    return min(tried, key=lambda row: row["validation"])["lr"]


def tried(kind: str, size: str, read: Text, seed: int, budget: Budget) -> list[dict[str, Any]]:
    """Rows of `run` at `RATES`, and farther on while the best rate lies at an end, `MOST_RATES` at most."""
    rows = [run(kind, size, lr, read, seed, budget) for lr in RATES]
    while len(rows) < MOST_RATES:
        rates, best = sorted(row["lr"] for row in rows), best_rate(rows, kind, size)
        if best not in (rates[0], rates[-1]):
            break
        rows.append(run(kind, size, best / APART if best == rates[0] else best * APART, read, seed, budget))
    return rows


def measured(seed: int, budget: Budget, first: Record | None = None, kinds: Sequence[str] = tuple(KINDS)) -> Outcome:
    """Rows of `run`: every size, all `kinds`, at the rates of `tried`, or, where another seed's record comes `first`, at the best rates of that one.

    Raises LabError where the first record was made with other settings or on another text (another version of Python has another one), before training.
    """
    read = text(budget, seed)
    settings = asdict(budget) | {"sizes": {name: list(shape) for name, shape in SIZES.items()}, "text_sha256": read.sha256}
    if first is not None:
        _alike([first.settings, settings])
    rows = []
    for size in SIZES:
        for kind in kinds:
            if first is None:
                rows += tried(kind, size, read, seed, budget)
            else:
                rows.append(run(kind, size, best_rate(first.results, kind, size), read, seed, budget))
    return Outcome(settings, rows)


def _alike(settings: Sequence[dict[str, Any]]) -> None:
    """Raise LabError for runs that cannot be averaged, with the first setting in which they differ."""
    for name in sorted(set().union(*settings)):
        if any(one.get(name) != settings[0].get(name) for one in settings):
            told = ", ".join(str(one.get(name, "not recorded"))[:12] for one in settings)
            raise LabError(f"these twins have different {name} ({told}): train all seeds with one Python, `llmsuite train bitnet_twins --seed 0` first")


@dataclass(frozen=True)
class Gaps:
    """Item by item, averaged over seeds: `gap` of each size in nats; `closed`, smallest minus largest; `gain`, how much lower the largest full-precision
    model's loss is than that of the next smaller one; the `weights` of each size's full-precision model; and, where the control was trained, `rounding`,
    loss of ternary minus full precision with the same norms."""

    gap: dict[str, list[float]]
    rounding: dict[str, list[float]]
    closed: list[float]
    gain: list[float]
    weights: dict[str, int]


def gaps(runs: list[Record], control: Sequence[Record] = ()) -> Gaps:
    """What the records of `bitnet_twins` say, and those of `bitnet_norms` as `control`, each model at its best rate.

    Raises LabError where a size or kind is missing or settings or texts differ, ValueError for no record.
    """
    sizes = list(SIZES)
    _alike([one.settings for one in (*runs, *control)])

    def losses_of(kind: str, size: str, among: Sequence[Record] = runs) -> list[float]:
        return mean_over_seeds(among, lambda one: chosen(one, kind, size)["losses"])

    by = {(kind, size): losses_of(kind, size) for kind in KINDS for size in sizes}
    normed = {size: losses_of("normed", size, control) for size in sizes} if control else {}
    rounding = {size: paired_differences(by["ternary", size], losses) for size, losses in normed.items()}
    gap = {size: paired_differences(by["ternary", size], by["full", size]) for size in sizes}
    closed, gain = paired_differences(gap[sizes[0]], gap[sizes[-1]]), paired_differences(by["full", sizes[-2]], by["full", sizes[-1]])
    return Gaps(gap, rounding, closed, gain, {size: chosen(runs[0], "full", size)["weights"] for size in sizes})


def seed_by_seed(runs: Sequence[Record], control: Sequence[Record]) -> list[dict[str, Any]]:
    """A row a size and seed: "size", "seed", share of the weights that are "ternary", the mean losses "full", "normed" and "ternary model" at the best rates.

    Raises LabError as `gaps`, ValueError where the two kinds of record do not have the same seeds.
    """
    _alike([one.settings for one in (*runs, *control)])
    if [one.seed for one in runs] != [one.seed for one in control]:
        raise ValueError(f"records of seeds {[one.seed for one in runs]} and {[one.seed for one in control]} do not stand side by side")
    rows = []
    for size in SIZES:
        for one, other in zip(runs, control, strict=True):
            full, normed, ternary = chosen(one, "full", size), chosen(other, "normed", size), chosen(one, "ternary", size)
            loss = {name: sum(row["losses"]) / len(row["losses"]) for name, row in (("full", full), ("normed", normed), ("ternary model", ternary))}
            rows.append({"size": size, "seed": one.seed, "ternary": full["ternary"] / full["weights"]} | loss)
    return rows


def chosen(one: Record, kind: str, size: str) -> dict[str, Any]:
    """The row of a record's best rate. Raises LabError as `best_rate`."""
    best = best_rate(one.results, kind, size)
    return next(row for row in one.results if (row["kind"], row["size"], row["lr"]) == (kind, size, best))
