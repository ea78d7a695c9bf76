"""Cells that wait, put into their notebook: python tools/drafts/insert.py 02

tools/drafts/cells_02.txt has the form of build.py's texts, and before each group of cells a line that says where it goes:
"=== after BEGINNING" behind the cell whose source begins so, "=== instead BEGINNING" in its place. Every beginning must fit exactly one cell.
Nothing else in the notebook changes; run `llmsuite notebooks 02` afterwards, and delete the text.
"""

import hashlib
import sys
from pathlib import Path

import nbformat

from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.course import notebooks


def groups(text: str) -> list[tuple[str, str, list[tuple[str, list[str], str]]]]:
    """(where, beginning of the anchor cell, cells as (kind, tags, source)) in the order of the text."""
    found: list[tuple[str, str, list]] = []
    for part in ("\n" + text).split("\n=== ")[1:]:
        first, _, body = part.partition("\n")
        kind, _, rest = first.partition(" ")
        if kind in ("after", "instead"):
            found.append((kind, rest, []))
        else:
            found[-1][2].append(("markdown" if kind == "md" else kind, rest.split(), body.strip("\n")))
    return found


def put_in(book: nbformat.NotebookNode, text: str) -> None:
    """Insert the groups of `text` into `book`. Raises ValueError for a beginning that fits no cell, or several."""
    for where, beginning, cells in groups(text):
        fits = [i for i, cell in enumerate(book.cells) if cell.source.strip().startswith(beginning)]
        if len(fits) != 1:
            raise ValueError(f"{len(fits)} cells begin with {beginning!r}; one must")
        made = []
        for kind, tags, source in cells:
            new = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
            name = hashlib.sha256(f"{beginning}{source}".encode()).hexdigest()[:8]
            made.append(new(source, id=name, metadata={"tags": tags} if tags else {}))
        at = fits[0]
        book.cells[at + (where == "after") : at + 1] = made


if __name__ == "__main__":
    path = next((repo_dir() / "notebooks").glob(f"{sys.argv[1]}_*.ipynb"))
    opened = nbformat.read(path, as_version=4)
    put_in(opened, (Path(__file__).parent / f"cells_{sys.argv[1]}.txt").read_text(encoding="utf-8"))
    notebooks.write(path, opened)
