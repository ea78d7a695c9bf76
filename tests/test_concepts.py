"""Every concept picture of the package: drawn, with a title, every box inside. What each says is tested in its section's folder."""

import importlib
import inspect

import pytest

from llmsuite_lab.core.paths import repo_dir

ROOT = repo_dir()
FILES = sorted([*ROOT.glob("llmsuite_lab/*/concepts.py"), *ROOT.glob("llmsuite_lab/*/*_concepts.py")])
MODULES = [importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts)) for file in FILES]
ARGUMENTS = {  # of those that do not draw without one
    "course.concepts.here": ("00", "06", "12"),
    "course.concepts.claims_of": ("course", "retrieval"),
    "course.concepts.verdicts": ("course", "retrieval"),
}
NOT_DRAWN = {"scaling.concepts.held_after"}  # what a picture counts, for its test


def place(function):
    return f"{function.__module__.removeprefix('llmsuite_lab.')}.{function.__name__}"


PUBLIC = [
    function
    for module in MODULES
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__ and not name.startswith("_")
]
PICTURES = {
    " ".join([place(function), *words]): (function, words)
    for function in PUBLIC
    if place(function) not in NOT_DRAWN
    for words in [[word] for word in ARGUMENTS.get(place(function), ())] or [[]]
}


def outside(drawn):
    """What of a picture lies outside its axes or has no title: a list of words, empty where all is well."""
    wrong = [] if drawn.axes else ["no axes"]
    for ax in drawn.axes:
        if not ax.get_title(loc="left"):
            wrong.append("no title")
        width, height = ax.get_xlim()[1], ax.get_ylim()[1]
        boxes = [patch.get_bbox() for patch in ax.patches if hasattr(patch, "get_boxstyle")]
        wrong += [f"box at {box.x0:.1f}, {box.y0:.1f}" for box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height]
    return wrong


def test_all_sections_have_their_pictures_here_and_every_name_is_that_of_one():
    assert {module.__name__.split(".")[1] for module in MODULES} == {
        "agents", "alignment", "bitnet", "chains", "course", "finetuning", "peft_methods", "reasoning", "retrieval", "scaling", "transformer",
    }  # fmt: skip
    assert NOT_DRAWN | set(ARGUMENTS) <= {place(function) for function in PUBLIC}


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_has_a_title_and_stays_inside(name):
    picture, words = PICTURES[name]
    assert outside(picture(*words)) == []
