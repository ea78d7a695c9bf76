"""How answers and texts are scored, and how sure a score is.

Every score is returned per item where it can be, so that `mean_interval` can say how far the mean would move on another sample: a number
without an interval is not a result. In production: `evaluate`, `rouge-score`, `scipy.stats.bootstrap`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.paths import data_dir
from llmsuite_lab.core.text import word_spans
from llmsuite_lab.core.values import normalise_answer


class Scored(Protocol):
    """Anything with a summed log-probability in nats and the number of tokens it covers, such as `language_model.Score`."""

    logprob: float
    tokens: int


@dataclass(frozen=True)
class Interval:
    """A mean with its interval at `confidence`: `low` ≤ `mean` ≤ `high`, from `n` values, by `method` ("bootstrap" or "wilson")."""

    mean: float
    low: float
    high: float
    n: int
    method: str = "bootstrap"
    confidence: float = 0.95

    def __str__(self) -> str:
        """For a table: 0.45 [0.31, 0.60], n=40."""
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}], n={self.n}"


def exact_match(prediction: str, reference: str | Sequence[str]) -> bool:
    """Whether `prediction` is the reference, or one of several, after `normalise_answer`. An empty prediction never matches.

    Substrings do not count: on yes/no questions "not yes" once scored as a hit that way.
    """
    references = [reference] if isinstance(reference, str) else reference
    answer = normalise_answer(prediction)
    return answer != "" and any(answer == normalise_answer(r) for r in references)


def load_metric(name: str) -> Any:
    """One of the course's own metric modules under data/metrics ("rouge", "exact_match"), loaded by `evaluate` from its path, offline.

    Raises ValueError for an unknown name, LabError when the module's package is missing.
    """
    folder = data_dir() / "metrics"
    if not (folder / name / f"{name}.py").is_file():
        raise ValueError(
            f"no metric {name!r} under data/metrics: choose from {', '.join(sorted(p.name for p in folder.iterdir() if p.is_dir()))}"
        )
    try:
        import evaluate
    except ImportError as error:
        raise LabError("the package `evaluate` is missing: run `pip install evaluate rouge-score`") from error
    return evaluate.load(str(folder / name), keep_in_memory=True)  # in memory: two processes never meet in a cache file


def rouge(predictions: Sequence[str], references: Sequence[str | Sequence[str]], *, use_stemmer: bool = False) -> dict[str, list[float]]:
    """ROUGE-1, -2 and -L F1 in [0, 1] for each pair, under the keys rouge1, rouge2, rougeL (Lin 2004), through `evaluate`.

    A text with several references gets the best score of each kind. English is cut as rouge-score does; in other scripts the words are those of
    `core.text.words`, so that Cyrillic is not nothing. Take the mean with `mean_interval`. Raises ValueError for lists of different length, none at
    all, or a text without a reference.
    """
    if len(predictions) != len(references) or not predictions:
        raise ValueError(f"{len(predictions)} predictions and {len(references)} references: give the same number of each, at least one")
    several = [[reference] if isinstance(reference, str) else list(reference) for reference in references]
    if not all(several):
        raise ValueError(f"{sum(not row for row in several)} of {len(several)} texts have no reference: give one at least")
    pairs = [(prediction, reference) for prediction, row in zip(predictions, several, strict=True) for reference in row]
    scores = load_metric("rouge").compute(predictions=[p for p, _ in pairs], references=[r for _, r in pairs], use_stemmer=use_stemmer)
    ends = np.cumsum([len(row) for row in several]).tolist()
    return {kind: [max(values[end - len(row) : end]) for row, end in zip(several, ends, strict=True)] for kind, values in scores.items()}


def perplexity(scores: Iterable[Scored]) -> float:
    """exp(−Σ log p / Σ tokens) over all texts together: the number of equally likely next tokens the model is torn between.

    Long texts weigh more than short ones, as tokens do. Raises ValueError when there is no token.
    """
    scores = list(scores)
    tokens = sum(s.tokens for s in scores)
    if tokens == 0:
        raise ValueError("perplexity needs at least one scored token")
    return math.exp(-math.fsum(s.logprob for s in scores) / tokens)


def distinct_n(texts: Iterable[str | Sequence[Any]], n: int) -> float:
    """Distinct n-grams over all n-grams of the texts (Li et al. 2016), in [0, 1]: near 0 when a model repeats itself.

    A string is cut into words as it is written (`core.text.word_spans`: at white space, where its script has any); any other sequence (token ids,
    say) is taken as it is. Texts shorter than n have no n-gram; 0.0 if none has.
    """
    if n < 1:
        raise ValueError(f"n={n} must be at least 1")
    cut = [[t[a:b].strip() for a, b in word_spans(t)] if isinstance(t, str) else t for t in texts]
    grams = [tuple(w[i : i + n]) for w in cut for i in range(len(w) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def mean_interval(
    values: Iterable[float | bool], *, differences: bool = False, proportion: bool = True, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean with a percentile bootstrap interval (Efron 1979): resample the values with replacement, take the means' quantiles.

    Booleans, and values that are all 0 or all 1, are a proportion and get `proportion_interval`: 0 of 20 hits does not prove a rate of zero, though
    every resample says so; `proportion=False` says that 0 and 1 are amounts like any other. `differences` says that the values are differences of two such
    scores (between −1 and 1): when all are 0, either side may be better on Wilson's share of items at most. Raises ValueError for no values or one that is
    not finite.
    """
    values = list(values)
    if not values:
        raise ValueError("mean_interval needs at least one value")
    if proportion and not differences and (all(isinstance(v, (bool, np.bool_)) for v in values) or set(values) in ({0}, {1})):
        return proportion_interval(int(sum(values)), len(values), confidence=confidence)
    sample = np.asarray(values, dtype=np.float64)
    if not np.isfinite(sample).all():
        raise ValueError(f"{int((~np.isfinite(sample)).sum())} of {len(sample)} values are not finite: score them before averaging")
    if differences and np.abs(sample).max() > 1:
        raise ValueError(f"a difference of two scores lies between -1 and 1, got {sample[np.abs(sample).argmax()]:g}")
    if differences and (sample == sample[0]).all():
        share = proportion_interval(0, len(sample), confidence=confidence).high  # of items that may be otherwise, none was seen
        centre = float(sample[0])
        return Interval(centre, max(-1.0, centre - share), min(1.0, centre + share), len(sample), "wilson", confidence)
    draws = np.random.default_rng(seed).integers(0, len(sample), size=(resamples, len(sample)))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(sample[draws].mean(axis=1), [tail, 1.0 - tail])
    mean = float(sample.mean())
    return Interval(mean, min(float(low), mean), max(float(high), mean), len(sample), "bootstrap", confidence)


def proportion_interval(successes: int, n: int, *, confidence: float = 0.95) -> Interval:
    """Rate of successes with Wilson's score interval (1927), which stays inside [0, 1] and has width even at 0 of n or n of n."""
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is not a proportion")
    from statistics import NormalDist

    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p)), n, "wilson", confidence)
