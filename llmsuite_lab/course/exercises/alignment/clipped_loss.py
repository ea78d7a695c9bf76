"""PPO's policy loss: the ratio of new and old probability, clipped where moving on would pay."""

import math

import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, check_cases, expect
from llmsuite_lab.course.exercises.values import agrees, cloned


def clipped_loss(logprobs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, clip: float) -> torch.Tensor:
    """The solution: the smaller of the two products at each action, their mean over the actions, and the sign of what is minimised."""
    old, advantages = old.detach(), advantages.detach()
    ratio = (logprobs - old).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -surrogate[mask].mean()


def _surrogate(ratio, advantages, clip):
    return torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)


def _no_exp(logprobs, old, advantages, mask, clip):
    return -_surrogate(logprobs - old, advantages, clip)[mask].mean()


def _ratio_of_logs(logprobs, old, advantages, mask, clip):
    return -_surrogate(logprobs / old, advantages, clip)[mask].mean()


def _difference_of_probabilities(logprobs, old, advantages, mask, clip):
    return -_surrogate(logprobs.exp() - old.exp(), advantages, clip)[mask].mean()


def _probability_alone(logprobs, old, advantages, mask, clip):
    return -_surrogate(logprobs.exp(), advantages, clip)[mask].mean()


def _ratio_turned(logprobs, old, advantages, mask, clip):
    return -_surrogate((old - logprobs).exp(), advantages, clip)[mask].mean()


def _ratio_of_replies(logprobs, old, advantages, mask, clip):
    ratio = ((logprobs - old) * mask).sum(1, keepdim=True).exp().expand_as(mask)
    return -_surrogate(ratio, advantages, clip)[mask].mean()


def _maximum(logprobs, old, advantages, mask, clip):
    ratio = (logprobs - old).exp()
    return -torch.maximum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)[mask].mean()


def _smaller_ratio(logprobs, old, advantages, mask, clip):
    ratio = (logprobs - old).exp()
    return -(torch.minimum(ratio, ratio.clamp(1 - clip, 1 + clip)) * advantages)[mask].mean()


def _clipped_alone(logprobs, old, advantages, mask, clip):
    return -((logprobs - old).exp().clamp(1 - clip, 1 + clip) * advantages)[mask].mean()


def _never_clipped(logprobs, old, advantages, mask, clip):
    return -((logprobs - old).exp() * advantages)[mask].mean()


def _clip_on_the_log(logprobs, old, advantages, mask, clip):
    log_ratio = logprobs - old
    return -torch.minimum(log_ratio.exp() * advantages, log_ratio.clamp(-clip, clip).exp() * advantages)[mask].mean()


def _clip_around_zero(logprobs, old, advantages, mask, clip):
    ratio = (logprobs - old).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(-clip, clip) * advantages)[mask].mean()


def _clip_on_the_product(logprobs, old, advantages, mask, clip):
    product = (logprobs - old).exp() * advantages
    return -torch.minimum(product, product.clamp(1 - clip, 1 + clip))[mask].mean()


def _clip_above_alone(logprobs, old, advantages, mask, clip):
    ratio = (logprobs - old).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(max=1 + clip) * advantages)[mask].mean()


def _clip_below_alone(logprobs, old, advantages, mask, clip):
    ratio = (logprobs - old).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(min=1 - clip) * advantages)[mask].mean()


def _inverse_bounds(logprobs, old, advantages, mask, clip):
    ratio = (logprobs - old).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 / (1 + clip), 1 + clip) * advantages)[mask].mean()


def _own_clip(logprobs, old, advantages, mask, clip):
    return clipped_loss(logprobs, old, advantages, mask, 0.2)


def _advantages_forgotten(logprobs, old, advantages, mask, clip):
    return -_surrogate((logprobs - old).exp(), torch.ones_like(advantages), clip)[mask].mean()


def _policy_gradient(logprobs, old, advantages, mask, clip):
    return -(logprobs * advantages)[mask].mean()


def _whitened(logprobs, old, advantages, mask, clip):
    held = advantages[mask]
    spread = held.std() if held.numel() > 1 else 1
    return -_surrogate((logprobs - old).exp(), (advantages - held.mean()) / spread, clip)[mask].mean()


def _positive(logprobs, old, advantages, mask, clip):
    return -clipped_loss(logprobs, old, advantages, mask, clip)


def _padding_in_the_mean(logprobs, old, advantages, mask, clip):
    return -_surrogate((logprobs - old).exp(), advantages, clip).mean()


def _over_all_cells(logprobs, old, advantages, mask, clip):
    return -(_surrogate((logprobs - old).exp(), advantages, clip) * mask).mean()


def _mean_of_means(logprobs, old, advantages, mask, clip):
    return -((_surrogate((logprobs - old).exp(), advantages, clip) * mask).sum(1) / mask.sum(1)).mean()


def _over_replies(logprobs, old, advantages, mask, clip):
    return -_surrogate((logprobs - old).exp(), advantages, clip)[mask].sum() / len(mask)


def _summed(logprobs, old, advantages, mask, clip):
    return -_surrogate((logprobs - old).exp(), advantages, clip)[mask].sum()


def _smaller_of_the_means(logprobs, old, advantages, mask, clip):
    ratio = (logprobs - old).exp()[mask]
    return -torch.minimum((ratio * advantages[mask]).mean(), (ratio.clamp(1 - clip, 1 + clip) * advantages[mask]).mean())


def _each_action(logprobs, old, advantages, mask, clip):
    return -_surrogate((logprobs - old).exp(), advantages, clip) * mask


def _advantages_with_a_gradient(logprobs, old, advantages, mask, clip):
    return -_surrogate((logprobs - old.detach()).exp(), advantages, clip)[mask].mean()


def _old_with_a_gradient(logprobs, old, advantages, mask, clip):
    return -_surrogate((logprobs - old).exp(), advantages.detach(), clip)[mask].mean()


def _all_detached(logprobs, old, advantages, mask, clip):
    return clipped_loss(logprobs, old, advantages, mask, clip).detach()


def _as_a_number(logprobs, old, advantages, mask, clip):
    return clipped_loss(logprobs, old, advantages, mask, clip).item()


def _ratio_detached(logprobs, old, advantages, mask, clip):
    ratio = (logprobs - old.detach()).exp()
    return -_surrogate(ratio.detach(), advantages.detach(), clip)[mask].mean() + 0 * logprobs[mask].mean()


def _gradient_of_the_unclipped(logprobs, old, advantages, mask, clip):
    loss, free = clipped_loss(logprobs, old, advantages, mask, clip), _never_clipped(logprobs, old.detach(), advantages.detach(), mask, clip)
    return free + (loss - free).detach()


def _larger_loss(logprobs, old, advantages, mask, clip):
    ratio, advantages = torch.exp(logprobs - old.detach()), advantages.detach()
    losses = torch.max(-advantages * ratio, -advantages * torch.clamp(ratio, 1.0 - clip, 1.0 + clip))
    return (losses * mask).sum() / mask.sum()


def _by_sign(logprobs, old, advantages, mask, clip):
    """A positive advantage is capped above, a negative one below."""
    ratio, advantages = (logprobs - old.detach()).exp(), advantages.detach()
    held = torch.where(advantages > 0, ratio.clamp(max=1 + clip), ratio.clamp(min=1 - clip))
    return -torch.sum(held * advantages * mask) / mask.sum()


def _cells_first(logprobs, old, advantages, mask, clip):
    new, old, advantages = logprobs[mask].double(), old[mask].detach().double(), advantages[mask].detach().double()
    ratio = new.exp() / old.exp()
    return torch.stack([-ratio * advantages, -ratio.clip(1 - clip, 1 + clip) * advantages]).amax(0).mean()


def _by_loops(logprobs, old, advantages, mask, clip):
    losses = []
    for row, column in mask.nonzero().tolist():
        ratio = (logprobs[row, column] - old[row, column].item()).exp()
        a = advantages[row, column].item()
        losses.append(-min(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a))
    return sum(losses) / len(losses)


def _in_place(logprobs, old, advantages, mask, clip):
    logprobs -= old.detach()
    ratio = logprobs.exp_().masked_select(mask)
    a = advantages.detach().masked_select(mask)
    return torch.min(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a).mean().neg()


def _without_grad_for_the_rest(logprobs, old, advantages, mask, clip):
    with torch.no_grad():
        before, a, weight = old * 1, advantages * 1, mask / mask.sum()
    ratio = torch.expm1(logprobs - before) + 1
    return (torch.maximum(-a * ratio, -a * ratio.clamp(1 - clip).clamp(max=1 + clip)) * weight).sum().reshape(1)


def _bounds_as_products(logprobs, old, advantages, mask, clip):
    """The clipped product is r Â kept below (1 + ε) Â, or (1 − ε) Â where Â is negative."""
    a = advantages.detach()
    cap = torch.maximum((1 + clip) * a, (1 - clip) * a)
    return -torch.minimum((logprobs - old.data).exp() * a, cap)[mask].mean()


def _drawn(lengths: list[int], seed: int, more: int = 0) -> tuple[torch.Tensor, ...]:
    """(logprobs, old, advantages, mask): ratios well inside and outside the usual bounds, whatever in the padding."""
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths) + more
    old = -0.1 - 3 * torch.rand(len(lengths), width, generator=generator)
    ratio = torch.exp(1.4 * (2 * torch.rand(len(lengths), width, generator=generator) - 1))  # a quarter to four
    advantages = torch.randn(len(lengths), width, generator=generator) * 2
    return old + ratio.log(), old, advantages, torch.arange(width)[None] < torch.tensor(lengths)[:, None]


def _by_hand(logprobs, old, advantages, mask, clip) -> tuple[float, torch.Tensor]:
    """(loss, its gradient for `logprobs`) action by action: where the clip holds, the gradient is 0."""
    loss, gradient, n = 0.0, torch.zeros(mask.shape, dtype=torch.float64), int(mask.sum())
    for row, column in mask.nonzero().tolist():
        ratio, a = math.exp(float(logprobs[row, column].double() - old[row, column].double())), float(advantages[row, column])
        held = ratio > 1 + clip if a > 0 else ratio < 1 - clip
        loss -= (1 + clip if a > 0 else 1 - clip) * a / n if held else ratio * a / n
        gradient[row, column] = 0.0 if held else -ratio * a / n
    return loss, gradient


def _cases() -> list[Case]:
    def case(lengths: list[int], clip: float, seed: int, rule: str, more: int = 0) -> Case:
        args = (*_drawn(lengths, seed, more), clip)
        return Case(args, _by_hand(*args)[0], rule)

    def one(ratio: float, advantage: float, clip: float, want: float, rule: str) -> Case:
        old = torch.tensor([[-0.7, -0.3]])
        given = (old + torch.tensor([[math.log(ratio), 1.0]]), old, torch.tensor([[advantage, 5.0]]), torch.tensor([[True, False]]))
        return Case((*given, clip), want, rule)

    above = "A positive advantage gains nothing above 1 + ε, and a ratio below 1 − ε is not helped up."
    below = "A negative advantage gains nothing below 1 − ε, and a ratio above 1 + ε pays in full."
    mean = "The mean goes over the actions of all replies together, none of the padding."
    return [
        one(1.5, 2.0, 0.2, -2.4, "This is the statement's example."),
        one(0.5, 2.0, 0.2, -1.0, above),
        one(1.5, -2.0, 0.2, 3.0, below),
        one(0.5, -2.0, 0.2, 1.6, below),
        one(1.25, 1.0, 0.3, -1.25, "Within 1 ± ε the ratio stays as it is."),
        case([5], 0.3, 21, above),
        case([4, 1, 6], 0.2, 22, mean),
        case([2, 5, 3], 0.5, 23, mean, more=2),
        case([3, 3], 0.1, 24, below),
    ]


_MISTAKES = (
    Wrong(_no_exp, "`exp` is missing: a difference of log-probabilities is the ratio's logarithm, 0 where nothing has changed."),
    Wrong(_ratio_of_logs, "You divide the log-probabilities. The ratio is of the probabilities: exp of the difference."),
    Wrong(_difference_of_probabilities, "You subtract the probabilities. Divide them: exp of the difference of the logarithms."),
    Wrong(_probability_alone, "The old policy has no effect: the ratio is new over old."),
    Wrong(_ratio_turned, "Your ratio is old over new. It is new over old."),
    Wrong(_ratio_of_replies, "You take one ratio for a whole reply (exp of the sum). Each action has its own."),
    Wrong(_maximum, "You take the larger of the two products: the clip would reward going too far. The smaller counts."),
    Wrong(_smaller_ratio, "You take the smaller ratio, and multiply afterwards. With a negative advantage that is the larger product: multiply first."),
    Wrong(_clipped_alone, "You use the clipped ratio alone: what went too far the wrong way could not come back. The smaller of the two products counts."),
    Wrong(_never_clipped, "The clip has no effect."),
    Wrong(_clip_on_the_log, "You clip the logarithm to ± ε. The ratio itself is clipped, to 1 ± ε."),
    Wrong(_clip_around_zero, "You clip the ratio to ± ε. Where nothing has changed it is 1: clip it to 1 ± ε."),
    Wrong(_clip_on_the_product, "You clip the product. The ratio is clipped, and then multiplied."),
    Wrong(_clip_above_alone, "You clip from above alone: with a negative advantage there is no bound in yours."),
    Wrong(_clip_below_alone, "You clip from below alone: with a positive advantage there is no bound in yours."),
    Wrong(_inverse_bounds, "Your lower bound is 1 / (1 + ε). It is 1 − ε."),
    Wrong(_own_clip, "You clip at 0.2 whatever `clip` is."),
    Wrong(_advantages_forgotten, "The advantages have no effect."),
    Wrong(_policy_gradient, "That is the loss of A2C, without a ratio and without a clip."),
    Wrong(_whitened, "You whiten the advantages. They come as they are to be used."),
    Wrong(_positive, "The sign is wrong: a loss is minimised, so what is to grow stands in it with a minus."),
    Wrong(_padding_in_the_mean, "The padding is in your mean. Only the cells of the mask are actions."),
    Wrong(_over_all_cells, "You divide by all cells, the padding's too. Divide by the number of actions."),
    Wrong(_mean_of_means, "You take the mean of each reply, and then of the replies: an action of a short one weighs more. Count all actions together."),
    Wrong(_over_replies, "You divide by the number of replies. Divide by the number of actions."),
    Wrong(_summed, "This is the sum. The mean does not grow with the number of actions."),
    Wrong(_smaller_of_the_means, "You take the smaller of the two means. The smaller product counts at each action."),
)


def _check(answer) -> None:
    check_cases(answer, _cases(), _MISTAKES)
    args = (*_drawn([4, 2, 5], 25), 0.2)
    *given, mask, clip = cloned(args)
    leaves = [x.requires_grad_() for x in given]
    loss = answer(*(x.clone() for x in leaves), mask, clip)  # a copy is no leaf: it may be changed in place
    tracked = isinstance(loss, torch.Tensor) and loss.requires_grad
    expect(tracked, "The value is right, but no gradient reaches `logprobs`, so that nothing can be learnt. Stay in torch's tensors, and detach only the rest.")
    for_logprobs, for_old, for_advantages = torch.autograd.grad(loss.sum(), leaves, allow_unused=True)
    moved = "A gradient flows into {}: they are numbers that were computed before the update, not functions of the weights. Use `detach()`."
    expect(for_advantages is None or not for_advantages.any(), moved.format("`advantages`"))
    expect(for_old is None or not for_old.any(), moved.format("`old`"))
    right = for_logprobs is not None and agrees(for_logprobs, _by_hand(*args)[1])
    expect(right, "The value is right, but its gradient for `logprobs` is not: the ratio must carry it, and where the clip holds it is 0.")


EXERCISE = Exercise(
    id="alignment.clipped_loss",
    notebook="12_rlhf_ppo",
    title="PPO's clipped loss",
    difficulty=3,
    minutes=20,
    statement=(
        "Write `clipped_loss(logprobs, old, advantages, mask, clip)`. All but `clip` (ε) are `(replies, actions)`: log π of each action now, log π when it was "
        "drawn, its advantage, and `mask`, True where there is an action. With $r_t = \\pi(a_t)/\\pi_{old}(a_t)$ return "
        "$-\\,\\mathrm{mean}_t\\,\\min(r_t\\hat A_t,\\ \\mathrm{clip}(r_t, 1-\\varepsilon, 1+\\varepsilon)\\,\\hat A_t)$ over the actions of all replies "
        "together, as a tensor whose gradient reaches `logprobs`, and neither `old` nor `advantages`. One action with ratio 1.5, advantage 2 and ε 0.2 "
        "gives −2.4."
    ),
    name="clipped_loss",
    starter="def clipped_loss(logprobs, old, advantages, mask, clip):\n    ...",
    check=_check,
    hints=(
        "From log-probabilities to a ratio: subtract, then `exp`. What is fixed comes in through `detach()`.",
        "Two products, r Â and clipped r Â; `torch.minimum` of them at each action, whatever the advantage's sign.",
        "`ratio.clamp(1 - clip, 1 + clip)` clips, `surrogate[mask].mean()` leaves the padding out; the minus comes last.",
    ),
    solution=clipped_loss,
    wrong=(
        *_MISTAKES,
        Wrong(_each_action, "expected -2.4, got"),
        Wrong(_advantages_with_a_gradient, "A gradient flows into `advantages`"),
        Wrong(_old_with_a_gradient, "A gradient flows into `old`"),
        Wrong(_all_detached, "no gradient reaches `logprobs`", True),
        Wrong(_as_a_number, "no gradient reaches `logprobs`", True),
        Wrong(_ratio_detached, "its gradient for `logprobs` is not", True),
        Wrong(_gradient_of_the_unclipped, "its gradient for `logprobs` is not", True),
    ),
    right=(_larger_loss, _by_sign, _cells_first, _by_loops, _in_place, _without_grad_for_the_rest, _bounds_as_products),
    equivalent={
        "surrogate = torch.minimum(ratio.clamp(1 - clip, 1 + clip) * advantages, ratio * advantages)": "the smaller of two, in either order",
    },
)  # fmt: skip
