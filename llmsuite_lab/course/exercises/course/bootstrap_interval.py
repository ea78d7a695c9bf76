"""How sure is a mean? Resample the items with replacement, take the mean each time, and read off where the middle 95 % of them lie."""

import numpy as np

from llmsuite_lab.course.exercises import Exercise, Wrong, expect


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


def _check(answer) -> None:
    values = np.random.default_rng(5).exponential(3.0, size=83)  # 83 values, 2,000 draws: a swapped axis cannot pass
    result = answer(values, 2000, np.random.default_rng(11))
    expect(isinstance(result, tuple | list) and len(result) == 2, "Return two numbers, (low, high).")
    low, high = (float(end) for end in result)
    expect(low <= high, "low is above high: which percentile comes first?")
    error = values.std() / np.sqrt(len(values))  # by the central limit theorem the interval is about mean ± 1.96 standard errors
    width = (high - low) / (2 * 1.96 * error)
    expect(width > 1e-6, "The interval has no width: every resample has the same mean. Are the items drawn with replacement?")
    expect(width < 2.5, "The interval spans most of the values themselves. It is the means of the resamples whose spread is asked for.")
    expect(width > 0.4, "The interval is far too narrow. The mean goes over the items of each resample: which axis holds them?")
    expect(width > 0.65, "This covers about 68 %: one standard error to each side. The middle 95 % is asked for, by percentiles.")
    expect(0.92 < width < 1.1, "Nearly: this looks like the middle 90 %. 95 % leave 2.5 % on each side.")
    expect(low <= values.mean() <= high, "The mean of the values lies outside the interval.")


EXERCISE = Exercise(
    id="course.bootstrap_interval",
    notebook="00_start_here",
    title="how sure is a mean?",
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
        Wrong(_without_replacement, "drawn with replacement?"),
        Wrong(_of_the_values, "spans most of the values themselves"),
        Wrong(_wrong_axis, "which axis holds them?"),
        Wrong(_standard_error, "one standard error to each side"),
        Wrong(_ninety, "looks like the middle 90 %"),
    ),
)
