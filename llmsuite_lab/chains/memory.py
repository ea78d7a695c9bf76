"""Memory: what a conversation is about, so that "it" means something (paper Fig. 1: the memory module).

    question_t, subject_{t−1}  →  question_t with its pronoun replaced by subject_{t−1}

The state of a conversation is kept by langgraph under its thread id; this file holds the one thing that the state is used for. A large model
would read the whole conversation and resolve "it" by itself; for this small one the resolution is written out, and can be read and tested.
In production: `langgraph.checkpoint.postgres`, and a model that rewrites the question.
"""

import re

_OWNERS = "its|his|their"
_PRONOUN = re.compile(rf"\b(?P<owner>{_OWNERS})\b|\b(?P<plain>it|he|she|him|they|them|that one|this one)\b", re.IGNORECASE)
_NAMED = re.compile(r"(?<!^)(?<![.?!] )\b[A-Z]\w+")
MAX_WORDS = 16  # longer questions bring their own subject: a word problem's "they" are people of its story


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
