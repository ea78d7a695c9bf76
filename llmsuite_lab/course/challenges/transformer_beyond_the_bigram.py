"""How far does one get without a network? A predictor that counts, scored in nats per token on held-out text."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from llmsuite_lab.course.challenges import Challenge
from llmsuite_lab.course.exercises import Mistake, expect
from llmsuite_lab.course.exercises.values import shown

TOKENS, CONTEXT = 2000, 8


def trigram(train_ids: list[int], vocab_size: int) -> Callable[[list[int]], Any]:
    """An example: what followed the last two tokens, filled up with what followed the last one, then with frequencies (Witten–Bell)."""
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for i, token in enumerate(train_ids):
        for length in range(min(2, i) + 1):
            counts[tuple(train_ids[i - length : i])][token] += 1

    def predict(context: list[int]) -> Any:
        p = np.full(vocab_size, 1 / vocab_size)
        for length in range(min(2, len(context)) + 1):
            seen = counts.get(tuple(context[len(context) - length :]), Counter())
            n, kinds = sum(seen.values()), len(seen)
            if n:
                p = p * kinds / (n + kinds)
                for token, count in seen.items():
                    p[token] += count / (n + kinds)
        return p

    return predict


def _measure(predictor: Callable, text: Any, model: Any = None) -> float:
    size, held_out = text.tokenizer.vocab_size, text.held_out[: TOKENS + 1].tolist()
    predict = predictor(text.train.tolist(), size)
    expect(callable(predict), f"your predictor returned {type(predict).__name__}; it must return a function of the last tokens.")
    total = 0.0
    for i in range(1, len(held_out)):
        p = _probabilities(predict(held_out[max(0, i - CONTEXT) : i]), size)
        expect(tuple(p.shape) == (size,), f"expected {size} probabilities, got the shape {tuple(p.shape)}.")
        expect(bool((p >= 0).all()), "a probability is below zero, or is not a number.")
        expect(abs(float(p.sum()) - 1) < 1e-4, f"the probabilities sum to {float(p.sum()):.4f}, not to 1.")
        expect(p[held_out[i]] > 0, f"the token that came (id {held_out[i]}) had probability 0: leave something for what you have not seen.")
        total -= float(p[held_out[i]].log())
    return total / (len(held_out) - 1)


def _probabilities(given: Any, size: int) -> torch.Tensor:
    try:
        return torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):  # a dictionary, text, rows of unequal length
        raise Mistake(f"your function gave {shown(given)} ({type(given).__name__}); it must give {size} numbers in a list or an array.") from None


def _marks(text: Any, model: Any = None) -> Mapping[str, float]:
    from llmsuite_lab.transformer.experiments.pretraining import ngram_losses, surprise

    scored = text.held_out[: TOKENS + 1]
    unigram, bigram = ngram_losses(text.train, scored, text.tokenizer.vocab_size)
    return {"unigram model": unigram, "bigram model": bigram} | ({} if model is None else {"the transformer": surprise(model, scored)})


CHALLENGE = Challenge(
    id="transformer.beyond_the_bigram",
    notebook="01_transformers_from_scratch",
    title="how far does one get without a network?",
    statement=(
        "Write `predictor(train_ids, vocab_size)`. It reads the list of training ids once and returns a function: given the last "
        f"{CONTEXT} ids (fewer at the beginning), it returns `vocab_size` probabilities for the next one. No network. The score is the mean surprise on "
        f"the first {TOKENS:,} held-out tokens, in nats per token, so smaller is better; the unigram and the bigram model stand beside it. There is "
        "no mark to pass: give `score` the trained transformer after the text, and it stands among them, on the same tokens. See how close you come, and say "
        "what it has that you have not."
    ),
    name="predictor",
    starter="def predictor(train_ids, vocab_size):\n    ...",
    measure=_measure,
    marks=_marks,
    unit="nats per token",
    difficulty=4,
    minutes=45,
    ideas=(
        "two tokens back instead of one, and something for pairs that you have not seen (the bigram model's rule will do)",
        "three and four back, each filled up from the shorter one",
        "what was said lately is said again: mix in the tokens of the context itself",
        "look for the last time the same two tokens stood there: you have written an induction head",
    ),
    example=trigram,
)
