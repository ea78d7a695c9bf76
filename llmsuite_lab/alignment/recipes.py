"""What takes long in this section, for `llmsuite train`: the small policy that all live parts start from."""

from llmsuite_lab.core.runs import Outcome, Recipe, Run


def _policy(run: Run) -> Outcome:
    from llmsuite_lab.alignment import small_policy

    return small_policy.measure(run)


RECIPES = (Recipe("desk_policy", "the small policy that answers at the desk; the first seed ships in data/policies", _policy, seeds=(0, 1, 2)),)
