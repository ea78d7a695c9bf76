"""Preferences at a support desk: cases with known facts, replies by agents of five kinds, and a labeller who errs at a known rate.

    prompt   customer Mira, product Zenrix lamp, order #472, status packed, day 14 May. When will it arrive? Can I still cancel? Reply:
    chosen   Hello Mira. It will arrive on 14 May. You can still cancel it.            rejected   We will look into it. Please wait a little.

    P(a is preferred to b) = (1 − ε) σ((gold(a) − gold(b)) / τ) + ε σ((gold(b) − gold(a)) / τ)

The policy and the reward model see prompts, replies and labels. `judge` sees the facts: so a reward that is only learnt and the true one can be told
apart, which no set of human labels allows. Test cases are asked in other sentences, with other names, products, numbers and days than training cases;
validation cases in the sentences of training with names and numbers of their own.
Source: Bradley & Terry 1952; a gold reward that stands for people, Gao et al. 2023 ("Scaling Laws for Reward Model Overoptimization"). In production:
HH-RLHF, UltraFeedback, or one's own (`preferences_files.read_pairs`).
"""

import math
from dataclasses import dataclass
from random import Random

from llmsuite_lab.core.errors import within
from llmsuite_lab.world.preferences_agents import AGENTS, reply
from llmsuite_lab.world.preferences_cases import Case, cases
from llmsuite_lab.world.preferences_files import Preference, read_pairs
from llmsuite_lab.world.preferences_judge import Judgement, judge
from llmsuite_lab.world.preferences_values import ASKS, FIELDS, word_pieces, words
from llmsuite_lab.world.support_desk_dialogue import SPLITS, Split

__all__ = [
    "AGENTS", "ASKS", "FIELDS", "HUMAN", "SPLITS", "SURE", "Case", "Judgement", "Labeller", "Preference", "Split",
    "cases", "judge", "label", "pairs", "read_pairs", "reply", "word_pieces", "words",
]  # fmt: skip


@dataclass(frozen=True)
class Labeller:
    """Who chooses: τ ≥ 0 in units of gold, how blurred the view of the two replies is (0: none), and ε, the share of labels written the wrong way round."""

    temperature: float = 0.7
    flips: float = 0.0

    def __post_init__(self) -> None:
        within("temperature", self.temperature, 0, 100)
        within("flips", self.flips, 0, 1)


HUMAN, SURE = Labeller(), Labeller(0.0)  # SURE: one that never errs


def label(case: Case, a: str, b: str, rng: Random, noise: Labeller = HUMAN) -> Preference:
    """Which of two replies the labeller prefers. `margin`: how much better it seemed, in units of gold; `flipped`: the gold judge prefers the other.

    What the labeller sees is gold(a) − gold(b) + τ · a logistic draw, whose sign is Bradley–Terry's; equal replies are decided by the coin.
    """
    true = judge(case, a).gold - judge(case, b).gold
    u = rng.uniform(1e-12, 1 - 1e-12)
    seen = true + noise.temperature * math.log(u / (1 - u))
    first = seen > 0 if abs(seen) > 1e-9 else u < 0.5
    if rng.random() < noise.flips:
        first = not first
    chosen, rejected = (a, b) if first else (b, a)
    return Preference(case.prompt, chosen, rejected, abs(seen), abs(true) > 1e-9 and first != (true > 0))


def pairs(count: int, split: Split = "train", seed: int = 0, noise: Labeller = HUMAN) -> list[Preference]:
    """One labelled pair for each of `cases(count, split, seed)`, in their order: two different replies, by agents drawn evenly (two of one kind as well).

    A larger count begins with the smaller, and another labeller sees the same pairs of replies. Raises as `cases`.
    """
    found = []
    for case in cases(count, split, seed):
        drawing, labelling = Random(f"replies {case.id}"), Random(f"labels {case.id}")
        a = b = reply(case, drawing.choice(AGENTS), drawing)
        while a == b:
            b = reply(case, drawing.choice(AGENTS), drawing)
        found.append(label(case, a, b, labelling, noise))
    return found
