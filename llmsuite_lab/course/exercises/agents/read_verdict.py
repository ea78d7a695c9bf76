"""Scoring fact checking: a label is named exactly, or it is not named."""

import re
from collections import Counter
from fractions import Fraction

import numpy as np
import torch

from llmsuite_lab.course.exercises import Exercise, Wrong
from llmsuite_lab.course.exercises.cases import Case, by_cases

LABELS = ("supports", "refutes", "not enough info")


def label_accuracy(answers: list, truths: list) -> float:
    """The solution: equality after removing outer spaces and case; no answer at all is wrong."""
    return sum((answer or "").strip().lower() == truth for answer, truth in zip(answers, truths)) / len(truths)


def _share(named):
    return lambda answers, truths: sum(named((a or "").strip().lower(), t) for a, t in zip(answers, truths)) / len(truths)


_contains = _share(lambda answer, truth: truth in answer)
_is_contained = _share(lambda answer, truth: answer in truth)
_begins = _share(lambda answer, truth: answer.startswith(truth))
_ends = _share(lambda answer, truth: answer.endswith(truth))
_first_word = _share(lambda answer, truth: answer.split()[:1] == truth.split()[:1])
_no_stop = _share(lambda answer, truth: answer.rstrip(".!") == truth)
_inner_spaces = _share(lambda answer, truth: " ".join(answer.split()) == truth)
_any_label = _share(lambda answer, truth: answer in LABELS)


def _skips_the_silent(answers, truths):
    pairs = [(a, t) for a, t in zip(answers, truths) if a is not None]
    return sum(a.strip().lower() == t for a, t in pairs) / max(len(pairs), 1)


def _labels_only(answers, truths):
    pairs = [(a, t) for a, t in zip(answers, truths) if (a or "").strip().lower() in LABELS]
    return sum(a.strip().lower() == t for a, t in pairs) / max(len(pairs), 1)


def _silent_is_no_info(answers, truths):
    return label_accuracy([a or "not enough info" for a in answers], truths)


def _case_matters(answers, truths):
    return sum((answer or "").strip() == truth for answer, truth in zip(answers, truths)) / len(truths)


def _spaces_matter(answers, truths):
    return sum((answer or "").lower() == truth for answer, truth in zip(answers, truths)) / len(truths)


def _only_spaces_at_the_end(answers, truths):
    return sum((answer or "").rstrip().lower() == truth for answer, truth in zip(answers, truths)) / len(truths)


def _in_any_order(answers, truths):
    return (Counter((a or "").strip().lower() for a in answers) & Counter(truths)).total() / len(truths)


def _counted(answers, truths):
    return label_accuracy(answers, truths) * len(truths)


def _percent(answers, truths):
    return 100 * label_accuracy(answers, truths)


def _rounded(answers, truths):
    return round(label_accuracy(answers, truths), 2)


def _dies(answers, truths):
    return sum(answer.strip().lower() == truth for answer, truth in zip(answers, truths)) / len(truths)


def _in_place(answers, truths):
    for i, answer in enumerate(answers):
        answers[i] = answer.casefold().strip() if answer else None
    while len(answers) > len(truths):
        answers.pop()
    return np.mean([a == t for a, t in zip(answers, truths)])


def _with_a_counter(answers, truths):
    right = 0
    for i in range(len(truths)):
        if answers[i] is None:
            continue
        if re.fullmatch(rf"\s*{truths[i]}\s*", answers[i], re.IGNORECASE):
            right += 1
    return Fraction(right, len(truths))


def _with_torch(answers, truths):
    number = {label: i for i, label in enumerate(LABELS)}
    said = torch.tensor([number.get(str(a).lower().strip(), -1) for a in answers])
    return (said == torch.tensor([number[t] for t in truths])).double().mean()


def _with_numpy(answers, truths):
    said = np.char.strip(np.char.lower(np.array([a or "" for a in answers])))
    return (said == np.array(truths)).mean(dtype=np.float32)


def _count_of_true(answers, truths):
    return list(map(lambda a, t: a is not None and a.upper().strip() == t.upper(), answers, truths)).count(True) / len(answers)


def _recursive(answers, truths):
    def right(i):
        return 0 if i == len(truths) else right(i + 1) + (answers[i] is not None and answers[i].strip().lower() == truths[i])

    return right(0) / len(truths)


def _cases() -> list[Case]:
    exact = "Anything but a label is wrong: the whole answer is compared."
    silent = "None is a run that did not finish: it was asked, and counts as wrong."
    outside = "Outer spaces and case do not count."
    pair = "Each answer is compared with its own truth."
    cases = [
        (["supports", "refutes", "supports"], ["supports", "refutes", "refutes"], 2 / 3, "This is the statement's example."),
        (
            [" Supports\n", "REFUTES", "  Not Enough Info\t", "\nsupports"],
            ["supports", "refutes", "not enough info", "refutes"],
            0.75,
            outside,
        ),
        (
            ["SUPPORTS", "refutes", "Not enough info", "not ENOUGH info"],
            ["supports", "refutes", "not enough info", "not enough info"],
            1,
            outside,
        ),
        (["refutes  ", "not enough info\n"], ["refutes", "not enough info"], 1, outside),
        (["\t refutes", "supports"], ["refutes", "supports"], 1, outside),
        ([None, "refutes"], ["supports", "refutes"], 0.5, silent),
        ([None, None, None, "refutes"], ["not enough info", "supports", "not enough info", "refutes"], 0.25, silent),
        ([None], ["refutes"], 0, silent),
        (["it neither supports nor refutes it", "supports it", "refutes"], ["refutes", "supports", "refutes"], 1 / 3, exact),
        (["it refutes", "not supports", "supports"], ["refutes", "supports", "supports"], 1 / 3, exact),
        (["not", "info", "enough", "s", "not enough info"], ["not enough info"] * 3 + ["supports", "not enough info"], 0.2, exact),
        (["", "supports", "  "], ["supports", "supports", "refutes"], 1 / 3, exact),
        (["supports.", "'refutes'", "refutes", "refutes!"], ["supports", "refutes", "refutes", "refutes"], 0.25, exact),
        (
            ["not  enough info", "not enough\ninfo", "notenoughinfo", "not enough info"],
            ["not enough info"] * 4,
            0.25,
            f"{exact} Inner spaces count.",
        ),
        (
            ["none", "unknown", "refutes", "false", "support"],
            ["not enough info", "not enough info", "refutes", "refutes", "supports"],
            0.2,
            exact,
        ),
        (["refutes", "supports", "supports"], ["supports", "refutes", "supports"], 1 / 3, pair),
        (["supports"], ["supports"], 1, pair),
        (["not enough info"] * 7, ["supports"] * 3 + ["not enough info"] + ["refutes"] * 3, 1 / 7, pair),
    ]
    return [Case((given, truths), float(want), rule, rtol=1e-6, atol=1e-9) for given, truths, want, rule in cases]


_MISTAKES = (
    Wrong(_contains, "A sentence that contains a label is not a label: 'neither supports nor refutes' would count as both."),
    Wrong(_is_contained, "A piece of a label is not a label: compare whole answers with `==`."),
    Wrong(_begins, "You look at the beginning of the answer only: 'supports it' is not a label."),
    Wrong(_ends, "You look at the end of the answer only: 'not supports' is not a label."),
    Wrong(_first_word, "You compare first words: 'supports it' is not one of the three labels."),
    Wrong(_no_stop, "You forgive a full stop. Only outer spaces and case are forgiven."),
    Wrong(_inner_spaces, "You forgive inner spaces. Only outer spaces and case are forgiven."),
    Wrong(_any_label, "You count answers that are a label. The true label is asked for."),
    Wrong(_in_any_order, "You count labels. Each answer is to be compared with its own truth."),
    Wrong(_skips_the_silent, "A run without an answer is left out of your average. It was asked, and did not answer: it counts as wrong."),
    Wrong(_labels_only, "What is no label is left out of your average. It counts as wrong."),
    Wrong(_silent_is_no_info, "You read None as `not enough info`. A run that did not finish named no label."),
    Wrong(_case_matters, "Case does not make a label wrong: `lower()`."),
    Wrong(_spaces_matter, "Outer spaces do not make a label wrong: `strip()`."),
    Wrong(_only_spaces_at_the_end, "Spaces before the label do not make it wrong: `strip()`."),
    Wrong(_counted, "You return how many are right. The share is asked for."),
    Wrong(_percent, "You return percent. The share is asked for, a number from 0 to 1."),
    Wrong(_rounded, "You round the share."),
    Wrong(_dies, "A run that did not finish has None for an answer: that is a wrong answer, not an exception."),
)

EXERCISE = Exercise(
    id="agents.read_verdict",
    notebook="04_react_agents",
    title="score verdicts without mercy",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `label_accuracy(answers, truths)`: the share of answers that name the true label, answer i that of `truths[i]`. Labels are `supports`, "
        "`refutes`, `not enough info`. Outer spaces and case do not count. An answer may be `None` (the run did not finish): that is wrong. Anything but a "
        'label is wrong, too. Both lists have the same length, at least 1. `label_accuracy(["supports", "refutes", "supports"], ["supports", "refutes", '
        '"refutes"])` is 2/3.'
    ),
    name="label_accuracy",
    starter="def label_accuracy(answers, truths):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Compare whole answers with `==`, after `strip()` and `lower()`.",
        "`(answer or \"\")` turns a missing answer into one that is never equal.",
        "Sum the equalities and divide by `len(truths)`, silent runs included.",
    ),
    solution=label_accuracy,
    wrong=_MISTAKES,
    equivalent={
        "return sum(((answer or 'x').strip().lower() == truth for answer, truth in zip(answers, truths))) / len(truths)": "x is no label either",
        "return sum(((answer or '').strip().lower() == truth for answer, truth in zip(answers, truths))) / len(answers)": "both lists are as long",
    },
    right=(_in_place, _with_a_counter, _with_torch, _with_numpy, _count_of_true, _recursive),
)  # fmt: skip
