"""The browser on this machine, when there is one: to look at a deck as a person would and to print it."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import check_output, write_output

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
QUIET = (
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
)
LIMIT_MS = 60_000


def find_browser() -> str | None:
    """Path of a Chromium-family browser (`LLMSUITE_BROWSER`, else the usual names on the search path), or None."""
    return os.environ.get("LLMSUITE_BROWSER") or next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def open_page(file: Path) -> Iterator:
    """A playwright page showing `file` with every slide laid out, and `page.requests`, the addresses it asked for.

    Raises LabError when no browser is found. Every wait ends after a minute.
    """
    from playwright.sync_api import sync_playwright

    browser_path = find_browser()
    if browser_path is None:
        raise LabError(f"no browser found (looked for {', '.join(NAMES)}); install Chromium or set LLMSUITE_BROWSER to its path")
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        # Chromium refuses its own sandbox for root; the page is a file of ours that loads nothing
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=[*QUIET, *(["--no-sandbox"] if root else [])], timeout=LIMIT_MS
        )
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.set_default_timeout(LIMIT_MS)
            page.requests = []
            page.problems = []
            page.on("request", lambda request: page.requests.append(request.url))
            page.on("pageerror", lambda error: page.problems.append(str(error)))
            page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
            show(page, file)
            yield page
        finally:
            browser.close()


def show(page: Any, file: Path, query: str = "") -> None:
    """Turn an open page to another deck and wait until its slides are laid out and its pictures and fonts are there."""
    page.goto(file.resolve().as_uri() + query)
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    page.evaluate("Promise.all([document.fonts.ready, ...[...document.images].map((image) => image.decode().catch(() => null))])")


def print_pdf(deck_html: Path, pdf: Path, pages: int) -> None:
    """Print a deck to `pdf`, one page a slide. Raises LabError when the page count is not `pages` (a blank or split page),
    and when `pdf` is a file that this did not make.
    """
    check_output(pdf)
    with open_page(deck_html) as page:
        show(page, deck_html, "?print-pdf")
        page.wait_for_function("document.querySelectorAll('.pdf-page').length > 0")
        data = page.pdf(prefer_css_page_size=True, print_background=True)
    found = len(re.findall(rb"/Type\s*/Page\b", data))
    if found != pages:
        raise LabError(f"{deck_html.name} printed as {found} pages, but the deck has {pages} slides; a slide is too long or the page broke")
    write_output(pdf, data)
