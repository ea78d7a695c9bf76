"""What a tuned model had before and that nobody tuned: common knowledge, and being at home in other people's prose.

    facts        exact match on facts that everybody knows (`world.general_facts`), asked after four solved examples
    prose        perplexity  exp(−(1/N) Σ log P(x_t | x_<t))  on the second halves of paragraphs of Python's own documentation, given the first

Forty questions leave ±15 points, perplexity is the steadier of the two. Both are asked in a form that no tuning in this course uses.
"""

import re
from functools import cache

from llmsuite_lab.core.help_topics import topics
from llmsuite_lab.core.metrics import exact_match, perplexity
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.world import general_facts

PARAGRAPHS = 24
_LENGTH = (60, 110)  # words


@cache
def paragraphs(count: int = PARAGRAPHS) -> list[tuple[str, str]]:
    """(first half, second half) of `count` paragraphs of prose from `pydoc_data.topics`, the language reference that comes with every CPython.

    Raises LabError as `help_topics.topics`.
    """
    found = []
    for text in topics().values():
        for block in re.split(r"\n\s*\n", text):
            words = re.sub(r"[*`\"]", "", block).split()
            if _LENGTH[0] <= len(words) <= _LENGTH[1] and not re.search(r"::=|>>>|\|", block):
                found.append((" ".join(words[: len(words) // 2]), " " + " ".join(words[len(words) // 2 :])))
    step = max(len(found) // count, 1)
    return found[::step][:count]


def facts(lm: LanguageModel) -> list[bool]:
    """For each fact of `world.general_facts` whether the model gives it, in order."""
    asked = general_facts.facts()
    prompts = [general_facts.prompt(fact.text) for fact in asked]
    written = lm.complete(prompts, max_new_tokens=10, stop=["\n"])
    return [exact_match(completion.text.strip(), fact.answers) for completion, fact in zip(written, asked, strict=True)]


def prose(lm: LanguageModel) -> float:
    """Perplexity on the second halves of the paragraphs, over all their tokens together."""
    first, second = zip(*paragraphs())
    return perplexity(lm.score(list(first), list(second)))
