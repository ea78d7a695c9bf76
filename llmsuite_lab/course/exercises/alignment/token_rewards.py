"""What PPO maximises, action by action: a price for leaving the reference at each, and the reply's score at the last."""

import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def token_rewards(logprobs: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor, scores, ended, beta: float, missing_end: float):
    """The solution: minus the price of each action, and at each reply's last action its score, less what a missing end costs."""
    rewards = -beta * (logprobs - reference) * mask
    last = torch.arange(mask.shape[1]) == mask.sum(1, keepdim=True) - 1
    return rewards + last * (scores - missing_end * ~ended)[:, None]


def _last(mask):
    return torch.arange(mask.shape[1]) == mask.sum(1, keepdim=True) - 1


def _built(logprobs, reference, mask, paid, beta, penalty=None, place=None):
    """Minus beta times the penalty (log π − log π_ref), where there is an action, and `paid`, one number a reply, at `place` (the last action)."""
    penalty = logprobs - reference if penalty is None else penalty
    return -beta * penalty * mask + (_last(mask) if place is None else place) * paid[:, None]


def _sign_turned(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(reference, logprobs, mask, scores - missing_end * ~ended, beta)


def _no_penalty(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, scores - missing_end * ~ended, 0.0)


def _beta_forgotten(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, scores - missing_end * ~ended, 1.0)


def _beta_on_all(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, beta * (scores - missing_end * ~ended), beta)


def _no_reference(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, torch.zeros_like(reference), mask, scores - missing_end * ~ended, beta)


def _of_probabilities(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs.exp(), reference.exp(), mask, scores - missing_end * ~ended, beta)


def _ratio(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, scores - missing_end * ~ended, beta, (logprobs - reference).exp())


def _weighted(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, scores - missing_end * ~ended, beta, logprobs.exp() * (logprobs - reference))


def _never_negative(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, scores - missing_end * ~ended, beta, (logprobs - reference).clamp(min=0))


def _absolute(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, scores - missing_end * ~ended, beta, (logprobs - reference).abs())


def _k3(logprobs, reference, mask, scores, ended, beta, missing_end):
    k1 = logprobs - reference
    return _built(logprobs, reference, mask, scores - missing_end * ~ended, beta, torch.expm1(-k1) + k1)


def _score_everywhere(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, scores - missing_end * ~ended, beta, place=mask)


def _score_spread(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, (scores - missing_end * ~ended) / mask.sum(1), beta, place=mask)


def _score_first(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, scores - missing_end * ~ended, beta, place=torch.arange(mask.shape[1])[None] == 0)


def _score_in_the_last_column(logprobs, reference, mask, scores, ended, beta, missing_end):
    rewards = _built(logprobs, reference, mask, 0 * scores, beta)
    rewards[:, -1] += scores - missing_end * ~ended
    return rewards


def _score_behind(logprobs, reference, mask, scores, ended, beta, missing_end):
    place = torch.arange(mask.shape[1]) == mask.sum(1, keepdim=True).clamp(max=mask.shape[1] - 1)
    return _built(logprobs, reference, mask, scores - missing_end * ~ended, beta, place=place)


def _score_before(logprobs, reference, mask, scores, ended, beta, missing_end):
    place = torch.arange(mask.shape[1]) == (mask.sum(1, keepdim=True) - 2).clamp(min=0)
    return _built(logprobs, reference, mask, scores - missing_end * ~ended, beta, place=place)


def _no_score(logprobs, reference, mask, scores, ended, beta, missing_end):
    return -beta * (logprobs - reference) * mask


def _penalty_in_the_padding(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, torch.ones_like(mask), scores - missing_end * ~ended, beta, place=_last(mask))


def _score_in_place_of_the_penalty(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask & ~_last(mask), scores - missing_end * ~ended, beta, place=_last(mask))


def _summed_penalty(logprobs, reference, mask, scores, ended, beta, missing_end):
    kl = ((logprobs - reference) * mask).sum(1)
    return _built(logprobs, reference, mask, scores - missing_end * ~ended - beta * kl, 0.0)


def _mean_penalty(logprobs, reference, mask, scores, ended, beta, missing_end):
    each = ((logprobs - reference) * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
    return _built(logprobs, reference, mask, scores - missing_end * ~ended, beta, each)


def _end_forgotten(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, scores, beta)


def _end_replaces(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, torch.where(ended, scores, -missing_end), beta)


def _end_zeroes(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, scores * ended, beta)


def _end_added(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, scores + missing_end * ~ended, beta)


def _end_turned(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, scores - missing_end * ended, beta)


def _end_for_all(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, scores - missing_end, beta)


def _end_at_every_action(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, scores, beta) - missing_end * (mask & ~ended[:, None])


def _score_clipped(logprobs, reference, mask, scores, ended, beta, missing_end):
    return _built(logprobs, reference, mask, (scores - missing_end * ~ended).clamp(-5, 5), beta)


def _scores_whitened(logprobs, reference, mask, scores, ended, beta, missing_end):
    paid = scores - missing_end * ~ended
    return _built(logprobs, reference, mask, (paid - paid.mean()) / (paid.std() + 1e-8) if len(paid) > 1 else paid, beta)


def _to_go(logprobs, reference, mask, scores, ended, beta, missing_end):
    rewards = token_rewards(logprobs, reference, mask, scores, ended, beta, missing_end)
    return rewards.flip(1).cumsum(1).flip(1) * mask


def _one_a_reply(logprobs, reference, mask, scores, ended, beta, missing_end):
    return token_rewards(logprobs, reference, mask, scores, ended, beta, missing_end).sum(1)


def _by_index(logprobs, reference, mask, scores, ended, beta, missing_end):
    rewards = torch.zeros(mask.shape, dtype=torch.float64)
    rewards[mask] = beta * (reference - logprobs)[mask].double()
    rewards[range(len(mask)), mask.sum(1) - 1] += torch.where(ended, scores, scores - missing_end).double()
    return rewards


def _by_loops(logprobs, reference, mask, scores, ended, beta, missing_end):
    rows = []
    for new, old, held, score, end in zip(logprobs.tolist(), reference.tolist(), mask.tolist(), scores.tolist(), ended.tolist()):
        row = [beta * (q - p) if real else 0.0 for p, q, real in zip(new, old, held)]
        row[max(t for t, real in enumerate(held) if real)] += score if end else score - missing_end
        rows.append(row)
    return rows


def _in_numpy(logprobs, reference, mask, scores, ended, beta, missing_end):
    rewards = (reference - logprobs).numpy() * beta * mask.numpy()
    rewards[range(len(rewards)), mask.numpy().sum(1) - 1] += scores.numpy() - missing_end * (1 - ended.numpy().astype(float))
    return rewards


def _in_place(logprobs, reference, mask, scores, ended, beta, missing_end):
    logprobs -= reference
    logprobs *= -beta
    logprobs.masked_fill_(~mask, 0)
    scores[~ended] -= missing_end
    return logprobs.scatter_add_(1, mask.long().sum(1, keepdim=True) - 1, scores[:, None])


def _by_the_next_cell(logprobs, reference, mask, scores, ended, beta, missing_end):
    following = torch.cat([mask[:, 1:], torch.zeros(len(mask), 1, dtype=torch.bool)], 1)
    penalty = torch.where(mask, beta * (logprobs - reference), 0.0)
    return torch.where(mask & ~following, scores[:, None] - missing_end * ended.logical_not()[:, None], 0.0) - penalty


def _row_by_row(logprobs, reference, mask, scores, ended, beta, missing_end):
    rewards = torch.zeros_like(logprobs)
    for row in range(len(mask)):
        n = int(mask[row].sum())
        rewards[row, :n] = -beta * (logprobs[row, :n] - reference[row, :n])
        rewards[row, n - 1] += scores[row]
        if not ended[row]:
            rewards[row, n - 1] -= missing_end
    return rewards


def _by_cumsum(logprobs, reference, mask, scores, ended, beta, missing_end):
    left = mask.flip(1).cumsum(1).flip(1)  # actions from here on; 1 at the last
    paid = scores.sub((1 - ended.double()).mul(missing_end)).unsqueeze(1)
    return reference.sub(logprobs).mul(beta).mul(mask).add(left.eq(1).logical_and(mask).mul(paid))


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(13)

    def case(lengths: list[int], ended: list[bool], beta: float, missing_end: float, rule: str, more: int = 0) -> Case:
        width = max(lengths) + more
        logprobs, reference = (-2 * torch.rand(len(lengths), width, generator=generator) for _ in range(2))  # in the padding, too
        scores = torch.randn(len(lengths), generator=generator) * 6
        mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
        want = torch.zeros(mask.shape, dtype=torch.float64)
        for row, n in enumerate(lengths):
            for t in range(n):
                want[row, t] = beta * (reference[row, t].double() - logprobs[row, t].double())
            want[row, n - 1] += scores[row].double() - (0 if ended[row] else missing_end)
        return Case((logprobs, reference, mask, scores, torch.tensor(ended), beta, missing_end), want, rule)

    price = "Each action costs β times log π − log π_ref: a gain where the reference liked it better."
    last = "The score is added at the reply's last action, and at no other."
    end = "A reply without an end has `missing_end` taken off its score."
    padding = "Outside the mask every reward is 0."
    given = (torch.tensor([[-1.0, -2.0, -0.5]]), torch.tensor([[-2.0, -1.0, -0.5]]), torch.tensor([[True, True, False]]))
    return [
        Case((*given, torch.tensor([3.0]), torch.tensor([True]), 0.1, 1.0), [[-0.1, 3.1, 0.0]], "This is the statement's example."),
        case([4], [True], 0.5, 1.0, price),
        case([3, 5, 1], [True, True, True], 0.2, 1.0, last),
        case([2, 6, 4, 6], [True, False, False, True], 0.3, 1.5, end),
        case([1, 1], [False, True], 1.0, 2.0, end),
        case([3, 2], [True, False], 2.0, 0.5, padding, more=2),
        case([5, 3, 4], [False, True, False], 0.0, 0.7, "With β 0 only the scores are left."),
        case([2, 4], [False, False], 0.1, 0.0, end),
    ]


_MISTAKES = (
    Wrong(_sign_turned, "The KL's sign is wrong: yours pays the policy for leaving the reference."),
    Wrong(_no_penalty, "The penalty is missing: nothing holds the policy near the reference."),
    Wrong(_beta_forgotten, "β is missing: a nat costs 1 in yours."),
    Wrong(_beta_on_all, "β falls on the score, too. It is the price of a nat."),
    Wrong(_no_reference, "The reference is missing: yours punishes probable tokens."),
    Wrong(_of_probabilities, "You take the difference of the probabilities. The penalty is of their logarithms."),
    Wrong(_ratio, "You charge the ratio of the probabilities. The penalty is its logarithm, which is 0 where policy and reference agree."),
    Wrong(_weighted, "You weigh by the probability. The action was drawn with it already: the weight would count twice."),
    Wrong(_never_negative, "You cut negative penalties off. Where the reference liked the token better the action earns: so the mean comes out right."),
    Wrong(_absolute, "You take the absolute value. Where the reference liked the token better the action earns: so the mean comes out right."),
    Wrong(_k3, "That is the estimate k3. The penalty asked for is log π − log π_ref."),
    Wrong(_score_everywhere, "Every action gets the whole score: a reply would be paid for its length. It comes once, at the last action."),
    Wrong(_score_spread, "You spread the score over the actions. It comes at the last one."),
    Wrong(_score_first, "The score comes at the first action in yours. It comes at the last."),
    Wrong(_score_in_the_last_column, "The score lands in the grid's last column, for short replies in the padding. It belongs to the reply's last action."),
    Wrong(_score_behind, "The score lands behind the last action, in the padding. n actions end at place n − 1."),
    Wrong(_score_before, "The score lands before the last action. n actions end at place n − 1."),
    Wrong(_no_score, "The scores have no effect."),
    Wrong(_penalty_in_the_padding, "The padding is charged, too. No action stands there."),
    Wrong(_score_in_place_of_the_penalty, "The score replaces the last action's penalty. It comes on top."),
    Wrong(_summed_penalty, "You charge the whole reply's KL at its last action. Each action pays its own: the one that strayed is to learn it."),
    Wrong(_mean_penalty, "You charge each action the reply's mean. Each pays its own: the one that strayed is to learn it."),
    Wrong(_end_forgotten, "A missing end costs nothing in yours."),
    Wrong(_end_replaces, "A missing end replaces the score: a good cut reply would be worth what a bad one is. Take `missing_end` off the score."),
    Wrong(_end_zeroes, "A reply without an end loses its score. It keeps it, less `missing_end`."),
    Wrong(_end_added, "A missing end is rewarded in yours. Take `missing_end` off."),
    Wrong(_end_turned, "Replies with an end pay for it. Those without one do."),
    Wrong(_end_for_all, "Every reply pays for a missing end. Only those without one do."),
    Wrong(_end_at_every_action, "A missing end costs at every action in yours. It costs once, at the last."),
    Wrong(_score_clipped, "You clip the score. It comes as the reward model gave it."),
    Wrong(_scores_whitened, "You whiten the scores. They come as the reward model gave them."),
    Wrong(_to_go, "You add up what is still to come. The reward of each action alone is asked for; adding up is the next step."),
)

EXERCISE = Exercise(
    id="alignment.token_rewards",
    notebook="12_rlhf_ppo",
    title="a reward for every action",
    difficulty=3,
    minutes=15,
    statement=(
        "Write `token_rewards(logprobs, reference, mask, scores, ended, beta, missing_end)`. `logprobs` and `reference` are `(replies, actions)`: log π and "
        "log π_ref of each action; `mask` is True where there is an action: each reply has at least one, and they stand together from the left. `scores` and "
        "`ended` are `(replies,)`: the reward model's score, and whether the reply has its end token. Return `(replies, actions)`: "
        "$-\\beta\\,(\\log\\pi - \\log\\pi_{ref})$ at each action, and on top, at the reply's last action, its score, less `missing_end` when the reply has no "
        "end; 0 outside the mask, whatever numbers stand there. Two actions with log π −1 and −2, log π_ref −2 and −1, β 0.1 and score 3 give −0.1 and 3.1."
    ),
    name="token_rewards",
    starter="def token_rewards(logprobs, reference, mask, scores, ended, beta, missing_end):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "First the penalties, `(replies, actions)`, 0 outside the mask. Then the scores, one number a reply. Then each score to its place.",
        "A reply with n actions ends at place n − 1, and n is `mask.sum(1)`. `~ended` is 1 where the end is missing.",
        "`torch.arange(mask.shape[1]) == mask.sum(1, keepdim=True) - 1` is True at each reply's last action.",
    ),
    solution=token_rewards,
    wrong=(*_MISTAKES, Wrong(_one_a_reply, "expected the shape (1, 3), got (1,)")),
    right=(_by_index, _by_loops, _in_numpy, _in_place, _by_the_next_cell, _row_by_row, _by_cumsum),
    equivalent={
        "last = torch.arange(logprobs.shape[1]) == mask.sum(1, keepdim=True) - 1": "all three grids are as wide",
        "last = torch.arange(reference.shape[1]) == mask.sum(1, keepdim=True) - 1": "all three grids are as wide",
    },
)  # fmt: skip
