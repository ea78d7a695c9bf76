"""A question set of one's own in the place of the course's: the corpus and the questions become a book, and everything that takes one follows.

    {"question": "How often is the cat fed?", "answer": "3 times"}          its gold passages are those in which the answer stands, word for word
    {"question": "Who is the ferry's captain?", "answer": null}             a question that the corpus does not answer

`world.handbook.load()` of notebook 02 gives way to `load(corpus, questions)`: experiments, records and figures take the one as the other.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.text import one_line
from llmsuite_lab.retrieval.corpus import Corpus
from llmsuite_lab.retrieval.documents import Passage, read_folder
from llmsuite_lab.world.handbook import Handbook, Question


def load(corpus: Corpus | str | Path, questions: str | Path) -> Handbook:
    """The book of a corpus (or of a folder of documents) and a JSON Lines file of questions, in their order; "id" and "gold" (passage ids) are optional.

    Raises LabError for a file that is missing or has no such rows, naming the line; ValueError for an answer that stands in no passage.
    """
    passages = list(corpus.retriever.passages.values()) if isinstance(corpus, Corpus) else read_folder(corpus)[0]
    file = Path(questions)
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"the questions in {file} cannot be read ({error})") from error
    asked = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text, answer = row["question"], row.get("answer")
            given = [str(one) for one in row.get("gold") or ()]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise LabError(f'line {number} of {file.name} is not {{"question": "…", "answer": "…"}} ({error!r})') from error
        if not isinstance(text, str) or not text.strip() or not (answer is None or (isinstance(answer, str) and answer.strip())):
            raise LabError(f"line {number} of {file.name}: question must be a text, answer a text or null")
        asked.append(_question(str(row.get("id", f"q{number}")), text, answer, given, passages))
    if not asked:
        raise LabError(f"there is no question in {file}")
    return Handbook(file.stem, "test", 0, tuple(passages), tuple(asked))


def _question(name: str, text: str, answer: str | None, given: Sequence[str], passages: Sequence[Passage]) -> Question:
    if answer is None:
        return Question(name, text, None, "unanswerable", (), "")
    holding = [p.id for p in passages if answer in one_line(p.text)]  # as the model is shown it
    gold = [one for one in given if one in holding] if given else holding
    if not gold:
        where = f"the passages {', '.join(given)} do not hold it" if given else "it stands in no passage"
        raise ValueError(f"{text!r}: the answer must stand in a passage word for word, and {where}: {answer!r}. Null means that there is none")
    return Question(name, text, answer, "one", tuple(gold), "")
