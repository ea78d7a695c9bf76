"""The figures of notebook 07 and its deck: the twins' gap over size, SmolLM2 ternarised afterwards, energy and sequences as calculations."""

from collections.abc import Sequence
from typing import Any

from llmsuite_lab.bitnet import energy, twins
from llmsuite_lab.bitnet.model import model_bytes, paper_config
from llmsuite_lab.core import records
from llmsuite_lab.core.diagrams import from_records
from llmsuite_lab.core.history import History
from llmsuite_lab.core.metrics import mean_interval
from llmsuite_lab.core.plots import COLOURS, bars_with_intervals, figure, lines_with_bands, loss_curve

INKS = {"full": "baseline", "normed": "third", "ternary": "tuned"}
TWINS, NORMS, AFTERWARDS = "bitnet_twins", "bitnet_norms", "bitnet_ternarised"


@from_records
def gap_over_size() -> Any:
    """Loss of the ternary twin minus that of the full-precision one, and minus that of full precision with the same norms, by size, averaged over seeds; the
    bands are over windows."""
    found = twins.gaps(records.read_all(TWINS), records.read_all(NORMS))
    lines = {"minus full precision": found.gap, "minus full precision with the same norms": found.rounding}
    return lines_with_bands(
        [round(weights / 1000) for weights in found.weights.values()],
        {name: [mean_interval(of[size], differences=True) for size in found.weights] for name, of in lines.items()},
        title="The ternary model's loss, by size", xlabel="weights of the model, thousands (log scale)", ylabel="difference (nats per token)",
        colours=dict(zip(lines, ("tuned", "third"))), bound=("no difference", 0.0), log_x=True,
    )  # fmt: skip


@from_records
def losses_over_size() -> Any:
    """Loss of the twins and of their control on held-out windows, by size, averaged over seeds."""
    runs, control = records.read_all(TWINS), records.read_all(NORMS)
    groups = {
        f"{weights:,} weights": {
            kind: mean_interval(records.mean_over_seeds(among, lambda one, k=kind, s=size: twins.chosen(one, k, s)["losses"]))
            for kind, among in (("full", runs), ("normed", control), ("ternary", runs))
        }
        for size, weights in twins.gaps(runs, control).weights.items()
    }
    return bars_with_intervals(groups, title="The same tokens, three kinds of layer", ylabel="loss (nats per token)", colours=INKS)


@from_records
def rates() -> Any:
    """Validation loss by learning rate, three kinds of each size, with the first seed: where each is at its best."""
    rows = [*records.read(TWINS).results, *records.read(NORMS).results]
    drawn, axes = figure(11.2, 4.2, ncols=len(twins.SIZES), sharey=True)
    for ax, size in zip(axes, twins.SIZES, strict=True):
        for kind, ink in INKS.items():
            mine = sorted((row["lr"], row["validation"]) for row in rows if (row["kind"], row["size"]) == (kind, size))
            ax.plot(*zip(*mine), marker="o", color=COLOURS[ink], label=kind)
        ax.set_xscale("log")
        tried = sorted({row["lr"] for row in rows if row["size"] == size})
        ax.set_xticks(tried, [f"{lr:.2g}" for lr in tried], fontsize=10)
        ax.minorticks_off()
        ax.set_xlabel(f"learning rate, {size}")
    axes[0].set_ylabel("validation loss (nats per token)")
    axes[0].legend(fontsize=12)
    drawn.suptitle("Each at its own best rate", fontsize=14.5, fontweight="bold")
    return drawn


@from_records
def ternarised() -> Any:
    """SmolLM2's loss by the number of blocks whose weights were rounded to three values, from either end; and all of them in eight bits."""
    rows = records.read(AFTERWARDS).results
    whole = mean_interval(next(row for row in rows if row["end"] == "none")["losses"]).mean
    everywhere = next(row for row in rows if (row["end"], row["how"]) == ("all", "three values"))
    eight = next(row for row in rows if row["how"] == "eight bits")
    drawn, ax = figure(7.6, 4.6)
    for end, ink in (("first", "tuned"), ("last", "third")):
        mine = [(0, whole), *((row["blocks"], mean_interval(row["losses"]).mean) for row in rows if row["end"] == end)]
        mine.append((everywhere["blocks"], mean_interval(everywhere["losses"]).mean))
        ax.plot(*zip(*mine), marker="o", color=COLOURS[ink], label=f"three values, from the {end}")
    at = [eight["blocks"]], [mean_interval(eight["losses"]).mean]
    ax.plot(*at, marker="s", markersize=10, linestyle="", color=COLOURS["accent"], label="eight bits, all blocks")
    ax.axhline(whole, color=COLOURS["bound"], linestyle="--", linewidth=1.4)
    ax.set(xlabel="blocks rounded after training", ylabel="loss (nats per token)", ylim=(0, None))
    ax.set_title("Rounded afterwards, the model is lost")
    ax.legend(fontsize=12, loc="upper left")
    return drawn


def learning_curves(histories: dict[str, History]) -> Any:
    """Training loss of both twins over the tokens read, from a live run: {"full": …, "ternary": …}."""
    return loss_curve(histories, title="Twins learn from the same tokens")


def energies(node: str = "7nm") -> Any:
    """How many times less energy the blocks' products of the 3B model take, from the paper's assumptions to stricter ones.

    Raises ValueError as `energy.picojoules`."""
    config = paper_config("3B")
    steps = {
        "the paper: an\nINT8 addition a weight": energy.per_token(config, node),
        "sums in INT32": energy.per_token(config, node, accumulator="int32"),
        "a third of the\nweights is 0": energy.per_token(config, node, zeros=1 / 3, accumulator="int32"),
        "the scales too": energy.per_token(config, node, zeros=1 / 3, accumulator="int32", scales=True),
        "and the output\nmatrix, FP16": energy.per_token(config, node, zeros=1 / 3, accumulator="int32", scales=True, head=True),
    }
    drawn, ax = figure(11.2, 4.4)
    ratios = [found.ratio for found in steps.values()]
    ax.bar(range(len(steps)), ratios, 0.62, color=[COLOURS["baseline"], *[COLOURS["accent"]] * (len(steps) - 1)])
    for x, ratio in enumerate(ratios):
        ax.text(x, ratio + 1.2, f"{ratio:.1f}×", ha="center", fontsize=15, fontweight="bold")
    ax.set_xticks(range(len(steps)), list(steps), fontsize=12.5)
    ax.set(ylabel="times less energy", ylim=(0, 1.16 * max(ratios)))
    ax.set_title(f"What {max(ratios):.1f} times assumes: energy of the products, {node.removesuffix('nm')} nm")
    ax.grid(axis="x", visible=False)
    ax.tick_params(axis="x", length=0)
    return drawn


def sequences_that_fit(budgets: Sequence[float] = (40e9, 80e9, 160e9, 320e9), tokens: int = 512) -> Any:
    """Sequences of the 70B model that fit beside its weights, by memory: FP16 against two bits, keys and values in 16 bits both."""
    config = paper_config("70B")
    sequence = energy.cache_bytes(config, tokens)
    drawn, ax = figure(7.6, 4.6)
    for n, (name, form) in enumerate({"FP16": None, "two bits": "two_bits"}.items()):
        fits = [energy.largest_batch(budget, model_bytes(config, form), sequence) for budget in budgets]
        places = [x + 0.4 * (n - 0.5) for x in range(len(budgets))]
        ax.bar(places, fits, 0.37, color=COLOURS["accent" if n else "baseline"], label=name)
        for x, fit in zip(places, fits, strict=True):
            ax.text(x, fit + 15, f"{fit:,}", ha="center", fontsize=11)
    ax.set_xticks(range(len(budgets)), [f"{budget / 1e9:.0f} GB" for budget in budgets])
    ax.set(xlabel="memory", ylabel=f"sequences of {tokens} tokens")
    ax.set_title("Small weights leave room for a batch")
    ax.grid(axis="x", visible=False)
    ax.legend(loc="upper left", fontsize=12.5)
    return drawn
