"""ReST's Improve steps: one dataset, written once, filtered anew for each step by a bar that rises."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def rest_filter(rewards: torch.Tensor, shares: list[float], per_prompt: bool) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The solution: for each step the bar, the places above it, and equal weights."""
    steps = []
    for share in shares:
        bar = torch.quantile(rewards, share, dim=1, keepdim=True) if per_prompt else torch.quantile(rewards, share)
        kept = (rewards > bar).flatten().nonzero().flatten()
        steps.append((kept, torch.ones(len(kept)) / len(kept)))
    return steps


def _bars(rewards, shares, per_prompt):
    """The bar of each step, `(prompts, 1)` or one number."""
    return [torch.quantile(rewards, q, dim=1, keepdim=True) if per_prompt else torch.quantile(rewards, q) for q in shares]


def _steps(tables):
    """The answer from a table of what is kept, for each step."""
    places = [table.flatten().nonzero().flatten() for table in tables]
    return [(kept, torch.full((len(kept),), 1 / max(len(kept), 1))) for kept in places]


def _at_the_bar_too(rewards, shares, per_prompt):
    return _steps([rewards >= bar for bar in _bars(rewards, shares, per_prompt)])


def _below(rewards, shares, per_prompt):
    return _steps([rewards < bar for bar in _bars(rewards, shares, per_prompt)])


def _share_that_is_kept(rewards, shares, per_prompt):
    return rest_filter(rewards, [1 - share for share in shares], per_prompt)


def _shares_as_rewards(rewards, shares, per_prompt):
    return _steps([rewards > share for share in shares])


def _share_of_the_range(rewards, shares, per_prompt):
    low, high = (rewards.amin(1, True), rewards.amax(1, True)) if per_prompt else (rewards.min(), rewards.max())
    return _steps([rewards > low + share * (high - low) for share in shares])


def _above_the_mean(rewards, shares, per_prompt):
    mean = rewards.mean(1, keepdim=True) if per_prompt else rewards.mean()
    return _steps([rewards > mean for _ in shares])


def _always_global(rewards, shares, per_prompt):
    return rest_filter(rewards, shares, False)


def _always_per_prompt(rewards, shares, per_prompt):
    return rest_filter(rewards, shares, True)


def _turned_switch(rewards, shares, per_prompt):
    return rest_filter(rewards, shares, not per_prompt)


def _by_columns(rewards, shares, per_prompt):
    if not per_prompt:
        return rest_filter(rewards, shares, False)
    return _steps([rewards > torch.quantile(rewards, share, dim=0, keepdim=True) for share in shares])


def _mean_bar_of_the_prompts(rewards, shares, per_prompt):
    return _steps([rewards > bar.mean() for bar in _bars(rewards, shares, per_prompt)])


def _from_what_was_left(rewards, shares, per_prompt):
    """Each step filters what the step before has kept, by a quantile of that."""
    tables, held = [], torch.ones(rewards.shape, dtype=torch.bool)
    for share in shares:
        table = torch.zeros_like(held)
        for rows in [[i] for i in range(len(rewards))] if per_prompt else [list(range(len(rewards)))]:
            left = rewards[rows][held[rows]]
            if len(left):
                table[rows] = held[rows] & (rewards[rows] > torch.quantile(left, share))
        held = table
        tables.append(held)
    return _steps(tables)


def _new_ones_only(rewards, shares, per_prompt):
    """No reply is used twice."""
    bars = _bars(rewards, shares, per_prompt)
    tables = [rewards > bar for bar in bars]
    return _steps([table & ~later for table, later in zip(tables, [*tables[1:], torch.zeros_like(tables[0])])])


def _last_bar_alone(rewards, shares, per_prompt):
    return rest_filter(rewards, shares[-1:] * len(shares), per_prompt)


def _first_bar_alone(rewards, shares, per_prompt):
    return rest_filter(rewards, shares[:1] * len(shares), per_prompt)


def _one_step_at_most(rewards, shares, per_prompt):
    return rest_filter(rewards, shares[:1], per_prompt)


def _best_when_none(rewards, shares, per_prompt):
    tables = [rewards > bar for bar in _bars(rewards, shares, per_prompt)]
    best = torch.arange(rewards.numel()).view(rewards.shape) == rewards.argmax()
    return _steps([table if table.any() else best for table in tables])


def _all_when_none(rewards, shares, per_prompt):
    tables = [rewards > bar for bar in _bars(rewards, shares, per_prompt)]
    return _steps([table if table.any() else torch.ones_like(table) for table in tables])


def _empty_steps_left_out(rewards, shares, per_prompt):
    return [step for step in rest_filter(rewards, shares, per_prompt) if len(step[0])]


def _best_of_each_prompt(rewards, shares, per_prompt):
    best = torch.nn.functional.one_hot(rewards.argmax(1), rewards.shape[1]).bool()
    return _steps([best for _ in shares])


def _weights_of_all(rewards, shares, per_prompt):
    return [(kept, torch.full((len(kept),), 1 / rewards.numel())) for kept, _ in rest_filter(rewards, shares, per_prompt)]


def _weights_of_one(rewards, shares, per_prompt):
    return [(kept, torch.ones(len(kept))) for kept, _ in rest_filter(rewards, shares, per_prompt)]


def _weights_by_reward(rewards, shares, per_prompt):
    return [(kept, rewards.flatten()[kept].softmax(0)) for kept, _ in rest_filter(rewards, shares, per_prompt)]


def _weights_by_prompt(rewards, shares, per_prompt):
    steps = []
    for kept, _ in rest_filter(rewards, shares, per_prompt):
        counts = torch.bincount(kept // rewards.shape[1], minlength=len(rewards))
        steps.append((kept, 1.0 / counts[kept // rewards.shape[1]] / max(int((counts > 0).sum()), 1)))
    return steps


def _best_first(rewards, shares, per_prompt):
    return [(kept[rewards.flatten()[kept].argsort(descending=True)], weights) for kept, weights in rest_filter(rewards, shares, per_prompt)]


def _places_in_the_row(rewards, shares, per_prompt):
    return [(kept % rewards.shape[1], weights) for kept, weights in rest_filter(rewards, shares, per_prompt)]


def _column_by_column(rewards, shares, per_prompt):
    tables = [rewards > bar for bar in _bars(rewards, shares, per_prompt)]
    return _steps([table.T for table in tables])


def _kept_rewards(rewards, shares, per_prompt):
    return [(rewards.flatten()[kept], weights) for kept, weights in rest_filter(rewards, shares, per_prompt)]


def _table(rewards, shares, per_prompt):
    return torch.stack([rewards > bar for bar in _bars(rewards, shares, per_prompt)])


def _places_alone(rewards, shares, per_prompt):
    return [kept for kept, _ in rest_filter(rewards, shares, per_prompt)]


def _in_numpy(rewards, shares, per_prompt):
    rewards = rewards.numpy().astype(float)
    bars = np.quantile(rewards, shares, axis=1 if per_prompt else None).reshape(len(shares), -1, 1)
    places = [np.flatnonzero(rewards > bar) for bar in bars]
    return [(kept, np.full(len(kept), 1 / max(len(kept), 1))) for kept in places]


def _by_loops(rewards, shares, per_prompt):
    rows, k, steps = rewards.tolist(), rewards.shape[1], []
    for share in shares:
        kept = []
        for i, row in enumerate(rows):
            pool = sorted(row if per_prompt else sum(rows, []))
            place = share * (len(pool) - 1)
            low = int(place)
            bar = pool[low] + (place - low) * (pool[min(low + 1, len(pool) - 1)] - pool[low])
            kept += [i * k + j for j, reward in enumerate(row) if reward > bar]
        steps.append((kept, [1 / len(kept) for _ in kept]))
    return steps


def _in_place(rewards, shares, per_prompt):
    steps, pool = [], rewards.clone()
    for _ in range(len(shares)):
        q = shares.pop(0)
        rewards -= pool.quantile(q, dim=1, keepdim=True) if per_prompt else pool.quantile(q)
        kept = [i for i, above in enumerate(rewards.gt(0).flatten().tolist()) if above]
        steps.append([kept, [len(kept) ** -1] * len(kept) if kept else []])
        rewards.copy_(pool)
    return tuple(steps)


def _prompt_by_prompt(rewards, shares, per_prompt):
    k, steps = rewards.shape[1], []
    for share in shares:
        kept = []
        for prompt, row in enumerate(rewards.double()):
            bar = (row if per_prompt else rewards.double()).quantile(share)
            kept += (torch.where(row > bar)[0] + prompt * k).tolist()
        steps.append((torch.tensor(kept, dtype=torch.long), torch.tensor(kept, dtype=torch.float64).mul(0).softmax(0)))
    return steps


def _all_bars_at_once(rewards, shares, per_prompt):
    q = torch.tensor(shares, dtype=torch.float64)
    rewards = rewards.double()
    bars = rewards.quantile(q, dim=1)[..., None] if per_prompt else rewards.quantile(q)[:, None, None]
    above = (rewards[None] > bars).flatten(1)
    return [(row.argwhere()[:, 0], row[row] / row.sum()) for row in above]


def _by_masked_index(rewards, shares, per_prompt):
    places, steps = np.arange(rewards.numel()).reshape(rewards.shape), []
    for share in shares:
        bar = np.percentile(rewards, 100 * share, axis=-1, keepdims=True) if per_prompt else np.percentile(rewards, 100 * share)
        found = places[rewards.numpy() > bar]
        steps.append((found.tolist(), np.divide(np.ones(found.size), found.size)))
    return steps


def _cases() -> list[Case]:
    whole = "The bar of a step is a quantile of all replies."
    own = "With `per_prompt` the bar of a prompt is the quantile of the replies to it alone."
    reuse = "Every step filters the whole dataset: what a lower bar has dropped, and what it has kept, is looked at again."
    strict = "Only what lies strictly above the bar is kept."
    none = "A step that keeps nothing stands in the result with two empty parts."
    weights = "The weights of a step are equal, and sum to 1 over what it keeps."

    def case(rewards: list, shares: list, per_prompt: bool, kept: list, rule: str) -> Case:
        return Case((torch.tensor(rewards), shares, per_prompt), [(places, [1 / max(len(places), 1)] * len(places)) for places in kept], rule)

    small = [[0.0, 3.0, 1.0], [5.0, 4.0, 2.0]]
    uneven = [[9.0, 7.0, 8.0, 6.0], [1.0, 3.0, 2.0, 0.0], [4.0, 3.5, 5.0, 2.5]]
    ties = [[1.0, 2.0, 2.0, 2.0, 3.0], [2.0, 2.0, 0.5, 2.0, 4.0]]
    alike = [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
    return [
        case(small, [0.5, 0.9], False, [[1, 3, 4], [3]], "This is the statement's example."),
        case(small, [0.45, 0.75], True, [[1, 2, 3, 4], [1, 3]], own),
        case(uneven, [0.3, 0.6, 0.85], False, [[0, 1, 2, 3, 5, 8, 9, 10], [0, 1, 2, 3, 10], [0, 2]], reuse),
        case(uneven, [0.3, 0.6, 0.85], True, [[0, 1, 2, 4, 5, 6, 8, 9, 10], [0, 2, 5, 6, 8, 10], [0, 5, 10]], own),
        case(ties, [0.5], False, [[4, 9]], strict),
        case(ties, [0.25, 0.5, 0.75], True, [[4, 9], [4, 9], [4, 9]], strict),
        case(alike, [0.2, 0.8], False, [[], []], none),
        case([[0.5, 0.5], [1.0, -3.0]], [0.1, 0.45], True, [[2], [2]], weights),
        case([[-4.0, -1.0, -2.0, -3.0, -5.0]], [0.1, 0.7, 0.9], False, [[0, 1, 2, 3], [1, 2], [1]], whole),
        case([[7.0, 1.0], [2.0, 6.0], [3.0, 4.0]], [0.15], False, [[0, 2, 3, 4, 5]], weights),
    ]


_MISTAKES = (
    Wrong(_at_the_bar_too, "You keep what lies at the bar, too. When many replies are alike that keeps all of them: strictly above is asked for."),
    Wrong(_below, "You keep what lies below the bar."),
    Wrong(_share_that_is_kept, "You keep that share. It is the share that lies at or below the bar: with 0.9 a tenth is kept."),
    Wrong(_shares_as_rewards, "You compare the rewards with the shares. A share says which quantile of the rewards is the bar."),
    Wrong(_share_of_the_range, "You take a share of the way from the lowest to the highest reward. A quantile counts replies."),
    Wrong(_above_the_mean, "You keep what is above the mean. The share says which quantile is the bar."),
    Wrong(_always_global, "`per_prompt` has no effect: easy prompts, whose replies all score high, would be kept whole, and hard ones never."),
    Wrong(_always_per_prompt, "Every prompt has its own bar in yours, also when `per_prompt` is False."),
    Wrong(_turned_switch, "`per_prompt` is used the wrong way round."),
    Wrong(_by_columns, "Your bar is of a column. The replies to one prompt stand in a row."),
    Wrong(_mean_bar_of_the_prompts, "You compare all replies with the mean of the prompts' bars. Each prompt has its own."),
    Wrong(_from_what_was_left, "Each step filters what the last one has left. The dataset is reused: the quantile is of all of it, every time."),
    Wrong(_new_ones_only, "You use no reply twice. A good one is learnt from in every step whose bar it passes."),
    Wrong(_last_bar_alone, "Every step has the last bar in yours. The bar rises from step to step."),
    Wrong(_first_bar_alone, "Every step has the first bar in yours. The bar rises from step to step."),
    Wrong(_one_step_at_most, "Only the first step is there. One pair for each share is asked for."),
    Wrong(_best_when_none, "When nothing is above the bar you keep the best. Nothing is kept then."),
    Wrong(_all_when_none, "When nothing is above the bar you keep all. Nothing is kept then."),
    Wrong(_empty_steps_left_out, "A step that keeps nothing is missing in yours. It stands there with two empty parts."),
    Wrong(_best_of_each_prompt, "You keep the best reply to each prompt. The bar decides."),
    Wrong(_weights_of_all, "Your weights are 1 over all replies: the higher the bar, the smaller the step. They sum to 1 over what is kept."),
    Wrong(_weights_of_one, "Your weights are 1 each. They sum to 1."),
    Wrong(_weights_by_reward, "Your weights grow with the reward. They are equal."),
    Wrong(_weights_by_prompt, "You weigh the prompts equally. The replies kept weigh equally."),
    Wrong(_best_first, "You sort by reward. The places come in rising order."),
    Wrong(_places_in_the_row, "Your places begin anew with each prompt. They count through all rows: reply j to prompt i is at i · k + j."),
    Wrong(_column_by_column, "You count column by column. The places go through the first row, then the second: reply j to prompt i is at i · k + j."),
)

EXERCISE = Exercise(
    id="alignment.rest_filter",
    notebook="13_rest",
    title="what ReST's Improve steps learn from",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `rest_filter(rewards, shares, per_prompt)`. `rewards` is `(prompts, k)`: what k replies to each prompt scored, written once. `shares` rise, "
        "each between 0 and 1, one for each Improve step: the step's bar is that quantile of the rewards (`torch.quantile`), of all of them, or with "
        "`per_prompt` of each row for the replies in it. Return a list with a pair `(kept, weights)` for each step: the places of the replies strictly above "
        "the bar, in rising order (reply j to prompt i is at i·k + j), and one weight for each, all equal, summing to 1. Every step filters the whole "
        "dataset; one that keeps nothing has two empty parts. Rewards [[0, 3, 1], [5, 4, 2]] with the shares ½ and 0.9 keep, of all, the places 1, 3, 4, "
        "and then 3."
    ),
    name="rest_filter",
    starter="def rest_filter(rewards, shares, per_prompt):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "One loop over the shares; nothing that a step finds is needed by the next.",
        "`torch.quantile(rewards, share, dim=1, keepdim=True)` is `(prompts, 1)` and compares with each row; without `dim` it is of all.",
        "`(rewards > bar).flatten().nonzero().flatten()` are the places. Mind the division when there is none.",
    ),
    solution=rest_filter,
    wrong=(
        *_MISTAKES,
        Wrong(_kept_rewards, "This is the statement's example."),
        Wrong(_table, "This is the statement's example."),
        Wrong(_places_alone, "This is the statement's example."),
    ),
    right=(_in_numpy, _by_loops, _in_place, _prompt_by_prompt, _all_bars_at_once, _by_masked_index),
)  # fmt: skip
