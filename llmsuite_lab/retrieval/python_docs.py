"""A real corpus that every CPython carries: the language reference behind `help()`, in `pydoc_data.topics`.

Some eighty topics, half a million characters, written by people for people: nothing about it was made to suit a retriever.
"""

from llmsuite_lab.core.help_topics import topics
from llmsuite_lab.retrieval.chunking import by_sentences, by_tokens
from llmsuite_lab.retrieval.documents import Passage

# (question, topics that answer it); read against the reference of CPython 3.11 to 3.13
QUESTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("How does Python search for the definition of a name in nested scopes?", ("naming", "execmodel")),
    ("How do I run cleanup code whether or not an exception was raised?", ("try", "exceptions", "with")),
    ("Which statement does nothing at all?", ("pass",)),
    ("How do I leave a loop early?", ("break", "for", "while", "compound")),
    ("What does the statement that skips to the next round of a loop do?", ("continue", "for", "while")),
    ("How are anonymous functions written?", ("lambda",)),
    ("How do I define my own class?", ("class", "compound")),
    ("Which operator binds more tightly, power or unary minus?", ("operator-summary", "power")),
    ("How do I format a number with thousands separators?", ("formatstrings",)),
    ("How can an object customise what happens when an attribute is read?", ("attribute-access", "specialnames")),
    ("How do I step through a program in the debugger?", ("debugger",)),
    ("How do I remove a variable or a list item?", ("del",)),
    ("What is true and what is false in a condition?", ("truth", "booleans")),
    ("How do I check a condition that must hold while debugging?", ("assert",)),
    ("How do I make a name refer to a variable of the enclosing function?", ("nonlocal",)),
    ("How do I import a module under another name?", ("import",)),
    ("How are hexadecimal and binary integers written?", ("integers", "numbers")),
    ("What methods does a string have?", ("string-methods", "typesmapping", "strings")),
    ("How do I write a comparison of several values in a chain?", ("comparisons", "in")),
    ("How do I compare structures of data against patterns?", ("compound",)),
)


def passages(size: int = 180, overlap: int = 1, *, by: str = "sentences", names: set[str] | None = None) -> list[Passage]:
    """The reference in chunks of at most `size` words, by "sentences" (overlap in sentences) or "tokens" (overlap in words).

    `names` limits it to these topics. Raises ValueError for another way of cutting.
    """
    if by not in ("sentences", "tokens"):
        raise ValueError(f"by={by!r}, but the reference is cut by 'sentences' or 'tokens'")
    cut = by_sentences if by == "sentences" else by_tokens
    return [
        Passage(f"{name}-{number}", f"{name}-{number}", name, chunk.text)
        for name, text in topics().items()
        if names is None or name in names
        for number, chunk in enumerate(cut(text, size, overlap))
    ]


def questions() -> list[tuple[str, tuple[str, ...]]]:
    """The questions whose answering topics this Python carries, each with those topics."""
    known = topics()
    found = [(question, tuple(topic for topic in wanted if topic in known)) for question, wanted in QUESTIONS]
    return [(question, wanted) for question, wanted in found if wanted]
