"""Which positions of a trajectory the loss may look at: those whose next token the model has to write itself."""

from dataclasses import replace
from itertools import accumulate, chain, pairwise, repeat

import numpy as np
import torch

from llmsuite_lab.course.exercises import Exercise, Wrong
from llmsuite_lab.course.exercises.cases import Case, check_cases
from llmsuite_lab.course.exercises.values import array


def turn_mask(pieces: list) -> list:
    """The solution: mark the model's tokens, then move the marks one position to the left."""
    written = [role == "model" for role, n_tokens in pieces for _ in range(n_tokens)]
    return written[1:]


def _marks(pieces, of_piece=lambda i, role: role == "model"):
    return [of_piece(i, role) for i, (role, n_tokens) in enumerate(pieces) for _ in range(n_tokens)]


def _of_turns(pieces):
    return [i for i, (role, n_tokens) in enumerate(pieces) if role == "model" and n_tokens]


def _not_shifted(pieces):
    return _marks(pieces)


def _cut_at_the_end(pieces):
    return _marks(pieces)[:-1]


def _shifted_the_other_way(pieces):
    return [False, *_marks(pieces)][: max(sum(n for _, n in pieces) - 1, 0)]


def _all_after_the_question(pieces):
    return _marks(pieces, lambda i, role: i > 0)[1:]


def _all_but_the_tools(pieces):
    return _marks(pieces, lambda i, role: role != "tool")[1:]


def _all_but_question_and_tools(pieces):
    return _marks(pieces, lambda i, role: role not in ("question", "tool"))[1:]


def _any_model(pieces):
    return _marks(pieces, lambda i, role: "model" in role)[1:]


def _every_second(pieces):
    return _marks(pieces, lambda i, role: i % 2 == 1)[1:]


def _last_turn_only(pieces):
    return _marks(pieces, lambda i, role: i == max(_of_turns(pieces), default=-1))[1:]


def _first_turn_only(pieces):
    return _marks(pieces, lambda i, role: i == min(_of_turns(pieces), default=-1))[1:]


def _not_the_first_token(pieces):
    marks = _marks(pieces)
    return [a and b for a, b in pairwise(marks)]


def _one_too_many(pieces):
    marks = _marks(pieces)
    return [a or b for a, b in pairwise(marks)]


def _others(pieces):
    return _marks(pieces, lambda i, role: role != "model")[1:]


def _per_piece(pieces):
    return [role == "model" for role, _ in pieces]


def _positions(pieces):
    return [i for i, mark in enumerate(turn_mask(pieces)) if mark]


def _in_place(pieces):
    mask = []
    while pieces:
        role, n_tokens = pieces.pop(0)
        mask += [role == "model"] * n_tokens
    del mask[0]
    return mask


def _with_numpy(pieces):
    return np.repeat([role == "model" for role, _ in pieces], [n for _, n in pieces])[1:]


def _with_torch(pieces):
    mask = torch.zeros(sum(n for _, n in pieces), dtype=torch.bool)
    start = 0
    for role, n_tokens in pieces:
        mask[start : start + n_tokens] = role == "model"
        start += n_tokens
    return mask.roll(-1)[:-1]


def _chained(pieces):
    return tuple(chain.from_iterable(repeat(role == "model", n) for role, n in pieces))[1:]


def _by_ends(pieces):
    ends = list(accumulate(n for _, n in pieces))
    return [pieces[next(i for i, end in enumerate(ends) if token < end)][0] == "model" for token in range(1, ends[-1])]


def _zeros_and_ones(pieces):
    mask, n = [], 0
    for role, n_tokens in pieces:
        for _ in range(n_tokens):
            if n > 0:
                mask.append(1 if role == "model" else 0)
            n += 1
    return mask


def _cases() -> list[Case]:
    every = "Every turn of the model is to be learned, all its tokens and no others."
    first = "Entry i is for the prediction of token i + 1, so nothing predicts token 0."
    roles = "Only what `model` wrote is True, whatever the others are called."
    no, yes = [False], [True]
    return [
        Case(([("question", 4), ("model", 3), ("tool", 5), ("model", 2)],), no * 3 + yes * 3 + no * 5 + yes * 2, "This is the statement's example."),
        Case(([("question", 2), ("model", 1)],), no + yes, every),
        Case(([("model", 3)],), yes * 2, first),
        Case(([("model", 2), ("tool", 3), ("question", 1)],), yes + no * 4, first),
        Case(([("model", 1), ("user", 1)],), no, first),
        Case(([("question", 1), ("model", 4)],), yes * 4, every),
        Case(([("question", 3)],), no * 2, every),
        Case(([("model", 1)],), [], "One token makes no prediction."),
        Case(([("system", 2), ("user", 3), ("model", 2), ("observation", 1), ("other model", 2), ("model", 3)],), no * 4 + yes * 2 + no * 3 + yes * 3, roles),
        Case(([("question", 1), ("model", 2), ("model", 3), ("tool", 1), ("tool", 2)],), yes * 5 + no * 3, every),
        Case(([("question", 2), ("tool", 0), ("model", 2), ("model", 0), ("tool", 2)],), no + yes * 2 + no * 2, "A piece may have no token."),
        Case(([("model", 0), ("question", 2), ("model", 1)],), no + yes, "A piece may have no token."),
        Case(([("question", 3), ("model", 1), ("tool", 1)] * 3,), ((no * 3 + yes + no) * 3)[1:], every),
    ]  # fmt: skip


_MISTAKES = (
    Wrong(
        _not_shifted,
        "You return one entry per token. The last has no successor: there is one prediction fewer. Which predicts a turn's first token?",
    ),
    Wrong(_cut_at_the_end, "Entry i says who wrote token i. It is to say who wrote token i + 1, which is predicted at position i."),
    Wrong(_shifted_the_other_way, "Your marks moved to the right. Entry i is for token i + 1: they move to the left."),
    Wrong(
        _all_after_the_question, "All after the question is supervised: the model would learn to invent observations instead of searching."
    ),
    Wrong(_all_but_the_tools, "All but the tool's words is supervised. Only the model's are to be learned."),
    Wrong(
        _all_but_question_and_tools,
        "All but questions and tools is supervised. Only what `model` wrote is to be learned, whoever else speaks.",
    ),
    Wrong(_any_model, "You mark every role that contains `model`. Only the role `model` itself counts."),
    Wrong(_every_second, "You take every second piece. Look at who wrote it."),
    Wrong(_last_turn_only, "Only the last turn is marked. Every turn is to be learned."),
    Wrong(_first_turn_only, "Only the first turn is marked. Every turn is to be learned."),
    Wrong(_not_the_first_token, "The first token of a turn is missing: the last token before the turn predicts it."),
    Wrong(_one_too_many, "The token behind a turn is marked, too: at the turn's last position another one's word is predicted."),
    Wrong(_others, "You marked what the model did not write."),
    Wrong(_per_piece, "One entry per piece is too coarse: the mask has one per position, and a piece has several tokens."),
    Wrong(_positions, "You return positions. A boolean for each of the n - 1 is asked for."),
)


def _as_booleans(answer):
    """The same function with booleans for a mask of zeros and ones, which says the same."""

    def marks(pieces):
        found = answer(pieces)
        numbers = array(found)
        return found if numbers is None or not np.isin(numbers, (0, 1)).all() else numbers.astype(bool)

    marks.__name__ = "turn_mask"
    return marks


def _check(answer) -> None:
    check_cases(_as_booleans(answer), _cases(), tuple(replace(wrong, answer=_as_booleans(wrong.answer)) for wrong in _MISTAKES))


EXERCISE = Exercise(
    id="agents.turn_mask",
    notebook="04_react_agents",
    title="a loss on the model's own words",
    difficulty=3,
    minutes=20,
    statement=(
        'Write `turn_mask(pieces)`. `pieces` is a list like `[("question", 4), ("model", 3), ("tool", 5), ("model", 2)]`: who wrote the piece, and how many '
        "tokens it has (it may be 0). All tokens stand in one sequence of n, at least 1. Return n - 1 booleans: entry i is True when token i + 1 "
        "was written by the model, for then the prediction made at position i is to be learned. The list above gives 3 times False, 3 times True, 5 times "
        "False, twice True."
    ),
    name="turn_mask",
    starter="def turn_mask(pieces):\n    ...",
    check=_check,
    hints=(
        "First mark every token with whether the model wrote it. That list has n entries.",
        "Position i predicts token i + 1: the mask is the list of marks, seen one step later.",
        'Drop the first mark: `[role == "model" for role, n in pieces for _ in range(n)][1:]`.',
    ),
    solution=turn_mask,
    wrong=_MISTAKES,
    right=(_in_place, _with_numpy, _with_torch, _chained, _by_ends, _zeros_and_ones),
)
