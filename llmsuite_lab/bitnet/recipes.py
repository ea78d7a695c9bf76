"""What takes long in this section, for `llmsuite train`: twins with ternary and with full-precision weights at three sizes, SmolLM2 ternarised after
training, and how near the 4-bit step comes to float32, beside llama.cpp on the same codes."""

from llmsuite_lab.core.runs import Outcome, Recipe, Run

SEEDS = (0, 1, 2)


def _twins(run: Run) -> Outcome:
    from llmsuite_lab.bitnet import twins

    return _measured(run, tuple(twins.KINDS))


def _norms(run: Run) -> Outcome:
    from llmsuite_lab.bitnet import twins

    return _measured(run, tuple(twins.CONTROL))


def _measured(run: Run, kinds: tuple[str, ...]) -> Outcome:
    from llmsuite_lab.bitnet import twins
    from llmsuite_lab.core import records

    first = None if run.seed == SEEDS[0] else records.read(run.recipe.name, SEEDS[0])  # its rates serve the other seeds
    return twins.measured(run.seed, twins.Budget(), first, kinds)


def _ternarised(run: Run) -> Outcome:
    from llmsuite_lab.bitnet import after_training

    return after_training.measure()


def _q4_fidelity(run: Run) -> Outcome:
    from llmsuite_lab.bitnet import fidelity

    return fidelity.measure()


RECIPES = (
    Recipe("bitnet_twins", "ternary decoders beside full-precision ones at three sizes; seed 0 tries the learning rates", _twins, seeds=SEEDS),
    Recipe("bitnet_norms", "their control: full precision with the ternary layers' norms; seed 0 tries the learning rates", _norms, seeds=SEEDS),
    Recipe("bitnet_ternarised", "SmolLM2 with ternary weights in ever more of its blocks, without training", _ternarised),
    Recipe("q4_fidelity", "the 4-bit step, bfloat16 and llama.cpp against float32 on six thousand positions", _q4_fidelity),
)
