"""`python -m llmsuite_lab.course.react_runs baselines|two_hop|one_three_hop`: record what notebook 04 compares the shipped adapter with.

baselines: the untuned model without a tool, with chain of thought, and with worked trajectories in its prompt, on the first frozen questions.
two_hop, one_three_hop: adapters trained on narrower mixtures (`agents.recipe.MIXTURES`), alike but for half as many updates, on the kinds never trained.
"""

import sys
from pathlib import Path

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.paths import cache_dir
from llmsuite_lab.course.recipes import commit_now, provenance
from llmsuite_lab.lm.adapters import write_adapter

PER_KIND = 5  # questions of each kind for the untuned model: its long prompts cost minutes
MIXTURES = ("two_hop", "one_three_hop")


def mixture(name: str) -> Path:
    """Train on one mixture, keep its adapter in the cache folder, record its answers; returns the adapter's folder. Goes on when it was stopped."""
    from llmsuite_lab.agents import recipe, records

    commit = commit_now()
    chosen = recipe.Recipe(mixture=name, steps=recipe.Recipe().steps // 2)
    model, history, settings = recipe.train(0, chosen, checkpoint=cache_dir() / "training" / f"react_{name}")
    made = provenance(f"python -m llmsuite_lab.course.react_runs {name}", 0, history.wall_s, commit) | {"settings": settings}
    folder = write_adapter(cache_dir() / "adapters" / f"react_{name}", model, made, base=settings["model"])
    records.record_mixture(name, folder, made)
    return folder


def main(arguments: list[str]) -> None:
    """Run one of the three and write its record in data/runs."""
    from llmsuite_lab.agents import records

    if arguments == ["baselines"]:
        records.record_baselines(PER_KIND)
    elif len(arguments) == 1 and arguments[0] in MIXTURES:
        mixture(arguments[0])
    else:
        raise LabError(f"say which record to make: python -m {__spec__.name} baselines|{'|'.join(MIXTURES)}")


if __name__ == "__main__":
    main(sys.argv[1:])
