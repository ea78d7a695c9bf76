"""Tools: limits hold whatever the function does."""

import time
from dataclasses import replace

import pytest

from llmsuite_lab.agents.tools import Argument, Tool, ToolResult, almanac_tools, call, closest_titles
from llmsuite_lab.world.almanac import Page


def tool(function, **options):
    return Tool("Probe", "a probe", Argument("text"), function, **options)


def test_search_opens_a_page_and_lookup_reads_it(frozen):
    search, lookup = almanac_tools(frozen)
    page = next(page for page in frozen.pages.values() if page.kind == "city" and len(page.details) == 2)
    assert call(lookup, "mayor") == ToolResult("No page is open. Search for one first.", "empty")
    assert call(search, page.title.upper()) == ToolResult(page.opening)
    assert call(lookup, "MAYOR").text == next(text for text in page.details if "mayor" in text)
    assert call(lookup, "volcano").kind == "empty"


def test_titles_and_keywords_are_found_however_they_are_encoded(frozen):
    page = Page("Zoë Straß", "person", "Zoë Straß is a café owner.", ())
    search, lookup = almanac_tools(replace(frozen, pages={**frozen.pages, page.title: page}))
    assert call(search, "ZOE\u0308  STRASS").text == page.opening
    assert call(lookup, "CAFE\u0301").text == page.opening


def test_a_missing_page_names_the_closest_and_closes_the_open_one(frozen):
    search, lookup = almanac_tools(frozen)
    person = frozen.titles("person")[3]
    call(search, person)
    result = call(search, person[:-1])
    assert result.kind == "empty"
    assert person in result.text
    assert call(lookup, "born").text.startswith("No page is open")
    assert closest_titles(frozen, "1234567890") == []


def test_two_readers_do_not_share_the_open_page(frozen):
    (search, _), (_, lookup) = almanac_tools(frozen), almanac_tools(frozen)
    call(search, frozen.titles("city")[0])
    assert call(lookup, "city").kind == "empty"


def test_a_tool_that_raises_becomes_an_observation():
    def boom(text):
        raise KeyError("no such row")

    result = call(tool(boom), "x")
    assert result.kind == "raised"
    assert "KeyError" in result.text
    assert call(tool(lambda text: 1 / 0), "x").kind == "raised"


def test_a_tool_that_hangs_is_left_behind():
    start = time.perf_counter()
    result = call(tool(lambda text: time.sleep(60), timeout_s=0.1), "x")
    assert result.kind == "timed out"
    assert "0.1 s" in result.text
    assert time.perf_counter() - start < 30


def test_empty_long_and_odd_results_are_put_in_words():
    assert call(tool(lambda text: "  "), "x") == ToolResult("Probe found nothing.", "empty")
    assert call(tool(lambda text: None), "x").text == "None"
    assert len(call(tool(lambda text: "a" * 999, max_chars=70), "x").text) == 70


def test_arguments_are_typed_and_limited():
    ran = []
    integer = Tool("Row", "row by number", Argument("n", int), lambda n: ran.append(n) or f"row {n + 1}")
    assert call(integer, " 41 ").text == "row 42"
    for bad in ("", "   ", "forty", "1.5", "7" * 81):
        assert call(integer, bad).kind == "bad argument"
    assert ran == [41]


def test_tools_that_cannot_be_named_or_limited_are_refused():
    with pytest.raises(ValueError, match="one word"):
        Tool("Open page", "", Argument("title"), str)
    with pytest.raises(ValueError, match="str or int"):
        Tool("Open", "", Argument("title", float), str)
    with pytest.raises(ValueError, match="above zero"):
        Tool("Open", "", Argument("title"), str, timeout_s=0)
