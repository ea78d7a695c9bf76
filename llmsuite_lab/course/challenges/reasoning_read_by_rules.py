"""Reading a story without a model: rules that turn word problems into a number, scored on the sentences that the adapters were scored on."""

import re
from collections.abc import Callable, Mapping

from llmsuite_lab.core.values import number
from llmsuite_lab.course.challenges import Challenge
from llmsuite_lab.course.exercises import expect
from llmsuite_lab.reasoning import records
from llmsuite_lab.world import word_problems

_LESS = re.compile(r"\b(?:sell|sold|give|gave|lose|lost|leave|left behind|drain|eat|ate|use|hand|pass|break|broke|spend|take|took|remove)\w*", re.I)


def gains_and_losses(text: str) -> int | None:
    """An example: one running total; a sentence with two numbers multiplies them, and its verb says whether that comes or goes."""
    total = 0
    for sentence in re.split(r"(?<=[.?!])\s+", text):
        found = [int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*", sentence)]
        if not found or "?" in sentence:
            continue
        amount = found[0] * found[1] if len(found) == 2 and "each" in sentence else sum(found)
        total += -amount if _LESS.search(sentence) else amount
    return total


def _measure(reader: Callable) -> float:
    asked = word_problems.load("test")[: len(records.base("direct"))]
    right = 0
    for problem in asked:
        said = reader(problem.text)
        expect(not isinstance(said, bool), "your reader returned True or False; return a number, or None where it cannot tell.")
        value = None if said is None else number(str(said))
        expect(said is None or value is not None, f"your reader returned {said!r}; return a number, or None where it cannot tell.")
        right += value == problem.answer
    return right / len(asked)


def _marks() -> Mapping[str, float]:
    def share(means: list[float]) -> float:
        return sum(means) / len(means)

    return {
        "untuned, direct": share([float(r.correct) for r in records.base("direct")]),
        "tuned chain of thought": share(records.mean_over_seeds(records.runs("cot"))),
        "tuned program-aided": share(records.mean_over_seeds(records.runs("pal"))),
    }


CHALLENGE = Challenge(
    id="reasoning.read_by_rules",
    notebook="03_program_aided_language_models",
    title="how far does one read by rules?",
    statement=(
        "With an interpreter, what is left is reading. Write `reader(text)`: it returns the answer to a word problem as a number, or None. No model: rules, "
        "patterns, lists of words. The score is the share of right answers on the test problems that the recorded adapters were scored on; larger is "
        "better. Write your rules on `word_problems.problems(\"train\", seed)`: its sentences are others, and that is the point. There is no mark to pass: "
        "see how far you come on training sentences, then read your score on new ones, and say what the adapter has that you have not."
    ),
    name="reader",
    starter="def reader(text):\n    ...",
    measure=_measure,
    marks=_marks,
    unit="share of problems right",
    difficulty=5,
    minutes=60,
    ideas=(
        "one running total, and a list of verbs that take away",
        "two numbers in a sentence: a product, or two amounts?",
        "percentages, halves and dozens work on the total so far",
        "sentences that play no part: what tells them from the others?",
    ),
    example=gains_and_losses,
    smaller_is_better=False,
)
