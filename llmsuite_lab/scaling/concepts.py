"""The ideas of training at scale as pictures: what each rank holds at each stage, how a ring adds up, and when a gradient leaves."""

from typing import Any

from llmsuite_lab.core.diagrams import BESIDE, WIDE, arrow, box, canvas, cells, colour, say, tint
from llmsuite_lab.core.errors import whole
from llmsuite_lab.scaling.memory import model_states

RANKS = 4
_KINDS = (("parameters", "baseline"), ("gradients", "tuned"), ("optimizer", "accent"))
_MIXED = model_states(1, precision="mixed")  # bytes a parameter
_STAGES = (
    ("Data parallel: every rank holds everything", "all-reduce the gradients"),
    ("ZeRO-1: the optimizer's state is shared out", "reduce-scatter gradients, all-gather parameters"),
    ("ZeRO-2: the gradients too", "reduce-scatter as backward goes, all-gather parameters"),
    ("ZeRO-3, FSDP: and the parameters", "gather a block, use it, free it; scatter its gradients"),
)


def stage(number: str | int = 0) -> Any:
    """What four ranks hold at a stage (0 to 3): filled is held, pale is another rank's. Heights are bytes in mixed precision."""
    number = int(number)
    whole("number", number, 0, 3)
    title, traffic = _STAGES[number]
    drawn, ax = canvas(title, *WIDE)
    high, low, wide = 3.1, 0.95, 1.55
    for rank in range(RANKS):
        x = 0.35 + 2.0 * rank
        y = low
        for kind, (bytes_each, (_, ink)) in enumerate(zip(_MIXED, _KINDS, strict=True)):
            tall, shared = high * bytes_each / sum(_MIXED), number >= 3 - kind
            for part in range(RANKS):
                mine = not shared or part == rank
                _block(ax, x + wide / RANKS * part, y, wide / RANKS, tall, ink if mine else "", joined=not shared)
            y += tall
        say(ax, x + wide / 2, low - 0.22, f"rank {rank}", size=14, bold=True)
    for kind, ((name, ink), bytes_each) in enumerate(zip(_KINDS, _MIXED, strict=True)):
        middle = low + high * (sum(_MIXED[:kind]) + bytes_each / 2) / sum(_MIXED)
        say(ax, 8.5, middle, f"{name}: {bytes_each}Ψ{'/n' if number >= 3 - kind else ''}", size=14, ink=ink, bold=True, across="left")
    total = sum(model_states(1_000_000, stage=number, ranks=RANKS, precision="mixed")) / 1e6
    say(ax, 8.5, low - 0.22, f"{total:g} bytes a parameter", size=14, bold=True, across="left")
    say(ax, 0.35, 0.28, traffic, size=14, italic=True, across="left")
    return drawn


def _block(ax: Any, x: float, y: float, width: float, height: float, ink: str, *, joined: bool) -> None:
    from matplotlib.patches import Rectangle

    face, edge = (tint(ink, 0.9), tint(ink, 0.9) if joined else "white") if ink else ("#FFFFFF", colour("grid"))
    ax.add_patch(Rectangle((x, y + 0.02), width, height - 0.04, facecolor=face, edgecolor=edge, linewidth=1.2, zorder=2))


def ring(step: str | int = 0, ranks: int = 4) -> Any:
    """A ring all-reduce after `step` of its 2 (n-1) steps: which ranks' terms each piece holds; a piece that is whole is green."""
    step = int(step)
    whole("ranks", ranks, 2, 6)
    whole("step", step, 0, 2 * (ranks - 1))
    held = held_after(step, ranks)
    half = "reduce-scatter" if step < ranks else "all-gather"
    drawn, ax = canvas(f"Ring all-reduce, step {step} of {2 * (ranks - 1)}{f': {half}' if step else ''}", *WIDE)
    wide = 9.4 / ranks
    for rank in range(ranks):
        y = 4.1 - 0.86 * rank * 4 / ranks
        say(ax, 0.1, y, f"rank {rank}", size=14, bold=True, across="left")
        for piece, terms in enumerate(held[rank]):
            full = len(terms) == ranks
            fill = "accent" if full else "baseline" if len(terms) > 1 else "grid"
            cells(ax, 1.2 + wide * piece, y, ["sum" if full else " + ".join(map(str, sorted(terms)))], fill, width=wide - 0.12, height=0.5, size=14)
    sent = f"each rank sends 1/{ranks} of the tensor to the next: {step} so far, of {2 * (ranks - 1)}" if step else "each rank has its own terms of every piece"
    say(ax, 0.1, 0.42, sent, size=14, italic=True, across="left")
    return drawn


def held_after(step: int, ranks: int) -> list[list[set[int]]]:
    """[rank][piece] → whose terms it holds after so many steps of a ring all-reduce: rank r sends piece (r - s) mod n at step s, the sums thereafter."""
    whole("ranks", ranks, 2, 64)
    whole("step", step, 0, 2 * (ranks - 1))
    held = [[{rank} for _ in range(ranks)] for rank in range(ranks)]
    for s in range(step):
        sent = [(rank, (rank - s) % ranks if s < ranks - 1 else (rank + 1 - (s - ranks + 1)) % ranks) for rank in range(ranks)]
        moved = [(rank, piece, set(held[rank][piece])) for rank, piece in sent]
        for rank, piece, terms in moved:
            there = held[(rank + 1) % ranks]
            there[piece] = there[piece] | terms
    return held


def flat_buffer() -> Any:
    """Three tensors laid end to end, padded, and cut into four equal parts: the second rank owns the end of one and the start of the next."""
    drawn, ax = canvas("Many tensors as one buffer, cut into equal parts", *WIDE)
    letters = "AAAAABBCCC"
    inks = {"A": "baseline", "B": "tuned", "C": "accent", "0": "grid"}
    for x, letter, count in ((0.6, "A", 5), (5.2, "B", 2), (7.6, "C", 3)):
        cells(ax, x, 4.0, [letter] * count, inks[letter], width=0.66)
        say(ax, x + 0.36 * count, 4.48, f"{count} elements", size=13)
    part = -(-len(letters) // RANKS)
    padded = letters.ljust(part * RANKS, "0")
    for rank in range(RANKS):
        x = 0.6 + 2.6 * rank
        own = padded[part * rank : part * (rank + 1)]
        cells(ax, x, 2.3, list(own), [inks[letter] for letter in own], width=0.66)
        say(ax, x + 1.05, 1.7, f"rank {rank}", size=14, bold=True)
    for x in (2.3, 5.9, 8.7):
        arrow(ax, (x, 3.66), (x, 2.66), ink="base")
    say(ax, 0.6, 0.85, f"{len(letters)} elements, {RANKS} ranks: parts of ⌈{len(letters)}/{RANKS}⌉ = {part}, the last one padded", size=14, across="left")
    say(ax, 0.6, 0.35, "one collective moves them all, and every rank has the same amount of work", size=14, italic=True, across="left")
    return drawn


def buckets_leave_early() -> Any:
    """A time line of backward: a bucket's all-reduce starts when its last gradient is there, while backward works on the layers before."""
    drawn, ax = canvas("A bucket leaves while backward goes on", *WIDE)
    say(ax, 0.1, 3.6, "backward", size=14, bold=True, across="left")
    say(ax, 0.1, 2.4, "network", size=14, bold=True, across="left")
    names = ("layer 4", "layer 3", "layer 2", "layer 1")
    centres = cells(ax, 1.5, 3.6, names, "base", width=1.6, height=0.6, size=14, gap=0.08)
    ends = [centre + 0.8 for centre in centres]
    for n, (begin, name) in enumerate(((ends[1], "bucket 1"), (ends[3], "bucket 2"))):
        box(ax, begin + 1.1, 2.4, 2.1, 0.6, name, fill="tuned" if n else "accent", size=14)
        arrow(ax, (begin, 3.28), (begin, 2.72), ink="bound")
    ax.plot([ends[3], ends[3]], [1.5, 4.1], color=colour("bound"), linestyle="--", linewidth=1.5)
    say(ax, ends[3] - 0.1, 1.55, "hidden", size=14, ink="accent", bold=True, across="right")
    say(ax, ends[3] + 0.12, 1.55, "waited for", size=14, ink="tuned", bold=True, across="left")
    say(ax, 0.1, 0.75, "backward reaches the last layer first; buckets leave in one order on all ranks", size=14, italic=True, across="left")
    return drawn


def gather_use_free() -> Any:
    """How many blocks' parameters a rank holds in full as one step of stage 3 goes on: never more than one, beside its own parts."""
    drawn, ax = canvas("Stage 3: a block is whole only while it works", *WIDE)
    steps = [*((f"forward {k}", k) for k in (1, 2, 3)), *((f"backward {k}", k) for k in (3, 2, 1))]
    for n, (name, block) in enumerate(steps):
        x = 1.95 + 1.62 * n
        say(ax, x, 4.2, name, size=13, bold=True)
        for k in (1, 2, 3):
            y = 3.55 - 0.72 * (k - 1)
            box(ax, x, y, 1.4, 0.54, "whole" if k == block else "", fill="baseline" if k == block else "grid", outline=k != block)
            if k != block:
                box(ax, x - 0.52, y, 0.3, 0.44, fill="baseline")
        what = "gather · compute · free" if n < 3 else "… and scatter"
        say(ax, x, 1.3, what.replace(" · ", "\n"), size=12.5)
    for k in (1, 2, 3):
        say(ax, 0.1, 3.55 - 0.72 * (k - 1), f"block {k}", size=14, bold=True, across="left")
    say(ax, 0.1, 0.4, "two gathers and one scatter of every block: 3Ψ travel where data parallel moves 2Ψ", size=14, italic=True, across="left")
    return drawn


def one_is_missing() -> Any:
    """Two ranks on a time line: one fails before a collective, and the other waits in it for as long as its limit lets it."""
    drawn, ax = canvas("One is missing, and the other waits", *BESIDE)
    for y, rank in ((3.7, 0), (2.2, 1)):
        say(ax, 0.0, y, f"rank {rank}", size=14, bold=True, across="left")
        box(ax, 1.95, y, 1.5, 0.8, "compute", fill="base", size=14)
    box(ax, 4.55, 3.7, 3.5, 0.8, "all_reduce", "waits for rank 1", fill="tuned", size=14)
    box(ax, 3.45, 2.2, 1.3, 0.8, "error", fill="bound", size=14)
    ax.plot([6.3, 6.3], [1.6, 4.4], color=colour("bound"), linestyle="--", linewidth=1.5)
    say(ax, 6.25, 1.35, "limit", size=14, bold=True, across="right")
    say(ax, 0.0, 0.75, "torch's own: 30 minutes with gloo, 10 with NCCL", size=14, italic=True, across="left")
    say(ax, 0.0, 0.25, "with ranks(): ended at the error, with both stacks", size=14, italic=True, across="left")
    return drawn


def three_disguises() -> Any:
    """Three things that run under the name of sharded training, and the two questions that tell them apart."""
    drawn, ax = canvas("What really runs?", *BESIDE)
    for y, head, text, fill in (
        (4.2, "independent models", "parameters differ between ranks", "tuned"),
        (2.75, "data parallel", "equal, and a whole copy on each", "base"),
        (1.3, "shared out", "each rank holds its part", "accent"),
    ):
        box(ax, 3.2, y, 5.6, 0.95, head, text, fill=fill, size=15)
    say(ax, 3.2, 3.48, "are the parameters alike on all ranks?  ↓ yes", size=13, italic=True)
    say(ax, 3.2, 2.03, "is less held than a whole copy?  ↓ yes", size=13, italic=True)
    say(ax, 3.2, 0.4, "the loss falls in all three", size=14, bold=True)
    return drawn
