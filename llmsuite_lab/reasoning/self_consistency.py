"""Self-consistency: sample k chains of thought and let their answers vote.

    answer = argmax_a Σ_{i=1..k} 1[a_i = a],     a_i read from the i-th sampled chain (temperature > 0)

It helps where wrong chains scatter and right ones agree; it cannot mend what every chain gets wrong in the same way.
Source: Wang et al. 2023, "Self-Consistency Improves Chain of Thought Reasoning in Language Models".
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from llmsuite_lab.core.errors import within
from llmsuite_lab.core.values import normalise_answer
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.reasoning.chain_of_thought import Answer, solve
from llmsuite_lab.reasoning.prompting import COT
from llmsuite_lab.world.word_problems import Problem


@dataclass(frozen=True)
class Vote:
    """The majority's answer (None when no chain had one), the share of all chains that gave it, and the chains."""

    value: str | None
    agreement: float
    chains: tuple[Answer, ...]


def majority(values: Sequence[str | None]) -> tuple[str | None, float]:
    """The most frequent value and its share of all votes; equal numbers count as equal ("74", "74.0"), None votes for nobody.

    Ties go to the value seen first. Raises ValueError for no votes.
    """
    if not values:
        raise ValueError("there is nothing to vote on: no chain was sampled")
    given = [value for value in values if value is not None]
    key = {value: normalise_answer(value) for value in given}
    if not key:
        return None, 0.0
    (best, votes), *_ = Counter(key[value] for value in given).most_common(1)  # the first seen of those with as many
    return next(value for value in given if key[value] == best), votes / len(values)


def solve_by_vote(
    lm: LanguageModel,
    questions: Sequence[str],
    *,
    samples: int = 5,
    temperature: float = 0.7,
    examples: Sequence[Problem] = (),
    seed: int = 0,
    max_new_tokens: int | None = None,
) -> list[Vote]:
    """Sample `samples` chains a question, all in one batched call, and vote. Raises ValueError for samples < 1 or temperature ≤ 0 (equal chains)."""
    if samples < 1:
        raise ValueError(f"samples={samples}, but at least one chain is needed")
    within("samples", samples, 1, 10_000)
    if temperature <= 0:
        raise ValueError(f"temperature={temperature}: at zero all chains are the same and the vote says nothing")
    repeated = [question for question in questions for _ in range(samples)]
    chains = solve(lm, repeated, method=COT, examples=examples, temperature=temperature, seed=seed, max_new_tokens=max_new_tokens)
    votes = []
    for i in range(0, len(chains), samples):
        group = tuple(chains[i : i + samples])
        votes.append(Vote(*majority([chain.value for chain in group]), group))
    return votes
