"""Scores against independent arithmetic, and the answers that must not match."""

import math
import unicodedata
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsuite_lab.core.metrics import (
    distinct_n,
    exact_match,
    load_metric,
    mean_interval,
    perplexity,
    proportion_interval,
    rouge,
)

ASCII = st.text(alphabet="abcdXY159 .,'-_\n", max_size=50)


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("1,250.50", "1250.5"), ("$74", "74"), ("74.00", "74"), ("+3", "3"), ("−4", "-4"), ("-$3.10", "-3.1"), ("007", "7"), (".5", "0.5"),
        ("-0", "0"), ("1e3", "1,000"), ("Yes.", "yes"), ("  The\n Rhine ", "the rhine"), ("'Paris.'", "Paris"), ("ﬁve", "five"),
        ("1 000", "1,000"), ("3/4", "0.75"), ("٧٤", "74"), ("5 %", "5%"), ("O’Brien", "O'Brien"), ("cafe\u0301", "CAFÉ"), ("1990–95", "1990-95"),
        ("STRASSE", "Straße"), ("10²", "100"), ("5 m²", "5 m2"),
    ],
)  # fmt: skip
def test_the_same_answer_written_differently(prediction, reference):
    assert exact_match(prediction, reference)


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("yes, because it is", "yes"), ("not yes", "yes"), ("no", "yes"), ("yes no", "yes"), ("true", "yes"), ("74 loaves", "74"), ("740", "74"),
        ("5%", "5"), ("1,23", "123"), ("3.14", "3.141"), ("", "yes"), ("", ""), ("Paris, France", "Paris"), ("12,345,67", "1234567"),
        ("12345678901234567890123456789012345", "12345678901234567890123456789012346"), ("10²", "102"), ("e5", "100000"),
        ("10₂", "102"), ("1½", "11/2"), ("nan", "0"), ("2019-04-02", "2013"), ("cafe", "café"), ("1.000", "1000"), ("3/4", "34"),
    ],
)  # fmt: skip
def test_another_answer_is_another_answer(prediction, reference):
    assert not exact_match(prediction, reference)


def test_any_of_several_references_counts():
    assert exact_match("NYC", ["New York", "nyc"])
    assert not exact_match("York", ["New York", "nyc"])


@given(st.integers(-(10**12), 10**12))
def test_any_integer_matches_itself_with_separators(value):
    assert exact_match(f"{value:,}.00", str(value))


def rouge_by_hand(prediction: list[str], reference: list[str]) -> dict[str, float]:
    """F1 of clipped n-gram overlap, and of the longest common subsequence by the textbook table."""

    def f1(overlap, a, b):
        return 2 * overlap / (a + b) if overlap else 0.0

    scores = {}
    for n in (1, 2):
        a, b = (Counter(zip(*(words[i:] for i in range(n)))) for words in (prediction, reference))
        scores[f"rouge{n}"] = f1(sum((a & b).values()), sum(a.values()), sum(b.values()))
    lcs = np.zeros((len(prediction) + 1, len(reference) + 1), dtype=int)
    for i, p in enumerate(prediction):
        for j, r in enumerate(reference):
            lcs[i + 1, j + 1] = lcs[i, j] + 1 if p == r else max(lcs[i, j + 1], lcs[i + 1, j])
    scores["rougeL"] = f1(int(lcs[-1, -1]), len(prediction), len(reference))
    return scores


def test_rouge_through_evaluate_equals_the_formula():
    rng = np.random.default_rng(0)
    pairs = [(list(rng.choice(list("abcde"), rng.integers(1, 12))), list(rng.choice(list("abcde"), rng.integers(1, 9)))) for _ in range(30)]
    scores = rouge([" ".join(p) for p, _ in pairs], [" ".join(r) for _, r in pairs])
    for i, (p, r) in enumerate(pairs):
        assert {kind: values[i] for kind, values in scores.items()} == pytest.approx(rouge_by_hand(p, r))


@given(st.lists(st.tuples(ASCII, ASCII), min_size=1, max_size=4), st.booleans())
@settings(max_examples=40, deadline=None)
def test_english_scores_are_those_of_rouge_score_itself(pairs, use_stemmer):
    from rouge_score.rouge_scorer import RougeScorer

    scores = rouge([p for p, _ in pairs], [r for _, r in pairs], use_stemmer=use_stemmer)
    theirs = [RougeScorer(list(scores), use_stemmer=use_stemmer).score(r, p) for p, r in pairs]
    assert scores == {kind: [score[kind].fmeasure for score in theirs] for kind in scores}


@pytest.mark.parametrize(
    ("reference", "near", "far"),
    [
        ("кошка спит на диване", "кошка лежит на диване", "поезд ушёл вчера"),
        ("बिल्ली सोफे पर सोती है", "बिल्ली सोफे पर बैठी है", "कल रेलगाड़ी चली गयी"),
        ("猫在沙发上睡觉", "猫在沙发上坐着", "火车昨天走了"),
        ("แมวนอนบนโซฟา", "แมวนั่งบนโซฟา", "ฝ"),
        ("η γάτα κοιμάται", "Η ΓΆΤΑ κάθεται", "το τρένο"),
    ],
)
def test_rouge_reads_every_script(reference, near, far):
    same, close, other = (rouge([text], [unicodedata.normalize("NFD", reference)])["rouge1"][0] for text in (reference, near, far))
    assert same == 1.0
    assert 0.4 < close < 1.0
    assert other < 0.3


def test_several_references_give_the_best_of_each_kind():
    from rouge_score.rouge_scorer import RougeScorer

    references = [["a cat sleeps", "the cat sits on a mat", "sits on"], ["a dog"]]
    texts = ["the cat sleeps on a mat", "no dog"]
    scores = rouge(texts, references)
    theirs = [RougeScorer(list(scores)).score_multi(row, text) for text, row in zip(texts, references)]
    assert scores == {kind: [score[kind].fmeasure for score in theirs] for kind in scores}
    with pytest.raises(ValueError, match="1 of 2 texts have no reference"):
        rouge(texts, [["a"], []])


def test_rouge_refuses_unequal_lists_and_unknown_metrics():
    with pytest.raises(ValueError, match="2 predictions and 1 references"):
        rouge(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="exact_match, rouge"):
        load_metric("bleurt")


def test_exact_match_module_is_the_same_rule():
    assert load_metric("exact_match").compute(predictions=["74.0", "yes it is"], references=["74", "yes"]) == {"exact_match": [True, False]}


@dataclass
class Scored:
    logprob: float
    tokens: int


def test_perplexity_weighs_tokens_not_texts():
    assert perplexity([Scored(-math.log(8.0) * 3, 3)]) == pytest.approx(8.0)
    assert perplexity([Scored(-3.0, 1), Scored(-1.0, 7)]) == pytest.approx(math.exp(4.0 / 8.0))
    with pytest.raises(ValueError, match="at least one"):
        perplexity([])


def test_distinct_n():
    assert distinct_n(["a b a b a"], 1) == pytest.approx(2 / 5)
    assert distinct_n(["a b a b a", "b a"], 2) == pytest.approx(2 / 5)  # ab ba ab ba + ba
    assert distinct_n([[1, 2, 3], [3]], 2) == 1.0
    assert distinct_n(["a"], 2) == 0.0
    assert distinct_n(["猫猫猫犬"], 1) == pytest.approx(1 / 2)  # a script without spaces has words too
    with pytest.raises(ValueError, match="n=0"):
        distinct_n(["a"], 0)


def test_bootstrap_interval_agrees_with_scipy():
    from scipy.stats import bootstrap

    values = np.random.default_rng(3).gamma(2.0, size=57)
    ours = mean_interval(values, resamples=20000)
    theirs = bootstrap((values,), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(9)).confidence_interval
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=0.02)
    assert (ours.mean, ours.n, ours.method) == (pytest.approx(values.mean()), 57, "bootstrap")
    assert mean_interval(values) == mean_interval(values) != mean_interval(values, seed=1)


def test_proportions_get_wilsons_interval():
    from scipy.stats import binomtest

    for k, n in ((0, 20), (3, 17), (40, 40)):
        theirs = binomtest(k, n).proportion_ci(method="wilson")
        ours = mean_interval([True] * k + [False] * (n - k))
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
        assert ours == proportion_interval(k, n)
    assert mean_interval([np.True_, np.False_]).method == "wilson"
    assert str(mean_interval([False] * 20)) == "0.00 [0.00, 0.16], n=20"


def test_scores_that_are_all_alike_still_get_an_interval_with_width():
    assert mean_interval([1.0] * 80) == proportion_interval(80, 80)
    assert mean_interval(np.zeros(20)) == proportion_interval(0, 20)
    none = mean_interval([0.0] * 40, differences=True)
    assert (none.low, none.high) == pytest.approx((-proportion_interval(0, 40).high, proportion_interval(0, 40).high))
    assert mean_interval([1.0] * 40, differences=True).high == 1.0
    with pytest.raises(ValueError, match="between -1 and 1, got 3"):
        mean_interval([0.0, 3.0], differences=True)


def test_intervals_cover_at_about_their_level():
    """Of 300 samples of 30 from a known distribution, about 95 % of the intervals hold the true mean; percentile runs a little short."""
    rng = np.random.default_rng(0)
    hits = sum(i.low <= 0.5 <= i.high for i in (mean_interval(rng.random(30), resamples=400) for _ in range(300)))
    assert 0.89 <= hits / 300 <= 0.99


@pytest.mark.parametrize(("values", "says"), [([], "at least one"), ([1.0, math.nan], "1 of 2 values are not finite")])
def test_values_without_a_mean_are_refused(values, says):
    with pytest.raises(ValueError, match=says):
        mean_interval(values)


@pytest.mark.parametrize(("k", "n"), [(1, 0), (5, 4), (-1, 3)])
def test_impossible_proportions_are_refused(k, n):
    with pytest.raises(ValueError, match="not a proportion"):
        proportion_interval(k, n)
