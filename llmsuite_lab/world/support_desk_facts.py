"""Which facts of a dialogue a summary states, and which it invents: recall and precision beside ROUGE.

    recall = facts of the reference that the summary states / facts of the reference        precision = right / (right + invented)

A fact is a customer, agent, product, order number, amount, date, outcome or problem. Numbers are read by `core.values` and compared by value ("$20",
"20 dollars", "20.00"), days in their usual spellings, names and products whatever their case, outcomes and problems by the paraphrases of
support_desk_lexicon.toml. Anything of one of these kinds that is not the dialogue's is invented. What the dialogue mentions beside its facts (the
price paid, a second order, a colleague) is no error next to the right value, but is one in its place. Not read: who did what to whom, an invented
name that is written without a capital, sums in words.
"""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cache

from llmsuite_lab.core.values import numbers, plain
from llmsuite_lab.world.support_desk_dialogue import Dialogue
from llmsuite_lab.world.support_desk_values import MONTHS, vocabulary, wordings

_MONTH = "(?P<month>" + "|".join(f"{month[:3]}(?:{month[3:]})?" if month != "May" else month for month in MONTHS) + r"|Sept)\b\.?"
_DAY = r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?"
_DATES = (
    rf"\b{_DAY}(?: of)? {_MONTH}(?:,? [0-9]{{4}}\b)?",
    rf"\b{_MONTH} (?:the )?{_DAY}\b(?:,? [0-9]{{4}}\b)?",
    r"\b(?:[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})\b",
    r"\b(?P<day>[0-9]{1,2})[/.](?P<month>[0-9]{1,2})(?:[/.](?:[0-9]{4}|[0-9]{2}))?\b(?![.,/][0-9])",
    r"\bthe (?P<day>[0-9]{1,2})(?:st|nd|rd|th)\b",
)
_DATE_PATTERNS = tuple(re.compile(pattern, re.IGNORECASE) for pattern in _DATES)
_CURRENCY = re.compile(r"[$£€]")
_CURRENCY_WORD = re.compile(r"\s?(?:dollars?|euros?|pounds?|usd|eur|gbp|bucks|quid)\b", re.IGNORECASE)
_NUMBER_OF = re.compile(r"(?:order|number|no\.?|nr\.?|#)[\s:#]*\Z", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[.,;:!?]\s|[.!?]?\Z|\b(?:and|but|so|because|after|when|whereupon|then)\b")
_NAME = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


@dataclass(frozen=True)
class FactScore:
    """Facts of a summary: `recall` over those of the reference, `precision` over what the summary states, None (not 0, not 1) when it states nothing.

    `stated` and `missing` hold kinds ("amount"), `invented` kind and words ("amount: $25"). An average of precisions leaves the None out and says how
    many there were.
    """

    recall: float
    precision: float | None
    stated: tuple[str, ...]
    missing: tuple[str, ...]
    invented: tuple[str, ...]


@dataclass
class _Reading:
    """Kinds stated rightly, and words that are none of the facts, by kind."""

    right: set[str] = field(default_factory=set)
    other: list[tuple[str, str]] = field(default_factory=list)


def facts_in(summary: str, dialogue: Dialogue) -> FactScore:
    """Recall and precision of the facts that a summary, whoever wrote it, states about a dialogue."""
    asked, found = _read(dialogue.summary, dialogue).right, _read(summary, dialogue)
    mentioned = _mentioned(dialogue)
    invented = [f"{kind}: {words}" for kind, words in found.other if not _tolerated(kind, words, found.right, mentioned, dialogue)]
    said = len(found.right) + len(invented)
    return FactScore(
        len(found.right & asked) / len(asked),
        len(found.right) / said if said else None,
        tuple(sorted(found.right)),
        tuple(sorted(asked - found.right)),
        tuple(invented),
    )


def _tolerated(kind: str, words: str, right: set[str], mentioned: set[tuple[str, str]], dialogue: Dialogue) -> bool:
    """Whether it was mentioned in the dialogue and does not stand in the place of a fact."""
    if (kind, words) not in mentioned:
        return False
    if kind == "name":
        return "customer" in right or "agent" in right
    return kind in right or getattr(dialogue.facts, kind, None) is None


def _mentioned(dialogue: Dialogue) -> set[tuple[str, str]]:
    """What the dialogue mentions beside its facts. A bare day of the month ("the 14th") is not looked for."""
    reading = _Reading()
    rest = _read_dates(plain(" ".join(turn.text for turn in dialogue.turns)), dialogue, reading)
    rest = _read_numbers(rest, dialogue, reading)
    _read_words(rest, dialogue, reading)
    return set(reading.other)


def _read(text: str, dialogue: Dialogue) -> _Reading:
    reading = _Reading()
    rest = _read_dates(plain(text), dialogue, reading)
    rest = _read_numbers(rest, dialogue, reading)
    _read_words(rest, dialogue, reading)
    _read_lexicon(text, dialogue, reading)
    return reading


def _read_dates(text: str, dialogue: Dialogue, reading: _Reading) -> str:
    """Note the days, and return the text without them."""
    for pattern in _DATE_PATTERNS:
        for match in reversed(list(pattern.finditer(text))):
            said = _readings(match)
            if not said:
                continue
            true = dialogue.facts.date
            if true is not None and any((true.month if month is None else month, day) == (true.month, true.day) for month, day in said):
                reading.right.add("date")
            else:
                month, day = said[0]
                reading.other.append(("date", f"the {day}th" if month is None else f"{day} {MONTHS[month - 1]}"))
            text = f"{text[: match.start()]} {'_' * (match.end() - match.start() - 2)} {text[match.end() :]}"
    return text


def _readings(match: re.Match) -> list[tuple[int | None, int]]:
    """(month, day) of a written day; both orders of 3/4, and month None for "the 14th". Empty where there is no such day."""
    day, month = int(match["day"]), match.groupdict().get("month")
    if month is None:
        return [(None, day)] if 1 <= day <= 31 else []
    if month.isdecimal():
        both = [(int(month), day), (day, int(month))] if match[0].count("-") < 2 else [(int(month), day)]
    else:
        both = [(next(i for i, name in enumerate(MONTHS, 1) if name.lower().startswith(month.lower()[:3])), day)]
    return [(m, d) for m, d in both if 1 <= m <= 12 and 1 <= d <= 31]


def _read_numbers(text: str, dialogue: Dialogue, reading: _Reading) -> str:
    """Note order numbers and sums, and return the text without them. A bare small number ("2 days") is neither."""
    facts = dialogue.facts
    for found in reversed(numbers(text)):
        written, value = text[found.start : found.end], abs(found.value)
        in_money = _CURRENCY.search(text[max(0, found.start - 1) : found.end + 1]) or _CURRENCY_WORD.match(text, found.end)
        if found.percent:
            continue
        if not in_money and value.denominator == 1 and (value >= 10_000 or (value >= 1000 and _NUMBER_OF.search(text, 0, found.start))):
            kind, true = "order", None if facts.order is None else Fraction(facts.order)
        elif in_money or found.places == 2 or value == _fraction(facts.amount):
            kind, true = "amount", _fraction(facts.amount)
        else:
            continue
        if value == true:
            reading.right.add(kind)
        else:
            reading.other.append((kind, str(value)))
        text = text[: found.start] + "_" * len(written) + text[found.end :]
    return text


def _fraction(amount: Decimal | None) -> Fraction | None:
    return None if amount is None else Fraction(amount)


@cache
def _nouns() -> re.Pattern:
    known = [noun for part in ("train", "test") for key in ("nouns", "validation_nouns") for noun in wordings(part).get(key, [])]
    return re.compile(rf"\b({'|'.join(sorted(map(re.escape, known), key=len, reverse=True))})s?\b", re.IGNORECASE)


def _read_words(text: str, dialogue: Dialogue, reading: _Reading) -> None:
    """Note people and products. A capitalised word that is no ordinary one is a name; one before the name of an article is its brand."""
    facts = dialogue.facts
    brand, noun = facts.product.split(" ", 1)
    people = {name.casefold(): "customer" for name in facts.customer.split()} | {facts.agent.casefold(): "agent"}
    for match in reversed(list(_nouns().finditer(text))):
        before = re.search(rf"({_NAME.pattern})\s\Z", text[: match.start()])
        named = before[1] if before and _is_name(before[1]) and before[1].casefold() not in people else None
        if named is not None and named.casefold() != brand.casefold():
            reading.other.append(("product", f"{named} {match[1].lower()}"))
            text = text[: before.start()] + text[before.end() :]
        elif match[1].lower() == noun.lower():
            reading.right.add("product")
        else:
            reading.other.append(("product", match[1].lower()))
    for match in _NAME.finditer(text):
        word = match[0].casefold()
        if word == brand.casefold():
            reading.right.add("product")
        elif word in people:
            reading.right.add(people[word])
        elif _is_name(match[0]):
            reading.other.append(("name", word))


def _is_name(word: str) -> bool:
    return word[0].isupper() and not (word.isupper() and len(word) < 4) and not {word.lower(), *word.lower().split("-")} & vocabulary()


@cache
def _cues(group: str) -> dict[str, re.Pattern]:
    return {key: re.compile(rf"(?<!\w)(?:{'|'.join(cues)})") for key, cues in wordings("lexicon")[group].items()}


@cache
def _asked() -> re.Pattern:
    return re.compile(rf"(?<!\w)(?:{'|'.join(wordings('lexicon')['asked'])})(?!\w)|n't\b")


def _come_about(text: str) -> str:
    """The text without what is only asked for or did not happen: from such a word up to the end of its clause."""
    kept, position = [], 0
    while match := _asked().search(text, position):
        end = _CLAUSE_END.search(text, match.end())
        kept.append(text[position : match.end()])
        position = max(match.end(), end.start() if end else len(text))
    return " … ".join([*kept, text[position:]])


def _read_lexicon(text: str, dialogue: Dialogue, reading: _Reading) -> None:
    """Note outcome and problem. Another problem counts only where the true one is not named: their words overlap ("no longer wanted", "broken")."""
    facts = dialogue.facts
    people = {name.casefold() for name in (*facts.customer.split(), facts.agent)}
    folded = " ".join(_NAME.sub(lambda m: "someone" if m[0].casefold() in people else m[0], plain(text)).casefold().split())
    done = _come_about(folded)
    beside = {facts.outcome, *wordings("lexicon")["beside"].get(facts.outcome, [])}
    outcomes = [key for key, cue in _cues("outcome").items() if cue.search(folded if key == "declined" else done)]
    if facts.outcome in outcomes:
        reading.right.add("outcome")
    reading.other += [("outcome", key) for key in outcomes if key not in beside]
    problems = [key for key, cue in _cues("problem").items() if cue.search(folded)]
    if facts.problem in problems:
        reading.right.add("problem")
    else:
        reading.other += [("problem", key) for key in problems[:1]]
