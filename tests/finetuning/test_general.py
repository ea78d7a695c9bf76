"""What nobody tuned: common knowledge and other people's prose."""

import math

import pytest

from llmsuite_lab.finetuning import general
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.world import general_facts


class Parrot:
    """Answers every second fact rightly, the others with its neighbour's answer."""

    def complete(self, prompts, **options):
        facts = general_facts.facts()
        said = [fact.answers[0] if i % 2 else facts[i - 1].answers[0] + "!" for i, fact in enumerate(facts)]
        assert all(prompt.endswith(f"Question: {fact.text}\nAnswer:") for prompt, fact in zip(prompts, facts, strict=True))
        return [type("Said", (), {"text": f" {text}"}) for text in said]


def test_facts_are_scored_one_by_one():
    right = general.facts(Parrot())
    assert len(right) == len(general_facts.facts())
    assert all(right[1::2])
    assert sum(right[::2]) < len(right) / 4


def test_paragraphs_are_prose_cut_in_two():
    chosen = general.paragraphs(7)
    assert len(chosen) == 7 == len(set(chosen))
    for first, second in chosen:
        assert second.startswith(" ")
        assert abs(len(first.split()) - len(second.split())) <= 1
        assert not any(mark in first + second for mark in (">>>", "::=", "|"))


@pytest.mark.real_model
def test_prose_is_one_perplexity_over_all_tokens():
    lm = LanguageModel.load()
    found = general.prose(lm)
    assert 3 < found < 100
    scores = lm.score(*map(list, zip(*general.paragraphs())))
    assert found == pytest.approx(math.exp(-sum(s.logprob for s in scores) / sum(s.tokens for s in scores)), rel=1e-4)
