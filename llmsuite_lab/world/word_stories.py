"""How a word problem is told: sentences drawn from a file, each with the program lines it stands for, then numbers that work out.

    "Then Ben gives 15 pears to Zoe."  ↔  x = x - 15          "{k} boxes of {a} pears arrive."  ↔  part = 6 * 15; x = x + part

A story is start, events and question about one running quantity x, or a whole problem about several. Numbers are drawn again until every
value on the way is a positive whole number. `word_problems` is the public side; this file is its inside.
"""

import re
import tomllib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from random import Random
from typing import Any, Literal

from llmsuite_lab.core.errors import LabError, within
from llmsuite_lab.core.paths import data_dir
from llmsuite_lab.world.varied.sentences import widened

Part = Literal["train", "dev", "test", "varied"]
PERCENTS = (5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 80)
LARGEST = 10**13  # intermediate values stay exact in float division too
WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten", 11: "eleven", 12: "twelve"}

# What each kind of sentence does to the running quantity x: one line, (target, expression), or none for a plain question.
_EVENTS: dict[str, tuple[tuple[str, str], ...]] = {
    "start": (("{x}", "{a}"),),
    "start_mul": (("{x}", "{k} * {a}"),),
    "start_sum": (("{x}", "{a} + {b}"),),
    "add": (("{x}", "{x} + {a}"),),
    "sub": (("{x}", "{x} - {a}"),),
    "add2": (("{x}", "{x} + {a} + {b}"),),
    "sub2": (("{x}", "{x} - {a} - {b}"),),
    "addmul": (("{x}", "{x} + {k} * {a}"),),
    "submul": (("{x}", "{x} - {k} * {a}"),),
    "dozen": (("{x}", "{x} + {k} * 12"),),
    "times": (("{x}", "{x} * {k}"),),
    "double": (("{x}", "{x} * 2"),),
    "halve": (("{x}", "{x} / 2"),),
    "share": (("{x}", "{x} / {k}"),),
    "off": (("{x}", "{x} - {x} * {p} / 100"),),
    "up": (("{x}", "{x} + {x} * {p} / 100"),),
    "keep": (("{x}", "{x} * {p} / 100"),),
    "ask": (),
    "ask_share": (("{x}", "{x} / {k}"),),
    "ask_price": (("money", "{x} * {c}"),),
    "ask_total": (("{x}", "{x} + {a}"),),
    "ask_meters": (("meters", "{x} * 1000"),),
}
_STARTS, _ASKS = ("start", "start_mul", "start_sum"), ("ask", "ask_share", "ask_price", "ask_total", "ask_meters")
_MIDDLE = tuple(kind for kind in _EVENTS if kind not in _STARTS + _ASKS)
_ONCE = {"share", "halve", "keep", "double"}  # more than one of these in a story reads oddly and runs out of whole numbers
_WEIGHT = {"add": 3, "sub": 4, "addmul": 3, "submul": 3, "off": 3, "up": 2, "keep": 2, "sub2": 2}
_WHOLE = {"train": 0.12, "dev": 0.2, "test": 0.2, "varied": 0.12}  # how often a whole problem is told where one of the wanted length exists
_SENTENCE_END = re.compile(r"(?<=[.?]) ")


@dataclass(frozen=True)
class Line:
    """One line of a solution: the variable it sets, the expression (numbers and variables, apart by blanks) and its exact value."""

    target: str
    expression: str
    value: int


@dataclass(frozen=True)
class Sentence:
    """One sentence of a story with the solution lines it stands for; none for the question and for what plays no part."""

    text: str
    lines: tuple[Line, ...] = ()

    @property
    def parts(self) -> list[str]:
        """The text cut at full stops: a question may bring its fact along ("Bea has 4. How many do they have together?")."""
        return _SENTENCE_END.split(self.text)


@dataclass(frozen=True)
class Story:
    """A told problem: its sentences in order, the templates they were made from, and how many of them play no part."""

    sentences: tuple[Sentence, ...]
    templates: tuple[str, ...]
    distractors: int


def equations(expression: str, known: Mapping[str, int | Fraction]) -> list[tuple[str, Fraction]]:
    """The elementary calculations of an expression, in order, with exact values: products first, then sums from left to right.

    "684 + 684 * 50 / 100" → ("684 * 50 / 100", 342), ("684 + 342", 1026). A bare number or variable calculates nothing and gives none. Numbers and
    variables joined by + - * /, apart by blanks; raises ValueError for anything else. This is the generator's own arithmetic: no Python is run.
    """
    terms = re.split(r" ([+-]) ", expression)
    done = []
    values = [_product(term, known, done) for term in terms[0::2]]
    total = values[0]
    for sign, value in zip(terms[1::2], values[1:], strict=True):
        shown = f"{total} {sign} {value}"
        total = total + value if sign == "+" else total - value
        done.append((shown, total))
    return done


def value_of(expression: str, known: Mapping[str, int | Fraction]) -> Fraction:
    """Exact value of an expression, as in `equations`."""
    calculated = equations(expression, known)
    return calculated[-1][1] if calculated else _number(expression.strip(), known)


def operations(expression: str) -> int:
    """How many elementary calculations an expression asks for: every + and -, and every product or quotient."""
    terms = re.split(r" [+-] ", expression)
    return len(terms) - 1 + sum(" " in term for term in terms)


def _product(term: str, known: Mapping[str, int | Fraction], done: list[tuple[str, Fraction]]) -> Fraction:
    tokens = term.split()
    numbers = [_number(token, known) for token in tokens[0::2]]
    total = numbers[0]
    for operator, number in zip(tokens[1::2], numbers[1:], strict=True):
        if operator not in ("*", "/"):
            raise ValueError(f"operator {operator!r} in {term!r}: only + - * / are known")
        total = total * number if operator == "*" else total / number
    if len(tokens) > 1:
        shown = " ".join(str(numbers[i // 2]) if i % 2 == 0 else token for i, token in enumerate(tokens))
        done.append((shown, total))
    return total


def _number(token: str, known: Mapping[str, int | Fraction]) -> Fraction:
    if token not in known and not token.isdecimal():
        raise ValueError(f"{token!r} is neither a whole number nor one of {', '.join(known) or 'no variables'}")
    return Fraction(known.get(token, token))


@lru_cache
def templates(part: Part) -> dict[str, Any]:
    """Sentences and entities of a part. "dev" is every eighth sentence of the training file, which "train" does without: unseen sentences for
    choosing a recipe, so that the test sentences stay unseen by the builder too. "varied" is "train" with many more sentences (`world.varied`).
    Raises ValueError for another part, LabError for a broken file."""
    if part not in ("train", "dev", "test", "varied"):
        raise ValueError(f"part={part!r}, but the parts are train, dev, test and varied")
    if part == "varied":
        return widened(templates("train"))
    file = data_dir() / "word_problems" / f"templates_{'test' if part == 'test' else 'train'}.toml"
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LabError(f"the sentences in {file.name} cannot be read ({error}): restore the file from the repository") from error
    if part == "test":
        return found
    for context, kinds in found.items():
        if isinstance(kinds, dict):
            found[context] = {
                kind: _take(sentences, part) if isinstance(sentences, list) else sentences for kind, sentences in kinds.items()
            }
    return found


def _take(sentences: list[Any], part: Part) -> list[Any]:
    if len(sentences) < 4:
        return sentences  # too few to hold any back
    held = [s for i, s in enumerate(sentences) if i % 8 == 3]
    return held if part == "dev" else [s for i, s in enumerate(sentences) if i % 8 != 3]


def split_of_number(n: int) -> Literal["train", "test"] | None:
    """Which split owns an operand: by the checksum of its digits from 100 on (one in five to test); None below, where there are too few numbers."""
    return None if n < 100 else ("test" if zlib.crc32(str(n).encode()) % 5 == 0 else "train")


def draw_story(rng: Random, part: Part, digits: int, steps: int) -> Story | None:
    """One attempt at a story with exactly `steps` arithmetic steps; None when no whole numbers were found for it."""
    told = draw_stories(rng, part, (digits,), steps)
    return told[0] if told else None


def draw_stories(rng: Random, part: Part, sizes: tuple[int, ...], steps: int) -> list[Story] | None:
    """One attempt at a story that is told for every size of the operands, the rest of it alike; None when no whole numbers were found for one."""
    for digits in sizes:
        within("digits", digits, 1, 12)
    within("steps", steps, 1, 24)
    pool = templates(part)
    whole = [t for t in pool["whole"]["problems"] if _whole_steps(t[1]) == steps]
    if whole and rng.random() < _WHOLE[part]:
        chosen = rng.choice(whole)
        texts, segments = _SENTENCE_END.split(chosen[0]), chosen[1].split("|")
        plan = [("", text, _whole_lines(segment)) for text, segment in zip(texts, segments, strict=True)]
        identities, context = (f"whole.{pool['whole']['problems'].index(chosen)}",), {}
    else:
        name = rng.choice([key for key, value in pool.items() if isinstance(value, dict) and key != "whole"])
        context = pool[name]
        kinds = _kinds(rng, context, steps)
        if kinds is None:
            return None
        chosen = [(kind, rng.randrange(len(context[kind]))) for kind in kinds]
        filled = {kind: [tuple(cell.replace("{x}", context["variable"]) for cell in line) for line in _EVENTS[kind]] for kind in kinds}
        plan = [(kind, context[kind][i], filled[kind]) for kind, i in chosen]
        identities = tuple(f"{name}.{kind}.{i}" for kind, i in chosen)
    solved = [_solved(rng, part, digits, plan) for digits in sizes]
    if not all(solved):
        return None
    told, before = [], rng.getstate()
    for digits, numbers in zip(sizes, solved, strict=True):
        rng.setstate(before)  # the same people, things, linking words and distracting sentences
        sentences, extra = _tell(rng, pool, context, plan, numbers, digits, sizes[0])
        told.append(Story(sentences, identities, extra))
    return told


def _solved(rng: Random, part: Part, digits: int, plan: list[Any]) -> list[tuple[dict[str, int], tuple[Line, ...]]] | None:
    return next((numbers for _ in range(150) if (numbers := _numbers(rng, part, digits, plan)) is not None), None)


def _whole_lines(segment: str) -> list[tuple[str, str]]:
    return [tuple(line.strip().split(" = ")) for line in segment.split(";") if line.strip()]


def _whole_steps(program: str) -> int:
    return sum(operations(expression) for segment in program.split("|") for _, expression in _whole_lines(segment))


def _kind_steps(kind: str) -> int:
    return sum(operations(expression) for _, expression in _EVENTS[kind])


def _kinds(rng: Random, context: Mapping[str, Any], steps: int) -> list[str] | None:
    """Kinds of sentence whose lines make exactly `steps` arithmetic steps; None when the draw does not fit."""
    start = rng.choice([k for k in _STARTS for _ in range(2 if k == "start" else 1)])
    ask = rng.choice([k for k in _ASKS for _ in range(4 if k == "ask" else 1) if k in context])
    left = steps - _kind_steps(start) - _kind_steps(ask)
    middle: list[str] = []
    while left > 0:
        fitting = [k for k in _MIDDLE if k in context and _kind_steps(k) <= left and not (k in _ONCE and k in middle)]
        middle.append(rng.choice([k for k in fitting for _ in range(_WEIGHT.get(k, 1))]))
        left -= _kind_steps(middle[-1])
    return None if left < 0 or not middle else [start, *middle, ask]


def _numbers(rng: Random, part: Part, digits: int, plan: list[Any]) -> list[tuple[dict[str, int], tuple[Line, ...]]] | None:
    """For each sentence the numbers of its slots and its lines with their values; None when a value is not a positive whole number."""
    known: dict[str, int] = {}
    shared = {
        "k": rng.randint(2, 9 if rng.random() < 0.8 else 12),
        "m": rng.randint(2, 9),
    }  # a whole problem's factors mean one thing throughout
    solved = []
    for kind, _, specification in plan:
        drawn = {
            "a": _operand(rng, part, digits), "b": _operand(rng, part, digits), "c": rng.randint(2, 9 if digits < 3 else 60), "p": rng.choice(PERCENTS),
        } | (shared if not kind else {"k": rng.randint(2, 9 if rng.random() < 0.8 else 12), "m": rng.randint(2, 9)})  # fmt: skip
        lines = []
        for target, expression in specification:
            filled = expression.format(**drawn)
            calculated = [value for _, value in equations(filled, known)] or [value_of(filled, known)]
            if any(value.denominator != 1 or not 0 < value < LARGEST for value in calculated):
                return None
            known[target] = int(calculated[-1])
            lines.append(Line(target, filled, known[target]))
        solved.append((drawn, tuple(lines)))
    return solved


def _range(digits: int) -> tuple[int, int]:
    """The smallest and the largest number of so many digits that a story tells: one thing is no plural."""
    return max(2, 10 ** (digits - 1)), 10**digits - 1


def _operand(rng: Random, part: Part, digits: int) -> int:
    while True:
        n = rng.randint(*_range(digits))
        if rng.random() < 0.3 and digits > 1:
            n = max(10 ** (digits - 1), n // 10 * 10)  # round numbers divide well
        if split_of_number(n) in (None, "test" if part == "test" else "train"):
            return n


def _tell(
    rng: Random, pool: Mapping[str, Any], context: Mapping[str, Any], plan: list[Any], solved: list[Any], digits: int, first: int
) -> tuple[tuple[Sentence, ...], int]:
    """The sentences with entities, linking words and distracting sentences put in; and the number of the latter.

    What is taken from `rng` depends on `first` alone, the size of the story's first telling, so that every telling of it takes the same.
    """
    name, other = rng.sample(pool["names"], 2)
    item, item2 = rng.sample(pool["items"], 2)
    when, when2 = rng.sample(pool["whens"], 2)
    entities = {
        "name": name,
        "other": other,
        "item": item,
        "item2": item2,
        "box": rng.choice(pool["boxes"]),
        "place": rng.choice(pool["places"]),
    }
    entities |= {"when": when, "when2": when2}
    sentences = []
    for i, ((kind, text, _), (drawn, lines)) in enumerate(zip(plan, solved, strict=True)):
        shown: dict[str, Any] = dict(drawn)
        shown |= {key: WORDS[drawn[key]] for key in ("k", "m") if rng.random() < 0.3}
        written = text.format(**entities, **shown)
        if kind and 0 < i < len(plan) - 1 and rng.random() < 0.25 and not text.startswith("{when}"):
            written = rng.choice(pool["links"]) + (written if text.startswith(("{name}", "{other}")) else written[0].lower() + written[1:])
        sentences.append(Sentence(written[0].upper() + written[1:], lines))
    extra = min(rng.choice((0, 0, 0, 1, 1, 2)), len(context.get("distractor", ())))
    for text in rng.sample(context.get("distractor", []), extra):
        d = rng.randint(1800, 2020) if " in {d}" in text or "year {d}" in text else rng.randint(2, 99)
        if "{item}" in text:
            d = rng.randint(*_range(first))
            d = d if digits == first else Random(d).randint(*_range(digits))
        written = text.format(**entities, d=d)
        sentences.insert(rng.randint(1, len(sentences) - 1), Sentence(written[0].upper() + written[1:]))
    return tuple(sentences), extra
