"""Memory: what a conversation is about, so that "it" means something (paper Fig. 1: the memory module).

    question_t, subject_{t−1}  →  question_t with its pronoun replaced by subject_{t−1}

The state of a conversation is kept by langgraph under its thread id; this file holds the one thing that the state is used for. A large model
would read the whole conversation and resolve "it" by itself; for this small one the resolution is written out, and can be read and tested.
In production: `langgraph.checkpoint.postgres`, and a model that rewrites the question.
"""

import re

from llmsuite_lab.world.handbook import Handbook, Question

_OWNERS = "its|his|their"
_PRONOUN = re.compile(rf"\b(?P<owner>{_OWNERS})\b|\b(?P<plain>it|he|she|him|they|them|that one|this one)\b", re.IGNORECASE)
_NAMED = re.compile(r"(?<!^)(?<![.?!] )\b[A-Z]\w+")
MAX_WORDS = 16  # longer questions bring their own subject: a word problem's "they" are people of its story
MORE = "What else is known about it?"


def refers_back(question: str) -> str | None:
    """The pronoun by which a short question without a name speaks of something said before; None when it stands on its own."""
    found = _PRONOUN.search(question)
    if found is None or _NAMED.search(question.strip()) or any(c.isdigit() for c in question) or len(question.split()) > MAX_WORDS:
        return None
    return found.group()


def resolve(question: str, subject: str) -> str:
    """The question with its first pronoun replaced by `subject`; unchanged when it does not refer back. Raises ValueError for an empty subject."""
    if not subject.strip():
        raise ValueError("there is no subject to put in the pronoun's place")
    if refers_back(question) is None:
        return question

    def put(found: re.Match) -> str:
        text = f"{subject}'s" if found["owner"] else subject
        return text[0].upper() + text[1:] if found.start() == 0 else text

    return _PRONOUN.sub(put, question, count=1)


def subject_of(title: str) -> str:
    """What a passage with this title is about: the title without its section or file."""
    return title.split(": ", 1)[-1]


def conversation(book: Handbook, first: str = "", again: str = "") -> tuple[Question, str, str]:
    """How a conversation about a book may begin: a question that it answers, a second one that says "it" for the subject of the first, and that subject.

    `first` and `again` where the book holds the question `first`. Elsewhere the first two of its questions about one subject, the second of which names it;
    without such a pair its first question, and MORE. Raises ValueError for a book that answers none of its questions.
    """
    answered, titles = book.of_kind("one"), {passage.id: passage.title for passage in book.passages}
    if not answered:
        raise ValueError("the book answers none of its questions: there is nothing to begin a conversation with")
    begun: dict[str, Question] = {}
    for question in answered:
        subject = subject_of(titles[question.gold[0]])
        if question.text == first:
            return question, again, subject
        begun.setdefault(subject, question)
    for question in answered:
        subject = subject_of(titles[question.gold[0]])
        short = _unnamed(question.text, subject)
        if question is not begun[subject] and short != question.text and refers_back(short):
            return begun[subject], short, subject
    return answered[0], MORE, subject_of(titles[answered[0].gold[0]])


def _unnamed(question: str, subject: str) -> str:
    named = re.compile(rf"(?<!\w){re.escape(subject)}(?P<owner>['\u2019]s)?(?!\w)", re.IGNORECASE)
    return named.sub(lambda found: "its" if found["owner"] else "it", question)
