"""How a support-desk dialogue is told: a plot, its exchanges, the customer's mood and register, then the five tasks about it.

A plot brings what is particular (the problem, the agent's questions, the words of its summary); greetings, identification, haggling and settlement are
shared by all. What stands in the dialogue decides what is a fact: a settled sum that nobody named is none. Wordings come from support_desk_train.toml
(training, validation) and support_desk_test.toml. `support_desk` is the public side; this file is its inside.
"""

import re
from random import Random
from typing import Any

from llmsuite_lab.world.support_desk_dialogue import ENTITY_KINDS, REGISTERS, Dialogue, Facts, Split, Turn
from llmsuite_lab.world.support_desk_values import Drawn, Values, wordings

_FIELD = re.compile(r"\{(\w+)\}")
_SHORTEST, _LONGEST = 170, 640  # characters of a dialogue: about 60 to 170 tokens
_MOOD_WEIGHTS = {"angry": 0.26, "worried": 0.2, "neutral": 0.34, "happy": 0.2}
_IN_FULL = {
    "I'm": "I am", "I've": "I have", "I'd": "I would", "I'll": "I will", "It's": "It is", "it's": "it is", "don't": "do not", "doesn't": "does not",
    "isn't": "is not", "can't": "cannot", "won't": "will not", "didn't": "did not", "wasn't": "was not", "hasn't": "has not", "there's": "there is",
    "There's": "There is", "That's": "That is", "that's": "that is", "You've": "You have", "you've": "you have", "We're": "We are", "haven't": "have not",
}  # fmt: skip
_MISSPELT = {
    "receive": "recieve", "the": "teh", "because": "becuase", "and": "adn", "which": "wich", "would": "woud", "there": "their", "really": "realy",
    "please": "plese", "something": "somthing", "order": "oder", "address": "adress", "until": "untill", "with": "wiht", "money": "mony",
    "thank": "thnak", "your": "you're", "name": "nmae", "have": "hav", "that": "taht",
}  # fmt: skip


def fields(wording: str) -> set[str]:
    """The placeholders of a wording."""
    return set(_FIELD.findall(wording))


class Teller:
    """Tells dialogues of one split, each from newly drawn values."""

    def __init__(self, split: Split, rng: Random):
        self.split, self.rng = split, rng
        self.words = wordings("test" if split == "test" else "train")
        self.values = Values(split, rng)
        self.plots: list[dict[str, Any]] = self.words["plot"]

    def tell(self, number: int) -> Dialogue:
        """One dialogue; `number` becomes part of its id. Intents are drawn evenly, then one of their plots."""
        rng = self.rng
        intent = rng.choice(sorted({plot["intent"] for plot in self.plots}))
        plot = rng.choice([plot for plot in self.plots if plot["intent"] == intent])
        while True:
            moods = plot.get("moods", tuple(_MOOD_WEIGHTS))
            mood = rng.choices(moods, [_MOOD_WEIGHTS[m] for m in moods])[0]
            register, outcome = rng.choice(REGISTERS), rng.choice(plot["outcomes"])
            if register != "polite" or mood != "angry":
                raw, template = self._script(plot, outcome, mood, register)
                drawn = self.values.draw()
                turns = tuple(Turn(speaker, self._say(speaker, parts, drawn, register)) for speaker, parts in raw)
                if _SHORTEST <= sum(len(turn.text) for turn in turns) <= _LONGEST:
                    break
        spoken = set().union(*(fields(part) for _, parts in raw for part in parts))
        return self._tasks(number, plot, outcome, mood, register, template, turns, drawn, spoken)

    def _script(self, plot: dict[str, Any], outcome: str, mood: str, register: str) -> tuple[list[tuple[str, list[str]]], str]:
        """The raw turns (speaker, wordings with placeholders) and the name of the template."""
        rng, words = self.rng, self.words
        first = rng.randrange(len(plot["open"]))
        named = rng.random() < 0.4
        opening = [rng.choice(words["opener"][f"named_{register}" if named else register]), plot["open"][first]]
        exchanges: list[tuple[str, str]] = []
        if plot.get("order", True):
            if not named and rng.random() < 0.3:
                opening.append(rng.choice(words["identify"]["inline"]))
            else:
                exchanges.append(self._exchange(words["identify"]["order" if named else "both"], register))
        elif not named:
            exchanges.append(self._exchange(words["identify"]["name"], register))
        if register == "chatty":
            opening.insert(rng.randint(1, 2), rng.choice(words["aside"]["any"]))
        opening.insert(rng.randint(opening.index(plot["open"][first]) + 1, len(opening)), rng.choice(words["mood"][mood]))
        talk = rng.sample(plot["talk"], rng.choice((0, 1, 1, 2)))
        exchanges += [self._exchange([entry], register) for entry in talk]
        if rng.random() < 0.45 or not exchanges:
            exchanges.append(self._exchange(words["haggle"][outcome], register))
        settled = rng.randrange(len(words["settle"][outcome]))
        greeted = rng.random() < 0.5
        script = [("Agent", [rng.choice(words["greeting"]["agent"])])] if greeted else []
        script.append(("Customer", opening))
        lead = [] if greeted else [rng.choice(words["greeting"]["reply"])]
        for number, (ask, tell) in enumerate(exchanges):
            again = number > 0 and mood != "neutral" and rng.random() < 0.25
            script += [("Agent", [*lead, ask]), ("Customer", [tell, rng.choice(words["mood"][mood])] if again else [tell])]
            lead = []
        script.append(("Agent", [*lead, words["settle"][outcome][settled]]))
        if rng.random() < 0.75:
            ending = "neutral" if rng.random() < 0.2 else mood
            if outcome == "declined":
                ending = "declined_angry" if mood == "angry" else "declined"
            script.append(("Customer", [rng.choice(words["closing"][ending])]))
            if rng.random() < 0.35 and len(script) < 12:
                script.append(("Agent", [rng.choice(words["closing"]["bye"])]))
        return script, f"{plot['name']}.{first}/{outcome}.{settled}"

    def _exchange(self, entries: list[list[str]], register: str) -> tuple[str, str]:
        """A question of the agent and the customer's answer: the shortest of two wordings where the customer is terse, the longest where chatty."""
        ask, *answers = self.rng.choice(entries)
        two = sorted(self.rng.choices(answers, k=2), key=len)
        return ask, two[0] if register == "terse" else two[1]

    def _say(self, speaker: str, parts: list[str], drawn: Drawn, register: str) -> str:
        if speaker == "Customer":
            parts = [self._styled(part, register) for part in parts if part]
            if register == "terse" and self.rng.random() < 0.6:
                parts[-1] = parts[-1].removesuffix(".")
        return " ".join(part.format(**drawn.shown) for part in parts if part)

    def _styled(self, wording: str, register: str) -> str:
        """The wording in the customer's register; placeholders stay whole, so that no fact is misspelt."""
        if register == "formal":
            return " ".join(_IN_FULL.get(word, word) for word in wording.split(" "))
        if register != "typos":
            return wording
        wrong = [_MISSPELT.get(word, word) if self.rng.random() < 0.6 else word for word in wording.split(" ")]
        text = " ".join("i" if word == "I" else word for word in wrong)
        text = text.replace("'", "") if self.rng.random() < 0.6 else text
        return text if text.startswith("{") or self.rng.random() < 0.3 else text[0].lower() + text[1:]

    def _tasks(
        self, number: int, plot: dict[str, Any], outcome: str, mood: str, register: str, template: str, turns: tuple[Turn, ...],
        drawn: Drawn, spoken: set[str],
    ) -> Dialogue:  # fmt: skip
        shown = drawn.shown
        facts = Facts(
            shown["customer"], shown["agent"], shown["product"], shown["order"] if "order" in spoken else None, plot["problem"],
            drawn.date if "date" in spoken else None, drawn.amount if "amount" in spoken else None, outcome,
        )  # fmt: skip
        entities = {kind: shown[kind] for kind in ENTITY_KINDS if kind in spoken}
        summary, frame = self._summary(plot, outcome, drawn, spoken)
        question, answer = self._question(plot, outcome, spoken)
        return Dialogue(
            f"{self.split}-{number:05d}", self.split, f"{template}/{frame}", turns, facts, summary, plot["intent"], mood, entities,
            question, answer.format(**shown), register,
        )  # fmt: skip

    def _summary(self, plot: dict[str, Any], outcome: str, drawn: Drawn, spoken: set[str]) -> tuple[str, str]:
        rng, words = self.rng, self.words
        kind = "order" if "order" in spoken and rng.random() < 0.3 else "plain"
        chosen = rng.randrange(len(words["frames"][kind]))
        said = {name: [w for w in words[name][outcome] if fields(w) <= spoken] for name in ("act", "result")}
        shown = drawn.shown | {"customer": drawn.shown["customer" if rng.random() < 0.6 else "given"]}
        parts = {"clause": plot["clause"], "thing": plot["thing"], **said}
        texts = {name: rng.choice(options).format(**shown) for name, options in parts.items()}
        capital = {name.capitalize(): text[0].upper() + text[1:] for name, text in texts.items()}
        return words["frames"][kind][chosen].format(**shown, **texts, **capital), f"{kind}.{chosen}"

    def _question(self, plot: dict[str, Any], outcome: str, spoken: set[str]) -> tuple[str, str]:
        """A question and its answer as a placeholder: about a settled fact, or now and then about something that was only mentioned."""
        rng, questions = self.rng, self.words["questions"]
        beside = [q for q in plot.get("questions", []) if fields(q[1]) <= spoken]
        if beside and rng.random() < 0.4:
            return tuple(rng.choice(beside))
        asked = {kind: questions[kind] for kind in ("customer", "agent", "product", "order") if kind in spoken}
        asked |= {kind: questions[kind][outcome] for kind in ("amount", "date") if kind in spoken and outcome in questions[kind]}
        kind = rng.choices(list(asked), [3 if kind in ("amount", "date") else 1 for kind in asked])[0]
        return rng.choice(asked[kind]), f"{{{kind}}}"
