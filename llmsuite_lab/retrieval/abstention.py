"""Abstention: say "I don't know" when a signal is too low, with the threshold chosen on other questions than those it is judged on.

    decline(q)  ⇔  signal(q) < τ,      τ = the largest value that refuses at most a share ε of the answerable development questions

Signals: *cosine* of the best passage; *coverage*, the share of the question's rare words in it; *focus*, the cosine of its best single sentence
(a passage can be about the subject and not say the thing); *margin* over the second passage. They are weighed by logistic regression. The
model's own log-probability of its answer was tried and told next to nothing: it is as sure of an invention as of a fact.
Source of the idea: Chow 1970, "On optimum recognition error and reject tradeoff". Production: a calibrated reranker score.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmsuite_lab.retrieval.lexical import words

SIGNALS = ("cosine", "coverage", "focus", "margin")
MAX_REFUSED = 0.05  # of the answerable development questions; the goal on others is under 0.10


class Coverage:
    """Share of a question's words that a passage covers, rare words counting more; a word that no passage has counts most."""

    def __init__(self, texts: Sequence[str]):
        if not texts:
            raise ValueError("texts is empty: rarity is measured over a corpus")
        self.size = len(texts)
        self.frequency = Counter(word for text in texts for word in set(words(text)))

    def idf(self, word: str) -> float:
        """ln((N + 1) / (n_w + 1)) + 1: N passages, n_w of them with the word."""
        return math.log((self.size + 1) / (self.frequency[word] + 1)) + 1

    def __call__(self, question: str, text: str) -> float:
        """Between 0 and 1: Σ idf of the question's words in `text` / Σ idf of all of them; 0 for a question of stop words only."""
        asked, given = set(words(question)), set(words(text))
        total = sum(self.idf(word) for word in asked)
        return sum(self.idf(word) for word in asked & given) / total if asked else 0.0


@dataclass(frozen=True)
class Gate:
    """decline ⇔ weights · (signals − mean) / scale < threshold. Fit one on development questions with `fit_gate`."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    threshold: float

    def score(self, signals: Sequence[Sequence[float]]) -> np.ndarray:
        """Confidence of each row of signals, [questions]. Raises ValueError when the columns are not those the gate was fitted on."""
        table = np.asarray(signals, dtype=float)
        if table.ndim != 2 or table.shape[1] != len(self.names):
            raise ValueError(f"signals of shape {table.shape}, but the gate weighs {len(self.names)}: {', '.join(self.names)}")
        return (table - np.array(self.mean)) / np.array(self.scale) @ np.array(self.weights)

    def declines(self, signals: Sequence[Sequence[float]]) -> list[bool]:
        """Whether to decline, per question."""
        return [bool(value < self.threshold) for value in self.score(signals)]


def fit_gate(
    signals: Sequence[Sequence[float]], answerable: Sequence[bool], names: Sequence[str] = SIGNALS, max_refused: float = MAX_REFUSED
) -> Gate:
    """Weights by logistic regression (answerable or not), threshold so that at most `max_refused` of the answerable ones are declined.

    Raises ValueError without both answerable and unanswerable questions, or for a share outside [0, 1).
    """
    table, wanted = np.asarray(signals, dtype=float), np.asarray(answerable, dtype=bool)
    if wanted.all() or not wanted.any():
        raise ValueError("a threshold needs answerable and unanswerable questions to choose it on")
    if table.shape != (len(wanted), len(names)):
        raise ValueError(f"signals of shape {table.shape}, wanted [{len(wanted)}, {len(names)}]")
    mean, scale = table.mean(0), np.maximum(table.std(0), 1e-9)
    features = (table - mean) / scale
    weights = np.ones(1) if len(names) == 1 else _logistic(features, wanted)
    gate = Gate(tuple(names), tuple(mean.tolist()), tuple(scale.tolist()), tuple(weights.tolist()), 0.0)
    threshold = choose_threshold(gate.score(table)[wanted], max_refused)
    return Gate(gate.names, gate.mean, gate.scale, gate.weights, threshold)


def choose_threshold(answerable_scores: Sequence[float], max_refused: float = MAX_REFUSED) -> float:
    """The largest τ for which at most a share `max_refused` of these scores lies below it. Raises ValueError for no scores or a bad share."""
    if not 0 <= max_refused < 1:
        raise ValueError(f"max_refused={max_refused}, but it is a share of the answerable questions: at least 0, less than 1")
    scores = sorted(answerable_scores)
    if not scores:
        raise ValueError("no scores of answerable questions to choose a threshold on")
    return float(scores[int(max_refused * len(scores))])


def tradeoff(scores: Sequence[float], answerable: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """For every threshold, the share of answerable questions refused and of unanswerable ones declined: the curve of a gate."""
    scores, wanted = np.asarray(scores, dtype=float), np.asarray(answerable, dtype=bool)
    thresholds = np.concatenate([[-np.inf], np.sort(scores), [np.inf]])
    below = scores[None, :] < thresholds[:, None]  # [thresholds, questions]
    return below[:, wanted].mean(1), below[:, ~wanted].mean(1)


def _logistic(features: np.ndarray, wanted: np.ndarray, l2: float = 0.01, steps: int = 50) -> np.ndarray:
    """Newton's method on the class-balanced logistic loss; the intercept is dropped, since the threshold takes its place."""
    X = np.column_stack([features, np.ones(len(features))])
    balance = np.where(wanted, 0.5 / wanted.mean(), 0.5 / (~wanted).mean())
    beta = np.zeros(X.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(X @ beta, -30, 30)))
        gradient = X.T @ (balance * (p - wanted)) / len(X) + l2 * beta
        hessian = (X * (balance * p * (1 - p))[:, None]).T @ X / len(X) + l2 * np.eye(len(beta))
        beta -= np.linalg.solve(hessian, gradient)
    return beta[:-1]
