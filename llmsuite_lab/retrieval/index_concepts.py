"""How an index finds neighbours without comparing with every passage, on points in a plane: the counts in the pictures are counted, none is typed."""

from typing import Any

import numpy as np

from llmsuite_lab.core.diagrams import WIDE, canvas, colour, say, tint
from llmsuite_lab.core.errors import within

_K = 3  # the neighbours that are looked for


def looking_at_a_part(depth: int = 2, n: int = 240, cells: int = 9, seed: int = 11) -> Any:
    """Exact search, IVF that opens `depth` cells and HNSW that keeps 3 · `depth` candidates: what each compares with, and which of the 3 nearest it finds.

    Raises ValueError for a depth below 1 or above the number of cells.
    """
    within("cells", cells, 1, 50)
    within("n", n, 4 * cells, 2_000)
    within("depth", depth, 1, cells)
    rng = np.random.default_rng(seed)
    points = rng.uniform((0.1, 0.1), (3.3, 3.2), (n, 2))
    query = np.array([2.25, 1.9])
    far = ((points - query) ** 2).sum(1)
    nearest = set(far.argsort()[:_K].tolist())
    owner, centres = _cells(points, points[rng.choice(n, cells, replace=False)])
    opened = ((centres - query) ** 2).sum(1).argsort()[:depth]
    touched_ivf = set(np.flatnonzero(np.isin(owner, opened)).tolist())
    start = int(((points - (0.2, 0.2)) ** 2).sum(1).argmin())
    touched_graph, path = _walk(far, _links(points, 6), start, keep=_K * depth)
    drawn, ax = canvas("Exact search compares with everything, an index with a part", *WIDE)
    looked = (
        ("exact", set(range(n)), n), (f"IVF: {depth} of {cells} cells", touched_ivf, len(touched_ivf) + cells),
        (f"HNSW: {_K * depth} candidates kept", touched_graph, len(touched_graph)),
    )  # fmt: skip
    for k, (name, touched, count) in enumerate(looked):
        x0, mask = 0.1 + 3.75 * k, np.isin(np.arange(n), list(touched))
        shown = points + (x0, 0.3)
        say(ax, x0 + 0.1, 4.6, name, size=13.5, bold=True, across="left")
        say(ax, x0 + 0.1, 4.24, f"{count} comparisons", size=13, across="left", ink="tuned")
        say(ax, x0 + 0.1, 3.9, f"{len(nearest & touched)} of the {_K} nearest found", size=13, across="left", ink="accent")
        ax.scatter(*shown[~mask].T, s=22, color=tint("base", 0.4), zorder=2)
        ax.scatter(*shown[mask].T, s=30, color=colour("baseline"), zorder=3)
        ax.scatter(*shown[sorted(nearest)].T, s=120, facecolors="none", edgecolors=colour("accent"), linewidths=2.4, zorder=4)
        if k == 1:
            ax.scatter(*(centres + (x0, 0.3)).T, s=90, marker="x", color=colour("bound"), linewidths=2, zorder=3)
        if k == 2:
            ax.plot(*shown[path].T, color=colour("tuned"), linewidth=2.2, zorder=4)
        ax.plot(query[0] + x0, query[1] + 0.3, "*", color=colour("tuned"), markersize=20, zorder=5)
    return drawn


def _cells(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """k-means: the cell of each point and the cells' centres."""
    for _ in range(12):
        owner = ((points[:, None] - centres) ** 2).sum(-1).argmin(1)
        centres = np.array([points[owner == c].mean(0) if (owner == c).any() else centres[c] for c in range(len(centres))])
    return ((points[:, None] - centres) ** 2).sum(-1).argmin(1), centres


def _links(points: np.ndarray, m: int) -> list[set[int]]:
    """Each point with its `m` nearest, and the way back."""
    order = ((points[:, None] - points) ** 2).sum(-1).argsort(1)[:, 1 : m + 1]
    links: list[set[int]] = [set(map(int, row)) for row in order]
    for i, row in enumerate(order):
        for j in row:
            links[int(j)].add(i)
    return links


def _walk(far: np.ndarray, links: list[set[int]], start: int, keep: int) -> tuple[set[int], list[int]]:
    """Best first, as long as one of the `keep` best is not yet expanded: (all that was compared with, the way of ever nearer points)."""
    seen, expanded, path = {start}, set(), [start]
    while True:
        best = sorted(seen, key=lambda i: far[i])[:keep]
        ahead = [i for i in best if i not in expanded]
        if not ahead:
            return seen, path
        at = ahead[0]
        expanded.add(at)
        if far[at] < far[path[-1]]:
            path.append(at)
        seen |= links[at]


def floors_of_a_graph(seed: int = 48) -> Any:
    """HNSW's floors: few points and long steps above, all points and short steps below; each floor begins where the one above ended."""
    from matplotlib.collections import LineCollection

    rng = np.random.default_rng(seed)
    points = rng.uniform((0.1, 0.1), (3.3, 3.2), (150, 2))
    query = np.array([2.7, 2.35])
    far = ((points - query) ** 2).sum(1)
    drawn, ax = canvas("HNSW: long steps first, short steps last", *WIDE)
    at = int(((points[:10] - (0.3, 0.3)) ** 2).sum(1).argmin())
    for k, (name, count, m) in enumerate((("top floor", 10, 2), ("middle floor", 40, 3), ("ground floor", 150, 4))):
        x0, here = 0.1 + 3.75 * k, points[:count]
        links = _links(here, m)
        seen, path = _walk(far[:count], links, at, keep=1)
        shown = here + (x0, 0.3)
        ax.add_collection(LineCollection([shown[[i, j]] for i, row in enumerate(links) for j in row if i < j], colors=tint("base", 0.35), linewidths=0.9))
        ax.scatter(*shown.T, s=30, color=[colour("baseline") if i in seen else tint("base", 0.6) for i in range(count)], zorder=3)
        ax.plot(*shown[path].T, color=colour("tuned"), linewidth=2.6, zorder=4)
        ax.plot(*shown[at], "o", color=colour("third"), markersize=11, zorder=5)
        ax.plot(query[0] + x0, query[1] + 0.3, "*", color=colour("tuned"), markersize=20, zorder=6)
        at = path[-1]
        say(ax, x0 + 0.1, 4.55, f"{name}: {count} points", size=13.5, bold=True, across="left")
        say(ax, x0 + 0.1, 4.2, f"{len(path) - 1} step{'s' * (len(path) != 2)}, {len(seen)} comparisons", size=13, across="left", ink="tuned")
    say(ax, 5.6, 0.12, "yellow: where each floor begins, which is where the floor above ended", size=12.5, italic=True)
    return drawn
