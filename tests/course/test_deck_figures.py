"""The figures that the decks show: letters large enough for a hall, none upon another, none outside; and each drawn twice alike."""

import re

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

from llmsuite_lab.core.diagrams import box, canvas, say
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.plots import figure
from llmsuite_lab.course import concepts, ledger, slides
from llmsuite_lab.course.claims import FAILED, OPEN

SHOWN = sorted({ref for path in slides.decks() for ref in re.findall(r"\]\(figure:([^)]+)\)", path.read_text(encoding="utf-8"))})
SMALLEST = 9.5  # points, at the sizes our figures have: some 15 pixels on a projector's 1280
TOKEN_MAPS = {"named_patterns"}  # a letter for each of many rows: read as a pattern, not as words


def faults(drawn, smallest: float = SMALLEST) -> list[str]:
    """What is wrong with a figure's letters, one phrase each."""
    canvas_of = FigureCanvasAgg(drawn)
    canvas_of.draw()
    renderer, frame = canvas_of.get_renderer(), drawn.bbox
    boxes = [(text, text.get_window_extent(renderer)) for text in _letters(drawn)]
    found = [f"{t.get_text()!r} has {t.get_fontsize():g} points" for t, _ in boxes if t.get_fontsize() < smallest]
    found += [f"{t.get_text()!r} leaves the figure" for t, b in boxes if b.x0 < frame.x0 - 1 or b.x1 > frame.x1 + 1 or b.y1 > frame.y1 + 1]
    for i, (t, b) in enumerate(boxes):
        found += [f"{t.get_text()!r} lies on {u.get_text()!r}" for u, c in boxes[i + 1 :] if b.padded(-2).overlaps(c.padded(-2))]
    frames = [patch.get_window_extent(renderer) for patch in drawn.findobj(FancyBboxPatch) if patch.get_visible()]
    for t, b in boxes:
        around = [f for f in frames if f.contains((b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2)]
        if around:
            f = min(around, key=lambda f: f.width * f.height)
            if b.x0 < f.x0 - 1 or b.x1 > f.x1 + 1 or b.y0 < f.y0 - 3 or b.y1 > f.y1 + 3:
                found.append(f"{t.get_text()!r} is wider than its box")
    return found


def _letters(drawn) -> list[Text]:
    """Every text that is really drawn: no tick beyond an axis's ends, none of axes that are switched off."""
    texts = [*drawn.texts, *([drawn._suptitle] if drawn._suptitle else [])]
    for ax in drawn.axes:
        legend = ax.get_legend()
        texts += [*ax.texts, *(ax._left_title, ax.title, ax._right_title), *(legend.get_texts() if legend else [])]
        for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
            if ax.axison and axis.get_visible():
                ticks = zip(axis.get_ticklabels(), axis.get_ticklocs())
                texts += [axis.label, *(label for label, place in ticks if low <= place <= high)]
    return list({id(t): t for t in texts if t.get_visible() and t.get_text().strip()}.values())


@pytest.mark.slow
def test_every_letter_of_every_figure_can_be_read():
    found = []
    for ref in SHOWN:
        name, *words = ref.split("?")
        made = slides._resolve(name)(*words)
        found += [f"{ref}: {fault}" for fault in faults(made, 6.0 if name.split(":")[1] in TOKEN_MAPS else SMALLEST)]
    assert found == [], "\n".join(found)


SLIDERS = {  # what the notebooks draw with a slider, at every place where it may stand
    "course.concepts:nothing_seen": {"n": (5, 20, 60, 200, 1000)},
    "retrieval.prompt_concepts:prompt_with_passages": {"passages": range(6)},
    "retrieval.index_concepts:looking_at_a_part": {"depth": (1, 2, 6)},
    "reasoning.concepts:lines_in_a_row": {"q": (0.5, 0.99)},
    "reasoning.concepts:what_a_vote_repairs": {"right": (0.2, 0.6)},
    "agents.concepts:what_it_reads": {"turn": (1, 2, 3)},
    "chains.concepts:routes_by_nearness": {"reach": (0.1, 2.2)},
}


@pytest.mark.parametrize("name", SLIDERS)
def test_a_slider_can_be_read_wherever_it_stands(name):
    draw = slides._resolve(f"llmsuite_lab.{name}")
    (argument, values), *_ = SLIDERS[name].items()
    found = [f"{argument}={value}: {fault}" for value in values for fault in faults(draw(**{argument: value}))]
    assert found == [], "\n".join(found)


def test_verdicts_of_one_notebook_are_its_own_and_a_control_that_failed_is_said(monkeypatch):
    def entry(name, notebook, verdict, holds):
        return {"id": name, "section": "s", "notebook": notebook, "verdict": verdict, "value": 0.5, "n": 9, "spread": None, "control": {"holds": holds}}

    entries = [entry("a", "1_one", "reproduced", True), entry("b", "1_one", FAILED, False), entry("c", "1_one", FAILED, True)]
    entries.append(entry("d", "2_two", FAILED, True) | {"value": 63045632.0})
    entries.append(entry("e", None, OPEN, None) | {"value": None})
    monkeypatch.setattr(ledger, "collect", lambda folder: ledger.Ledger(entries, []))
    shown = [text.get_text() for text in _letters(concepts.verdicts("1_one"))]
    assert [name for name in "abcd" if name in shown] == ["a", "b", "c"]
    assert (shown.count(f"{FAILED}: control"), shown.count(FAILED)) == (1, 1)
    assert "1 of 3 claims held" in " ".join(shown)
    shown = [text.get_text() for text in _letters(concepts.verdicts("s"))]
    assert "d" in shown
    assert "63,045,632   n = 9" in shown
    assert "1 of 4 claims held, on the machine that ran the notebook; 1 not measured yet" in shown
    with pytest.raises(LabError, match="notebook '3_three'"):
        concepts.verdicts("3_three")


def test_letters_too_small_upon_one_another_or_outside_are_found():
    drawn, ax = figure(4, 3)
    ax.text(0.2, 0.5, "one word", fontsize=12)
    assert faults(drawn) == []
    ax.text(0.21, 0.51, "another", fontsize=7)
    ax.text(0.8, 0.2, "a line much too long for this small figure", fontsize=12, in_layout=False)
    box(ax, 0.2, 0.9, 0.1, 0.1, "wider than this")
    kinds = ("7 points", "lies on 'another'", "leaves the figure", "wider than its box")
    assert [kind for kind in kinds if not any(kind in f for f in faults(drawn))] == []


def test_a_diagram_refuses_letters_that_cannot_be_read():
    _, ax = canvas("t")
    with pytest.raises(ValueError, match="last row"):
        say(ax, 1, 1, "small print", size=8)
