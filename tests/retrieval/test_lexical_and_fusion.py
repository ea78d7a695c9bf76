"""BM25 against its formula, fusion against sums by hand."""

import math
import re
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsuite_lab.retrieval import lexical
from llmsuite_lab.retrieval.fusion import convex_fusion, reciprocal_rank_fusion
from llmsuite_lab.retrieval.lexical import BM25, words
from llmsuite_lab.world import handbook

TEXTS = [
    "The kettle costs 67 crowns",
    "A lamp and a kettle, and another kettle",
    "Nothing to do with either",
    "Order code AD-176 for the lamp",
]


def by_hand(question, text, k1=1.5, b=0.75):
    """The equation of the module, term by term, without the constant factor k1 + 1 (Lucene's form; the order is the same)."""
    corpus = [words(t) for t in TEXTS]
    mean = sum(map(len, corpus)) / len(corpus)
    terms, total = Counter(words(text)), 0.0
    for word in words(question):
        containing = sum(word in set(document) for document in corpus)
        if containing:
            idf = math.log(1 + (len(corpus) - containing + 0.5) / (containing + 0.5))
            total += idf * terms[word] / (terms[word] + k1 * (1 - b + b * sum(terms.values()) / mean))
    return total


@pytest.mark.parametrize("question", ["What does the kettle cost?", "which lamp is AD-176", "kettle kettle lamp"])
def test_scores_follow_the_equation(question):
    scores = BM25(["a", "b", "c", "d"], TEXTS).scores(question)
    expected = [by_hand(question, text) for text in TEXTS]
    ratios = [s / e for s, e in zip(scores, expected) if e > 0]
    assert all((s == 0) == (e == 0) for s, e in zip(scores, expected))
    assert ratios == pytest.approx([ratios[0]] * len(ratios), rel=1e-4)


def test_words_drop_stop_words_and_endings_and_keep_codes():
    assert words("What does the kettle cost? Costs, costing: AD-176 at 11:45") == ["kettl", "cost", "cost", "cost", "ad-176", "11:45"]


@pytest.mark.parametrize(
    ("question", "near", "far"),
    [
        ("बिल्ली कहाँ है?", "बिल्ली सोफे पर है।", "कल रेलगाड़ी चली"),
        ("猫在哪里", "沙发上有一只猫。", "火车昨天走了"),
        ("ねこはどこ", "ソファにねこがいる", "電車で帰った"),
        ("แมวอยู่ไหน", "มีแมวบนโซฟา", "รถไฟ"),
        ("ou est le cafe\u0301", "Le café est fermé", "Un train"),
        ("Где КОШКА", "кошка спит", "поезд ушёл"),
    ],
)
def test_words_of_every_script_are_shared(question, near, far):
    index = BM25(["far", "near"], [far, unicodedata.normalize("NFC", near)])
    assert [i for i, _ in index.search([unicodedata.normalize("NFD", question)], 2)[0]] == ["near"]


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=80))
def test_english_terms_are_what_they_were(text):
    """The recorded rankings rest on these terms: lower case, this expression, these endings."""
    plain = [w for w in re.findall(r"\w+(?:[-:]\w+)*", text.lower()) if w not in lexical._STOP]
    assert words(text) == [lexical._stem(w) for w in plain]


def test_the_handbooks_terms_are_what_they_were():
    """Equal terms are equal rankings: the recorded figures rest on these."""
    book = handbook.load()
    for text in [*(f"{p.title}. {p.text}" for p in book.passages), *(q.text for q in book.questions)]:
        plain = [w for w in re.findall(r"\w+(?:[-:]\w+)*", text.lower()) if w not in lexical._STOP]
        assert words(text) == [lexical._stem(w) for w in plain]


def test_search_leaves_out_what_shares_no_word():
    index = BM25(["a", "b", "c", "d"], TEXTS)
    assert [i for i, _ in index.search(["kettle"], 4)[0]] == ["b", "a"]
    assert index.search(["zebra"], 2) == [[]]
    assert [i for i, _ in index.search(["kettle"], 4, among=["d", "c", "a"])[0]] == ["a"]


def test_lexical_refusals():
    with pytest.raises(ValueError, match="at least one passage"):
        BM25([], [])
    with pytest.raises(ValueError, match="one id of its own"):
        BM25(["a"], ["x", "y"])
    with pytest.raises(ValueError, match="2 ids \\(1 different\\)"):
        BM25(["a", "a"], ["x", "y"])
    with pytest.raises(KeyError, match="zzz"):
        BM25(["a"], ["x"]).search(["x"], 1, among=["zzz"])
    with pytest.raises(ValueError, match="k=5 but the index holds 4"):
        BM25(["a", "b", "c", "d"], TEXTS).search(["kettle"], 5)


def test_reciprocal_ranks_by_hand():
    fused = reciprocal_rank_fusion([[("a", 9.0), ("b", 8.0), ("c", 1.0)], [("b", 0.3), ("d", 0.2)]], k=60)
    assert fused == [
        ("b", pytest.approx(1 / 62 + 1 / 61)),
        ("a", pytest.approx(1 / 61)),
        ("d", pytest.approx(1 / 62)),
        ("c", pytest.approx(1 / 63)),
    ]


def test_reciprocal_ranks_ignore_scores():
    ranks = [[("a", 9.0), ("b", 8.0)], [("b", 1.0), ("c", 0.5)]]
    assert reciprocal_rank_fusion(ranks) == reciprocal_rank_fusion([[(i, 100 * s) for i, s in r] for r in ranks])


def test_convex_fusion_by_hand_and_its_weights():
    rankings = [[("a", 3.0), ("b", 2.0), ("c", 1.0)], [("c", 10.0), ("a", 0.0)]]
    assert dict(convex_fusion(rankings)) == {"a": pytest.approx(0.5), "b": pytest.approx(0.25), "c": pytest.approx(0.5)}
    assert [i for i, _ in convex_fusion(rankings, [1, 0])] == ["a", "b", "c"]
    assert convex_fusion([[("x", 2.0)], []]) == [("x", pytest.approx(0.5))]


def test_fusion_refusals():
    with pytest.raises(ValueError, match="twice in one ranking"):
        reciprocal_rank_fusion([[("a", 1.0), ("a", 0.5)]])
    with pytest.raises(ValueError, match="k=-1"):
        reciprocal_rank_fusion([], k=-1)
    with pytest.raises(ValueError, match="one weight each"):
        convex_fusion([[("a", 1.0)]], [0.5, 0.5])
