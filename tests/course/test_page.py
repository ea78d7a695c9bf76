"""A notebook's page stands alone: no request, formulas set, code in a code font."""

import re

import pytest
from nbformat import v4

from llmsuite_lab.course.browser import find_browser
from llmsuite_lab.course.page import to_html

TEXT = "# A page\n\nInline $x_1 < y$, a sum\n\n$$\\frac{a}{b}$$\n\nand `$code$`; from 5 to 6 dollars."


def book(text):
    """A notebook with one text cell."""
    return v4.new_notebook(cells=[v4.new_markdown_cell(text)])


def test_a_page_without_formulas_is_small_and_names_no_script_elsewhere():
    page = to_html(book("# A page"), "a")
    assert "katex" not in page
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', page)


@pytest.mark.browser
@pytest.mark.skipif(find_browser() is None, reason="no Chromium on this machine")
def test_formulas_are_set_without_a_request(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    (tmp_path / "page.html").write_text(to_html(book(TEXT), "a"), encoding="utf-8")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=find_browser(), args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_page()
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "page.html").as_uri(), timeout=60_000)
        assert page.locator(".katex").count() == 2
        assert page.locator(".katex-display").count() == 1
        assert page.locator("code").inner_text() == "$code$"
        assert page.locator(".katex-error").count() == 0
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
