"""Packing passages into a token budget, the best first."""

from llmsuite_lab.course.exercises import Exercise, Wrong, expect


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


def _counts_characters(passages, question, budget, answer_tokens):
    room, packed = budget - answer_tokens - len(question), []
    for passage in passages:
        room -= len(passage)
        if room < 0:
            break
        packed.append(passage)
    return packed


def _one_too_many(passages, question, budget, answer_tokens):
    room, packed = budget - answer_tokens - len(question.split()), []
    for passage in passages:
        if room <= 0:
            break
        packed.append(passage)
        room -= len(passage.split())
    return packed


def _shortest_first(passages, question, budget, answer_tokens):
    return pack(sorted(passages, key=len), question, budget, answer_tokens)


def _check(answer) -> None:
    passages = ["best one with six words here", "second of four words", "third", "a fourth passage that has eight words inside"]
    question, answer_tokens = "What does it cost?", 5  # 4 words, 5 words
    asked = {budget: answer(list(passages), question, budget, answer_tokens) for budget in (9, 14, 15, 16, 19, 20, 60)}
    expect(all(isinstance(packed, list) for packed in asked.values()), "Return a list of passages.")
    shortest = {budget: _shortest_first(passages, question, budget, answer_tokens) for budget in asked}
    expect(
        asked != shortest,
        "You pack the shortest first. The order is the retriever's: the best passage must not lose its place to a short one.",
    )
    expect(asked[60] == passages, "All four passages fit into 60 words: count words (`len(text.split())`), not characters.")
    right = {budget: pack(passages, question, budget, answer_tokens) for budget in asked}
    used = {budget: sum(len(p.split()) for p in packed) + 4 for budget, packed in asked.items()}
    expect(
        all(asked[b] == right[b] or used[b] + 5 > b for b in asked), "A passage that still fits is left out. Exactly full is not too full."
    )
    expect(
        asked != {b: _forgets_the_answer(passages, question, b, 5) for b in asked},
        "No room is left for the answer: prompt and answer share one window.",
    )
    expect(asked != {b: _forgets_the_question(passages, question, b, 5) for b in asked}, "The question takes room too.")
    expect(all(used[b] + 5 <= b for b in asked), "Too much is packed: look at the room before you add a passage, not after.")
    expect(asked == right, "Stop at the first passage that does not fit; later ones rank below it.")


EXERCISE = Exercise(
    id="retrieval.pack_the_budget",
    notebook="02_retrieval_augmented_generation",
    title="pack a prompt into its budget",
    statement=(
        "Write `pack(passages, question, budget, answer_tokens)`. `passages` come best first; a token is a word here (`len(text.split())`). Return the list of "
        "passages to put into the prompt: in order, as many as fit together with the question and `answer_tokens` tokens of answer into `budget`. Stop at the "
        "first passage that does not fit."
    ),
    name="pack",
    starter="def pack(passages, question, budget, answer_tokens):\n    ...",
    check=_check,
    hints=(
        "Begin with the room that is left when question and answer have theirs.",
        "Go through the passages in order, and look whether the next one fits before you add it.",
        "`room = budget - answer_tokens - len(question.split())`; break when `len(passage.split()) > room`, else add it and subtract.",
    ),
    solution=pack,
    wrong=(
        Wrong(_forgets_the_answer, "No room is left for the answer"),
        Wrong(_forgets_the_question, "The question takes room too"),
        Wrong(_counts_characters, "not characters"),
        Wrong(_one_too_many, "look at the room before you add"),
        Wrong(_shortest_first, "You pack the shortest first"),
    ),
)
