"""Training corpora in many forms, with questions of which about a third have no answer in them.

A corpus is some passages of each of a few kinds, drawn anew for every seed. Each passage says only some of the things that its kind can say; what it leaves
out is asked about as well, with the right answer "not stated", so that a reader learns to look for the thing asked and not only for its subject.
Questions about a subject without a passage are a third of what has no answer. Shape and names are those of `world.handbook`.
"""

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmsuite_lab.core.errors import within
from llmsuite_lab.world.handbook import Handbook, Passage, Question
from llmsuite_lab.world.names import names

KINDS_OF_A_CORPUS, PASSAGES_OF_A_KIND, SAID = 5, 6, (3, 6)  # kinds, passages of each, how many sentences a passage has
_SLOT = re.compile(r"\{(\w+)\}")


def generate(seed: int = 0, one: int = 60, unanswerable: int = 30) -> Handbook:
    """One corpus with `one` questions that a passage answers and `unanswerable` others. Same arguments, same corpus.

    Raises ValueError for more questions than it has.
    """
    within("one", one, 0, 100)
    within("unanswerable", unanswerable, 0, 60)
    return _Writer(seed).corpus(one, unanswerable)


@cache
def texts() -> dict[str, Any]:
    """The file as it stands."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


class _Writer:
    def __init__(self, seed: int):
        self.seed, self.rng = seed, Random(f"varied corpora {seed}")
        self.taken: set[str] = set()  # topics and crafts that a passage is about already
        self.pools: dict[str, Iterator[str]] = {kind: names(kind, "train", self.rng) for kind in ("family", "place", "thing")}

    def corpus(self, one: int, unanswerable: int) -> Handbook:
        """Passages of some kinds, then the questions."""
        passages: list[Passage] = []
        said: list[Question] = []
        unsaid: list[Question] = []
        strangers: list[Question] = []
        for kind in self.rng.sample(texts()["kind"], KINDS_OF_A_CORPUS):
            for number in range(PASSAGES_OF_A_KIND + 1):
                slots = self._slots(kind["title"])
                title = _put(kind["title"], slots)
                slots |= {"s": title[:1].lower() + title[1:] if title.startswith("The ") else title, "first": title.split()[0]}
                chosen = self.rng.sample(kind["sentences"], self.rng.randint(*SAID))
                name = f"varied-{self.seed}-{len(passages)}"
                sentences = []
                for sentence in kind["sentences"]:
                    own = slots | self._values(sentence, slots)
                    asked, answer = _capital(_put(self.rng.choice(sentence[1]), own)), _put(sentence[2], own)
                    if number == PASSAGES_OF_A_KIND:  # a subject that gets no passage
                        strangers.append(Question(name, asked, None, "unanswerable", (), kind["name"], "unknown subject"))
                    elif sentence in chosen:
                        sentences.append(_capital(_put(sentence[0], own)))
                        said.append(Question(name, asked, answer, "one", (name,), kind["name"]))
                    else:
                        unsaid.append(Question(name, asked, None, "unanswerable", (), kind["name"], "not stated"))
                if sentences:
                    passages.append(Passage(name, name, title, " ".join(sentences), ""))
        third = unanswerable // 3
        chosen = [self._sample(said, one), self._sample(unsaid, unanswerable - third), self._sample(strangers, third)]
        return Handbook(f"varied {self.seed}", "train", self.seed, tuple(passages), tuple(q for listed in chosen for q in listed))

    def _sample(self, questions: list[Question], count: int) -> list[Question]:
        if count > len(questions):
            raise ValueError(f"{count} questions wanted, but this corpus has {len(questions)} of the kind")
        return self.rng.sample(questions, count)

    def _slots(self, title: str) -> dict[str, str]:
        """What the whole passage shares: the slots of its title, and the names it goes by."""
        while True:
            found = {slot: self._draw(slot) for slot in _SLOT.findall(title)} | {"name": next(self.pools["thing"])}
            about = {found[slot] for slot in ("topic", "craft") if slot in found}
            if not about & self.taken:
                break
        self.taken |= about
        found["place"] = found.get("town", next(self.pools["place"]))
        if "topic" in found:
            found["topic2"] = _capital(found["topic"])
        return found

    def _values(self, sentence: list[Any], shared: dict[str, str]) -> dict[str, str]:
        """The slots of one sentence; a person, town or number in it is another than the title's."""
        wanted = {slot for text in (sentence[0], sentence[2], *sentence[1]) for slot in _SLOT.findall(text)} - {"s", "first", "place", "topic", "topic2"}
        return {slot: self._draw(slot) for slot in sorted(wanted - ({"name", "craft", "code", "start"} & shared.keys()))}

    def _draw(self, slot: str) -> str:
        rng, text = self.rng, texts()
        if slot in text["words"]:
            return rng.choice(text["words"][slot])
        match slot:
            case "person" | "person2":
                return f"{rng.choice(text['given'])} {next(self.pools['family'])}"
            case "given":
                return rng.choice(text["given"])
            case "family":
                return next(self.pools["family"])
            case "town":
                return next(self.pools["place"])
            case "name":
                return next(self.pools["thing"])
            case "firm":
                return f"{next(self.pools['family'])} {rng.choice(text['firms'])}"
            case "thing" | "color" | "weekday" | "month":
                return rng.choice(text[f"{slot}s"])
            case "n":
                return str(rng.randint(2, 98))
            case "big":
                return str(rng.randint(100, 9000))
            case "price":
                return rng.choice((f"{rng.randint(2, 900)} crowns", f"{rng.randint(2, 90)}.{rng.choice((20, 50, 75, 95))}", f"{rng.randint(3, 99)} dollars"))
            case "time":
                return f"{rng.randint(5, 22)}:{rng.choice(('05', '15', '30', '40', '55'))}"
            case "date":
                return f"{rng.randint(1, 28)} {rng.choice(text['months'])}"
            case "year":
                return str(rng.randint(1850, 2015))
            case _:
                return f"{rng.choice('BCDFGHKMRTW')}{rng.randint(2, 9)}-{rng.randint(10, 99)}"


def _put(text: str, slots: dict[str, str]) -> str:
    return _SLOT.sub(lambda match: slots.get(match[1], match[0]), text)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
