"""Open exercises: the example and the marks are scored as by hand, what cannot be scored says why, and the notebook poses the same stub."""

import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import pytest
import torch

from llmsuite_lab.chains import routing
from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.course.challenges import challenge, challenges, course_judge_the_answer
from llmsuite_lab.course.challenges.transformer_beyond_the_bigram import trigram
from llmsuite_lab.retrieval.retriever import Retriever
from llmsuite_lab.transformer.experiments import pretraining
from llmsuite_lab.world import handbook

SIZE = 5


def without_end(train_ids):
    return without_end(train_ids)


def not_written_yet(train_ids, vocab_size):
    raise NotImplementedError("later")


@pytest.fixture
def text():
    """A text of five tokens in which each is followed by the next, with now and then a skip."""
    ids = torch.arange(400) % SIZE
    ids[::37] = 2
    return SimpleNamespace(train=ids[:300], held_out=ids[300:], tokenizer=SimpleNamespace(vocab_size=SIZE))


def test_the_score_is_the_mean_surprise(text):
    flat = challenge("transformer.beyond_the_bigram").score(
        lambda train_ids, vocab_size: lambda context: [1 / vocab_size] * vocab_size, text
    )
    assert flat.value == pytest.approx(math.log(SIZE))
    assert set(flat.marks) == {"unigram model", "bigram model"}
    assert [name for name, _ in flat.rows][-1] == "yours"
    assert "yours" in flat._repr_html_()


def test_the_example_beats_a_mark_and_its_probabilities_sum_to_one(text):
    task = challenge("transformer.beyond_the_bigram")
    assert task.score(task.example, text).value < task.marks(text)["unigram model"]
    predict = trigram([0, 1, 2, 0, 1, 3], 4)
    for context in ([], [0], [0, 1], [3, 3]):
        assert predict(context).sum() == pytest.approx(1.0)
    assert predict([0, 1]).argmax() in (2, 3)
    assert "def trigram" in task.example_source().text


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (..., "Not attempted"),
        (lambda train_ids, vocab_size: 3, "must return a function"),
        (lambda train_ids, vocab_size: lambda context: [1.0], "expected 5 probabilities"),
        (lambda train_ids, vocab_size: lambda context: [2.0, -1.0, 0.0, 0.0, 0.0], "below zero"),
        (lambda train_ids, vocab_size: lambda context: [math.nan] * 5, "not a number"),
        (lambda train_ids, vocab_size: lambda context: [0.3] * 5, "sum to 1.5"),
        (lambda train_ids, vocab_size: lambda context: [1.0, 0.0, 0.0, 0.0, 0.0], "probability 0"),
        (lambda train_ids, vocab_size: train_ids["a"], "raised TypeError"),
        (lambda train_ids, vocab_size: lambda context: {0: 0.5, 1: 0.5}, "gave {0: 0.5, 1: 0.5} (dict); it must give 5 numbers"),
        (lambda train_ids, vocab_size: lambda context: "mostly 3", "gave 'mostly 3' (str)"),
        (lambda train_ids, vocab_size: {}, "returned dict; it must return a function"),
        ({0: 0.5}, "`predictor` is {0: 0.5} (dict). Write a function"),
        (lambda train_ids, vocab_size: sys.exit(), "ends the program (SystemExit)"),
        (lambda train_ids, vocab_size: without_end(train_ids), "calls itself without end (RecursionError)"),
        (not_written_yet, "Not attempted"),
    ],
)
def test_what_cannot_be_scored_says_why(text, answer, said):
    score = challenge("transformer.beyond_the_bigram").score(answer, text)
    assert score.value is None
    assert said in score.message
    assert said in repr(score)


def test_code_that_does_not_end_is_stopped(text):
    task = replace(challenge("transformer.beyond_the_bigram"), time_limit_s=0.2)
    score = task.score(lambda train_ids, vocab_size: [0 for _ in iter(int, 1)], text)
    assert "did not finish within 0.2 seconds" in score.message
    assert "bigram model" in repr(score)


def test_the_transformer_is_scored_on_the_same_tokens(text):
    """By its logits: windows of 64 tokens, none of the text left out."""
    torch.manual_seed(0)
    model = pretraining.small_decoder(SIZE, d_model=16, n_layers=1, n_heads=2)
    held_out = text.held_out
    surprises = []
    for start in range(0, len(held_out) - 1, 64):
        window = held_out[start : start + 65]
        p = model(window[None, :-1])[0].log_softmax(-1)
        surprises += [-p[i, token].item() for i, token in enumerate(window[1:])]
    assert len(surprises) == len(held_out) - 1
    marks = challenge("transformer.beyond_the_bigram").score(..., text, model).marks
    assert marks["the transformer"] == pytest.approx(sum(surprises) / len(surprises), rel=1e-5)
    assert "the transformer" not in challenge("transformer.beyond_the_bigram").score(..., text).marks


EXAMPLES = {
    "course.judge_the_answer": "exact match",
    "retrieval.find_without_vectors": "BM25, all versions",
    "reasoning.read_by_rules": "untuned, direct",
    "agents.plan_by_hand": "untuned chain of thought",
    "chains.route_by_words": "always the handbook",
}


@pytest.mark.parametrize(("name", "mark"), EXAMPLES.items())
def test_an_example_beats_a_mark_and_every_score_is_a_share(name, mark):
    score = challenge(name).score(challenge(name).example)
    assert score.message == ""
    assert 1 >= score.value > score.marks[mark]
    assert all(0 <= value <= 1 for value in score.marks.values())
    assert score.rows[0][1] == max(value for _, value in score.rows), "larger is better, and stands first"


def test_a_retriever_and_a_router_bring_marks_of_their_own(word_embedder):
    book = handbook.load()
    with_it = challenge("retrieval.find_without_vectors").marks(Retriever(book.passages, word_embedder()))
    assert set(with_it) == {"BM25, all versions", "BM25, newest versions", "vectors, newest versions", "both, newest versions"}
    assert with_it["BM25, newest versions"] > with_it["BM25, all versions"], "an older version takes the newer one's place"
    router = routing.Router(word_embedder(), {routing.HANDBOOK: ["what does the fan cost?"], routing.UNCLEAR: ["sing me a song"]})
    assert set(challenge("chains.route_by_words").marks(router)) == {"always the handbook", "nearest example"}


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("course.judge_the_answer", lambda answer, truth: "yes", "return True or False"),
        ("retrieval.find_without_vectors", lambda passages: 3, "must return a function"),
        ("retrieval.find_without_vectors", lambda passages: lambda question: "te-0000", "must return a list"),
        ("retrieval.find_without_vectors", lambda passages: lambda question: ["nowhere"], "no passage's id"),
        ("retrieval.find_without_vectors", lambda passages: lambda question: [passages[0].id] * 2, "stands twice"),
        ("reasoning.read_by_rules", lambda text: True, "True or False"),
        ("reasoning.read_by_rules", lambda text: [1], "return a number"),
        ("agents.plan_by_hand", lambda question, act: act("Delete", "everything"), "no action 'Delete'"),
        ("agents.plan_by_hand", lambda question, act: [act("Search", "x") for _ in range(11)], "more than 10 actions"),
        ("agents.plan_by_hand", lambda question, act: 3, "return the answer as text"),
        ("chains.route_by_words", lambda question: "kitchen", "the routes are"),
    ],
)
def test_what_no_challenge_can_score_says_why(name, answer, said):
    score = challenge(name).score(answer)
    assert score.value is None
    assert said in score.message


def test_judges_are_scored_on_answers_they_were_not_shown():
    rows = course_judge_the_answer._rows()
    shown, held_out = ({(answer, truth) for answer, truth, _ in rows[part]} for part in ("seen", "held_out"))
    assert not shown & held_out
    assert {truth for _, truth in shown} & {truth for _, truth in held_out} == set(), "no truth stands in both"
    by_heart = {(answer, truth): right for answer, truth, right in course_judge_the_answer.marked()}
    task = challenge("course.judge_the_answer")
    assert task.score(lambda answer, truth: by_heart.get((answer, truth), False)).value == task.marks()["always false"]


def test_every_challenge_is_complete_and_posed_by_its_notebook():
    for task in challenges():
        assert challenge(task.id) is task
        assert task.difficulty in range(1, 6)
        assert task.minutes >= 5
        assert len(task.ideas) >= 3
        assert f"difficulty {task.difficulty} of 5" in task._repr_markdown_()
        sources = [cell.source for cell in nbformat.read(repo_dir() / "notebooks" / f"{task.notebook}.ipynb", as_version=4).cells]
        assert any(source.strip() == task.starter for source in sources)
        assert any(f'challenge("{task.id}").score({task.name}' in source for source in sources)
    with pytest.raises(ValueError, match="did you mean 'transformer.beyond_the_bigram'"):
        challenge("transformer.bigram")
