"""What takes a quiet machine in this section, for `llmsuite train`: step times, the link, and what travels."""

from llmsuite_lab.core.runs import Outcome, Recipe, Run


def _steps(run: Run) -> Outcome:
    from llmsuite_lab.scaling import timing

    return timing.measure()


RECIPES = (Recipe("scaling_steps", "step times of every engine on 1, 2 and 4 processes, the link between them, bytes on the wire", _steps),)
