"""A calculator for the memory of a training: choose a model, a stage, ranks and a GPU, and read what every rank holds.

With widgets (JupyterLab, Colab) the choices are menus; where widgets do not run (a slide, a static page, a script) the same call gives the table of the
choices it was handed.
"""

from inspect import signature
from typing import Any

import pandas as pd

from llmsuite_lab.core.errors import unknown
from llmsuite_lab.core.sliders import widgets_run
from llmsuite_lab.scaling.memory import GPUS, MODELS, PRECISIONS
from llmsuite_lab.scaling.step_memory import training_memory

KINDS = ("parameters", "gradients", "optimizer", "activations", "temporary")


def bill(
    model: str = "LLaMA 7B", gpu: str = "H100", ranks: int = 8, rows: int = 1, seq: int = 2048, precision: str = "mixed", checkpointing: bool = True
) -> pd.DataFrame:
    """Gigabytes (10⁹ bytes) on each rank, one row a stage, and whether they fit: each kind at its most, and in total what the fullest moment of a step holds.

    The total is less than the sum: activations go while gradients come. Raises ValueError for a name that is not known.
    """
    if model not in MODELS:
        raise ValueError(unknown("model", model, list(MODELS)))
    if gpu not in GPUS:
        raise ValueError(unknown("gpu", gpu, list(GPUS)))
    lines = {}
    for stage, name in enumerate(("data parallel", "ZeRO-1", "ZeRO-2", "ZeRO-3")):
        memory = training_memory(MODELS[model], rows, seq, stage=stage, ranks=ranks, precision=precision, checkpointing=checkpointing)
        fits = "yes" if memory.total <= GPUS[gpu] * 1e9 else "no"
        lines[name] = {kind: round(getattr(memory, kind) / 1e9, 2) for kind in KINDS} | {"total": round(memory.total / 1e9, 2), f"fits {gpu}": fits}
    return pd.DataFrame(lines).T


def calculator(static: bool | None = None, **choices: Any) -> Any:
    """Menus with the bill below them; the bill alone when `static`, or where widgets do not run. choices: those of `bill` to begin with."""
    first = bill(**choices)  # also checks the arguments before anything is shown
    if static or (static is None and not widgets_run()):
        return first
    import ipywidgets as widgets

    begun = {name: parameter.default for name, parameter in signature(bill).parameters.items()} | choices
    shown = widgets.HTML(value=first.to_html())
    fields = {
        "model": widgets.Dropdown(options=list(MODELS), value=begun["model"], description="model"),
        "gpu": widgets.Dropdown(options=list(GPUS), value=begun["gpu"], description="GPU"),
        "ranks": widgets.SelectionSlider(options=sorted({*(2**n for n in range(11)), begun["ranks"]}), value=begun["ranks"], description="ranks"),
        "rows": widgets.IntSlider(value=begun["rows"], min=1, max=64, description="sequences"),
        "precision": widgets.Dropdown(options=list(PRECISIONS), value=begun["precision"], description="precision"),
        "checkpointing": widgets.Checkbox(value=begun["checkpointing"], description="recompute activations"),
    }

    def update(_: Any) -> None:
        shown.value = bill(**{name: field.value for name, field in fields.items()}, seq=begun["seq"]).to_html()

    for field in fields.values():
        field.observe(update, names="value")
    return widgets.VBox([*fields.values(), shown])
