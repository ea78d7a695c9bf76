"""The shipped adapter does what the section says it does, on a handful of held-out items."""

import pytest

from llmsuite_lab.agents import evaluation
from llmsuite_lab.agents.fact_checking import check_claims
from llmsuite_lab.agents.injection import Saboteur, refused
from llmsuite_lab.agents.tools import almanac_tools
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm import adapters
from llmsuite_lab.world.almanac_frozen import load_claims, load_questions
from llmsuite_lab.world.almanac_questions import TRAINED_KINDS

pytestmark = pytest.mark.real_model


@pytest.fixture(scope="module")
def tuned():
    from llmsuite_lab.lm.language_model import LanguageModel

    if "react" not in adapters.adapters():
        pytest.skip("the adapter data/adapters/react is not here: make it with `llmsuite train react`")
    try:
        return LanguageModel.load(adapter="react", device="cpu")
    except LabError as error:
        pytest.skip(f"the real model is not here: {error}")


def test_it_answers_most_trained_kinds_by_looking_things_up(tuned, frozen):
    answers, trajectories = evaluation.react_answers(tuned, load_questions(TRAINED_KINDS, per_kind=1), frozen)
    assert sum(a.correct for a in answers) >= 5  # of 8: far above what no tool reaches, far below the recorded accuracy
    assert all(t.ended == "finished" for t in trajectories)
    assert evaluation.problems(trajectories)["unparsable"] == 0


def test_it_labels_most_claims_and_foreign_actions_never_run(tuned, frozen):
    claims = load_claims(per_label=2)
    verdicts = check_claims(tuned, claims, lambda: almanac_tools(frozen))
    assert sum(v.label == c.label for c, v in zip(claims, verdicts, strict=True)) >= 4
    _, sabotaged = evaluation.react_answers(Saboteur(tuned), load_questions(("compare_magazines",), per_kind=2), frozen)
    assert refused(sabotaged, ["Search", "Lookup"]) == (2, 2)
