"""Names beside the points of a figure, so placed that each can be read. In production: adjustText."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

PLACES = [(x, y) for far in (4, 14) for x in (9, -9, 0) for y in (far, -far) if x or far > 9]  # offsets in points: the first that is free is taken


def name_points(ax: Any, points: Mapping[str, tuple[float, float]], size: float = 12, below: Collection[str] = ()) -> None:
    """Write each point's name beside it, at the place where it covers least of what is drawn: other names, points, lines, error bars, the legend.

    below: names that stand under their point, where above they would run into another's as if the two were one.
    Call it last, when limits, scales and legend stand. Raises ValueError for a point that is not finite.
    """
    from matplotlib.transforms import Bbox

    if odd := [name for name, at in points.items() if not np.isfinite(at).all()]:
        raise ValueError(f"no name can stand beside a point that is not finite: {', '.join(odd)}")
    ax.figure.draw_without_rendering()  # from here on it is known which dot lies where
    taken = [Bbox([xy - 8, xy + 8]) for xy in (ax.transData.transform(at) for at in points.values())]
    for line in (*ax.lines, *ax.collections):
        for path in line.get_paths() if hasattr(line, "get_paths") else [line.get_path()]:
            corners = line.get_transform().transform_path(path).vertices
            taken += [Bbox([np.minimum(*ends) - 1, np.maximum(*ends) + 1]) for ends in zip(corners, corners[1:])]
    taken += [ax.get_legend().get_window_extent()] if ax.get_legend() else []
    for name, at in points.items():
        text = ax.annotate(name, at, (0, 0), textcoords="offset points", fontsize=size)

        def covered(place: tuple[int, int], text: Any = text) -> float:
            text.set(ha=("center", "left", "right")[np.sign(place[0])], va=("center", "bottom", "top")[np.sign(place[1])])
            text.xyann = place
            box = text.get_window_extent()
            shared = [Bbox.intersection(box, other) for other in taken]
            inside = Bbox.intersection(box, ax.bbox)
            outside = box.width * box.height - (inside.width * inside.height if inside else 0)
            return outside + sum(found.width * found.height for found in shared if found)

        covered(min([place for place in PLACES if place[1] < 0 or name not in below], key=covered))
        taken.append(text.get_window_extent())
