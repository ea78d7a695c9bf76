"""Stories for training: scenes of a few facts, and several questions about the same facts, so that the question has to be read.

    facts       mary = 12, kofi = 5, others = 30          "Mary has 12 plums. Kofi has 5 of them. There are 30 caps as well."
    question    difference = mary - kofi                  "How many more plums does Mary have than Kofi?"

A fact that the question does not need is told or not (a number that plays no part); two facts may share a sentence, and the last may open the
question ("If …, how many …?"). Every number gets a variable named by what it is. One to four operations; every value is a positive whole number.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmsuite_lab.world.word_problems import Problem
from llmsuite_lab.world.word_stories import LARGEST, PERCENTS, WORDS, Line, Sentence, equations, operations, split_of_number, value_of

ATTEMPTS = 400
JOINED, OPENED, ASIDE, KEPT = 0.2, 0.15, 0.12, 0.45  # how often two facts share a sentence, a fact opens the question, something is said beside
INTRODUCED = 0.9  # how often the first fact is told where it is not needed
SHARES = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth"}
_NAME = re.compile(r"[a-z_]\w*")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])")
_SLOT = re.compile(r"\{(a|k2|k|p|h)\}")


def stories(seed: int = 0, digits: Sequence[int] = (1, 2, 3), held_out: bool = False) -> Iterator[Problem]:
    """Endless problems, none twice; operands have a number of `digits` drawn from the tuple. `held_out`: with the test's operands instead of training's.

    Raises ValueError for sizes outside 1 to 6.
    """
    if not digits or not set(digits) <= set(range(1, 7)):
        raise ValueError(f"digits={digits}, but operands have 1 to 6 digits")
    rng, seen = Random(f"varied stories {seed} {held_out}"), set()
    while True:
        made = _story(rng, rng.choice(digits), "test" if held_out else "train")
        if made is not None and made.text not in seen:
            seen.add(made.text)
            yield made


@cache
def scenes() -> dict[str, Any]:
    """The file as it stands."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def _story(rng: Random, digits: int, split: str) -> Problem | None:
    number = rng.randrange(len(scenes()["scene"]))
    scene, slots = scenes()["scene"][number], _entities(rng)
    asked = rng.randrange(len(scene["questions"]))
    ways, formula = scene["questions"][asked]
    facts = [(_filled(names, slots), _filled(what, slots), said) for names, what, said in scene["facts"]]
    question = [tuple(line.split(" = ")) for line in _filled(formula, slots).split("; ")]
    told = _told(rng, facts, question)
    for _ in range(ATTEMPTS):
        if solved := _numbers(rng, told, question, [_filled(need, slots) for need in scene.get("needs", ())], digits, split):
            break
    else:
        return None
    sentences = _sentences(rng, told, rng.choice(ways), solved, slots)
    lines = [line for sentence in sentences for line in sentence.lines]
    steps = sum(operations(line.expression) for line in lines)
    return Problem(tuple(sentences), lines[-1].value, digits, steps, (f"varied.{number}.{asked}",), len(told) - len(_needed(facts, question)))


def _entities(rng: Random) -> dict[str, str]:
    pool = scenes()
    woman = rng.random() < 0.5
    own = rng.choice(pool["women" if woman else "men"])
    q, r = rng.sample([name for name in pool["women"] + pool["men"] if name != own], 2)
    (one, item), (one2, item2) = (pair.split("|") for pair in rng.sample(pool["items"], 2))
    box, boxes = rng.choice(pool["boxes"]).split("|")
    colors, (day, day2) = rng.sample(pool["colors"], 3), rng.sample(pool["days"], 2)
    he, his, him = ("she", "her", "her") if woman else ("he", "his", "him")
    return {
        "P": own, "Q": q, "R": r, "pp": own.lower(), "qq": q.lower(), "rr": r.lower(), "he": he, "his": his, "him": him, "He": he.capitalize(),
        "His": his.capitalize(), "one": one, "item": item, "one2": one2, "item2": item2, "box": box, "boxes": boxes,
        "animals": rng.choice(pool["animals"]).split("|")[1], "color": colors[0], "color2": colors[1], "color3": colors[2],
        "lost": rng.choice(pool["lost"]), "got": rng.choice(pool["got"]),
        "day": day, "day2": day2, "day3": day.capitalize(), "day4": day2.capitalize(), "place": rng.choice(pool["places"]),
    }  # fmt: skip


def _filled(text: str, slots: dict[str, str]) -> str:
    """The slots that have a value put in, the others left as they are."""
    for key, value in slots.items():
        text = text.replace("{" + key + "}", value)
    return text


def _names(text: str) -> set[str]:
    return set(_NAME.findall(_SLOT.sub("", text)))


def _needed(facts: list[Any], question: list[Any]) -> set[int]:
    """The places of the facts that the question rests on."""
    wanted = {name for _, expression in question for name in _names(expression)}
    found: set[int] = set()
    for i in reversed(range(len(facts))):
        if wanted & set(facts[i][0].split("; ")):
            found.add(i)
            wanted |= _names(facts[i][1])
    return found


def _told(rng: Random, facts: list[Any], question: list[Any]) -> list[Any]:
    """The facts of this telling: those needed, and of the others some, as long as what they rest on is told."""
    needed, told, known = _needed(facts, question), [], set()
    for i, fact in enumerate(facts):
        if i in needed or (rng.random() < (INTRODUCED if i == 0 else KEPT) and _names(fact[1]) <= known):
            told.append(fact)
            known |= set(fact[0].split("; "))
    return told


def _numbers(rng: Random, told: list[Any], question: list[Any], needs: list[str], digits: int, split: str) -> list[tuple[list[int], list[Line]]] | None:
    """For each fact and then the question the numbers it shows and its lines; None when a value is not a positive whole number."""
    known: dict[str, int] = {}
    found = []
    for names, what, _ in [*told, ("; ".join(q[0] for q in question), "; ".join(q[1] for q in question), ())]:
        shown, lines = [], []
        for target, expression in zip(names.split("; "), what.split("; "), strict=True):
            while match := _SLOT.search(expression):
                drawn = _draw(rng, match[1], digits, split)
                expression = expression[: match.start()] + str(drawn) + expression[match.end() :]
                shown.append(int(re.search(rf"{drawn}0?", expression[match.start() :])[0]))
            calculated = [value for _, value in equations(expression, known)] or [value_of(expression, known)]
            if any(value.denominator != 1 or not 0 < value < LARGEST for value in calculated):
                return None
            target = "result" if target == expression else target
            known[target] = int(calculated[-1])
            lines.append(Line(target, expression, known[target]))
        found.append((shown, lines))
    for need in needs:
        if _names(need) <= known.keys() and ((value := value_of(need, known)) <= 0 or value.denominator != 1):
            return None
    return found


def _draw(rng: Random, slot: str, digits: int, split: str) -> int:
    if slot == "a":
        size = digits - 1 if digits > 1 and rng.random() < 0.25 else digits
        while True:
            n = rng.randint(max(2, 10 ** (size - 1)), 10**size - 1)
            if split_of_number(n) in (None, split):
                return n
    if slot == "k2":
        return rng.randint(5, 80)
    return rng.choice(PERCENTS) if slot == "p" else rng.choice(list(SHARES)) if slot == "h" else rng.randint(2, 9 if rng.random() < 0.8 else 12)


def _sentences(rng: Random, told: list[Any], ask: str, solved: list[Any], slots: dict[str, str]) -> list[Sentence]:
    """Facts and question as sentences: joined, opened by "If", with something beside them, as it is drawn."""
    said: list[tuple[str, list[Line]]] = []
    for (_, _, ways), (numbers, lines) in zip(told, solved, strict=False):
        text = _shown(rng, rng.choice(ways), numbers, slots)
        if said and rng.random() < JOINED and ". " not in text + said[-1][0]:
            text, lines = f"{said[-1][0][:-1]} and {_small(text, slots)}", said.pop()[1] + lines
        said.append((text, lines))
    if rng.random() < ASIDE:
        said.insert(rng.randint(1, len(said)), (_filled(rng.choice(scenes()["noise"]["asides"]), slots), []))
    numbers, lines = solved[-1]
    asked = _shown(rng, ask, numbers, slots)
    if said[-1][1] and len(said) > 1 and rng.random() < OPENED and ". " not in said[-1][0]:
        text, before = said.pop()
        asked, lines = f"If {_small(text[:-1], slots)}, {_small(asked, slots)}", before + lines
    return [Sentence(text, tuple(own)) for text, own in [*said, (asked, lines)]]


def _shown(rng: Random, text: str, numbers: list[int], slots: dict[str, str]) -> str:
    shown = [SHARES[n] if "{half}" in text or "{Half}" in text else WORDS[n] if n in WORDS and rng.random() < 0.12 else str(n) for n in numbers]
    shown = [str(n) if f"${{{slot}}}" in text else word for slot, n, word in zip("nm", numbers, shown, strict=False)]
    words = dict(zip("nm", shown, strict=False)) | ({"half": shown[0], "Half": shown[0].capitalize()} if shown else {})
    text = _ARTICLE.sub(r"\1n ", _filled(text, slots | words))
    return text[:1].upper() + text[1:]


def _small(text: str, slots: dict[str, str]) -> str:
    """A sentence's beginning inside another: small, unless it is a name."""
    return text if text.startswith((slots["P"], slots["Q"], slots["R"])) else text[:1].lower() + text[1:]
