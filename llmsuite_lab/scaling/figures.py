"""The figures of notebook 06 and its deck: what fits where, memory and traffic by stage, and the cost model against what was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from llmsuite_lab.core.diagrams import from_records, tint
from llmsuite_lab.core.errors import unknown
from llmsuite_lab.core.plots import COLOURS, figure, lines_with_bands
from llmsuite_lab.scaling import records
from llmsuite_lab.scaling.communication import expected_volume
from llmsuite_lab.scaling.cost import LINKS, PEAK_FLOPS, step_time
from llmsuite_lab.scaling.memory import GPUS, MODELS, STAGES, block_parameters, model_states, parameters, root_parameters
from llmsuite_lab.scaling.step_memory import smallest_stage
from llmsuite_lab.scaling.timing import SIZES, model_config

NAMES = ("data parallel", "ZeRO-1", "ZeRO-2", "ZeRO-3")
STAGE_COLOURS = dict(zip(NAMES, ("base", "third", "baseline", "accent"), strict=True))
RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SHOWN_MODELS = ("GPT-3 1.3B", "LLaMA 7B", "LLaMA 13B", "LLaMA 33B", "LLaMA 65B", "GPT-3 175B")
SHOWN_GPUS = ("T4", "A100 40 GB", "H100", "B200")
UTILISATION = 0.4  # of the matrix units' peak: what trainings reach, an assumption of the figures that use it


def what_fits_where(ranks: Sequence[int] = (8, 64, 256, 1024), seq: int = 2048) -> Any:
    """The first stage at which a model trains on so many GPUs of a kind: mixed precision, activations recomputed, one sequence a rank."""
    drawn, axes = figure(11.2, 4.9, ncols=len(SHOWN_GPUS), sharey=True)
    fills = {None: "#FFFFFF", **{n: tint(STAGE_COLOURS[name], 0.75 if n else 0.55) for n, name in enumerate(NAMES)}}
    for ax, gpu in zip(axes, SHOWN_GPUS, strict=True):
        for row, model in enumerate(SHOWN_MODELS):
            for column, n in enumerate(ranks):
                first = smallest_stage(MODELS[model], GPUS[gpu] * 1e9, n, 1, seq, precision="mixed", checkpointing=True)
                ax.add_patch(_cell(column, row, fills[first]))
                ax.text(column, row, "–" if first is None else "DP" if first == 0 else str(first), ha="center", va="center", fontsize=13)
        ax.set(xlim=(-0.5, len(ranks) - 0.5), ylim=(len(SHOWN_MODELS) - 0.5, -0.5))
        ax.set_xticks(range(len(ranks)), [f"{n:,}" for n in ranks], fontsize=11)
        ax.set_yticks(range(len(SHOWN_MODELS)), SHOWN_MODELS)
        ax.tick_params(length=0)
        ax.grid(visible=False)
        ax.set_xlabel(gpu if "GB" in gpu else f"{gpu} {GPUS[gpu]} GB", fontsize=12)
    drawn.suptitle("The first stage that fits, by number of GPUs (DP: none needed, –: not even stage 3)", fontsize=14, fontweight="bold")
    return drawn


def _cell(column: int, row: int, face: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=face, edgecolor=COLOURS["grid"], linewidth=1)


def memory_by_ranks(model: str = "LLaMA 7B", gpu: str = "H100") -> Any:
    """Model states of each rank by stage and number of ranks, mixed precision, beside what a GPU has. By formula; the tests hold it against 2 and 4 ranks."""
    total = parameters(_known(model))
    if gpu not in GPUS:
        raise ValueError(unknown("gpu", gpu, list(GPUS)))
    series = {
        name: [sum(model_states(total, stage=number, ranks=n, precision="mixed")) / 1e9 for n in RANKS] for number, name in enumerate(NAMES)
    }
    return lines_with_bands(
        RANKS, series, title=f"Model states of {model} on each rank", xlabel="ranks", ylabel="GB (log scale)", colours=STAGE_COLOURS,
        bound=(f"{gpu}: {GPUS[gpu]} GB", float(GPUS[gpu])), log_x=True, log_y=True,
    )  # fmt: skip


def _known(model: str) -> Any:
    if model not in MODELS:
        raise ValueError(unknown("model", model, list(MODELS)))
    return MODELS[model]


def traffic_by_stage(model: str = "LLaMA 7B") -> Any:
    """What a step moves by the stages' formulas, with one and with four micro-batches, in units of the model's size Ψ."""
    config = _known(model)
    blocks, root = config.n_layers * block_parameters(config), root_parameters(config)
    drawn, ax = figure(7.6, 4.6)
    for n, micro_batches in enumerate((1, 4)):
        volumes = [expected_volume(blocks, root, stage=number, micro_batches=micro_batches) / (blocks + root) for number in STAGES]
        places = [number + (n - 0.5) * 0.4 for number in STAGES]
        label = f"{micro_batches} micro-batch{'es' if n else ''} a step"
        ax.bar(places, volumes, 0.36, color=COLOURS["baseline" if n == 0 else "tuned"], label=label)
        for x, volume in zip(places, volumes, strict=True):
            ax.text(x, volume + 0.15, f"{volume:.1f}", ha="center", fontsize=12)
    ax.set_xticks(range(len(NAMES)), NAMES)
    ax.set_ylim(0, 14)
    ax.grid(axis="x", visible=False)
    ax.set_ylabel("volume in Ψ")
    ax.set_title("What a step moves")
    ax.legend(loc="upper left", fontsize=12)
    return drawn


def efficiency_at_scale(model: str = "LLaMA 7B", link: str = "InfiniBand NDR", tokens: int = 16384) -> Any:
    """Share of a step that is arithmetic, by number of ranks, from the cost model: each rank keeps its batch, and waits for what nothing hides.

    A ring: beyond some hundred ranks the libraries go over to trees, whose latency grows with the logarithm only.
    """
    config, flops = _known(model), UTILISATION * PEAK_FLOPS["H100"]
    if link not in LINKS:
        raise ValueError(unknown("link", link, list(LINKS)))
    series = {
        name: [step_time(config, tokens, stage=number, ranks=n, link=LINKS[link], flops_per_s=flops).efficiency for n in RANKS[:8]]
        for number, name in enumerate(NAMES)
    }
    return lines_with_bands(
        RANKS[:8], series, title="What nothing hides grows with the ranks", xlabel=f"H100s ({link}, {model}, {tokens:,} tokens each)",
        ylabel="efficiency (calculated)",
        colours=STAGE_COLOURS, log_x=True, ylim=(0, 1.05),
    )  # fmt: skip


@from_records
def measured_steps() -> Any:
    """From the record: throughput of two and four processes over one, and the step of FSDP over that of DDP by size and processes, with 95 % intervals."""
    drawn, (left, right) = figure(11.2, 4.7, ncols=2)
    names = {"alone": ("nothing exchanged", "base"), "torch-ddp": ("torch's DDP", "baseline"), "ddp": ("ours", "accent")}
    _bars(left, {label: (colour, {n: records.speedup(name, n) for n in (2, 4)}) for name, (label, colour) in names.items()})
    left.set(title="Throughput over one process", ylim=(0, 2.9))
    sizes = {size: f"{parameters(model_config(size)) / 1e6:.1f} M parameters" for size in SIZES}
    colours = dict(zip(SIZES, ("third", "tuned"), strict=True))
    _bars(right, {label: (colours[size], {n: records.slower("torch-fsdp", ranks=n, size=size) for n in (1, 2, 4)}) for size, label in sizes.items()})
    right.axhline(1, color=COLOURS["bound"], linestyle="--", linewidth=1.5)
    right.set(title="FSDP's step over DDP's", ylim=(0, 4.2))
    for ax in (left, right):
        ax.set_xlabel("processes on two cores")
        ax.grid(axis="x", visible=False)
        ax.legend(loc="upper left", fontsize=12)
    return drawn


def _bars(ax: Any, series: Mapping[str, tuple[str, Mapping[int, Any]]]) -> None:
    """Bars in groups of one x value each: {label: (colour, {x: Interval})}."""
    wide = 0.8 / len(series)
    for k, (label, (colour, found)) in enumerate(series.items()):
        places = [group + (k - (len(series) - 1) / 2) * wide for group in range(len(found))]
        means = [each.mean for each in found.values()]
        errors = [[each.mean - each.low for each in found.values()], [each.high - each.mean for each in found.values()]]
        ax.bar(places, means, wide * 0.92, yerr=errors, capsize=4, color=COLOURS[colour], label=label)
        for x, each in zip(places, found.values(), strict=True):
            ax.text(x, each.high + 0.06, f"{each.mean:.2f}", ha="center", fontsize=12)
        ax.set_xticks(range(len(found)), [str(n) for n in found])


@from_records
def predicted_and_measured() -> Any:
    """Step times that the cost model predicts from the engine's step on one process and a fitted link, against those measured on 2 and 4 processes."""
    drawn, ax = figure(6.4, 5.2)
    found = records.predicted("larger")
    for n, name in enumerate(NAMES):
        points = [(row["predicted_s"] * 1e3, row["measured_s"] * 1e3, row["ranks"]) for row in found if row["stage"] == n]
        ax.plot([p for p, _, _ in points], [m for _, m, _ in points], "o", color=COLOURS[STAGE_COLOURS[name]], label=name, markersize=9)
        for p, m, ranks in points:
            ax.annotate(f"{ranks}", (p, m), (7, -4), textcoords="offset points", fontsize=11)
    ends = [f(row[key] for row in found for key in ("predicted_s", "measured_s")) * 1e3 for f in (min, max)]
    ax.plot(ends, ends, "--", color=COLOURS["bound"], label="as predicted")
    ax.set(xlabel="predicted step, ms (at each point: processes)", ylabel="measured step, ms")
    ax.set_title(f"Predicted and measured, {parameters(model_config('larger')) / 1e6:.1f} M parameters")
    ax.legend(loc="upper left", fontsize=12)
    return drawn
