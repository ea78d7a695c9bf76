"""Details of a dialogue as one line that a model can write and a program can read.

    {"customer": "Ada Moor", "amount": "$12.50"}   ↔   "customer: Ada Moor; amount: $12.50"

`read_entities(entity_line(e)).pairs == tuple(e.items())` for every dictionary that `entity_line` takes. What a model writes need not have the form:
pieces that do not parse are counted, never guessed at. In production: constrained decoding (`outlines`, `xgrammar`) of a JSON schema.
"""

from collections.abc import Mapping
from dataclasses import dataclass

NOTHING = "none"  # the line of a dialogue without details


@dataclass(frozen=True)
class Entities:
    """What a line says: (kind, value) pairs in their order, repeated ones too, and the number of pieces `unparsed`."""

    pairs: tuple[tuple[str, str], ...]
    unparsed: int = 0


def entity_line(entities: Mapping[str, str]) -> str:
    """The line for these details, in their order; "none" for no details.

    Raises ValueError for a kind or value that the form cannot hold: empty, of several lines, with a semicolon, or a kind with a colon.
    """
    if not isinstance(entities, Mapping):
        raise TypeError(f"entities={entities!r} is {type(entities).__name__}, but the details are a dictionary of kind to value")
    for kind, value in entities.items():
        for what, text, marks in (("kind", kind, ":;\n\r"), ("value", value, ";\n\r")):
            if not isinstance(text, str) or text != text.strip() or not text or any(mark in text for mark in marks):
                raise ValueError(f"the {what} {text!r} does not fit into 'kind: value; kind: value': it must be one line of text without ';'")
    return "; ".join(f"{kind}: {value}" for kind, value in entities.items()) or NOTHING


def read_entities(text: str) -> Entities:
    """The details that a text in the form of `entity_line` gives. A piece without a colon, a kind or a value is counted as unparsed.

    An empty text is one unparsed piece: a model that says nothing has not said "none".
    """
    if not isinstance(text, str):
        raise TypeError(f"text={text!r} is {type(text).__name__}, but a line of entities is text")
    line = text.strip()
    if line.casefold().rstrip(".") == NOTHING:
        return Entities(())
    pairs, unparsed = [], 0
    pieces = [piece.strip() for piece in line.split(";")]
    if len(pieces) > 1 and not pieces[-1]:
        pieces.pop()  # a semicolon at the end closes the last piece and opens none
    for piece in pieces:
        kind, colon, value = (part.strip() for part in piece.partition(":"))
        if colon and kind and value and "\n" not in piece:
            pairs.append((kind, value))
        else:
            unparsed += 1
    return Entities(tuple(pairs), unparsed)
