"""Decks: parsed strictly, built into pages that request nothing, seen in a real browser where there is one."""

import re

import matplotlib.pyplot as plt
import pytest
from typer.testing import CliRunner

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.course import slides
from llmsuite_lab.course.browser import find_browser, print_pdf
from llmsuite_lab.course.cli import app

DECK = """---
title: A small deck
---

# First

<!-- 2 min · Welcome. -->

---

## Second $a_i^2$

```python
x = 1
---
```

<!-- 1.5 min · Explain. -->
<!-- A second note without a time. -->

---

## Third

![a line](figure:tests_figures:line)

<!-- 1 min · A note. -->

---

## Fourth

| a | b |
|---|---|
| 1 | $\\frac{1}{2}$ |

```source
llmsuite_lab.core.files:write_json
```
"""


@pytest.fixture
def deck_file(tmp_path, monkeypatch):
    module = tmp_path / "tests_figures.py"
    module.write_text(
        "import matplotlib.pyplot as plt\ndef line():\n    figure, axes = plt.subplots()\n    axes.plot([0, 1])\n    return figure\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "small.md"
    file.write_text(DECK)
    return file


def test_parse_counts_slides_notes_and_minutes(deck_file):
    deck = slides.parse(deck_file)
    assert (deck.name, deck.title, len(deck.slides), deck.minutes) == ("small", "A small deck", 4, 4.5)
    assert [len(slide.notes) for slide in deck.slides] == [1, 2, 1, 0]
    assert "Welcome" not in deck.slides[0].body
    assert "---" in deck.slides[1].body, "a rule inside a code block is not a slide break"


def test_the_page_holds_everything_itself(deck_file):
    page = slides.render(slides.parse(deck_file), deck_file.parent)
    assert page.count("<section>") == 4
    assert "data:image/svg+xml;base64," in page
    assert ">def</span>" in page
    assert "write_json" in page
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.S)  # the libraries' own code builds such attributes, from data it is given
    assert not re.search(r'(?:src|href)="(?!data:)', markup), "something would be fetched"
    assert "url(fonts" not in page
    assert plt.get_fignums() == [], "the figure was closed"


def test_the_same_source_gives_the_same_page(deck_file):
    deck = slides.parse(deck_file)
    assert slides.render(deck, deck_file.parent) == slides.render(deck, deck_file.parent)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# no front matter", "front matter that holds a title"),
        ("---\ntitle: [\n---\n# x", "not YAML"),
        ("---\ntitle: x\n---\n# a\n\n---\n\n---\n\n# b", "slide 2 of 3 is empty"),
        ("---\ntitle: x\n---\n![p](figure:llmsuite_lab.core.files:nothing)", "cannot be loaded"),
        ("---\ntitle: x\n---\n![p](gone.png)", "no such file"),
        ("---\ntitle: x\n---\n![p](notebook:77_gone:figure)", "which does not exist"),
        ("---\ntitle: x\n---\n![p](notebook:00_start_here:no-such-tag)", "has stored a picture"),
        ("---\ntitle: x\n---\n```klingon\nx\n```", "klingon"),
    ],
)
def test_a_broken_deck_says_what_is_wrong(tmp_path, text, sentence):
    file = tmp_path / "bad.md"
    file.write_text(text)
    with pytest.raises(LabError, match=re.escape(sentence)):
        slides.render(slides.parse(file), tmp_path)


def test_an_unknown_deck_names_the_known_ones(tmp_path):
    with pytest.raises(LabError, match="00_start_here"):
        slides.build(["99_nowhere"], tmp_path)
    assert [path.stem for path in slides.chosen(["3"])] == [path.stem for path in slides.chosen(["03"])] != []


@pytest.fixture
def two_decks(tmp_path, monkeypatch):
    """A course of two decks that build at once."""
    files = [tmp_path / "slides" / f"{name}.md" for name in ("03_small", "04_other")]
    files[0].parent.mkdir()
    for file in files:
        file.write_text("---\ntitle: x\n---\n# x\n")
    monkeypatch.setattr(slides, "decks", lambda: files)
    return tmp_path


@pytest.mark.parametrize(("names", "built"), [([], ["03_small", "04_other"]), (["04"], ["04_other"]), (["04_other", "03", "04"], ["03_small", "04_other"])])
def test_decks_are_named_by_name_or_number(two_decks, names, built):
    out = two_decks / "a folder" / "deeper"
    done = CliRunner().invoke(app, ["slides", *names, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert sorted(path.stem for path in out.glob("*.html")) == built
    assert CliRunner().invoke(app, ["slides", *names, "--out", str(out)]).exit_code == 0, "its own decks are replaced"


def test_what_others_made_stays_in_the_folder(two_decks):
    (two_decks / "04_other.html").write_text("my own page")
    (two_decks / "thesis.txt").write_text("five years")
    with pytest.raises(LabError, match=r"04_other\.html is there already, is not as the course wrote it and stays"):
        slides.build(["04"], two_decks)
    assert (two_decks / "04_other.html").read_text() == "my own page"
    slides.build(["03"], two_decks)
    assert (two_decks / "thesis.txt").read_text() == "five years"
    with pytest.raises(LabError, match="is a file: name another"):
        slides.build(["03"], two_decks / "thesis.txt")


def test_a_letter_that_the_font_lacks_is_an_error(deck_file):
    def odd():
        figure, axes = plt.subplots()
        axes.set_title("\u0530")
        return figure

    with pytest.raises(LabError, match="cannot all be drawn"):
        slides._svg(odd())


def test_every_deck_of_the_course_has_figures_notes_timing_and_misconceptions():
    for path in slides.decks():
        deck = slides.parse(path)
        text = path.read_text()
        assert "figure:" in text, f"{path.name} has no figure made by the package"
        assert all(slide.notes and slide.minutes > 0 for slide in deck.slides), f"{path.name}: a slide without notes or time"
        assert "misconception" in text.lower(), f"{path.name} names no common misconceptions"
        assert 10 <= deck.minutes <= 90


@pytest.mark.parametrize("number", ["00", "01", "02", "03", "04", "05", "12", "13"])
def test_a_lecture_fits_its_hour_and_ends_with_verdicts_a_demo_and_questions(number):
    path = next(path for path in slides.decks() if path.name.startswith(number))
    deck = slides.parse(path)
    assert 45 <= deck.minutes <= 60, f"{deck.minutes} minutes"
    headings = [re.search(r"^#+ (.*)$", slide.body, re.M)[1] for slide in deck.slides]
    demos = [slide for slide, heading in zip(deck.slides, headings) if heading.startswith("Demo")]
    assert demos
    assert all("```python" in slide.body and f"notebook {number}" in slide.body for slide in demos), "the demo names the cell to run"
    assert "course.concepts:verdicts?" in path.read_text(encoding="utf-8")
    questions = next(slide.body for slide, heading in zip(deck.slides, headings) if heading == "Questions, with answers")
    assert len(re.findall(r"^\|.*\|.*\|$", questions, re.M)) >= 2 + 4, "fewer than four questions"


@pytest.mark.browser
@pytest.mark.skipif(find_browser() is None, reason="no Chromium-family browser on this machine")
def test_the_pdf_has_one_page_a_slide(tmp_path, deck_file):
    deck = slides.parse(deck_file)
    html = tmp_path / "small.html"
    html.write_text(slides.render(deck, tmp_path))
    print_pdf(html, tmp_path / "small.pdf", pages=4)
    assert (tmp_path / "small.pdf").stat().st_size > 5_000
    with pytest.raises(LabError, match="printed as 4 pages"):
        print_pdf(html, tmp_path / "small.pdf", pages=3)
    (tmp_path / "mine.pdf").write_bytes(b"%PDF-1.4 a thesis")
    with pytest.raises(LabError, match="stays as it is"):
        print_pdf(html, tmp_path / "mine.pdf", pages=4)
    assert (tmp_path / "mine.pdf").read_bytes() == b"%PDF-1.4 a thesis"
