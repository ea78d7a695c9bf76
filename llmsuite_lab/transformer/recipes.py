"""What takes long in this section, for `llmsuite train`: how attention and an LSTM learn to look up entries, by number of entries and tokens read."""

from dataclasses import asdict

from llmsuite_lab.core.runs import Outcome, Recipe, Run


def _rates(run: Run) -> Outcome:
    from llmsuite_lab.transformer.experiments import recall

    settings = {"rates": recall.RATES, "steps": recall.STEPS, "entries": recall.ENTRIES, "seed": 100 + run.seed}
    return Outcome(settings, recall.rate_rows(settings["steps"], settings["entries"], settings["seed"]))


def _recall(run: Run) -> Outcome:
    from llmsuite_lab.core import records
    from llmsuite_lab.transformer.experiments import recall

    rates = recall.best_rates(records.read("recall_rates").results)
    rows = [asdict(recall.learned(name, entries, rates[name][entries], run.seed)) for entries in recall.ENTRIES for name in recall.MODELS]
    return Outcome({"rates": rates, "steps": recall.STEPS, "tokens_a_step": recall.TOKENS, "sequences": recall.SEQUENCES}, rows)


RECIPES = (
    Recipe("recall_rates", "the learning rate at which each of the two models of `recall` learns best, by number of entries", _rates),
    Recipe("recall", "accuracy against tokens and number of entries, attention and LSTM of one size", _recall, seeds=(0, 1, 2)),
)
