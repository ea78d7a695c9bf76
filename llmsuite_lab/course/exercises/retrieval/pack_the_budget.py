"""Packing passages into a token budget, the best first."""

from itertools import accumulate, takewhile

import numpy as np

from llmsuite_lab.course.exercises import Exercise, Wrong
from llmsuite_lab.course.exercises.cases import Case, by_cases


def pack(passages: list[str], question: str, budget: int, answer_tokens: int) -> list[str]:
    """The solution: take passages in order until the next one would not leave room for question and answer."""
    room = budget - answer_tokens - len(question.split())
    packed: list[str] = []
    for passage in passages:
        room -= len(passage.split())
        if room < 0:
            break
        packed.append(passage)
    return packed


def _forgets_the_answer(passages, question, budget, answer_tokens):
    return pack(passages, question, budget, 0)


def _forgets_the_question(passages, question, budget, answer_tokens):
    return pack(passages, "", budget, answer_tokens)


def _counts(passages, question, budget, answer_tokens, size, fits=lambda need, room: need <= room):
    room, packed = budget - answer_tokens - size(question), []
    for passage in passages:
        if not fits(size(passage), room):
            break
        packed.append(passage)
        room -= size(passage)
    return packed


def _words(text):
    return len(text.split())


def _counts_characters(*given):
    return _counts(*given, size=len)


def _cuts_at_spaces(*given):
    return _counts(*given, size=lambda text: len(text.split(" ")))


def _one_too_many(*given):
    return _counts(*given, size=_words, fits=lambda need, room: room > 0)


def _never_quite_full(*given):
    return _counts(*given, size=_words, fits=lambda need, room: need < room)


def _shortest_first(passages, question, budget, answer_tokens):
    return pack(sorted(passages, key=len), question, budget, answer_tokens)


def _worst_first(passages, question, budget, answer_tokens):
    return pack(passages[::-1], question, budget, answer_tokens)


def _fills_the_gaps(passages, question, budget, answer_tokens):
    room, packed = budget - answer_tokens - _words(question), []
    for passage in passages:
        if _words(passage) <= room:
            packed.append(passage)
            room -= _words(passage)
    return packed


def _keeps_no_total(passages, question, budget, answer_tokens):
    room = budget - answer_tokens - _words(question)
    return list(takewhile(lambda passage: _words(passage) <= room, passages))


def _never_twice(passages, question, budget, answer_tokens):
    return list(dict.fromkeys(pack(passages, question, budget, answer_tokens)))


def _question_per_passage(passages, question, budget, answer_tokens):
    return _counts(passages, "", budget, answer_tokens, size=lambda text: _words(text) + _words(question) if text else 0)


def _at_least_one(passages, question, budget, answer_tokens):
    return pack(passages, question, budget, answer_tokens) or passages[:1]


def _joined(passages, question, budget, answer_tokens):
    return "\n".join(pack(passages, question, budget, answer_tokens))


def _in_place(passages, question, budget, answer_tokens):
    while sum(_words(text) for text in [*passages, question]) + answer_tokens > budget and passages:
        passages.pop()
    return passages


def _running_sums(passages, question, budget, answer_tokens):
    sums = accumulate((_words(passage) for passage in passages), initial=answer_tokens + _words(question))
    return [passage for passage, used in zip(passages, list(sums)[1:]) if used <= budget]


def _recursive(passages, question, budget, answer_tokens):
    if not passages or len((passages[0] + " " + question).split()) + answer_tokens > budget:
        return []
    return passages[:1] + _recursive(passages[1:], question, budget - _words(passages[0]), answer_tokens)


def _with_numpy(passages, question, budget, answer_tokens):
    used = np.cumsum([len(passage.split()) for passage in passages]) + _words(question) + answer_tokens
    return passages[: int(np.searchsorted(used, budget, side="right"))]


def _longest_prefix(passages, question, budget, answer_tokens):
    fits = [n for n in range(len(passages) + 1) if _words(" ".join([question, *passages[:n]])) + answer_tokens <= budget]
    return tuple(passages[: max(fits, default=0)])


def _with_a_counter(passages, question, budget, answer_tokens):
    i, used = 0, len(question.split()) + answer_tokens
    while i < len(passages) and used + len(passages[i].split()) <= budget:
        used += len(passages[i].split())
        i += 1
    del passages[i:]
    return passages


_PASSAGES = ["best one with six words here", "second of four words", "third", "a fourth passage that has eight words inside"]
_SPACED = ["two  words\n", "  and\tthree more ", "last"]
_LONG_FIRST = ["one two three four five", "six", "seven"]


def _cases() -> list[Case]:
    question = "What does it cost?"  # 4 words; with 5 for the answer, the passages begin at 9
    words = "A token is a word as `text.split()` cuts them, whatever it is made of and whatever white space stands between."
    order = "The best come first: passages stay in their order, and the first that does not fit is the end."
    rooms = {8: 0, 9: 0, 14: 0, 15: 1, 16: 1, 18: 1, 19: 2, 20: 3, 27: 3, 28: 4, 60: 4}  # budget: how many of the four fit
    return [
        Case((["a b c", "d e", "f"], "Who?", 10, 4), ["a b c", "d e"], "This is the statement's example."),
        *(
            Case((_PASSAGES, question, budget, 5), _PASSAGES[:n], f"Passages of 6, 4, 1 and 8 words, 4 of question, 5 of answer, {budget} in all.")
            for budget, n in rooms.items()
        ),
        Case((_LONG_FIRST, "Why so?", 8, 2), [], order),
        Case((_LONG_FIRST, "Why so?", 9, 2), _LONG_FIRST[:1], order),
        Case((_LONG_FIRST, "Why so?", 11, 2), _LONG_FIRST, "Exactly full is not too full."),
        Case((["one", "two three four five", "six"], "", 3, 0), ["one"], order),
        Case((_SPACED, "  Really   now? ", 7, 0), _SPACED[:2], words),
        Case((["Velm's 3.5 km - well-known", "no, no, no", "no"], "So, so?", 10, 0), ["Velm's 3.5 km - well-known", "no, no, no"], words),
        Case((["a b", "a b", "c", "a b"], "Q", 9, 1), ["a b", "a b", "c", "a b"], "A text that comes twice is packed twice."),
        Case((["a b", "c"], "", 3, 0), ["a b", "c"], "Without a question and an answer the budget is the passages' alone."),
        Case((["a", "b"], "one two three", 4, 1), [], "Question and answer fill the budget."),
        Case((["a", "b"], "one two three", 0, 0), [], "There is no budget at all."),
        Case((["a", "b"], "", 100, 99), ["a"], "Answer tokens take room from the budget."),
        Case(([], "Who?", 50, 5), [], "Without passages there is nothing to pack."),
    ]  # fmt: skip


_MISTAKES = (
    Wrong(_forgets_the_answer, "No room is left for the answer: prompt and answer share one window."),
    Wrong(_forgets_the_question, "The question takes room, too."),
    Wrong(_question_per_passage, "You count the question once for each passage. It stands in the prompt once."),
    Wrong(_counts_characters, "You count characters. A token is a word here: `len(text.split())`."),
    Wrong(_cuts_at_spaces, "You cut at single spaces. `split()` without an argument cuts at any white space."),
    Wrong(_one_too_many, "You look at the room after you added a passage, not before."),
    Wrong(_never_quite_full, "A passage that still fits is left out: exactly full is not too full."),
    Wrong(_shortest_first, "You pack the shortest first. The order is the retriever's."),
    Wrong(_worst_first, "You pack the last first. The best come first."),
    Wrong(_fills_the_gaps, "You go on after a passage that does not fit. Stop there: later ones rank below it."),
    Wrong(_keeps_no_total, "You compare each passage with the whole room. What is packed already has taken some."),
    Wrong(_never_twice, "A text that comes twice is packed once only."),
    Wrong(_at_least_one, "You pack a passage that does not fit when none does."),
)

EXERCISE = Exercise(
    id="retrieval.pack_the_budget",
    notebook="02_retrieval_augmented_generation",
    title="pack a prompt into its budget",
    difficulty=3,
    minutes=20,
    statement=(
        "Write `pack(passages, question, budget, answer_tokens)`. `passages` come best first; a token is a word here (`len(text.split())`). Return the list of "
        "passages to put into the prompt: in order, as many as fit together with the question and `answer_tokens` tokens of answer into `budget` (exactly "
        "full still fits). Stop at the first passage that does not fit. `pack(['a b c', 'd e', 'f'], 'Who?', 10, 4)` is `['a b c', 'd e']`."
    ),
    name="pack",
    starter="def pack(passages, question, budget, answer_tokens):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Begin with the room that is left when question and answer have theirs.",
        "Go through the passages in order, and look whether the next one fits before you add it.",
        "`room = budget - answer_tokens - len(question.split())`; break when `len(passage.split()) > room`, else add it and subtract.",
    ),
    solution=pack,
    wrong=(*_MISTAKES, Wrong(_joined, "expected ['a b c', 'd e'], got")),
    right=(_in_place, _running_sums, _recursive, _with_numpy, _longest_prefix, _with_a_counter),
    equivalent={"continue": "the room is below 0 then and only shrinks: no later passage is added"},
)
