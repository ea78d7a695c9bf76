"""The tuned reader: training pairs that tell the truth about what is shown, the train split only, and a draft that declines."""

import pytest

from llmsuite_lab.lm.adapters import adapters
from llmsuite_lab.lm.language_model import Completion
from llmsuite_lab.retrieval import experiments, reader, records
from llmsuite_lab.retrieval.pipeline import I_DO_NOT_KNOW, NOT_STATED, RAG
from llmsuite_lab.retrieval.prompting import zero_shot
from llmsuite_lab.retrieval.retriever import Retriever
from llmsuite_lab.world import handbook


def test_a_training_answer_stands_in_its_passages_or_is_declined(embedder):
    made = reader.pairs(embedder, 60, seed=3, companies=1)
    declined = [prompt for prompt, completion in made if completion == f" {NOT_STATED}\n"]
    assert 5 < len(declined) < 40
    for prompt, completion in made:
        context, _, asked = prompt.rpartition("\nQuestion: ")
        assert asked.endswith("?\nAnswer:")
        assert completion.endswith("\n")
        if completion.strip() != NOT_STATED:
            assert completion.strip() in context


def test_pairs_depend_on_the_seed_alone_and_share_no_name_with_the_held_out_company(embedder):
    made = reader.pairs(embedder, 40, seed=3, companies=1)
    assert made == reader.pairs(embedder, 40, seed=3, companies=1)
    assert made != reader.pairs(embedder, 40, seed=4, companies=1)
    held_out = {p.title.split(": ", 1)[1] for p in handbook.load().passages if p.title.startswith(("People", "Sites"))}
    assert not any(name in prompt for name in held_out for prompt, _ in made)


def test_more_examples_than_the_companies_give(embedder):
    with pytest.raises(ValueError, match="1 companies give 160"):
        reader.pairs(embedder, 161, seed=0, companies=1)


def test_only_answer_and_newline_are_supervised(embedder, tiny_tokenizer):
    prompt, completion = reader.pairs(embedder, 1, seed=0, companies=1)[0]
    (example,) = reader.examples(tiny_tokenizer, [(prompt, completion)])
    assert tiny_tokenizer.decode(example.prompt_ids) == prompt
    assert tiny_tokenizer.decode(example.completion_ids) == completion


def test_the_learned_words_decline(pages, embedder, copycat, monkeypatch):
    monkeypatch.setattr(
        copycat, "complete", lambda prompts, *a, **k: [Completion(f" {NOT_STATED}", 1, 2, "stop", 0.0) for _ in prompts], raising=False
    )
    (answer,) = RAG(Retriever(pages, embedder), copycat, form=zero_shot).answer(["Who is the captain?"])
    assert (answer.declined, answer.text, answer.cited) == (True, I_DO_NOT_KNOW, ())


def test_shares_average_over_seeds_before_the_interval(recorded):
    def run(*verdicts):
        return recorded("reader", {"answerable": [True, True, False], "verdicts": {"top-1": list(verdicts)}})

    shares = records.reader_shares([run("correct", "wrong", "declined"), run("correct", "declined", "wrong")])
    assert {name: (value.mean, value.n) for name, value in shares.items()} == {
        "right": (0.5, 2),
        "refused": (0.25, 2),
        "declined": (0.5, 1),
    }


@pytest.mark.real_model
def test_the_shipped_reader_reads_and_declines():
    if "reader" not in adapters():
        pytest.skip("data/adapters/reader is not there: make it with `llmsuite train reader`")
    from llmsuite_lab.lm.language_model import LanguageModel
    from llmsuite_lab.retrieval.embedding import Embedder

    book = handbook.load()
    asked = [*experiments.every(book.of_kind("one"), 10), *experiments.every(book.of_kind("unanswerable"), 10)]
    rag = RAG(Retriever(book.passages, Embedder.load()), LanguageModel.load(adapter="reader"), form=zero_shot)
    run = experiments.with_passages(rag, asked, "top-1")
    assert sum(run.correct[:10]) >= 6  # far above a guess, below the recorded share
    assert sum(o.verdict == "declined" for o in run.outcomes[10:]) >= 4
