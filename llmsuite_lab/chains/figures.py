"""The pictures of the LangChain section, the same for notebook and slides; drawn here, without any service that renders diagrams."""

from collections.abc import Mapping
from typing import Any

from llmsuite_lab.chains.assistant import Assistant, Reply
from llmsuite_lab.chains.counting import adapter_lines, comparison
from llmsuite_lab.chains.routing import ALMANAC, HANDBOOK, SUMS
from llmsuite_lab.chains.trace import Recorder
from llmsuite_lab.core.plots import COLOURS, figure

KINDS = {"chain": "base", "model": "tuned", "tool": "baseline", "retriever": "accent"}


def lines_compared() -> Any:
    """Lines of our own loops beside those of the compositions, counted now: by application, then all of them with the adapters that come once."""
    counted, adapters = comparison(), adapter_lines()
    drawn, (each, whole) = figure(10, 3.8, ncols=2, width_ratios=(3, 1.6))
    own, composed = (sum(pair[side] for pair in counted.values()) for side in (0, 1))
    groups = ((each, list(counted.values())), (whole, [(own, composed)]))
    for ax, pairs in groups:
        for i, pair in enumerate(pairs):
            for shift, value, colour, label in zip((-0.2, 0.2), pair, ("base", "accent"), ("our own loop", "LangChain's parts"), strict=True):
                ax.bar(i + shift, value, 0.38, color=COLOURS[colour], label=label if i == 0 else None)
                if not (ax is whole and shift > 0):  # there the adapters stand on top
                    ax.annotate(str(value), (i + shift, value), (0, 3), textcoords="offset points", ha="center")
        ax.grid(axis="x", visible=False)
    whole.bar(0.2, adapters, 0.38, bottom=composed, color=COLOURS["tuned"], label="adapters, once")
    whole.annotate(f"{composed} + {adapters}", (0.2, composed + adapters), (0, 3), textcoords="offset points", ha="center")
    each.set_xticks(range(len(counted)), counted)
    whole.set_xticks([0], [f"all {len(counted)}"])
    each.set_ylim(0, 1.12 * max(max(pair) for pair in counted.values()))
    whole.set_ylim(0, 1.12 * max(own, composed + adapters))
    each.set_ylabel("lines of code")
    each.set_title("Short chains stand on long adapters")
    handles = dict(zip(*reversed(whole.get_legend_handles_labels()), strict=True))
    each.legend(handles.values(), handles)
    return drawn


def assistant_graph(assistant: Assistant | None = None) -> Any:
    """The assistant's graph: solid arrows are always taken, dashed ones by choice. Without one, that of the paper's Fig. 1 with its three skills."""
    assistant = assistant or Assistant({name: lambda question: Reply("") for name in (HANDBOOK, SUMS, ALMANAC)}, lambda questions: [])
    graph = assistant.graph.get_graph()
    layers = _layers([(edge.source, edge.target) for edge in graph.edges], "__start__")
    place = {}
    for depth in sorted(set(layers.values())):
        row = [name for name in graph.nodes if layers.get(name) == depth]
        place |= {name: (depth, (len(row) - 1) / 2 - i) for i, name in enumerate(row)}
    drawn, ax = figure(9.2, 3.8)
    for edge in graph.edges:
        (x0, y0), (x1, y1) = place[edge.source], place[edge.target]
        style = {
            "arrowstyle": "-|>",
            "color": COLOURS["text"],
            "lw": 1.5,
            "ls": "--" if edge.conditional else "-",
            "shrinkA": 38,
            "shrinkB": 42,
        }
        ax.annotate("", (x1, y1), (x0, y0), arrowprops=style)
    for name, (x, y) in place.items():
        colour = {"__start__": "base", "__end__": "base"}.get(name, "accent" if name in assistant.skills else "baseline")
        box = {"boxstyle": "round,pad=0.45", "facecolor": COLOURS[colour], "edgecolor": "none"}
        ax.text(x, y, name.strip("_"), ha="center", va="center", color="white", fontsize=13, bbox=box)
    ax.set_xlim(-0.4, max(x for x, _ in place.values()) + 0.4)
    ys = [y for _, y in place.values()]
    ax.set_ylim(min(ys) - 0.5, max(ys) + 0.5)
    ax.set_axis_off()
    ax.set_title("Recall, route, answer: the assistant picks among its skills")
    return drawn


def _layers(edges: list[tuple[str, str]], start: str) -> dict[str, int]:
    """For each node the longest way from `start` (the graph has no cycles)."""
    layers = {start: 0}
    for _ in range(len(edges) + 1):
        for source, target in edges:
            if source in layers:
                layers[target] = max(layers.get(target, 0), layers[source] + 1)
    return layers


def run_tree(recorder: Recorder, title: str = "What ran, inside what, and for how long") -> Any:
    """One bar per run, indented by what it ran inside of, over seconds. Raises ValueError for a recorder that saw nothing."""
    rows = recorder.rows()
    if not rows:
        raise ValueError("nothing was recorded: pass the recorder in the config, chain.invoke(x, {'callbacks': [recorder]})")
    drawn, ax = figure(9.2, 1.5 + 0.42 * len(rows))
    for i, (_, span) in enumerate(rows):
        end = span.start_s if span.end_s is None else span.end_s
        ax.barh(
            i, max(end - span.start_s, 0.004), left=span.start_s, height=0.62, color=COLOURS["bound" if span.failed else KINDS[span.kind]]
        )
    ax.set_yticks(range(len(rows)), ["    " * depth + span.name for depth, span in rows], ha="left")
    ax.tick_params(axis="y", length=0, pad=max(len(span.name) + 4 * depth for depth, span in rows) * 8.0)
    ax.invert_yaxis()
    ax.set_xlabel("seconds since the question")
    ax.set_title(title)
    ax.grid(axis="y", visible=False)
    present = dict.fromkeys(span.kind for _, span in rows)
    ax.legend([_patch(KINDS[kind]) for kind in present], present, ncols=len(present), loc="upper center", bbox_to_anchor=(0.4, -0.3))
    return drawn


def _patch(colour: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=COLOURS[colour])


def routing_table(table: Mapping[str, Mapping[str, int]]) -> Any:
    """True route against chosen route, counted (`routing.measure`'s table)."""
    from llmsuite_lab.core.plots import heat_map

    columns = list(next(iter(table.values())))
    values = [[row[column] for column in columns] for row in table.values()]
    title = "Where held-out questions go"
    return heat_map(
        values,
        title=title,
        xlabel="chosen route",
        ylabel="true route",
        colour_label="questions",
        xticks=columns,
        yticks=list(table),
        annotate=True,
    )
