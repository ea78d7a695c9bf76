"""Pictures that a notebook's run has stored, for the decks and the README: one run, one picture, wherever it is shown."""

import base64
from collections.abc import Iterable
from pathlib import Path

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import write_bytes
from llmsuite_lab.core.paths import data_dir, repo_dir
from llmsuite_lab.course.execution import read_notebook

README_PICTURES = {"course_map": "00_start_here:figure-map", "arithmetic": "00_start_here:figure-arithmetic"}  # file name: notebook:tag


def stored_picture(reference: str) -> bytes:
    """The PNG in the stored output of a notebook's cell, by `notebook:tag`. Raises LabError when there is no such notebook or picture."""
    name, _, tag = reference.partition(":")
    path = (repo_dir() or Path()) / "notebooks" / f"{name}.ipynb"
    if not path.is_file():
        raise LabError(f"a picture of the notebook {name!r} is wanted, which does not exist")
    cells = read_notebook(path).cells
    outputs = [output for cell in cells if tag in cell.metadata.get("tags", []) for output in cell.get("outputs", [])]
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    if not pictures:
        raise LabError(f"no cell of {name} tagged {tag!r} has stored a picture; tag the cell and run the notebook again")
    return base64.b64decode(pictures[0])


def place_readme_pictures(ran: Iterable[str]) -> None:
    """Write those of the README's pictures whose notebooks are among `ran` to data/pictures, from the stored outputs."""
    for name, reference in README_PICTURES.items():
        if reference.partition(":")[0] in ran:
            write_bytes(data_dir() / "pictures" / f"{name}.png", stored_picture(reference))
