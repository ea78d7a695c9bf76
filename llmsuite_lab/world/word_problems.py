"""Word problems with exact truth: a story is a chain of sentences, and each sentence is one or two lines of a program.

    text    "Ben has 40 pears. Then he gives 15 pears to Zoe. How many are left?"
    program "# Ben has 40 pears." count = 40 …              chain of thought "Ben has 40 pears. So 40." …

Compositional: 2 to 6 arithmetic steps from + - * /, percentages, dozens, meters and prices, with sentences whose numbers play no part.
The split is by construction: sentences, people, things and places of the two splits stand in two files (`data/word_problems/templates_*.toml`), and
an operand of three or more digits belongs to the split its checksum says. `digits` is the size of the operands {a} {b}; factors, prices and
percentages stay at two digits or fewer, as they do in stories. Every value on the way is a positive whole number.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from llmsuite_lab.core.errors import LabError, within
from llmsuite_lab.core.files import write_output
from llmsuite_lab.core.paths import data_dir
from llmsuite_lab.world.word_stories import Line, Part, Sentence, Story, draw_stories, draw_story, equations

DIGITS = (1, 2, 3, 4, 5, 6)
STEPS = (2, 3, 4, 5, 6)


@dataclass(frozen=True)
class Problem:
    """A word problem: its sentences, each with the solution lines it stands for, the true `answer`, the operands' `digits`, the number of
    arithmetic `steps`, `templates`, the sentences' origins (`context.kind.index`), and how many sentences play no part."""

    sentences: tuple[Sentence, ...]
    answer: int
    digits: int
    steps: int
    templates: tuple[str, ...]
    distractors: int = 0

    @property
    def text(self) -> str:
        """The problem as it is asked."""
        return " ".join(sentence.text for sentence in self.sentences)

    @property
    def lines(self) -> tuple[Line, ...]:
        """The whole solution, line by line."""
        return tuple(line for sentence in self.sentences for line in sentence.lines)

    @property
    def program(self) -> str:
        """The solution as Python in the form of PAL's Fig. 3: each sentence as a comment, under it its code; the result is in `answer`."""
        body = ""
        for sentence in self.sentences:
            body += "".join(f"# {part}\n" for part in sentence.parts)
            body += "".join(f"{line.target} = {line.expression}\n" for line in sentence.lines)
        return f"{body}answer = {self.lines[-1].target}\n"

    @property
    def chain_of_thought(self) -> str:
        """The same sentences, each followed by its elementary calculations worked out; ends in "The answer is N."."""
        known: dict[str, int] = {}
        written = []
        for sentence in self.sentences:
            stated = []
            for line in sentence.lines:
                stated += [f"{left} = {value}" for left, value in equations(line.expression, known)] or [str(line.value)]
                known[line.target] = line.value
            written.append("\n".join(sentence.parts) + (f" So {'; '.join(stated)}." if stated else ""))
        return "\n".join(written) + f"\nThe answer is {self.answer}.\n"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Problem":
        """Rebuild a problem from `as_dict`. Raises LabError for data of another shape."""
        try:
            sentences = tuple(Sentence(s["text"], tuple(Line(**line) for line in s["lines"])) for s in data["sentences"])
            return cls(**{**data, "sentences": sentences, "templates": tuple(data["templates"])})
        except (KeyError, TypeError) as error:
            raise LabError(f"this is not a word problem ({error}): restore the file from the repository") from error


def problems(part: Part = "train", seed: int = 0, digits: tuple[int, ...] = DIGITS, steps: tuple[int, ...] = STEPS) -> Iterator[Problem]:
    """Endless problems of a part, none twice; sizes and step counts drawn evenly from the tuples. Same seed, same problems.

    Raises ValueError for sizes outside 1–6 or steps outside 2–6.
    """
    if not digits or not set(digits) <= set(DIGITS) or not steps or not set(steps) <= set(STEPS):
        raise ValueError(f"digits={digits}, steps={steps}, but operands have 1 to 6 digits and problems 2 to 6 steps")
    rng = Random(f"word problems {part} {seed}")
    seen: set[str] = set()
    while True:
        size, length = rng.choice(digits), rng.choice(steps)
        story = None
        while story is None or " ".join(sentence.text for sentence in story.sentences) in seen:
            story = draw_story(rng, part, size, length)
        made = _problem(story, size, length)
        seen.add(made.text)
        yield made


def _problem(story: Story, digits: int, steps: int) -> Problem:
    last = [line for sentence in story.sentences for line in sentence.lines][-1]
    return Problem(story.sentences, last.value, digits, steps, story.templates, story.distractors)


def twins(part: Part, count: int, digits: tuple[int, ...] = (2, 6), seed: int = 0) -> list[tuple[Problem, ...]]:
    """`count` stories, each told once for every number of `digits`: the same sentences, people and things, all numbers drawn anew.

    Lengths come in turn. What two tellings differ in is their numbers, the operands in size. Raises ValueError as `problems` does.
    """
    within("count", count, 0, 100_000)
    if not digits or not set(digits) <= set(DIGITS):
        raise ValueError(f"digits={digits}, but operands have 1 to 6 digits")
    rng, found = Random(f"word problems told twice {part} {seed}"), {}
    while len(found) < count:
        length = STEPS[len(found) % len(STEPS)]
        if (told := draw_stories(rng, part, digits, length)) is not None:
            made = tuple(_problem(story, size, length) for story, size in zip(told, digits, strict=True))
            found.setdefault(made[0].text, made)
    return list(found.values())


def grid(part: Part, per_cell: int, seed: int = 0) -> list[Problem]:
    """`per_cell` problems for each of the 6 operand sizes × 5 step counts, in an order whose every prefix of 30 covers all cells once."""
    within("per_cell", per_cell, 0, 100_000)
    cells = [problems(part, seed * 1000 + 10 * d + s, (d,), (s,)) for d in DIGITS for s in STEPS]
    return [next(cell) for _ in range(per_cell) for cell in cells]


def load(name: Literal["test", "seen"] = "test") -> list[Problem]:
    """The frozen problems in data/word_problems/: "test" (unseen sentences, entities, numbers) or "seen" (training sentences, new problems).

    Raises ValueError for another name, LabError for a missing or damaged file.
    """
    if name not in ("test", "seen"):
        raise ValueError(f"name={name!r}, but the frozen sets are test and seen")
    return read(data_dir() / "word_problems" / f"{name}.jsonl")


def frozen() -> dict[str, list[Problem]]:
    """What the two frozen files hold, made anew: 8 problems a cell of the 6 sizes × 5 step counts for "test", 2 a cell for "seen"."""
    return {"test": grid("test", 8, seed=900), "seen": grid("train", 2, seed=901)}


def write(file: Path, chosen: list[Problem]) -> None:
    """Write problems as JSON lines, atomically."""
    write_output(file, "".join(json.dumps(problem.as_dict(), ensure_ascii=False) + "\n" for problem in chosen))


def read(file: Path) -> list[Problem]:
    """Problems from a JSON-lines file. Raises LabError when it is missing or damaged."""
    try:
        rows = file.read_text(encoding="utf-8").splitlines()
        return [Problem.from_dict(json.loads(row)) for row in rows]
    except (OSError, ValueError) as error:
        raise LabError(f"the problems in {file.name} cannot be read ({error}): restore the file from the repository") from error
