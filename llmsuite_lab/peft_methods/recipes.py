"""What takes long in this section, for `llmsuite train`: the sweep of rates, the methods side by side, ranks of LoRA (with a
sweep of their own), lengths of a soft prompt, how far it lags behind full tuning at four sizes, and what a second tuning forgets."""

import time
from dataclasses import asdict
from functools import partial
from typing import Any

from llmsuite_lab.core.runs import Outcome, Recipe, Run

RANKS = (1, 4, 16, 64)
RANK_OPTIONS = [{"rank": rank, "alpha": 2 * rank} for rank in RANKS]  # the same scale alpha / r for all
LENGTHS = (1, 5, 20, 100)
SEEDS = (0, 1, 2)
SHIPPED_PROMPT_RATE = 5e-2  # the best of the sweep before it shipped: a later sweep must not change what the same command makes
WRITTEN = "Summarise the support dialogue below: who asked, about which product, what came of it, which sum, by when."


def _rates(run: Run) -> Outcome:
    """The sweep goes on from its own record: a rate that was added is run, the others are kept. Delete the record to sweep them all again."""
    from llmsuite_lab.peft_methods import comparing
    from llmsuite_lab.peft_methods.methods import METHODS

    budget = comparing.Budget()
    return Outcome(comparing.as_data(budget), comparing.rates(list(METHODS), run.seed, budget, _recorded("peft_rates", run.seed, budget)))


def _compared(run: Run, task: str) -> Outcome:
    from llmsuite_lab.peft_methods import comparing
    from llmsuite_lab.peft_methods.methods import METHODS

    budget = comparing.Budget()
    chosen = {name: _rate(name) for name in METHODS}
    rows = [comparing.measured(name, task, lr, run.seed, budget) for name, lr in chosen.items()]
    return Outcome(comparing.as_data(budget) | {"rates": chosen}, rows)


def _rank_rates(run: Run) -> Outcome:
    """Each rank at the recorded rate and a factor of four to either side. What its own record or `lora_ranks` measured with this seed is not run again."""
    from llmsuite_lab.peft_methods import comparing

    budget, middle = comparing.Budget(), _rate("lora")
    wanted = [("lora", lr, options) for options in RANK_OPTIONS for lr in (middle / 4, middle, 4 * middle)]
    measured = [*_recorded("lora_rank_rates", run.seed, budget), *_recorded("lora_ranks", run.seed, budget)]
    known = [{key: value for key, value in row.items() if key not in ("answers", "prose")} for row in measured]
    return Outcome(comparing.as_data(budget), comparing.sweep(wanted, run.seed, budget, known))


def _recorded(name: str, seed: int, budget: Any) -> list[dict[str, Any]]:
    """The rows of a record, when there is one that had the same budget."""
    from llmsuite_lab.core import records
    from llmsuite_lab.peft_methods import comparing

    there = records.read(name, seed) if seed in records.seeds(name) else None
    return there.results if there and comparing.as_data(budget).items() <= there.settings.items() else []


def _sweep(run: Run, name: str, options: list[dict[str, Any]], rates: list[float], known: list[dict[str, Any]] | None = None) -> Outcome:
    from llmsuite_lab.peft_methods import comparing

    budget, rows = comparing.Budget(), []
    for chosen, lr in zip(options, rates, strict=True):
        same = [row for row in known or [] if (row["options"], row["lr"]) == (chosen, lr)]
        rows.append(same[0] if same else comparing.measured(name, "summary", lr, run.seed, budget, **chosen))
    return Outcome(comparing.as_data(budget) | {"rates": rates, "options": options}, rows)


def _ranks(run: Run) -> Outcome:
    """Each rank at its own best rate; what its own record measured at that rate stays."""
    from llmsuite_lab.core import records
    from llmsuite_lab.peft_methods import comparing

    swept = records.read("lora_rank_rates").results
    best = [comparing.best_rate([row for row in swept if row["options"] == options], "lora") for options in RANK_OPTIONS]
    return _sweep(run, "lora", RANK_OPTIONS, best, _recorded("lora_ranks", run.seed, comparing.Budget()))


def _lengths(run: Run) -> Outcome:
    return _sweep(run, "prompt", [{"length": length} for length in LENGTHS], [_rate("prompt")] * len(LENGTHS))


def _forgetting(run: Run) -> Outcome:
    from llmsuite_lab.peft_methods import forgetting

    settings = forgetting.Settings()
    return forgetting.measure(run, {name: _rate(name) for name in settings.methods}, settings)


def _rate(name: str) -> float:
    """The rate that the recorded sweep found. Raises LabError when it is not recorded: `llmsuite train peft_rates` comes first."""
    from llmsuite_lab.core import records
    from llmsuite_lab.peft_methods import comparing

    found: list[dict[str, Any]] = records.read("peft_rates").results
    return comparing.best_rate(found, name)


def _sizes(run: Run) -> Outcome:
    from llmsuite_lab.peft_methods import sizes

    return _gap(run, sizes.SIZES)


def _sizes_larger(run: Run) -> Outcome:
    from llmsuite_lab.peft_methods import sizes

    return _gap(run, (*sizes.SIZES, sizes.larger()))


def _gap(run: Run, chosen: tuple[str, ...]) -> Outcome:
    from llmsuite_lab.core import records
    from llmsuite_lab.peft_methods import comparing, sizes

    budget, first, rows = sizes.Budget(), run.seed == SEEDS[0], []
    swept = [] if first else records.read(run.recipe.name).results  # its rates serve the other seeds
    for size in chosen:
        found = [row for row in swept if row["size"] == size]
        rows += sizes.measured(size, run.seed, budget, None if first else {name: comparing.best_rate(found, name) for name in sizes.METHODS})
    return Outcome(asdict(budget), rows)


def _desk_prompt(run: Run) -> Outcome:
    from llmsuite_lab.core.files import check_folder
    from llmsuite_lab.finetuning import measuring
    from llmsuite_lab.lm.adapters import KIND
    from llmsuite_lab.lm.language_model import LanguageModel
    from llmsuite_lab.peft_methods import comparing, files
    from llmsuite_lab.peft_methods.methods import method

    check_folder(run.adapter, KIND)  # before it trains, not after
    budget, lr = comparing.Budget(dialogues=400, steps=100), SHIPPED_PROMPT_RATE
    options = {"length": 20, "text": WRITTEN}
    began = time.perf_counter()
    tuned, row = comparing.tune("prompt", "summary", lr, run.seed, budget, **options)
    settings = asdict(budget) | {"model": comparing.MODEL, "lr": lr} | options
    made = run.provenance(time.perf_counter() - began) | {"settings": settings}
    chosen = measuring.frozen_dialogues(budget.items)
    untrained = LanguageModel(method("prompt").prepare(tuned.model.base, run.seed, tuned.tokenizer, **options), tuned.tokenizer, comparing.MODEL)
    written = measuring.answers(untrained, chosen, ["summary"])
    folder = files.save(run.adapter, tuned.model, made, base=comparing.MODEL)
    loaded = LanguageModel(files.load(tuned.model.base, folder), tuned.tokenizer, comparing.MODEL)
    return Outcome(settings, row | {"answers": measuring.answers(loaded, chosen, ["summary"]), "written": written})


RECIPES = (
    Recipe("peft_rates", "four learning rates for every method, on summaries, by validation loss", _rates),
    Recipe("peft_summary", "every method at its best rate on summaries: scores, cost, other people's prose", partial(_compared, task="summary"), seeds=SEEDS),
    Recipe("peft_entities", "the same on the fields of a form", partial(_compared, task="entities"), seeds=SEEDS),
    Recipe("peft_answer", "the same on answers to a question", partial(_compared, task="answer"), seeds=SEEDS),
    Recipe("lora_rank_rates", "three learning rates for each rank of LoRA, on summaries, by validation loss", _rank_rates),
    Recipe("lora_ranks", "LoRA on summaries at ranks 1 to 64, each at its best rate", _ranks, seeds=SEEDS),
    Recipe("prompt_lengths", "a soft prompt of 1 to 100 vectors on summaries", _lengths, seeds=SEEDS),
    Recipe("desk_prompt", "soft prompt: summaries, 20 vectors that began as a written instruction", _desk_prompt, ships=True),
    Recipe("prompt_sizes", "prompt tuning against full tuning at four sizes, on what a customer wants", _sizes, seeds=SEEDS),
    Recipe("prompt_sizes_larger", "on t4 or gpu: the same with the profile's larger model, from the hub", _sizes_larger, seeds=SEEDS, large=True),
    Recipe("desk_forgetting_more", "what the fields of a form alone cost a model that was tuned on five tasks, by method", _forgetting, seeds=SEEDS[:2]),
)
