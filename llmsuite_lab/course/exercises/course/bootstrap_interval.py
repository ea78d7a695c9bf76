"""How sure is a mean? Resample the items with replacement, take the mean each time, and read off where the middle 95 % of them lie."""

from functools import lru_cache

import numpy as np
import torch

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong, expect
from llmsuite_lab.course.exercises.values import array, cloned


def bootstrap_interval(values: np.ndarray, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """The solution: `draws` resamples of the size of `values`, their means, the 2.5th and 97.5th percentile."""
    samples = rng.choice(values, size=(draws, len(values)), replace=True)  # (draws, n)
    low, high = np.percentile(samples.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def _without_replacement(values, draws, rng):
    means = [rng.permutation(values).mean() for _ in range(draws)]
    return tuple(np.percentile(means, [2.5, 97.5]))


def _of_the_values(values, draws, rng):
    return tuple(np.percentile(rng.choice(values, size=draws), [2.5, 97.5]))


def _wrong_axis(values, draws, rng):
    return tuple(np.percentile(rng.choice(values, size=(draws, len(values))).mean(axis=0), [2.5, 97.5]))


def _ninety(values, draws, rng):
    return tuple(np.percentile(rng.choice(values, size=(draws, len(values))).mean(axis=1), [5, 95]))


def _standard_error(values, draws, rng):
    means = rng.choice(values, size=(draws, len(values))).mean(axis=1)
    return means.mean() - means.std(), means.mean() + means.std()


def _ninety_nine(values, draws, rng):
    return tuple(np.percentile(rng.choice(values, size=(draws, len(values))).mean(axis=1), [0.5, 99.5]))


def _upper_half(values, draws, rng):
    return tuple(np.percentile(rng.choice(values, size=(draws, len(values))).mean(axis=1), [5, 100]))


def _normal(values, draws, rng):
    means = rng.choice(values, size=(draws, len(values))).mean(axis=1)
    return means.mean() - 1.96 * means.std(), means.mean() + 1.96 * means.std()


def _medians(values, draws, rng):
    return tuple(np.percentile(np.median(rng.choice(values, size=(draws, len(values))), axis=1), [2.5, 97.5]))


def _half_samples(values, draws, rng):
    return tuple(np.percentile(rng.choice(values, size=(draws, (len(values) + 1) // 2)).mean(axis=1), [2.5, 97.5]))


def _own_generator(values, draws, rng):
    return bootstrap_interval(values, draws, np.random.default_rng(0))


def _global_generator(values, draws, rng):
    return tuple(np.percentile([np.random.choice(values, len(values)).mean() for _ in range(draws)], [2.5, 97.5]))


def _always_a_thousand(values, draws, rng):
    return bootstrap_interval(values, 1000, rng)


def _high_first(values, draws, rng):
    return bootstrap_interval(values, draws, rng)[::-1]


def _means_alone(values, draws, rng):
    return rng.choice(values, size=(draws, len(values))).mean(axis=1)


def _fractions_for_percent(values, draws, rng):
    return tuple(np.percentile(rng.choice(values, size=(draws, len(values))).mean(axis=1), [0.025, 0.975]))


def _by_loop(values, draws, rng):
    means = sorted(rng.choice(values, len(values)).mean() for _ in range(draws))
    return means[int(0.025 * draws)], means[int(0.975 * draws)]


def _by_positions(values, draws, rng):
    return np.quantile(values[rng.integers(0, len(values), (draws, len(values)))].mean(-1), (0.025, 0.975))


def _turned(values, draws, rng):
    means = rng.choice(values, size=(len(values), draws)).mean(axis=0)
    return [np.percentile(means, 2.5), np.percentile(means, 97.5)]


def _by_counts(values, draws, rng):
    n = len(values)
    return tuple(np.percentile(rng.multinomial(n, np.full(n, 1 / n), size=draws) @ values / n, [2.5, 97.5]).tolist())


def _by_torch(values, draws, rng):
    rows = torch.from_numpy(rng.random((draws, len(values))) * len(values)).long()
    return torch.quantile(torch.tensor(values, dtype=torch.float64)[rows].mean(1), torch.tensor([0.025, 0.975], dtype=torch.float64))


def _in_place(values, draws, rng):
    own, means = values.copy(), np.empty(draws, dtype=np.float32)
    for i in range(draws):
        values[:] = rng.choice(own, own.size)
        means[i] = values.sum() / own.size
    means.sort()
    return np.percentile(means, 2.5), np.percentile(means, 97.5)


_FEW = np.array([1.0, 10.0, 100.0])  # three times the mean of a resample tells which items it holds
_WORLDS = {  # one near symmetry, one with a far item: an interval of mean ± 1.96 standard errors fits the first alone
    "even": np.array([0.9, 3.1, 1.7, 2.2, 4.0, 2.9, 1.1, 3.6, 0.2, 2.5, 3.3, 1.4]),
    "far": np.array([0.3, 1.2, 0.1, 0.8, 0.5, 1.0, 0.2, 0.7, 0.4, 9.0]),
}
_DRAWS, _SEEDS, _TOLERANCE = 20_000, (11, 12), 0.08  # in standard errors; the ends vary by .014 from seed to seed, 96 % would be off by .12


@lru_cache(maxsize=32)
def _ends(interval, world: str) -> np.ndarray:
    """Low and high of `interval`, as distances from the mean in standard errors of the mean."""
    values = _WORLDS[world]
    ends = np.mean([_pair(interval(cloned(values), _DRAWS, np.random.default_rng(seed))) for seed in _SEEDS], axis=0)
    return (ends - values.mean()) / (values.std() / np.sqrt(len(values)))


def _pair(result) -> np.ndarray:
    ends = array(result)
    expect(ends is not None and ends.size == 2, "Return two numbers, (low, high).")
    return ends.reshape(2)


def _check(answer) -> None:
    found, right = ([_ends.__wrapped__(answer, world) for world in _WORLDS], [_ends(bootstrap_interval, world) for world in _WORLDS])

    def like(ends: list) -> bool:
        return all(np.allclose(a, b, rtol=0, atol=_TOLERANCE) for a, b in zip(found, ends))

    if not like(right) and all(high - low > 1e-9 for low, high in found):  # without any width it is no narrow interval but no resampling
        looks = [mistake.hint for mistake in _MISTAKES if like([_ends(mistake.answer, world) for world in _WORLDS])]
        if len(looks) == 1:
            raise Mistake(looks[0])
    _follow_the_rules(answer)
    expect(all(low <= high for low, high in found), "low is above high: which percentile comes first?")
    wanted, got = (f"({low:.2f}, {high:.2f})" for low, high in (right[1], found[1]))
    expect(
        like(right),
        f"The middle 95 % of the means leave 2.5 % on each side. For the values {_WORLDS['far'].tolist()} and {_DRAWS} draws the ends should lie "
        f"{wanted} standard errors from the mean (to within {_TOLERANCE}); yours lie {got}.",
    )


def _follow_the_rules(answer) -> None:
    def ends(values: np.ndarray, draws: int, seed: int) -> np.ndarray:
        return _pair(answer(cloned(values), draws, np.random.default_rng(seed)))

    same = ends(np.array([3.5, 3.5]), 7, 0)
    expect(np.allclose(same, 3.5), f"Equal items give equal means: expected (3.5, 3.5) for [3.5, 3.5], got ({same[0]:g}, {same[1]:g}).")
    single = np.array([ends(_FEW, 1, seed) for seed in range(30)])
    expect(
        np.allclose(single[:, 0], single[:, 1]),
        "With draws = 1 there is one mean, so low and high are equal. Does `draws` count your resamples?",
    )
    sums = {round(float(low) * 3, 3) for low in single[:, 0]}
    alien = sums - {float(a + b + c) for a in _FEW for b in _FEW for c in _FEW}
    expect(
        not alien,
        f"With draws = 1, three times the mean of a resample of [1, 10, 100] is a sum of three items; {min(alien, default=0):g} is none.",
    )
    expect(sums != {111.0}, "Every resample has the same mean, for it holds each item once. Are the items drawn with replacement?")
    first, again, *others = (ends(_WORLDS["even"], 50, seed) for seed in (1, 1, 2, 3, 4, 5))
    expect(np.allclose(first, again), "Two generators in the same state give two different intervals: draw through `rng` alone.")
    expect(
        not all(np.array_equal(first, other) for other in others),
        "Five different generators give the very same interval: the resamples are to be drawn through `rng`.",
    )


_MISTAKES = (
    Wrong(_of_the_values, "The interval spans most of the values themselves. It is the means of the resamples whose spread is asked for."),
    Wrong(_wrong_axis, "The interval is far too narrow. The mean goes over the items of each resample: which axis holds them?"),
    Wrong(_standard_error, "This covers about 68 %: one standard error to each side. The middle 95 % is asked for, by percentiles."),
    Wrong(_ninety, "Nearly: this looks like the middle 90 %. 95 % leave 2.5 % on each side."),
    Wrong(_ninety_nine, "Nearly: this looks like the middle 99 %. 95 % leave 2.5 % on each side."),
    Wrong(_normal, "This is the mean ± 1.96 standard errors. It is symmetric, and the means are not: take their percentiles."),
    Wrong(_medians, "These are the medians of the resamples. Their means are asked for."),
)

EXERCISE = Exercise(
    id="course.bootstrap_interval",
    notebook="00_start_here",
    title="how sure is a mean?",
    difficulty=3,
    minutes=20,
    statement=(
        "Write `bootstrap_interval(values, draws, rng)`. `values` is an array of shape `(n,)`, one score per item. Draw `draws` resamples of `n` items "
        "with replacement through `rng` (a numpy generator: `rng.choice`), take the mean of each, and return `(low, high)`, the middle 95 % of those means."
    ),
    name="bootstrap_interval",
    starter="def bootstrap_interval(values, draws, rng):\n    ...",
    check=_check,
    hints=(
        "A resample is as large as the original and may hold an item twice: `rng.choice(values, size=...)` draws with replacement.",
        "Draw them all at once: `size=(draws, len(values))`. Then one mean per row.",
        "`np.percentile(means, [2.5, 97.5])` gives both ends.",
    ),
    solution=bootstrap_interval,
    wrong=(
        *_MISTAKES,
        Wrong(_without_replacement, "drawn with replacement?"),
        Wrong(_upper_half, "leave 2.5 % on each side. For the values"),
        Wrong(_half_samples, "is a sum of three items"),
        Wrong(_own_generator, "are to be drawn through `rng`"),
        Wrong(_global_generator, "through `rng` alone"),
        Wrong(_always_a_thousand, "Does `draws` count your resamples?"),
        Wrong(_high_first, "which percentile comes first?"),
        Wrong(_means_alone, "Return two numbers"),
        Wrong(_fractions_for_percent, "leave 2.5 % on each side. For the values"),
    ),
    right=(_by_loop, _by_positions, _turned, _by_counts, _by_torch, _in_place),
    equivalent={
        "samples = rng.choice(values, size=(draws, len(values)))": "numpy draws with replacement by itself",
        "return (low, float(high))": "a numpy number is a number",
        "return (float(low), high)": "a numpy number is a number",
    },
)
