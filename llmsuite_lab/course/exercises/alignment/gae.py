"""How much better an action was than expected, by generalised advantage estimation, and what the value function is to learn."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, check_cases, expect
from llmsuite_lab.course.exercises.values import cloned


def gae(rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The solution: from the last action back, each error and the discounted rest of those behind it."""
    rewards, values = rewards * mask, values.detach() * mask
    advantages = torch.zeros_like(rewards)
    following = carried = 0  # value and advantage of the next action: nothing follows the last
    for t in reversed(range(mask.shape[1])):
        delta = rewards[:, t] + gamma * following - values[:, t]
        advantages[:, t] = carried = delta + gamma * lam * carried
        following = values[:, t]
    return advantages, advantages + values


def _swept(rewards, values, mask, following, gamma, decay):
    """Advantages by the recursion with errors r + γ following − V and the factor `decay`."""
    delta, carried = (rewards + gamma * following - values) * mask, torch.zeros(len(mask))
    advantages = torch.zeros_like(rewards)
    for t in reversed(range(mask.shape[1])):
        advantages[:, t] = carried = (delta[:, t] + decay * carried) * mask[:, t]
    return advantages


def _shifted(values, last=None):
    """The next column's values; behind the last column `last`, or 0."""
    return torch.cat([values[:, 1:], values.new_zeros(len(values), 1) if last is None else last], 1)


def _both(advantages, values, mask):
    return advantages, (advantages + values) * mask


def _value_after_the_end(rewards, values, mask, gamma, lam):
    values = values.detach()
    return _both(_swept(rewards, values, mask, _shifted(values), gamma, gamma * lam), values, mask)


def _last_value_again(rewards, values, mask, gamma, lam):
    values = values.detach() * mask
    last = torch.arange(mask.shape[1]) == mask.sum(1, keepdim=True) - 1
    return _both(_swept(rewards, values, mask, torch.where(last, values, _shifted(values)), gamma, gamma * lam), values, mask)


def _padding_in_the_sum(rewards, values, mask, gamma, lam):
    whole = torch.ones_like(mask)
    return tuple(x * mask for x in gae(rewards, values, whole, gamma, lam))


def _padding_left_in(rewards, values, mask, gamma, lam):
    return gae(rewards, values, torch.ones_like(mask), gamma, lam)


def _rewards_of_padding(rewards, values, mask, gamma, lam):
    return tuple(x * mask for x in gae(rewards, values * mask, torch.ones_like(mask), gamma, lam))


def _returns_in_padding(rewards, values, mask, gamma, lam):
    advantages, _ = gae(rewards, values, mask, gamma, lam)
    return advantages, advantages + values.detach()


def _gamma_forgotten(rewards, values, mask, gamma, lam):
    return gae(rewards, values, mask, 1.0, lam)


def _lambda_forgotten(rewards, values, mask, gamma, lam):
    return gae(rewards, values, mask, gamma, 1.0)


def _carried_by_lambda(rewards, values, mask, gamma, lam):
    values = values.detach() * mask
    return _both(_swept(rewards, values, mask, _shifted(values), gamma, lam), values, mask)


def _errors_without_gamma(rewards, values, mask, gamma, lam):
    values = values.detach() * mask
    return _both(_swept(rewards, values, mask, _shifted(values), 1.0, gamma * lam), values, mask)


def _errors_alone(rewards, values, mask, gamma, lam):
    return gae(rewards, values, mask, gamma, 0.0)


def _lambda_on_the_value(rewards, values, mask, gamma, lam):
    values = values.detach() * mask
    return _both(_swept(rewards, values, mask, _shifted(values), gamma * lam, gamma * lam), values, mask)


def _forwards(rewards, values, mask, gamma, lam):
    rewards, values = rewards * mask, values.detach() * mask
    delta, carried = (rewards + gamma * _shifted(values) - values) * mask, torch.zeros(len(mask))
    advantages = torch.zeros_like(rewards)
    for t in range(mask.shape[1]):
        advantages[:, t] = carried = (delta[:, t] + gamma * lam * carried) * mask[:, t]
    return _both(advantages, values, mask)


def _value_before(rewards, values, mask, gamma, lam):
    values = values.detach() * mask
    previous = torch.cat([values.new_zeros(len(values), 1), values[:, :-1]], 1)
    return _both(_swept(rewards, values, mask, previous, gamma, gamma * lam), values, mask)


def _value_not_taken_off(rewards, values, mask, gamma, lam):
    values = values.detach() * mask
    return _both(_swept(rewards + values, values, mask, _shifted(values), gamma, gamma * lam), values, mask)


def _no_next_value(rewards, values, mask, gamma, lam):
    values = values.detach() * mask
    return _both(_swept(rewards, values, mask, torch.zeros_like(values), gamma, gamma * lam), values, mask)


def _sign_turned(rewards, values, mask, gamma, lam):
    advantages, _ = gae(rewards, values, mask, gamma, lam)
    return _both(-advantages, values.detach(), mask)


def _returns_are_advantages(rewards, values, mask, gamma, lam):
    advantages, _ = gae(rewards, values, mask, gamma, lam)
    return advantages, advantages


def _returns_less_values(rewards, values, mask, gamma, lam):
    advantages, _ = gae(rewards, values, mask, gamma, lam)
    return advantages, advantages - values.detach() * mask


def _returns_are_rewards_to_go(rewards, values, mask, gamma, lam):
    return gae(rewards, values, mask, gamma, lam)[0], gae(rewards, values * 0, mask, gamma, 1.0)[0]


def _returns_are_one_step(rewards, values, mask, gamma, lam):
    return gae(rewards, values, mask, gamma, lam)[0], gae(rewards, values, mask, gamma, 0.0)[1]


def _whitened(rewards, values, mask, gamma, lam):
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    held = advantages[mask]
    return (advantages - held.mean()) / (held.std() if held.numel() > 1 else 1) * mask, returns


def _returns_first(rewards, values, mask, gamma, lam):
    return gae(rewards, values, mask, gamma, lam)[::-1]


def _advantages_alone(rewards, values, mask, gamma, lam):
    return gae(rewards, values, mask, gamma, lam)[0]


def _with_a_gradient(rewards, values, mask, gamma, lam):
    values = values * mask
    return _both(_swept(rewards * mask, values, mask, _shifted(values), gamma, gamma * lam), values, mask)


def _returns_with_a_gradient(rewards, values, mask, gamma, lam):
    advantages, _ = gae(rewards, values, mask, gamma, lam)
    return _both(advantages, values, mask)


def _in_double(rewards, values, mask, gamma, lam):
    rewards, values = (x.detach().double().where(mask, 0.0) for x in (rewards, values))
    return _both(_swept(rewards, values, mask, _shifted(values), gamma, gamma * lam), values, mask)


def _by_weights(rewards, values, mask, gamma, lam):
    """The sum as a product with a triangle of (γλ)^l."""
    rewards, values = rewards * mask, values.detach() * mask
    place = torch.arange(mask.shape[1])
    distance = place[:, None] - place[None, :]
    weights = torch.where(distance >= 0, float(gamma * lam) ** distance.clamp(min=0), 0.0)  # (from, to)
    advantages = (rewards + gamma * _shifted(values) - values) @ weights * mask
    return [advantages, advantages + values]


def _by_loops(rewards, values, mask, gamma, lam):
    advantages, returns = [], []
    for r, v, held in zip(rewards.tolist(), values.tolist(), mask.tolist()):
        n = sum(held)
        delta = [r[t] + (gamma * v[t + 1] if t + 1 < n else 0) - v[t] for t in range(n)]
        found = [sum((gamma * lam) ** (s - t) * delta[s] for s in range(t, n)) for t in range(n)]
        advantages.append(found + [0.0] * (len(r) - n))
        returns.append([a + b for a, b in zip(found, v)] + [0.0] * (len(r) - n))
    return advantages, returns


def _in_numpy(rewards, values, mask, gamma, lam):
    held = mask.numpy().astype(float)
    rewards, values = rewards.detach().numpy() * held, values.detach().numpy() * held
    advantages, later = np.zeros_like(held), np.zeros(len(held))
    for t in range(held.shape[1] - 1, -1, -1):
        after = values[:, t + 1] if t + 1 < held.shape[1] else 0
        advantages[:, t] = later = rewards[:, t] + gamma * after - values[:, t] + gamma * lam * later
    return advantages, advantages + values


def _in_place(rewards, values, mask, gamma, lam):
    with torch.no_grad():
        values *= mask
        rewards *= mask
        rewards -= values
        rewards[:, :-1] += gamma * values[:, 1:]
        for t in range(mask.shape[1] - 2, -1, -1):
            rewards[:, t] += gamma * lam * rewards[:, t + 1]
        values += rewards
        return rewards, values.detach()


@torch.no_grad()
def _by_lambda_returns(rewards, values, mask, gamma, lam):
    """From the returns: R_t = r_t + γ ((1 − λ) V_{t+1} + λ R_{t+1})."""
    rewards, values = torch.where(mask, rewards, 0.0), torch.where(mask, values, 0.0)
    returns, after, value = [], torch.zeros(len(mask)), torch.zeros(len(mask))
    for r, v in zip(rewards.T.flip(0), values.T.flip(0)):
        after, value = r + gamma * ((1 - lam) * value + lam * after), v
        returns.insert(0, after)
    returns = torch.stack(returns, 1)
    return returns - values, returns


def _row_by_row(rewards, values, mask, gamma, lam):
    pair = torch.zeros(2, *mask.shape)
    for row, n in enumerate(mask.sum(1).tolist()):
        carried = 0.0
        for t in range(n - 1, -1, -1):
            after = float(values[row, t + 1].detach()) if t < n - 1 else 0.0
            carried = float(rewards[row, t] - values[row, t].detach()) + gamma * after + gamma * lam * carried
            pair[0, row, t], pair[1, row, t] = carried, carried + float(values[row, t].detach())
    return pair


def _by_steps(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """Advantages of one reply as the λ-weighted mean of its n-step advantages, from the definition and not from the recursion."""
    n, advantages = len(rewards), []
    for t in range(n):
        steps = []
        for k in range(1, n - t + 1):
            reached = gamma**k * values[t + k] if t + k < n else 0.0
            steps.append(sum(gamma**i * rewards[t + i] for i in range(k)) + reached - values[t])
        weights = [(1 - lam) * lam ** (k - 1) for k in range(1, n - t)] + [lam ** (n - t - 1)]
        advantages.append(sum(w * a for w, a in zip(weights, steps)))
    return advantages


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(14)

    def case(lengths: list[int], gamma: float, lam: float, rule: str, more: int = 0) -> Case:
        width = max(lengths) + more
        rewards, values = (torch.randn(len(lengths), width, generator=generator) for _ in range(2))  # in the padding, too
        mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
        advantages, returns = (torch.zeros(mask.shape, dtype=torch.float64) for _ in range(2))
        for row, n in enumerate(lengths):
            found = _by_steps(rewards[row, :n].double().tolist(), values[row, :n].double().tolist(), gamma, lam)
            advantages[row, :n] = torch.tensor(found, dtype=torch.float64)
            returns[row, :n] = advantages[row, :n] + values[row, :n].double()
        return Case((rewards, values, mask, gamma, lam), (advantages, returns), rule)

    recursion = "Â_t = δ_t + γλ Â_{t+1}, from the last action back."
    padding = "Nothing follows a reply's last action: V is 0 there, and what stands in the padding is in no sum. There both results are 0."
    example = (torch.tensor([[0.0, 2.0, 9.0]]), torch.tensor([[1.0, 0.5, 9.0]]), torch.tensor([[True, True, False]]))
    return [
        Case((*example, 1.0, 0.5), ([[0.25, 1.5, 0.0]], [[1.25, 2.0, 0.0]]), "This is the statement's example."),
        case([4], 0.9, 0.5, recursion),
        case([5, 1, 3], 1.0, 0.95, padding),
        case([2, 6, 4], 0.8, 0.7, padding, more=2),
        case([3, 5], 0.7, 0.0, "With λ 0 the advantage is δ alone."),
        case([4, 2, 3, 1], 1.0, 1.0, "With γ = λ = 1 the return is the sum of the rewards to come."),
        case([3, 4], 0.0, 0.9, "With γ 0 only the action's own reward counts."),
    ]


_MISTAKES = (
    Wrong(_value_after_the_end, "The value behind a reply's last action is taken from the padding. Nothing follows there: it is 0."),
    Wrong(_last_value_again, "The last action's own value stands in for the one behind it. The reply is over: it is 0."),
    Wrong(_padding_in_the_sum, "The padded tail is in your sums: rewards and values there are no action's. Set both to 0 first."),
    Wrong(_padding_left_in, "The mask has no effect: rewards and values of the padding are no action's."),
    Wrong(_rewards_of_padding, "The padding's rewards are in your sums. No action stands there."),
    Wrong(_returns_in_padding, "Your returns are not 0 in the padding: the value function would learn from cells without an action."),
    Wrong(_gamma_forgotten, "γ has no effect."),
    Wrong(_lambda_forgotten, "λ has no effect."),
    Wrong(_carried_by_lambda, "What is carried back is discounted by λ alone. The factor is γλ."),
    Wrong(_errors_without_gamma, "γ is missing in δ: the next action's value is discounted, too."),
    Wrong(_errors_alone, "You return δ alone. The errors that follow come on top, discounted by γλ a step."),
    Wrong(_lambda_on_the_value, "λ falls on the next value inside δ. It belongs to what is carried back."),
    Wrong(_forwards, "Your loop runs forwards: an action would be paid for what came before it. Begin at the last."),
    Wrong(_value_before, "Your δ has the value before the action's own. The next one is asked for."),
    Wrong(_value_not_taken_off, "V(s_t) is not taken off: an advantage is what was better than expected."),
    Wrong(_no_next_value, "δ lacks the next action's value: what is still expected counts with the reward."),
    Wrong(_sign_turned, "The sign is wrong: better than expected is positive."),
    Wrong(_returns_are_advantages, "Your returns are the advantages. The values come on top."),
    Wrong(_returns_less_values, "The values are taken off in your returns. They come on top."),
    Wrong(_returns_are_rewards_to_go, "Your returns are the rewards to come, without λ. The returns asked for are advantage and value together."),
    Wrong(_returns_are_one_step, "Your returns look one step ahead. The returns asked for are advantage and value together."),
    Wrong(_whitened, "You whiten the advantages. That comes later, over the whole batch."),
    Wrong(_returns_first, "The order is (advantages, returns)."),
)


def _check(answer) -> None:
    check_cases(answer, _cases(), _MISTAKES)
    rewards, values, *rest = cloned(_cases()[3].args)
    results = answer(rewards, values.requires_grad_() * 1.0, *rest)  # what is multiplied is no leaf: it may be changed in place
    for name, result in zip(("advantages", "returns"), results):
        carried = isinstance(result, torch.Tensor) and result.requires_grad
        expect(not carried, f"A gradient flows through your {name} into the values: the policy's loss would train the value function. Use `detach()`.")


EXERCISE = Exercise(
    id="alignment.gae",
    notebook="12_rlhf_ppo",
    title="advantages and returns",
    difficulty=4,
    minutes=30,
    statement=(
        "Write `gae(rewards, values, mask, gamma, lam)`. All three are `(replies, actions)`; `mask` is True where there is an action: each reply has at least "
        "one, and they stand together from the left. Return `(advantages, returns)`, both `(replies, actions)`: $\\delta_t = r_t + \\gamma V_{t+1} - V_t$, "
        "$\\hat A_t = \\delta_t + \\gamma\\lambda\\hat A_{t+1}$, $R_t = \\hat A_t + V_t$. Behind a reply's last action V and Â are 0, whatever numbers stand "
        "in the padding, and both results are 0 there. `values` may carry a gradient, the results do not. Rewards 0, 2 and values 1, ½ give, with γ 1 and λ ½, "
        "advantages ¼, 1½ and returns 1¼, 2."
    ),
    name="gae",
    starter="def gae(rewards, values, mask, gamma, lam):\n    ...",
    check=_check,
    hints=(
        "Set rewards and values to 0 outside the mask first: then the padding needs no case of its own.",
        "Walk through the columns from the last to the first, and remember the value and the advantage of the column behind.",
        "`delta = rewards[:, t] + gamma * following - values[:, t]`, then `carried = delta + gamma * lam * carried`; `values.detach()` has no gradient.",
    ),
    solution=gae,
    wrong=(
        *_MISTAKES,
        Wrong(_advantages_alone, "statement's example"),
        Wrong(_with_a_gradient, "A gradient flows through your advantages"),
        Wrong(_returns_with_a_gradient, "A gradient flows through your returns"),
    ),
    right=(_in_double, _by_weights, _by_loops, _in_numpy, _in_place, _by_lambda_returns, _row_by_row),
    equivalent={
        "advantages = rewards": "a column is read before it is written, and never again: the masked rewards may be the grid that is filled",
        "advantages = torch.zeros_like(values)": "all three grids have the same shape",
        "for t in reversed(range(rewards.shape[1])):": "all three grids are as wide",
        "for t in reversed(range(values.shape[1])):": "all three grids are as wide",
    },
)  # fmt: skip
