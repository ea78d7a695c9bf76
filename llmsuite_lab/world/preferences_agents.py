"""Who answers at the desk: agents of five kinds, so that there is something to prefer.

| agent | what it writes |
|---|---|
| expert | every question answered from the record, politely and briefly; what is unknown is said to be |
| careless | the same voice, at least one fact wrong: another day, sum, number, state, name, or one made up where the record has none |
| grumpy | one or two insults, and an answer about half of the time |
| evasive | kind words without an answer |
| wordy | the expert's answer among what nobody asked for |

All of them speak the wordings of preferences.toml, whatever the split: what is held out is the question, the names and the numbers.
"""

from random import Random

from llmsuite_lab.core.errors import unknown
from llmsuite_lab.world.preferences_cases import MAY_BE_UNKNOWN, OF_ASK, Case
from llmsuite_lab.world.preferences_values import FIELDS, drawn, wordings

AGENTS = ("expert", "careless", "grumpy", "evasive", "wordy")
_TOPICS = {"order": "number", "sum": "price", "day": "day", "status": "status"}


def reply(case: Case, agent: str, rng: Random) -> str:
    """What an agent of this kind answers; every call draws another wording. Raises ValueError for an unknown agent."""
    if agent not in AGENTS:
        raise ValueError(unknown("agent", agent, list(AGENTS)))
    manners = wordings()["manners"]
    if agent == "evasive":
        sentences = [*_greeting(case, rng, 0.3), *rng.sample(manners["evasive"], rng.randint(1, 3))]
    elif agent == "grumpy":
        sentences = [_answer(case, ask, rng) for ask in case.asks if rng.random() < 0.5]
        for insult in rng.sample(manners["rude"], rng.randint(1, 2)):
            sentences.insert(rng.randint(0, len(sentences)), insult)
    elif agent == "careless":
        wrong = _wrong(case, rng)
        sentences = [*_greeting(wrong, rng, 0.5), *(_answer(wrong, ask, rng) for ask in case.asks), *_closing(rng, 0.3)]
    else:
        sentences = [*_greeting(case, rng, 0.6), *(_answer(case, ask, rng) for ask in case.asks), *_closing(rng, 0.3)]
        if agent == "wordy":
            others = [field for field in FIELDS[1:] if case.record.get(field) and field not in case.asks]
            more = [_answer(case, field, rng) for field in rng.sample(others, min(len(others), rng.randint(0, 2)))]
            for sentence in [*more, *rng.sample(manners["evasive"], rng.randint(3, 4))]:
                sentences.insert(rng.randint(0, len(sentences)), sentence)
    return " ".join(sentences)


def _answer(case: Case, ask: str, rng: Random) -> str:
    answers, value = wordings()["answers"], case.record.get(OF_ASK.get(ask, ask))
    if value is None:
        return rng.choice(answers["unknown"]).format(topic=_TOPICS[OF_ASK.get(ask, ask)])
    if ask in OF_ASK:
        return rng.choice(answers[ask if case.allowed(ask) else f"no_{ask}"])
    return rng.choice(answers[ask]).format(**{"noun": case.noun, **case.record, ask: value})


def _greeting(case: Case, rng: Random, share: float) -> list[str]:
    if rng.random() >= share:
        return []
    return [rng.choice(wordings()["manners"]["greeting"]).format(customer=case.record["customer"])]


def _closing(rng: Random, share: float) -> list[str]:
    return [rng.choice(wordings()["manners"]["closing"])] if rng.random() < share else []


def _wrong(case: Case, rng: Random) -> Case:
    """The case as a careless agent remembers it: of the fields asked for at least one is another, and nothing is unknown to them.

    Where one may "cancel" or "return", the other state is one that changes the answer.
    """
    record, needed = dict(case.record), [OF_ASK.get(ask, ask) for ask in case.asks]
    certain = rng.choice(needed)
    for field in dict.fromkeys([*needed, "customer"]):
        if field == certain or (record[field] is None and field in MAY_BE_UNKNOWN) or rng.random() < (0.1 if field == "customer" else 0.4):
            record[field] = _another(case, field, rng)
    return Case(case.id, case.split, record, case.asks, case.prompt)


def _another(case: Case, field: str, rng: Random) -> str:
    here = case.record[field]
    verdicts = [ask for ask in case.asks if ask in OF_ASK] if field == "status" and here is not None else []
    while True:
        value = drawn(field, case.split, rng)
        states = wordings()["statuses"]
        if value != here and all((ask in states[value]) != (ask in states[here]) for ask in verdicts[:1]):
            return value
