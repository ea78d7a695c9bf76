"""REINFORCE, leave one out: each reply against the others that the same prompt got."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def leave_one_out(rewards: torch.Tensor) -> torch.Tensor:
    """The solution: what the other replies to the prompt got, on average, is taken off."""
    others = (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
    return rewards - others


def _own_in_the_baseline(rewards):
    return rewards - rewards.mean(1, keepdim=True)


def _mean_of_the_batch(rewards):
    return rewards - rewards.mean()


def _others_of_the_batch(rewards):
    return rewards - (rewards.sum() - rewards) / (rewards.numel() - 1)


def _other_prompts(rewards):
    return rewards - (rewards.sum(0, keepdim=True) - rewards) / max(len(rewards) - 1, 1)


def _mean_of_the_columns(rewards):
    return rewards - rewards.mean(0, keepdim=True)


def _divided_by_k(rewards):
    return rewards - (rewards.sum(1, keepdim=True) - rewards) / rewards.shape[1]


def _whole_sum_by_the_others(rewards):
    return rewards - rewards.sum(1, keepdim=True) / (rewards.shape[1] - 1)


def _others_summed(rewards):
    return 2 * rewards - rewards.sum(1, keepdim=True)


def _baseline_alone(rewards):
    return (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)


def _sign_turned(rewards):
    return -leave_one_out(rewards)


def _scaled_by_the_spread(rewards):
    return (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)


def _both(rewards):
    return leave_one_out(rewards) / (rewards.std(1, keepdim=True) + 1e-4)


def _whitened(rewards):
    found = leave_one_out(rewards)
    return (found - found.mean()) / (found.std() + 1e-8)


def _best_of_the_others(rewards):
    k = rewards.shape[1]
    return torch.stack([rewards[:, i] - rewards[:, [j for j in range(k) if j != i]].amax(1) for i in range(k)], 1)


def _median_of_the_others(rewards):
    k = rewards.shape[1]
    rest = [rewards[:, [j for j in range(k) if j != i]].numpy() for i in range(k)]
    return np.stack([rewards[:, i].numpy() - np.median(others, 1) for i, others in enumerate(rest)], 1)


def _against_the_neighbour(rewards):
    return rewards - rewards.roll(-1, 1)


def _against_the_first(rewards):
    return rewards - rewards[:, :1]


def _against_the_earlier(rewards):
    before = (rewards.cumsum(1) - rewards) / torch.arange(rewards.shape[1]).clamp(min=1)
    return rewards - before


def _shrunk(rewards):
    k = rewards.shape[1]
    return leave_one_out(rewards) * ((k - 1) / k) ** 2


def _rewards_as_they_are(rewards):
    return rewards


def _summed(rewards):
    return leave_one_out(rewards).sum(1)


def _by_groups_mean(rewards):
    k = rewards.size(-1)
    return (rewards - rewards.mean(1, keepdim=True)).mul(k).div(k - 1)


def _as_in_the_library(rewards):
    """As trl's trainer: k R less the sum, over k − 1."""
    k = rewards.shape[1]
    return (k * rewards.double() - rewards.double().sum(dim=1)[:, None]) / (k - 1)


def _by_loops(rewards):
    rows = []
    for row in rewards.tolist():
        rows.append([reward - sum(row[:i] + row[i + 1 :]) / len(row[1:]) for i, reward in enumerate(row)])
    return rows


def _in_numpy(rewards):
    rewards = rewards.numpy()
    return rewards - np.stack([np.delete(rewards, i, axis=1).mean(1) for i in range(rewards.shape[1])], axis=1)


def _in_place(rewards):
    total = rewards.sum(1, keepdim=True)
    k = rewards.shape[1]
    rewards *= k / (k - 1)
    rewards -= total / (k - 1)
    return rewards


def _by_a_matrix(rewards):
    k = rewards.shape[1]
    weights = (torch.eye(k) - 1).div(k - 1) + torch.eye(k)
    return rewards @ weights


def _by_a_mask(rewards):
    k = rewards.shape[1]
    others = rewards[:, None].expand(-1, k, -1)[:, ~torch.eye(k, dtype=torch.bool)].view(-1, k, k - 1)
    return (rewards[..., None] - others).mean(-1)


def _by_pairs(rewards):
    difference = rewards[:, :, None] - rewards[:, None, :]  # a reply less itself is 0
    return difference.sum(2) / (len(rewards.T) - 1)


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(16)

    def case(prompts: int, k: int, rule: str, spread: float = 1.0, level: float = 0.0) -> Case:
        rewards = torch.randn(prompts, k, generator=generator) * spread + level + torch.arange(prompts)[:, None]
        want = []
        for row in rewards.double().tolist():
            want.append([reward - sum(other for j, other in enumerate(row) if j != i) / (k - 1) for i, reward in enumerate(row)])
        return Case((rewards,), want, rule)

    others = "The baseline of a reply is the mean of the other k − 1 replies to its prompt: neither its own reward nor another prompt's is in it."
    return [
        Case((torch.tensor([[1.0, 2.0, 6.0]]),), [[-3.0, -1.5, 4.5]], "This is the statement's example."),
        case(3, 5, others),
        case(4, 2, "Of two replies each is the other's baseline."),
        case(1, 7, others, spread=3.0),
        case(5, 4, others, level=-20.0),
        Case((torch.full((2, 3), 0.75),), [[0.0] * 3] * 2, "Replies that are all alike have advantage 0."),
        case(2, 8, others, spread=0.2, level=5.0),
    ]


_MISTAKES = (
    Wrong(_own_in_the_baseline, "The reply's own reward is in its baseline: it would be held against itself. Leave it out."),
    Wrong(_mean_of_the_batch, "You compare with the mean of the batch: any reply to an easy prompt would look good. Compare with the same prompt's others."),
    Wrong(_others_of_the_batch, "You compare with all other replies of the batch. Those to the same prompt alone count."),
    Wrong(_other_prompts, "You leave out along the prompts. The replies to one prompt stand in a row."),
    Wrong(_mean_of_the_columns, "You compare with the mean of a column. The replies to one prompt stand in a row."),
    Wrong(_divided_by_k, "You divide the others' sum by k. They are k − 1."),
    Wrong(_whole_sum_by_the_others, "Your sum holds the reply's own reward, and you divide by k − 1. Take it out of the sum."),
    Wrong(_others_summed, "You take off the sum of the others. Their mean is asked for."),
    Wrong(_baseline_alone, "That is the baseline. It is taken off the reward."),
    Wrong(_sign_turned, "The sign is wrong: better than the others is positive."),
    Wrong(_scaled_by_the_spread, "That is GRPO's advantage: own reward in the mean, and divided by the spread."),
    Wrong(_both, "You divide by the spread. Nothing is scaled here."),
    Wrong(_whitened, "You whiten the advantages over the batch. Nothing is scaled here."),
    Wrong(_best_of_the_others, "You compare with the best of the others. Their mean is asked for."),
    Wrong(_median_of_the_others, "You compare with the median of the others. Their mean is asked for."),
    Wrong(_against_the_neighbour, "You compare with the next reply alone. The mean of all others is asked for."),
    Wrong(_against_the_first, "You compare with the first reply. The mean of all others is asked for."),
    Wrong(_against_the_earlier, "You compare with the replies before it. The mean of all others is asked for."),
    Wrong(_shrunk, "Your factor is turned round: against the mean of all, a reply's lead is multiplied by k / (k − 1)."),
    Wrong(_rewards_as_they_are, "Nothing is compared: those are the rewards."),
)

EXERCISE = Exercise(
    id="alignment.leave_one_out",
    notebook="13_rest",
    title="a baseline without a value function",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `leave_one_out(rewards)`. `rewards` is `(prompts, k)`, k ≥ 2 replies to each prompt. Return the advantages, `(prompts, k)`: each reply's reward "
        "less the mean reward of the other k − 1 replies to the same prompt. The rewards [[1, 2, 6]] give [[−3, −1.5, 4.5]]."
    ),
    name="leave_one_out",
    starter="def leave_one_out(rewards):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "For one reply: what is the sum of the others, given the sum of all?",
        "`rewards.sum(1, keepdim=True) - rewards` is `(prompts, k)`: the others' sum for every reply at once.",
        "Divide that by `rewards.shape[1] - 1`, and take it off the rewards.",
    ),
    solution=leave_one_out,
    wrong=(*_MISTAKES, Wrong(_summed, "expected the shape (1, 3), got (1,)")),
    right=(_by_groups_mean, _as_in_the_library, _by_loops, _in_numpy, _in_place, _by_a_matrix, _by_a_mask, _by_pairs),
)  # fmt: skip
