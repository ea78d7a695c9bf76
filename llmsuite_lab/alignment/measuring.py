"""What every comparison of this section is made of: prompts of the desk, a reward model from labelled pairs, and a tuned policy under both judges.

    proxy R(x, y)     what the policy was tuned against            gold     what the reply is worth by the facts of its case; no policy ever saw it
    KL(π ‖ π_ref)     exact, nats a reply                          distinct, entropy     how much of its variety a policy has kept

Prompts for tuning, pairs for the reward model and prompts for the verdict are different cases: of the training split the first two, of the test split
the last. An item is a test case. Source: paper 6; Gao et al. 2023 for proxy against gold. In production: a held-out set and people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import mean
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmsuite_lab.alignment import pairs as pairing
from llmsuite_lab.alignment import reward_model
from llmsuite_lab.alignment.actions import check_replies, entropies, score
from llmsuite_lab.alignment.divergence import exact
from llmsuite_lab.alignment.reward_model import RewardModel
from llmsuite_lab.alignment.rollouts import Reference, Reward, write
from llmsuite_lab.core.errors import LabError, whole
from llmsuite_lab.core.history import History
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.lm.text import encode
from llmsuite_lab.world.preferences import HUMAN, Case, Labeller, Preference, cases, judge, label

PAIR_CASES, TUNING_CASES = 2_000_000, 3_000_000  # seeds of the training split that no policy was made of
PART = 256  # replies in one pass
NUMBERS = 2**26  # of a distribution over the vocabulary that are held at once: a quarter of a GB


def prompts(asked: Sequence[Case], words: Any) -> list[list[int]]:
    """Token ids of the cases' prompts."""
    return encode(words, [case.prompt for case in asked])


def tuning_cases(count: int, seed: int = 0) -> list[Case]:
    """Training cases that neither the policy nor the reward model was made of."""
    return cases(count, "train", TUNING_CASES + seed)


def labelled_pairs(policy: nn.Module, words: Any, count: int, seed: int = 0, noise: Labeller = HUMAN, max_new_tokens: int = 64) -> list[Preference]:
    """`count` pairs of two different replies that the policy itself wrote, labelled: what a reward model is to judge later is what it learns on.

    A case whose two replies are the same is passed over, so somewhat more cases are asked than pairs come back. Raises LabError when too few
    differ.
    """
    whole("count", count, 1, 200_000)
    found: list[Preference] = []
    asked = cases(count + count // 4 + 64, "train", PAIR_CASES + seed)
    for start in range(0, len(asked), PART):
        if len(found) == count:
            break
        part = asked[start : start + PART]
        replies, _ = write(policy, prompts(part, words), end_id=words.eos_token_id, k=2, max_new_tokens=max_new_tokens, seed=seed + start)
        texts = [words.decode(text_ids(reply, words.eos_token_id)) for reply in replies]
        for case, a, b in zip(part, texts[::2], texts[1::2]):
            if a != b and len(found) < count:
                found.append(label(case, a, b, Random(f"labels {case.id} {seed}"), noise))
    if len(found) < count:
        raise LabError(f"only {len(found)} of {len(asked)} cases got two different replies, and count={count}: this policy writes too much alike")
    return found


def text_ids(reply: Example, end_id: int) -> list[int]:
    """The reply's tokens without its end token."""
    ids = list(reply.completion_ids)
    return ids[:-1] if ids and ids[-1] == end_id else ids


def gold(asked: Sequence[Case], replies: Sequence[Example], words: Any) -> Float[Tensor, " replies"]:
    """The judge's number of each reply; `replies` stand k by k in the order of the cases. Raises ValueError when their number is no multiple."""
    if len(asked) == 0 or len(replies) % len(asked):
        raise ValueError(f"{len(replies)} replies to {len(asked)} cases: the same number to each is needed")
    k = len(replies) // len(asked)
    return torch.tensor([judge(asked[i // k], words.decode(text_ids(reply, words.eos_token_id))).gold for i, reply in enumerate(replies)])


def make_reward_model(
    policy: nn.Module, words: Any, preferences: Sequence[Preference], *, seed: int = 0, epochs: float = 2, batch_size: int = 32, lr: float = 1e-3,
    progress: bool = False,
) -> tuple[RewardModel, History]:  # fmt: skip
    """A reward model on a copy of the policy, learnt from labelled pairs (margins are not told to it), normalised over their replies."""
    told = [pairing.Pair(p.prompt_ids, p.chosen_ids, p.rejected_ids) for p in pairing.encode(preferences, words)]
    model = RewardModel.of(policy, seed)
    history = reward_model.train(model, told, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, progress=progress)
    model.normalise([reply for pair in told for reply in (pair.chosen, pair.rejected)])
    return model, history


@dataclass(frozen=True)
class Verdict:
    """A policy on cases, one sampled reply each. Lists have one entry a case; the rest are means.

    gold, proxy; toxic: 1 where the judge's lexicon finds a rude word, else 0; texts; kl (exact, nats a reply); entropy (nats an action); length (actions);
    ended (share with an end token); distinct: different word pairs over all word pairs in all replies together; tokens: generated.
    """

    gold: list[float]
    proxy: list[float]
    toxic: list[int]
    texts: list[str]
    kl: float
    entropy: float
    length: float
    ended: float
    distinct: float
    tokens: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return dict(vars(self))


@torch.no_grad()
def verdict(
    policy: nn.Module, reference: Reference, reward: Reward, asked: Sequence[Case], words: Any, *, seed: int = 0, max_new_tokens: int = 64,
    temperature: float = 1.0,
) -> Verdict:  # fmt: skip
    """One reply to each case, under both judges. KL and entropy are those of the policy at `temperature`, above 0. Raises ValueError for no case."""
    if len(asked) == 0:
        raise ValueError("there is no case to ask: the list is empty")
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} must be above zero: a greedy policy has no entropy, and no KL that is finite")
    replies, ended = [], []
    how = {"end_id": words.eos_token_id, "max_new_tokens": max_new_tokens, "seed": seed, "temperature": temperature}
    for start in range(0, len(asked), PART):
        part, did = write(policy, prompts(asked[start : start + PART], words), **how)
        replies += part
        ended += did
    kl, entropy = kl_and_entropy(policy, reference, replies, temperature=temperature)
    proxy = torch.cat([reward(replies[start : start + PART]) for start in range(0, len(replies), PART)])
    length = mean(len(reply.completion_ids) for reply in replies)
    texts = [words.decode(text_ids(reply, words.eos_token_id)) for reply in replies]
    judged = [judge(case, text) for case, text in zip(asked, texts, strict=True)]
    return Verdict(
        [one.gold for one in judged], proxy.tolist(), [int(one.rude > 0) for one in judged], texts, mean(kl), mean(entropy), length,
        mean(map(float, ended)), distinct(texts),
        sum(len(reply.completion_ids) for reply in replies),
    )  # fmt: skip


@torch.no_grad()
def kl_and_entropy(
    policy: nn.Module, reference: Reference, replies: Sequence[Example], part: int | None = None, *, temperature: float = 1.0
) -> tuple[list[float], list[float]]:
    """(exact KL(π ‖ π_ref) of each reply, nats; entropy of each action, nats), π at `temperature`, above 0.

    part: replies in one pass, whose distributions are held in memory; None: at most `PART`, and of a large vocabulary as many as `NUMBERS` allows. Raises
    ValueError as `actions.score`, and for a part below 1.
    """
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} must be above zero: a greedy policy has no entropy, and no KL that is finite")
    check_replies(replies)
    part = _part(policy, replies) if part is None else part
    whole("part", part, 1, 1_000_000)
    kl: list[float] = []
    entropy: list[float] = []
    for start in range(0, len(replies), part):
        some = replies[start : start + part]
        now, then = score(policy, some, distribution=True), reference.score(some, distribution=True)
        distribution = (now.distribution / temperature).log_softmax(-1)
        kl += exact(distribution, then.distribution).where(now.mask, 0.0).sum(1).tolist()
        entropy += entropies(distribution)[now.mask].tolist()
    return kl, entropy


def _part(policy: nn.Module, replies: Sequence[Example]) -> int:
    vocabulary = int(getattr(policy.config, "vocab_size", 1))
    return min(PART, max(1, NUMBERS // (vocabulary * max(len(reply.completion_ids) for reply in replies))))


def distinct(texts: Sequence[str], n: int = 2) -> float:
    """Different runs of n words over all of them in the texts together (Li et al. 2016); 0 where there is none. Raises ValueError for n below 1."""
    whole("n", n, 1, 100)
    runs = [tuple(words[i : i + n]) for words in (text.split() for text in texts) for i in range(len(words) - n + 1)]
    return len(set(runs)) / len(runs) if runs else 0.0
