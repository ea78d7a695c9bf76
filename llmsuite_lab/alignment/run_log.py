"""A run as one watches it: a line for each step on the terminal, a table and a picture that grow with it.

    metrics.jsonl    one row a step, the method's METRICS by name, null where one was not measured
    metrics.png      the panels of `PANELS`, drawn again every `DRAWN_S` seconds and at the end

Both are whole at any moment: a viewer that is open shows the run as it stands. In production: TensorBoard, Weights & Biases.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmsuite_lab.alignment import dpo, rest, settings
from llmsuite_lab.core.files import write_output

TABLE, PICTURE = "metrics.jsonl", "metrics.png"
DRAWN_S = 10.0
HELD_OUT = "held_out_"
Rows = Sequence[Mapping[str, float | None]]
DPO = (
    {"loss": f"{dpo.METRICS['loss']}; of the update's own pairs, before it", "gradient": "norm of the gradient before clipping", "lr": "learning rate"}
    | {HELD_OUT + name: f"on held-out pairs: {meaning}" for name, meaning in dpo.METRICS.items()}
)  # fmt: skip
METRICS = {"dpo": DPO, "ppo": settings.METRICS, "rest": rest.METRICS}
STEP = {"dpo": "update", "ppo": "iteration", "rest": "Improve step"}
PANELS = {  # title with unit: metrics that share its axis
    "dpo": {"loss, nats a pair": ("loss", f"{HELD_OUT}loss"), "accuracy": (f"{HELD_OUT}accuracy",), "reward margin, β nats": (f"{HELD_OUT}reward_margin",)},
    "ppo": {"score, the reward's unit": ("score", "return"), "KL, nats a reply": ("kl",), "entropy, nats": ("entropy",), "length, tokens": ("length",)},
    "rest": {"score of the kept, the reward's unit": ("score", "threshold"), "replies kept": ("kept",), "loss, nats a token": ("loss",)},
}


class RunLog:
    """Where a run of a method is written while it goes on: `folder` is made when there is something to write."""

    def __init__(self, folder: Path, method: str, say: Callable[[str], None]) -> None:
        self.folder, self.method, self.say = folder, method, say
        self.rows: list[dict[str, Any]] = []
        self._drawn = -math.inf

    def before(self) -> list[dict[str, Any]]:
        """The rows of a run that was stopped, [] where there are none that can be read."""
        try:
            return [row for line in (self.folder / TABLE).read_text(encoding="utf-8").splitlines() if isinstance(row := json.loads(line), dict)]
        except (OSError, ValueError):
            return []

    def update(self, rows: Rows, planned: int) -> None:
        """All rows so far, the last of them new: written, drawn where it is time, and the last one said."""
        self.rows = [{"step": n} | {name: _plain(value) for name, value in row.items() if name != "step"} for n, row in enumerate(rows, start=1)]
        self.write(self.folder, draw=time.monotonic() - self._drawn >= DRAWN_S)
        shown = [name for names in PANELS[self.method].values() for name in names if self.rows[-1].get(name) is not None]
        self.say(f"{STEP[self.method]} {len(rows)} of {planned}: " + ", ".join(f"{name} {self.rows[-1][name]:.3g}" for name in shown))

    def write(self, folder: Path, draw: bool = True) -> None:
        """Table and picture into `folder`. Raises LabError where files stand that the course did not write."""
        write_output(folder / TABLE, "".join(json.dumps(row) + "\n" for row in self.rows))
        if draw and self.rows:
            from llmsuite_lab.core.plots import save_figure

            save_figure(picture(self.rows, self.method), folder / PICTURE)
            self._drawn = time.monotonic()

    def table(self) -> list[str]:
        """Markdown: what each metric means, and its first and last figure."""
        lines = ["| metric | what it is | first | last |", "|---|---|---|---|"]
        for name, meaning in METRICS[self.method].items():
            seen = [row[name] for row in self.rows if row.get(name) is not None]
            if seen:
                lines.append(f"| {name} | {meaning.replace('|', chr(92) + '|')} | {seen[0]:.4g} | {seen[-1]:.4g} |")
        return lines


def picture(rows: Rows, method: str) -> Any:
    """The run's panels over its steps. Raises ValueError for no row, and a method without panels."""
    from llmsuite_lab.core.errors import unknown
    from llmsuite_lab.core.plots import colour_of, figure

    if method not in PANELS:
        raise ValueError(unknown("method", method, list(PANELS)))
    if len(rows) == 0:
        raise ValueError("there is no row to draw: the run has made no step")
    panels = PANELS[method]
    drawn, axes = figure(3.6 * len(panels), 3.4, ncols=len(panels))
    for ax, (title, names) in zip(axes, panels.items(), strict=True):
        for place, name in enumerate(names):
            seen = [(row.get("step", n), row[name]) for n, row in enumerate(rows, start=1) if row.get(name) is not None]
            ax.plot(*zip(*seen, strict=True) if seen else ((), ()), marker="o", markersize=3.5, color=colour_of(name, place), label=name)
        ax.set_title(title, fontsize=12.5)
        ax.set_xlabel(STEP[method])
        if len(names) > 1:
            ax.legend(fontsize=10)
    return drawn


def _plain(value: float | None) -> float | None:
    """For JSON, which has no nan."""
    return None if value is None or not math.isfinite(value) else value
