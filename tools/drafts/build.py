"""A notebook from text: python tools/drafts/build.py tools/drafts/07_one_bit_llms.txt notebooks/07_one_bit_llms.ipynb

A cell begins with a line "=== md" or "=== code [tag …]"; "=== header" and "=== setup" are the cells that every notebook shares, taken from notebook 08.
The first lines "paper: …" and "see: …" are the notebook's metadata. Outputs of cells whose source did not change are kept.
"""

import hashlib
import json
import sys
from pathlib import Path

import nbformat

from llmsuite_lab.course import notebooks


def main(text: Path, target: Path) -> None:
    """Write `target`."""
    model = json.loads((Path(__file__).parents[2] / "notebooks" / "08_fine_tuning.ipynb").read_text(encoding="utf-8"))
    old = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {"cells": []}
    kept = {("".join(cell["source"]), cell["cell_type"]): cell for cell in old["cells"]}
    head, *parts = ("\n" + text.read_text(encoding="utf-8")).split("\n=== ")
    cells = []
    for part in parts:
        first, _, body = part.partition("\n")
        kind, *tags = first.split()
        if kind in ("header", "setup"):
            mine = next((cell for cell in old["cells"] if kind == "header" and "llmsuite-header" in cell["metadata"].get("tags", [])), None)
            cells.append(mine or model["cells"][1 if kind == "header" else 2])
            continue
        body, kind = body.strip("\n"), "markdown" if kind == "md" else kind
        found = kept.get((body, kind))
        name = found["id"] if found else hashlib.sha256(f"{len(cells)}{body}".encode()).hexdigest()[:8]
        cell = {"cell_type": kind, "id": name, "metadata": {"tags": tags} if tags else {}, "source": body.splitlines(keepends=True)}
        if kind == "code":
            cell |= {"execution_count": found["execution_count"] if found else None, "outputs": found["outputs"] if found else []}
        cells.append(cell)
    told = dict(line.split(": ", 1) for line in head.strip().splitlines())
    made = {"cells": cells, "metadata": model["metadata"] | {"llmsuite": told}, "nbformat": 4, "nbformat_minor": 5}
    notebooks.write(target, nbformat.from_dict(made))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
