"""What a docstring says of a function and of each parameter, in the three forms that people write: for `functions.tool_from`.

    Args:                          Parameters                     :param city: where
        city (str): where          ----------                     :param int days: how many
        days: how many             city : str
                                       where

The first paragraph is what the function does. A line that goes on is joined to the one it belongs to; what stands under Returns or Raises is of no parameter.
In production: the package `docstring_parser`, `langchain_core.tools.tool(parse_docstring=True)`, `transformers.utils.get_json_schema`.
"""

import re
from collections.abc import Collection

_SECTION = re.compile(r"\s*(args|arguments|parameters|params|returns?|raises|yields?|examples?|notes?|warnings?|see also)\s*:?\s*$", re.IGNORECASE)
_OF_PARAMETERS = ("args", "arguments", "parameters", "params")
_FIELD = re.compile(r"\s*:(\w+)\b([^:]*):\s*(.*)$")  # reST
_ENTRY = re.compile(r"(\s*)\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(\S.*)$")
_NUMPY = re.compile(r"(\s*)\*{0,2}(\w+)\s*(?::.*)?$")
_RULE = re.compile(r"\s*-{3,}\s*$")


def purpose(text: str) -> str:
    """The first paragraph in one line, up to where the parameters begin."""
    lines = []
    for line in text.strip().splitlines():
        if not line.strip() or _FIELD.match(line) or (_SECTION.match(line) and (lines or line.rstrip().endswith(":"))):
            break
        lines.append(line)
    return " ".join(" ".join(lines).split())


def parameters(text: str, names: Collection[str]) -> dict[str, str]:
    """What is said of each of `names`; those of which nothing is said are left out."""
    found: dict[str, list[str]] = {}
    section, column, entry = "", 0, None  # the section we are in, where its entries begin, and the parameter that is being described
    lines = text.splitlines()
    numpy = False
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if field := _FIELD.match(line):
            words, entry, section = field[2].split(), None, ""
            if field[1] in ("param", "parameter", "arg", "argument") and words and words[-1] in names:
                entry, column = found.setdefault(words[-1], [field[3]]), indent + 1
        elif title := _SECTION.match(line):
            section, column, entry = title[1].lower(), -1, None
            numpy = i + 1 < len(lines) and bool(_RULE.match(lines[i + 1]))
        elif not line.strip() or _RULE.match(line):
            entry = entry if section else None
        elif section in _OF_PARAMETERS and (column < 0 or indent == column):
            column = indent
            about = (_NUMPY if numpy else _ENTRY).match(line)
            entry = found.setdefault(about[2], [] if numpy else [about[3]]) if about and about[2] in names else None
        elif indent < column:
            section, entry = "", None
        elif entry is not None:
            entry.append(line)
    return {name: " ".join(" ".join(told).split()) for name, told in found.items() if any(part.strip() for part in told)}
