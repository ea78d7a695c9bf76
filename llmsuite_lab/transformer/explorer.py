"""Look through all heads of a model: choose a layer and see what each of its heads attends to.

With widgets (JupyterLab, Colab) two sliders choose layer and head. Where widgets do not run (a slide, a static page, a script) the same call
gives a grid of maps instead, and says so.
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from llmsuite_lab.core.sliders import widgets_run, with_sliders
from llmsuite_lab.transformer.figures import attention_panels


def head_grid(
    maps: Float[Tensor, "layers heads seq seq"],
    tokens: Sequence[str],
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
) -> Any:
    """The maps of some layers and heads as a static figure. Default: three layers (first, middle, last), the first three heads.

    Raises ValueError for a layer or head that the model does not have, or tokens that do not fit the maps.
    """
    n_layers, n_heads = maps.shape[:2]
    layers = sorted({0, n_layers // 2, n_layers - 1}) if layers is None else layers
    heads = range(min(3, n_heads)) if heads is None else heads
    for name, asked, available in (("layer", layers, n_layers), ("head", heads, n_heads)):
        if bad := [i for i in asked if not 0 <= i < available]:
            raise ValueError(f"{name} {bad[0]} does not exist: this model has {name}s 0 to {available - 1}")
    chosen = [(layer, head) for layer in layers for head in heads]
    panels = [maps[layer, head].float().cpu().numpy() for layer, head in chosen]
    return attention_panels(panels, tokens, [f"head {layer}.{head}" for layer, head in chosen], columns=len(heads))


def explore(
    maps: Float[Tensor, "layers heads seq seq"], tokens: Sequence[str], layer: int = 0, head: int = 0, static: bool | None = None
) -> Any:
    """Sliders over layer and head with the map below them; a static grid when `static`, or where widgets do not run.

    Returns an ipywidgets box or a matplotlib figure. Raises ValueError as `head_grid` does.
    """
    head_grid(maps, tokens, [layer], [head])  # checks the arguments before anything is shown
    if static or (static is None and not widgets_run()):
        return head_grid(maps, tokens)
    values = {"layer": range(maps.shape[0]), "head": range(maps.shape[1])}
    return with_sliders(lambda layer, head: head_grid(maps, tokens, [layer], [head]), values, {"layer": layer, "head": head}, static=False)
