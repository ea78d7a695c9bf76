"""Pictures of single parts: what temperature does to a distribution, how the learning rate runs, what is lost when a part is taken out."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from jaxtyping import Float
from torch import Tensor

from llmsuite_lab.core.errors import within
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.plots import COLOURS, bars_with_intervals, figure, lines_with_bands
from llmsuite_lab.transformer.optimizer import cosine_with_warmup
from llmsuite_lab.transformer.sampling import Sampling


def temperatures(logits: Float[Tensor, " vocabulary"], name: Callable[[int], str], values: Sequence[float] = (0.3, 1.0, 2.0)) -> Any:
    """The likeliest tokens' probabilities at some temperatures, and what all others have together. `logits`: of the whole vocabulary; `name` says what
    token i reads.

    Of some tokens alone the probabilities would be too large, the more so the hotter. Raises ValueError for a temperature that is not above 0,
    and for scores of more than one position.
    """
    if logits.dim() != 1:
        raise ValueError(f"the scores of one position have the shape (vocabulary,), not {tuple(logits.shape)}")
    first = logits.topk(min(8, len(logits))).indices
    words = [name(i).replace(" ", "␣") for i in first.tolist()]
    others = len(logits) - len(first)
    drawn, ax = figure()
    width = 0.8 / len(values)
    for n, T in enumerate(values):
        p = Sampling(temperature=T).probabilities(logits[None])[0][first].tolist()
        p += [max(0.0, 1 - sum(p))] if others else []
        places = [i + (n - (len(values) - 1) / 2) * width for i in range(len(p))]
        ax.bar(places, p, width * 0.92, color=COLOURS[("baseline", "accent", "tuned", "second")[n % 4]], label=f"T = {T:g}")
    words += [f"{others:,} others"] if others else []
    ax.set_xticks(range(len(words)), words, rotation=25, ha="right")
    ax.set(ylim=(0, 1), ylabel="probability", xlabel="next token, likeliest first")
    ax.set_title("Colder: the likeliest gains. Hotter: the others do" if len(values) > 1 else f"At temperature {values[0]:g}")
    ax.grid(axis="x", visible=False)
    ax.legend()
    return drawn


def learning_rates(n_steps: int = 500, n_warmup: int = 25, peak: float = 4e-3) -> Any:
    """The rate at every update of a training: up in a straight line, down along a cosine to a tenth."""
    within("n_steps", n_steps, 1, 1_000_000)
    steps = range(1, n_steps + 1)
    rates = [1000 * cosine_with_warmup(t, n_steps + 1, n_warmup, peak, peak / 10) for t in steps]
    return lines_with_bands(
        list(steps),
        {"learning rate": rates},
        title="Up while the averages are young, down to settle",
        xlabel="update",
        ylabel="learning rate (thousandths)",
        markers=False,
        ylim=(0, None),
    )


def losses_without(found: Mapping[str, Sequence[float]]) -> Any:
    """Loss with nothing taken out and with each part taken out, as bars; intervals over windows of text. Raises ValueError without any."""
    bars = {name: mean_interval(losses) for name, losses in found.items()}
    colours = {name: "base" if n == 0 else "tuned" for n, name in enumerate(bars)}
    worst = max(bars, key=lambda name: bars[name].mean)
    return bars_with_intervals(bars, title=f"Most is lost without {worst}", ylabel="loss (nats per token)", colours=colours)


def damage(found: Mapping[str, Sequence[float]], name: str) -> Interval:
    """Loss without `name` minus loss with nothing taken out, window by window. Raises KeyError for a name that was not measured."""
    whole = next(iter(found.values()))
    return mean_interval([b - a for a, b in zip(whole, found[name], strict=True)])


def as_rows(found: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """{part: how much the loss rises without it}, largest first, as text with its interval."""
    rises = {name: damage(found, name) for name in list(found)[1:]}
    return {
        name: f"{rises[name].mean:+.2f} [{rises[name].low:+.2f}, {rises[name].high:+.2f}]"
        for name in sorted(rises, key=lambda n: -rises[n].mean)
    }


def recall_curves(found: Mapping[int, Mapping[str, Sequence[tuple[int, Sequence[float]]]]], chance: float) -> Any:
    """Accuracy over tokens read, one panel per number of entries: {entries: {model: [(tokens, each seed's)]}}; bands: worst to best seed.

    Raises ValueError for no panel.
    """
    if not found:
        raise ValueError("there is nothing to draw: give the curves of at least one number of entries")
    drawn, axes = figure(3.2 * len(found) + 0.6, 3.9, ncols=len(found), sharey=True, squeeze=False)
    for ax, (entries, curves) in zip(axes[0], found.items()):
        for name, marks in curves.items():
            ink = COLOURS["tuned" if name == "attention" else "baseline"]
            tokens, shares = zip(*marks)
            ax.plot(tokens, [fmean(share) for share in shares], "o-", color=ink, label=name)
            ax.fill_between(tokens, [min(share) for share in shares], [max(share) for share in shares], color=ink, alpha=0.18, linewidth=0)
        ax.axhline(chance, color=COLOURS["bound"], linestyle="--", linewidth=1.4, label="guessing")
        ax.set_xscale("log")
        ax.set(ylim=(0, 1.05), xlabel="tokens read")
        ax.set_title(f"{entries} entries", fontsize=13)
    axes[0, 0].set_ylabel("right answers (share)")
    axes[0, -1].legend(loc="center right", fontsize=12)
    return drawn
