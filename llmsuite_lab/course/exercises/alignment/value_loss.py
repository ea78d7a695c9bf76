"""PPO's value loss: the squared error, and no excuse for a value that moved far."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def value_loss(values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor, clip: float) -> torch.Tensor:
    """The solution: the larger of two squared errors at each action, half their mean over the actions."""
    near = old + (values - old).clamp(-clip, clip)
    worse = torch.maximum((values - returns) ** 2, (near - returns) ** 2)
    return worse[mask].mean() / 2


def _near(values, old, clip):
    return values.clamp(old - clip, old + clip)


def _errors(values, old, returns, clip):
    return (values - returns).square(), (_near(values, old, clip) - returns).square()


def _minimum(values, old, returns, mask, clip):
    return torch.minimum(*_errors(values, old, returns, clip))[mask].mean() / 2


def _clipped_alone(values, old, returns, mask, clip):
    return _errors(values, old, returns, clip)[1][mask].mean() / 2


def _never_clipped(values, old, returns, mask, clip):
    return _errors(values, old, returns, clip)[0][mask].mean() / 2


def _around_the_return(values, old, returns, mask, clip):
    return value_loss(values, returns, returns, mask, clip)


def _around_the_return_alone(values, old, returns, mask, clip):
    return (values - returns).clamp(-clip, clip).square()[mask].mean() / 2


def _around_zero(values, old, returns, mask, clip):
    return value_loss(values, old * 0, returns, mask, clip)


def _around_the_new(values, old, returns, mask, clip):
    errors = (values - returns).square(), (old.clamp(values - clip, values + clip) - returns).square()
    return torch.maximum(*errors)[mask].mean() / 2


def _relative_bounds(values, old, returns, mask, clip):
    near = old + (values - old).clamp(-(old * clip).abs(), (old * clip).abs())
    return torch.maximum((values - returns).square(), (near - returns).square())[mask].mean() / 2


def _step_alone(values, old, returns, mask, clip):
    near = (values - old).clamp(-clip, clip)
    return torch.maximum((values - returns).square(), (near - returns).square())[mask].mean() / 2


def _returns_clipped(values, old, returns, mask, clip):
    return torch.maximum((values - returns).square(), (values - _near(returns, old, clip)).square())[mask].mean() / 2


def _clip_above_alone(values, old, returns, mask, clip):
    near = torch.minimum(values, old + clip)
    return torch.maximum((values - returns).square(), (near - returns).square())[mask].mean() / 2


def _clip_below_alone(values, old, returns, mask, clip):
    near = torch.maximum(values, old - clip)
    return torch.maximum((values - returns).square(), (near - returns).square())[mask].mean() / 2


def _own_clip(values, old, returns, mask, clip):
    return value_loss(values, old, returns, mask, 0.2)


def _no_half(values, old, returns, mask, clip):
    return 2 * value_loss(values, old, returns, mask, clip)


def _quarter(values, old, returns, mask, clip):
    return value_loss(values, old, returns, mask, clip) / 2


def _positive_first(values, old, returns, mask, clip):
    return torch.maximum(values - returns, _near(values, old, clip) - returns).square()[mask].mean() / 2


def _absolute(values, old, returns, mask, clip):
    return torch.maximum((values - returns).abs(), (_near(values, old, clip) - returns).abs())[mask].mean() / 2


def _root(values, old, returns, mask, clip):
    return (2 * value_loss(values, old, returns, mask, clip)).sqrt()


def _larger_of_the_means(values, old, returns, mask, clip):
    return torch.maximum(*(error[mask].mean() for error in _errors(values, old, returns, clip))) / 2


def _both_added(values, old, returns, mask, clip):
    return sum(error[mask].mean() for error in _errors(values, old, returns, clip)) / 2


def _padding_in_the_mean(values, old, returns, mask, clip):
    return torch.maximum(*_errors(values, old, returns, clip)).mean() / 2


def _over_all_cells(values, old, returns, mask, clip):
    return (torch.maximum(*_errors(values, old, returns, clip)) * mask).mean() / 2


def _mean_of_means(values, old, returns, mask, clip):
    return ((torch.maximum(*_errors(values, old, returns, clip)) * mask).sum(1) / mask.sum(1)).mean() / 2


def _over_replies(values, old, returns, mask, clip):
    return torch.maximum(*_errors(values, old, returns, clip))[mask].sum() / len(mask) / 2


def _summed(values, old, returns, mask, clip):
    return torch.maximum(*_errors(values, old, returns, clip))[mask].sum() / 2


def _negative(values, old, returns, mask, clip):
    return -value_loss(values, old, returns, mask, clip)


def _each_action(values, old, returns, mask, clip):
    return torch.maximum(*_errors(values, old, returns, clip)) * mask / 2


def _by_bounds(values, old, returns, mask, clip):
    kept = torch.clamp(values, old - clip, old + clip)
    losses = torch.max((values - returns).pow(2), (kept - returns).pow(2))
    return 0.5 * (losses * mask).sum() / mask.sum()


def _larger_error_first(values, old, returns, mask, clip):
    errors = torch.stack([values, _near(values, old, clip)]).sub(returns).abs().amax(0)
    return errors.masked_select(mask).double().square().mean().div(2).reshape(1)


def _in_numpy(values, old, returns, mask, clip):
    values, old, returns = (x.numpy()[mask.numpy()].astype(float) for x in (values, old, returns))
    near = np.clip(values, old - clip, old + clip)
    return np.mean(np.maximum((values - returns) ** 2, (near - returns) ** 2)) / 2


def _by_loops(values, old, returns, mask, clip):
    losses = []
    for v, o, r, real in zip(*(x.flatten().tolist() for x in (values, old, returns, mask))):
        if real:
            near = min(max(v, o - clip), o + clip)
            losses.append(max((v - r) ** 2, (near - r) ** 2) / 2)
    return sum(losses) / len(losses)


def _in_place(values, old, returns, mask, clip):
    old += (values - old).clamp_(-clip, clip)
    for error in (old, values):
        error -= returns
        error *= error
    old[values > old] = values[values > old]
    return [old[mask].mean().item() / 2]


def _by_mse(values, old, returns, mask, clip):
    losses = [torch.nn.functional.mse_loss(v, returns, reduction="none") for v in (values, _near(values, old, clip))]
    return torch.where(losses[0] > losses[1], *losses).mul(mask).sum() / (2 * mask.sum())


def _by_half_squares(values, old, returns, mask, clip):
    """½ e² by torch's Huber loss with a bound that is never reached."""
    huber = torch.nn.HuberLoss(reduction="none", delta=1e6)
    move = values - old
    near = torch.where(move.abs() > clip, old + clip * move.sign(), values)
    return torch.maximum(huber(values.double(), returns.double()), huber(near.double(), returns.double()))[mask].mean()


def _drawn(lengths: list[int], seed: int, more: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths) + more
    old, move, returns = (torch.randn(len(lengths), width, generator=generator) for _ in range(3))
    return old + 0.6 * move, old, returns + 0.5, torch.arange(width)[None] < torch.tensor(lengths)[:, None]


def _cases() -> list[Case]:
    def case(lengths: list[int], clip: float, seed: int, rule: str, more: int = 0) -> Case:
        values, old, returns, mask = _drawn(lengths, seed, more)
        total = 0.0
        for row, column in mask.nonzero().tolist():
            v, o, r = (float(x[row, column].double()) for x in (values, old, returns))
            near = o + clip if v > o + clip else o - clip if v < o - clip else v
            total += max((v - r) ** 2, (near - r) ** 2) / 2
        return Case((values, old, returns, mask, clip), total / int(mask.sum()), rule)

    def one(value: float, old: float, wanted: float, clip: float, want: float, rule: str) -> Case:
        given = (torch.tensor([[x, 7.0]]) for x in (value, old, wanted))
        return Case((*given, torch.tensor([[True, False]]), clip), want, rule)

    worse = "The larger of the two squared errors counts at each action."
    around = "The value is clipped to within `clip` of the old value."
    mean = "The mean goes over the actions of all replies together, none of the padding."
    return [
        one(1.0, 0.5, 2.0, 0.25, 0.78125, "This is the statement's example."),
        one(1.0, 0.5, 0.0, 0.25, 0.5, worse),
        one(-1.0, 0.5, 2.0, 0.25, 4.5, worse),
        one(-1.0, 0.5, -2.0, 0.25, 2.53125, around),
        case([5], 0.3, 31, around),
        case([4, 1, 6], 0.2, 32, mean),
        case([2, 5, 3], 0.5, 33, mean, more=2),
        case([3, 3], 0.1, 34, worse),
    ]


_MISTAKES = (
    Wrong(_minimum, "You take the smaller error: a value that moved far would be excused. The larger one counts."),
    Wrong(_clipped_alone, "You use the clipped value alone: beyond the bounds there is no gradient that could bring it back. The larger of two errors counts."),
    Wrong(_never_clipped, "The clip has no effect. Its bounds lie around the old value: around the return, the clipped error is never the larger.", True),
    Wrong(_around_the_return_alone, "You clip the error. The value is clipped, to within `clip` of the old one."),
    Wrong(_around_zero, "You clip the value around 0. The bounds lie around the old value."),
    Wrong(_around_the_new, "You clip the old value around the new. It is the other way round."),
    Wrong(_relative_bounds, "Your bounds grow with the old value. They lie `clip` away from it, in the reward's unit."),
    Wrong(_step_alone, "The old value is missing after the clip: the clipped step comes on top of it."),
    Wrong(_returns_clipped, "You clip the return. The new value is clipped."),
    Wrong(_clip_above_alone, "You clip from above alone. A value may not fall far, either."),
    Wrong(_clip_below_alone, "You clip from below alone. A value may not rise far, either."),
    Wrong(_own_clip, "You clip at 0.2 whatever `clip` is."),
    Wrong(_no_half, "The half is missing."),
    Wrong(_quarter, "You halve twice."),
    Wrong(_positive_first, "You compare the errors before they are squared: of two negative ones the larger is the nearer. Square first."),
    Wrong(_absolute, "You take absolute errors. They are squared."),
    Wrong(_root, "You take the root of the mean square. Half the mean is asked for."),
    Wrong(_larger_of_the_means, "You take the larger of two means. The larger error counts at each action."),
    Wrong(_both_added, "You add the two errors. The larger one counts."),
    Wrong(_padding_in_the_mean, "The padding is in your mean. Only the cells of the mask are actions."),
    Wrong(_over_all_cells, "You divide by all cells, the padding's too. Divide by the number of actions."),
    Wrong(_mean_of_means, "You take the mean of each reply, and then of the replies: an action of a short one weighs more. Count all actions together."),
    Wrong(_over_replies, "You divide by the number of replies. Divide by the number of actions."),
    Wrong(_summed, "This is the sum. The mean does not grow with the number of actions."),
    Wrong(_negative, "The sign is wrong: an error is to become small."),
)

EXERCISE = Exercise(
    id="alignment.value_loss",
    notebook="12_rlhf_ppo",
    title="PPO's value loss",
    difficulty=3,
    minutes=15,
    statement=(
        "Write `value_loss(values, old, returns, mask, clip)`. All but `clip` are `(replies, actions)`: V of each action now, V when it was drawn, its "
        "return, and `mask`, True where there is an action. Return half the mean, over the actions of all replies together, of the larger of two squared "
        "errors: $(V - R)^2$, and the same with V clipped to within `clip` of the old value. One action with V 1, old V ½, return 2 and clip ¼ gives "
        "0.78125: clipped V is ¾, and 1¼² is the larger."
    ),
    name="value_loss",
    starter="def value_loss(values, old, returns, mask, clip):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Three steps: the clipped value, two squared errors, the larger of them. Then the mean over the mask.",
        "`old + (values - old).clamp(-clip, clip)` has gone no further than `clip`.",
        "`torch.maximum((values - returns) ** 2, (near - returns) ** 2)[mask].mean() / 2`.",
    ),
    solution=value_loss,
    wrong=(*_MISTAKES, Wrong(_around_the_return, "The clip has no effect.", True), Wrong(_each_action, "expected 0.78125, got")),
    right=(_by_bounds, _larger_error_first, _in_numpy, _by_loops, _in_place, _by_mse, _by_half_squares),
    equivalent={
        "worse = torch.maximum((near - returns) ** 2, (values - returns) ** 2)": "the larger of two, in either order",
        "near = old + (returns - old).clamp(-clip, clip)": "the clipped error is the larger only where V and R lie beyond the same bound: both end on it",
    },
)  # fmt: skip
