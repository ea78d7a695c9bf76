"""How the ReAct adapter is made: gold trajectories, a loss on the model's own turns only, a LoRA of rank 8.

L = −(1/N) Σ_{t in the model's turns} log P(y_t | y_<t)

Observations are read but never imitated: a model trained to write them would invent pages instead of searching for them. One trajectory is one
training sequence with a mask, which costs a third of one sequence for every turn. What the mixture holds decides what transfers: "two_hop" is
the eight trained kinds alone, "one_three_hop" adds a single longer kind, "varied" adds random chains of one to four relations (the held-out
combinations never among them) and more kinds of comparison. All of them hold claims to verify.

Batches are mixed, one trajectory per micro-batch (no padding), not cut by length: trajectories of one length have plans of one length. In a first
try on such batches the model planned a single hop for nearly every question after 60 steps, whatever it asked, at a loss of 0.06 to 0.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from llmsuite_lab.agents.demonstrations import Turn, demonstrate, opening_text, render_observation, render_turn
from llmsuite_lab.core.errors import within
from llmsuite_lab.lm.batching import Batch, collate
from llmsuite_lab.lm.lora import LoraSettings, train_lora
from llmsuite_lab.lm.text import encode
from llmsuite_lab.lm.training import Example, History
from llmsuite_lab.world.almanac import Almanac, build
from llmsuite_lab.world.almanac_claims import LABELS, Claim, draw_claim
from llmsuite_lab.world.almanac_questions import LONGEST_CHAIN, PAIRS, TRAINED_KINDS, UNTRAINED_KINDS, Question, draw_chain, draw_question

WORLDS = 12  # training almanacs per run: enough that no name is worth remembering
_EXTRA_PAIRS = tuple(kind for kind in PAIRS if kind not in TRAINED_KINDS and kind not in UNTRAINED_KINDS)
MIXTURES: dict[str, dict[str, float]] = {
    "two_hop": {"trained": 0.80, "claim": 0.20},
    "one_three_hop": {"trained": 0.68, "editor_birthplace_founding": 0.12, "claim": 0.20},
    "varied": {"trained": 0.41, "chain_1": 0.05, "chain_2": 0.07, "chain_3": 0.14, "chain_4": 0.03, "pair": 0.09, "claim": 0.21},
}


@dataclass(frozen=True)
class Settings(LoraSettings):
    """What a run is made of (`lm.lora`), and the `mixture` its trajectories are drawn from."""

    steps: int = 240
    batch_size: int = 5
    mixture: str = "varied"


@dataclass(frozen=True)
class TurnExample(Example):
    """An `Example` whose completion is supervised only where `supervised` is True: in the model's turns."""

    supervised: Sequence[bool] = ()


def draw_items(mixture: str, n: int, seed: int) -> list[tuple[Question | Claim, Almanac]]:
    """`n` training items with the almanacs they are about, by the shares of MIXTURES[mixture]. Raises ValueError for an unknown mixture."""
    if mixture not in MIXTURES:
        raise ValueError(f"mixture={mixture!r} is unknown; choose one of {', '.join(MIXTURES)}")
    within("n", n, 0, 1_000_000)
    rng = Random(f"react-{mixture}-{seed}")
    worlds = [build("train", 1000 * seed + i + 1) for i in range(WORLDS)]
    names, shares = zip(*MIXTURES[mixture].items(), strict=True)
    items = []
    for i in range(n):
        world = worlds[i % WORLDS]
        items.append((draw_item(rng.choices(names, shares)[0], world, rng), world))
    return items


def draw_item(name: str, world: Almanac, rng: Random) -> Question | Claim:
    """One item of what a mixture names: "claim", "chain_<hops>", "trained", "pair", or a kind of question. Raises ValueError for another name."""
    if name == "claim":
        return draw_claim(world, rng.choice(LABELS), rng)
    if name in (f"chain_{hops}" for hops in range(1, LONGEST_CHAIN + 1)):
        return draw_chain(world, int(name[-1]), rng)
    kind = {"trained": lambda: rng.choice(TRAINED_KINDS), "pair": lambda: rng.choice(_EXTRA_PAIRS)}.get(name, lambda: name)()
    return draw_question(world, kind, rng)


def encode_trajectory(tokenizer: Any, opening: str, turns: Sequence[Turn]) -> TurnExample:
    """One training sequence: the opening as prompt, then turns (supervised) and observations (not).

    Each piece is tokenised apart, just as the loop's pieces meet. Raises ValueError for a trajectory without turns.
    """
    if not turns:
        raise ValueError("a trajectory without turns has nothing to learn from")

    def ids(text: str) -> list[int]:
        return encode(tokenizer, [text])[0]

    completion, supervised = [], []
    for turn in turns:
        own = ids(render_turn(turn))
        seen = ids(render_observation(turn.observation)) if turn.observation else []
        completion += own + seen
        supervised += [True] * len(own) + [False] * len(seen)
    return TurnExample(ids(opening), completion, supervised)


def collate_turns(examples: list[TurnExample]) -> Batch:
    """Pad on the right; supervise the model's turns alone."""
    batch = collate(examples)
    keep = torch.tensor([flag for example in examples for flag in example.supervised], dtype=torch.bool)
    mask = batch.mask.clone()
    mask[batch.mask] = keep  # row-major, as the examples lie
    return Batch(batch.ids, batch.attention_mask, mask, batch.targets[keep], batch.tokens)


def training_set(tokenizer: Any, mixture: str, n: int, seed: int) -> list[TurnExample]:
    """`n` encoded gold trajectories of a mixture."""
    return [encode_trajectory(tokenizer, opening_text(item), demonstrate(item, world)) for item, world in draw_items(mixture, n, seed)]


def train(seed: int = 0, settings: Settings | None = None, **options: Any) -> tuple[Any, History, dict[str, Any]]:
    """Train one adapter: (the peft model, the history, the settings as data). `options` as for `lm.lora.train_lora`, errors too."""
    settings = settings or Settings()
    count = settings.steps * settings.batch_size
    return train_lora(
        settings, lambda tokenizer: training_set(tokenizer, settings.mixture, count, seed), seed,
        collate_fn=collate_turns, micro_batch_size=1, buckets=False, **options,
    )  # fmt: skip
