"""A question set of one's own in the place of the course's: the corpus and the questions become a book, and everything that takes one follows.

    {"question": "How often is the cat fed?", "answer": "3 times"}          its gold passages are those in which the answer stands, word for word
    {"question": "Who is the ferry's captain?", "answer": null}             a question that the corpus does not answer

`load()` is the course's own book; `load(corpus, questions)` is another, and experiments, records and figures take the one as the other.
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmsuite_lab.core.text import one_line, place
from llmsuite_lab.retrieval.corpus import Corpus
from llmsuite_lab.retrieval.documents import Passage, announce, read_folder
from llmsuite_lab.world import handbook
from llmsuite_lab.world.handbook import Handbook, Question
from llmsuite_lab.world.readers import usable_rows

FORM = 'a row is {"question": "…", "answer": "…"}, the answer word for word as it stands in a passage, or null where none has it'


def load(corpus: Corpus | str | Path | None = None, questions: str | Path | None = None) -> Handbook:
    """The book of a corpus (or of a folder of documents) and a JSON Lines file of questions, in their order; "id" and "gold" (passage ids) are optional.

    Without both, the course's book. Warns of files of the folder that cannot be read.
    Raises LabError for a file that is missing or has rows that cannot be used, naming the first of them and why; ValueError
    for one of the two without the other.
    """
    if (corpus is None) != (questions is None):
        raise ValueError(f"corpus={corpus!r}, questions={questions!r}: give both, or neither for the course's own")
    if corpus is None:
        return handbook.load()
    passages, skipped = (list(corpus.retriever.passages.values()), []) if isinstance(corpus, Corpus) else read_folder(corpus)
    announce(skipped, [Path(questions).name])
    asked, _ = usable_rows(Path(questions), lambda where, row: _question(where, row, passages), FORM, skip_bad=None)
    return Handbook(Path(questions).stem, "test", 0, tuple(passages), tuple(asked))


def _question(where: str, row: Any, passages: Sequence[Passage]) -> Question:
    text, answer = (row.get("question"), row.get("answer")) if isinstance(row, dict) else (None, None)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"question must be a text, not {text!r:.60}" if isinstance(row, dict) else f"a row is an object, not {row!r:.60}")
    answer = str(answer) if isinstance(answer, int | float) and not isinstance(answer, bool) else answer
    if not (answer is None or (isinstance(answer, str) and answer.strip())):
        raise ValueError(f"answer must be a text or null, not {answer!r:.60}")
    if "answer" not in row:
        raise ValueError(f"it has no answer (but {', '.join(map(repr, row))}): null is the answer where no passage has one")
    name = str(row["id"] if row.get("id") is not None else f"q{where.rpartition(' ')[2]}")
    if answer is None:
        return Question(name, one_line(text), None, "unanswerable", (), "")
    same = unicodedata.normalize("NFC", one_line(answer))
    holding = [p.id for p in passages if place(same, unicodedata.normalize("NFC", one_line(p.text))) >= 0]  # as the model is shown it
    given = [] if row.get("gold") is None else row["gold"]
    if not isinstance(given, list):
        raise ValueError(f"gold is a list of passage ids, not {given!r}")
    gold = [one for one in given if one in holding] if given else holding
    if not gold:
        raise ValueError(f"the answer {answer!r:.60} stands in no passage{' named as gold' if given else ''}, word for word")
    return Question(name, one_line(text), same, "one", tuple(gold), "")
