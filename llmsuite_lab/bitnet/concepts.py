"""The ideas of one-bit models as pictures: three values, the packed byte, the gradient past the rounding, the layer, the bytes that a token reads."""

from typing import Any

import torch

from llmsuite_lab.bitnet.model import model_bytes, paper_config
from llmsuite_lab.bitnet.packing import pack, places, rows_a_byte
from llmsuite_lab.bitnet.quantize import EPSILON, int8_activations, ternary_weights
from llmsuite_lab.core.diagrams import BESIDE, WIDE, arrow, box, canvas, cells, matrix, say
from llmsuite_lab.core.errors import within
from llmsuite_lab.core.plots import COLOURS, figure

SHOWN = ((0.62, -0.11, 1.94, -0.35), (0.04, -0.88, 0.29, 0.71), (-1.27, 0.45, -0.07, -0.59))  # a matrix small enough to write down
TOKEN = (1.27, -0.63, 0.32, 0.05)
_SIGNS = {-1: "second", 0: "grid", 1: "accent"}


def three_values() -> Any:
    """A matrix, the same divided by γ, and its rounding: what lies within half a γ of zero becomes zero."""
    drawn, ax = canvas("Round to three values, by the mean size of a weight", *WIDE)
    W = torch.tensor(SHOWN)
    T, gamma = ternary_weights(W)
    side = (0.72, 0.52)
    for x, head, values in ((0.2, "W", W), (4.05, f"W / {gamma:.2f}", W / (gamma + EPSILON)), (7.9, "T", T.int())):
        matrix(ax, x, 3.4, values.tolist(), side, fill="accent", below_zero="second", written=True)
        say(ax, x + 1.44, 3.75, head, size=16, bold=True)
    arrow(ax, (3.15, 2.6), (3.95, 2.6), "÷ γ", size=14)
    arrow(ax, (7.0, 2.6), (7.8, 2.6), "round", size=14)
    say(ax, 0.2, 1.15, f"γ = mean |W| = {gamma:.2f}: one for the whole matrix, kept beside it", size=15, across="left")
    zeros = int((T == 0).sum())
    say(ax, 0.2, 0.65, f"{zeros} of {T.numel()} weights are nearer to 0 than to ±γ; {float(W.abs().max()):.2f} is clipped to 1", size=15, across="left")
    say(ax, 0.2, 0.15, "W ≈ γ T: a weight holds one of three values, log2(3) = 1.58 bits", size=15, italic=True, across="left")
    return drawn


def packed_byte(form: str = "two_bits") -> Any:
    """One column of four or five rows in a byte: the weights, their digits, their places and the byte. Raises ValueError for an unknown form."""
    column = [1, 0, -1, 1, 0]
    rows, at = rows_a_byte(form), places(form)
    packed = pack(torch.tensor(column[:rows])[:, None], form=form)
    byte, digits = int(packed.bytes[0, 0]), [t + 1 for t in column[:rows]]
    five = rows == 5
    drawn, ax = canvas("Five weights in a byte: 1.6 bits each" if five else "Four weights in a byte: 2 bits each", *WIDE)
    wide = 1.35
    for y, head, texts, fills in (
        (3.85, "weights", [f"{t:+d}" if t else "0" for t in column[:rows]], [_SIGNS[t] for t in column[:rows]]),
        (3.05, "plus one", [str(d) for d in digits], "baseline"),
        (2.25, "place", [f"· {p}" for p in at], "grid"),
    ):
        say(ax, 0.1, y, head, size=15, bold=True, across="left")
        cells(ax, 1.6, y, texts, fills, width=wide, height=0.6, size=16)
    value = sum(d * p for d, p in zip(digits, at))
    sums = " + ".join(f"{d}·{p}" for d, p in zip(digits, at))
    say(ax, 0.1, 1.45, f"{sums} = {value}", size=16, across="left", mono=True)
    if five:
        say(ax, 0.1, 0.9, f"stored as a fraction in 1/256ths: ⌈256 · {value} / 243⌉ = {byte}", size=15, across="left")
        say(ax, 0.1, 0.35, "times 3: what overflows 256 is the first digit, then the next; no division is needed", size=15, italic=True, across="left")
    else:
        say(ax, 0.1, 0.9, f"the byte {byte:08b}: a shift and a mask read a weight", size=15, across="left")
        say(ax, 0.1, 0.35, "one of the four codes is never used: 2 bits where 1.58 would do", size=15, italic=True, across="left")
    return drawn


def straight_through() -> Any:
    """The rounding as a staircase: its true slope is 0 nearly everywhere; training takes that of the line."""
    drawn, ax = figure(*BESIDE)
    x = torch.linspace(-2.2, 2.2, 441)
    ax.plot(x, x, color=COLOURS["accent"], linestyle="--", label="backward: slope 1")
    ax.plot(x, x.round().clamp(-1, 1), color=COLOURS["tuned"], label="forward: three values")
    for at in (-1.75, -0.95, 0.05, 0.9, 1.8):
        ax.annotate("", (at + 0.3, at + 0.3), (at, at), arrowprops={"arrowstyle": "-|>", "color": COLOURS["accent"], "lw": 2.2})
    ax.set_xticks([-2, -1, 0, 1, 2])
    ax.set_yticks([-1, 0, 1])
    ax.set(xlabel="weight over γ", ylabel="what the layer computes with", ylim=(-2.3, 2.3))
    ax.set_title("A slope where there is none")
    ax.legend(loc="upper left", fontsize=12)
    return drawn


def one_layer() -> Any:
    """What a BitLinear does with a token: norm, eight bits, sums of whole numbers, two scales."""
    drawn, ax = canvas("One layer: whole numbers between two scales", *WIDE)
    q, s = int8_activations(torch.tensor(TOKEN))
    T, gamma = ternary_weights(torch.tensor(SHOWN))
    y = [f"{v:.0f}" for v in (T @ q).tolist()]
    for centre, head, below, fill in (
        (1.2, "norm", "one scale for all tokens", "baseline"), (4.1, "int8", "q = round(x / s)", "baseline"),
        (7.0, "q Tᵀ", "add, subtract, skip", "accent"), (9.9, "· s γ", "two scales", "baseline"),
    ):  # fmt: skip
        box(ax, centre, 3.9, 2.3, 0.95, head, below, fill=fill, size=16)
    for x in (2.37, 5.27, 8.17):
        arrow(ax, (x, 3.9), (x + 0.56, 3.9))
    matrix(ax, 0.2, 2.55, [list(TOKEN)], (0.62, 0.5), fill="baseline", below_zero="baseline", written=True)
    matrix(ax, 2.95, 2.55, [q.int().tolist()], (0.62, 0.5), fill="baseline", below_zero="baseline", written=True)
    matrix(ax, 5.8, 2.8, T.int().tolist(), (0.6, 0.44), fill="accent", below_zero="second", written=True)
    matrix(ax, 8.6, 2.8, [[int(v)] for v in y], (0.85, 0.44), fill="baseline", below_zero="baseline", written=True)
    say(ax, 9.6, 2.14, f"· {float(s):.3g} · {float(gamma):.2g}", size=15, across="left")
    first = " ".join(f"{'+' if t > 0 else '-'} {abs(int(v))}{' · (-1)' if v < 0 else ''}" for t, v in zip(T[0].tolist(), q.tolist()) if t)
    say(ax, 0.2, 0.95, f"first row: {first.removeprefix('+ ')} = {y[0]}", size=15, across="left", mono=True)
    say(ax, 0.2, 0.35, "no multiplication by a weight, and no rounding error: sums of whole numbers are exact", size=15, italic=True, across="left")
    return drawn


def bytes_of_a_token(gigabytes_a_second: str | float = 20) -> Any:
    """What one token of the 3B model must read at batch 1, by the weights' form, and how long a memory of that speed takes for it at least.

    Raises ValueError for a speed that is no number, or none between a megabyte and a petabyte a second.
    """
    speed = float(gigabytes_a_second)
    within("gigabytes_a_second", speed, 1e-3, 1e6)
    config = paper_config("3B")
    forms = {"FP16": None, "two bits": "two_bits", "five in a byte": "five_trits"}
    drawn, ax = figure(11.2, 4.2)
    embedding = 2 * config.vocab_size * config.d_model  # one of the two matrices, in bytes: the output matrix is read whole, of the other a row
    for n, form in enumerate(forms.values()):
        whole = model_bytes(config, form) - embedding
        blocks = whole - embedding
        ax.barh(n, blocks / 1e9, 0.62, color=COLOURS["baseline" if form is None else "accent"], label=("blocks, FP16", "blocks, packed", None)[n])
        ax.barh(n, embedding / 1e9, 0.62, left=blocks / 1e9, color=COLOURS["base"], label=None if n else "output matrix, FP16")
        ax.text(whole / 1e9 + 0.08, n, f"{whole / 1e9:.2f} GB, at least {1000 * whole / 1e9 / speed:.0f} ms", va="center", fontsize=14)
    ax.set_yticks(range(len(forms)), list(forms), fontsize=14)
    ax.set(xlim=(0, 9.4), xlabel=f"GB read for one token of the 3B model; times at {speed:g} GB/s")
    ax.set_title("A token waits for its weights")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    ax.legend(loc="lower right", fontsize=12.5)
    return drawn


def kept_and_rounded() -> Any:
    """Training keeps two copies of a weight: small steps add up in the one, and the other jumps when they have come far enough."""
    drawn, ax = figure(*BESIDE)
    steps = torch.arange(13)
    weight = 0.12 + 0.075 * steps
    ax.plot(steps, weight, marker="o", color=COLOURS["baseline"], label="kept: full precision")
    ax.step(steps, weight.round().clamp(-1, 1), where="mid", color=COLOURS["tuned"], label="used: three values")
    ax.axhline(0.5, color=COLOURS["bound"], linestyle="--", linewidth=1.4)
    ax.set(xlabel="updates", ylabel="weight over γ", ylim=(-0.1, 1.32))
    ax.set_yticks([0, 0.5, 1])
    ax.set_title("Small steps add up out of sight")
    ax.legend(loc="upper left", fontsize=12)
    return drawn
