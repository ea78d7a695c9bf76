"""One picture and a slider for each argument that it may be drawn with: in a notebook kernel it moves, elsewhere it is a still picture.

    with_sliders(draw, {"temperature": [0.2, 0.5, 1.0, 2.0]}, {"temperature": 1.0})

In production: `ipywidgets.interact`, which draws into the cell's output instead and leaves nothing where no kernel runs.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any


def widgets_run() -> bool:
    """Whether this process is a notebook kernel with ipywidgets installed: only then can a slider be drawn."""
    if find_spec("ipywidgets") is None or find_spec("IPython") is None:
        return False
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def with_sliders(
    draw: Callable[..., Any], values: Mapping[str, Sequence[Any]], start: Mapping[str, Any] | None = None, *, static: bool | None = None
) -> Any:
    """`draw(**chosen)` with a slider for each name in `values`, standing at `start` (default: each first value); the figure alone when `static`, or
    where widgets do not run.

    Returns an ipywidgets box or a matplotlib figure. Raises ValueError for a name without values, and for a start that is not among them.
    """
    start = {name: (start or {}).get(name, next(iter(choices), None)) for name, choices in values.items()}
    for name, choices in values.items():
        if start[name] not in choices:
            raise ValueError(f"{name}={start[name]!r} is not among the values of its slider: {list(choices)[:8]}")
    first = draw(**start)  # also checks the arguments before anything is shown
    if static or (static is None and not widgets_run()):
        return first
    import ipywidgets as widgets

    picture = widgets.Image(value=_png(first), format="png")
    sliders = {}
    for name, choices in values.items():
        if isinstance(choices, range):
            options = {"min": choices[0], "max": choices[-1], "step": choices.step}
            sliders[name] = widgets.IntSlider(value=start[name], description=name, continuous_update=False, **options)
        else:
            sliders[name] = widgets.SelectionSlider(options=list(choices), value=start[name], description=name, continuous_update=False)

    def redraw(_: Any) -> None:
        picture.value = _png(draw(**{name: slider.value for name, slider in sliders.items()}))

    for slider in sliders.values():
        slider.observe(redraw, names="value")
    return widgets.VBox([*sliders.values(), picture])


def _png(drawn: Any) -> bytes:
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png")
    return buffer.getvalue()
