"""What takes long and stands above all sections, for `llmsuite train`: the claims' scores written from four bits."""

from llmsuite_lab.core.runs import Outcome, Recipe, Run


def _q4_scores(run: Run) -> Outcome:
    from llmsuite_lab.course import four_bits

    return four_bits.measure()


RECIPES = (Recipe("q4_scores", "the scores of 02-04 written from the 4-bit codes, beside float32 on the same items", _q4_scores),)
