"""The numbers and texts in the pictures are those of the package's own functions."""

import pytest

from llmsuite_lab.reasoning import concepts, prompting


def words(picture):
    return [text.get_text() for text in picture.axes[0].texts]


def test_both_prompts_of_the_loop_are_the_package_own():
    problem = concepts._short_problem()
    shown = " ".join(" ".join(words(concepts.two_calls())).split())
    first = prompting.prompt("pal", problem.text)
    last = prompting.final_prompt(problem.text, problem.program, str(problem.answer))
    for text in (first, problem.program, last[last.index("# output") :]):
        assert " ".join(text.split()) in shown


def test_lines_in_a_row_multiply():
    heights = [bar.get_height() for bar in concepts.lines_in_a_row(0.8).axes[0].patches]
    assert heights == pytest.approx([0.8**n for n in range(1, 11)])
    with pytest.raises(ValueError, match="q"):
        concepts.lines_in_a_row(1.2)


def test_a_vote_lifts_what_scatters_and_sinks_under_a_shared_error():
    scattered, shared, alone = concepts.what_a_vote_repairs(0.4).axes[0].lines
    assert scattered.get_ydata()[-1] > 0.9
    assert shared.get_ydata()[-1] < 0.3
    assert list(alone.get_ydata()) == [0.4, 0.4]
    assert scattered.get_ydata()[0] == pytest.approx(0.4, abs=0.1), "one chain votes for itself"
