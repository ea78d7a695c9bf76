"""Every slide of every deck as a person sees it: in a real browser, at two sizes of screen, with a fault shown for each thing that is looked for.

`deck_sight.js` looks at the slide that is showing; how a fault of each kind is found stands in the broken decks below.
"""

import re
from pathlib import Path

import pytest

from llmsuite_lab.course import slides
from llmsuite_lab.course.browser import find_browser, open_page, show

pytestmark = [pytest.mark.browser, pytest.mark.skipif(find_browser() is None, reason="no Chromium-family browser on this machine")]
SIGHT = (Path(__file__).parent / "deck_sight.js").read_text(encoding="utf-8")
SCREENS = ((1280, 720), (1920, 1080))
HALF = 0.5
MOST_HALF_EMPTY = 0  # slides of all decks that may be more than half empty: give the next one a picture, or join it with its neighbour


def look(page, file: Path) -> tuple[list[str], dict[int, float]]:
    """(faults, share covered by slide number) of a built deck at both sizes, requests to the outside among the faults."""
    page.requests.clear()
    page.problems.clear()
    show(page, file)
    faults, covered = [], {}
    for width, height in SCREENS:
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_function("width => Math.abs(Reveal.getScale() * 1280 / width - 0.98) < 0.005", arg=width)
        for i in range(page.evaluate("Reveal.getTotalSlides()")):
            page.evaluate(f"Reveal.slide({i})")
            seen = page.evaluate(SIGHT)
            faults += [f"{file.stem}:{i + 1} at {width} × {height}: {fault}" for fault in seen["faults"]]
            covered[i + 1] = seen["covered"]
    outside = [url for url in page.requests if not url.startswith(("data:", "blob:")) and url != file.resolve().as_uri()]
    faults += [f"{file.stem}: request: {url}" for url in outside]
    faults += [f"{file.stem}: error: {problem}" for problem in page.problems]
    return faults, covered


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    blank = _built("---\ntitle: x\n---\n# x\n", tmp_path_factory.mktemp("first"))
    with open_page(blank) as opened:
        yield opened


def _built(text: str, folder: Path) -> Path:
    (folder / "deck.md").write_text(text, encoding="utf-8")
    (folder / "deck.html").write_text(slides.render(slides.parse(folder / "deck.md"), folder), encoding="utf-8")
    return folder / "deck.html"


@pytest.mark.slow
def test_every_slide_can_be_seen_whole(page, tmp_path):
    faults, empty, count = [], [], 0
    for _, file in slides.build(out=tmp_path):
        found, covered = look(page, file)
        faults += found
        count += len(covered)
        empty += [f"{file.stem}:{number} ({share:.0%} covered)" for number, share in covered.items() if share < HALF]
    print(f"{len(empty)} of {count} slides are more than half empty: {', '.join(empty) or 'none'}")
    assert faults == [], "\n".join(faults)
    assert len(empty) <= MOST_HALF_EMPTY, f"{len(empty)} slides are more than half empty: {', '.join(empty)}"


WELL = '<p>{}</p><svg width="900" height="400" style="background:#eee"></svg>'
BROKEN = {
    "overflow": '<div style="margin-left:1150px;white-space:nowrap">runs over the edge</div>',
    "clipped": '<div style="overflow:hidden;height:20px">one line<br>another line</div>',
    "overlap": '<p style="margin-bottom:-60px">text</p><img alt="dot" width="9" height="9" src="data:image/png;base64,{dot}" style="height:200px">',
    "lies on the heading": '<p style="margin-top:-50px">too high</p>',
    "page number lies under an arrow": "<style>.reveal .slide-number {{left: auto; right: 8px; bottom: 8px}}</style>",
    "missing figure": '<img alt="torn" width="9" height="9" src="data:image/png;base64,{torn}">',
    "is blank": '<img alt="nothing drawn" width="9" height="9" src="data:image/png;base64,{dot}">',
    "missing glyph": "<p>an unassigned letter: \u0530</p>",
    "small print": '<p style="font-size:9px">who can read this?</p>',
    "request": '<img alt="elsewhere" width="9" height="9" src="https://example.invalid/picture.png">',
    "error": "<script>throw new Error('broken')</script>",
}
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.mark.parametrize("kind", BROKEN)
def test_each_kind_of_fault_is_found(page, tmp_path, kind):
    body = BROKEN[kind].format(dot=DOT, torn=DOT[:40])
    faults, _ = look(page, _built(f"---\ntitle: broken\n---\n\n## Broken\n\n{body}\n\nA line below.\n\n---\n\n## Next\n", tmp_path))
    assert any(kind in fault for fault in faults), f"{kind} was not found; found: {faults}"


def test_a_sound_slide_has_no_fault_and_an_empty_one_is_called_empty(page, tmp_path):
    sound = "## Sound: äöü → √ ✓\n\n" + WELL.format("**a**, *b*, `c`, $\\sqrt{\\frac{a_i}{b^2}}$")
    faults, covered = look(page, _built(f"---\ntitle: two\n---\n\n{sound}\n\n---\n\n## Empty\n\n- one\n- two\n", tmp_path))
    assert faults == []
    assert covered[1] > HALF > covered[2]


def test_bold_italics_headings_and_small_letters_survive_the_reset(page, tmp_path):
    text = "---\ntitle: t\n---\n\n## Heading\n\n**b** *i* H<sub>2</sub>O x<sup>2</sup>\n\n| h |\n|---|\n| **c** |\n"
    show(page, _built(text, tmp_path))
    style = "(s) => { const c = getComputedStyle(document.querySelector(s)); return [c.fontWeight, c.fontStyle, c.verticalAlign] }"
    plain = page.evaluate(style, ".body p")
    assert plain == ["400", "normal", "baseline"]
    for selector, place, value in ((".body p strong", 0, "700"), (".body p em", 1, "italic"), ("h2", 0, "600"), ("th", 0, "700"),
                                   ("td strong", 0, "700"), ("sub", 2, "sub"), ("sup", 2, "super")):  # fmt: skip
        assert page.evaluate(style, selector)[place] == value, selector


def test_the_picture_stands_beside_the_text_unless_it_is_wide(page, tmp_path):
    for name, size in (("square", (300, 300)), ("wide", (900, 300))):
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}"><rect width="99" height="99"/></svg>'
        (tmp_path / f"{name}.svg").write_text(svg)
    show(page, _built("---\ntitle: t\n---\n## a\n\ntext\n\n![p](square.svg)\n\n---\n\n## b\n\ntext\n\n![p](wide.svg)\n", tmp_path))
    boxes = "() => [...Reveal.getCurrentSlide().querySelectorAll('p, img')].map(e => e.getBoundingClientRect().toJSON())"
    text, image = page.evaluate(boxes)
    assert image["left"] > text["left"] + 100
    page.evaluate("Reveal.slide(1)")
    text, image = page.evaluate(boxes)
    assert image["top"] >= text["bottom"]
    assert re.fullmatch("data:image/svg.*", page.evaluate("document.images[0].src"))
