"""What takes long in this section, for `llmsuite train`: PAL and its matched controls, their first, shorter trainings, and what they stand beside."""

from functools import partial
from typing import Any

from llmsuite_lab.core.runs import Outcome, Recipe, Run


def _adapter(run: Run, kind: str, **changed: Any) -> Outcome:
    from llmsuite_lab.lm.runs import trained
    from llmsuite_lab.reasoning import measuring, training

    settings = training.Settings(kind=kind, **changed)
    return trained(run, partial(training.train, settings=settings), partial(measuring.solved, kind))


def _untuned(run: Run) -> Outcome:
    from llmsuite_lab.reasoning import measuring

    return measuring.untuned()


def _public(run: Run) -> Outcome:
    from llmsuite_lab.reasoning import measuring

    return measuring.public_sets()


def _sizes(run: Run) -> Outcome:
    from llmsuite_lab.reasoning import measuring

    return measuring.sizes()


def _varied(run: Run, measure: str = "solved") -> Outcome:
    from llmsuite_lab.lm.runs import trained
    from llmsuite_lab.reasoning import varied

    settings = varied.VariedSettings()
    return trained(run, partial(varied.train, settings=settings), partial(getattr(varied, measure), seed=run.seed, settings=settings))


def _elsewhere(run: Run) -> Outcome:
    from llmsuite_lab.reasoning import varied

    return varied.shipped()


_SHORT = {"steps": 240, "lr": 3e-3}
_MAWPS = partial(_varied, measure="on_mawps")

RECIPES = (
    Recipe("pal", "adapter: word problems as programs", partial(_adapter, kind="pal"), seeds=(0, 1, 2), ships=True),
    Recipe("cot", "adapter: the same problems worked out in words", partial(_adapter, kind="cot"), seeds=(0, 1, 2), ships=True),
    Recipe("direct", "the same problems, trained as long, with the bare answer", partial(_adapter, kind="direct"), seeds=(0, 1, 2)),
    Recipe("pal_varied", "adapter: programs for more varied problems, measured on other authors' too", _varied, seeds=(0, 1, 2)),
    Recipe("pal_mawps", "adapter: pal_varied trained again, measured on MAWPS (LLMSUITE_REAL_DATA names its folder)", _MAWPS, seeds=(0, 1, 2)),
    Recipe("pal_elsewhere", "the shipped adapter on problems of other authors, public ones where LLMSUITE_REAL_DATA names their folder", _elsewhere),
    Recipe("short_pal", "PAL with fewer than half as many steps", partial(_adapter, kind="pal", **_SHORT), seeds=(0, 1)),
    Recipe("short_cot", "its control with fewer than half as many steps", partial(_adapter, kind="cot", **_SHORT), seeds=(0, 1)),
    Recipe("reasoning_base", "the untuned model: directly, and with four solved examples", _untuned),
    Recipe("reasoning_sizes", "both shipped adapters on stories told twice, with small and with large numbers", _sizes),
    Recipe("reasoning_public", "both adapters on SVAMP, GSM8K and GSM-Hard (LLMSUITE_REAL_DATA names their folder)", _public),
)
