"""PAL trained on more varied worlds, and what it is measured on: at home, and on problems of other authors.

    training    running stories in many more sentences (`world.varied.sentences`) and scenes of facts and questions (`world.varied.stories`)
    measured    test     the frozen problems              seen     training sentences, new problems
                numbers  training scenes, the test's operands: what is held out there are the numbers alone
                single, several     problems of another author, small numbers then large (`world.elsewhere`)
                svamp, mawps     public sets, where LLMSUITE_REAL_DATA names a folder that holds them (MAWPS: its problems of one operation)

Form of prompt and program, LoRA, optimizer and batch are those of `training`. A training problem that shares a run of eight words with a held-out
text of the course is left out; how many of each set share one with what is left, the public ones too, is counted in the record.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from llmsuite_lab.core.errors import LabError, within
from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.lm.lora import train_lora
from llmsuite_lab.lm.training import History
from llmsuite_lab.reasoning import pal
from llmsuite_lab.reasoning.evaluation import Result, as_rows, correct, evaluate
from llmsuite_lab.reasoning.measuring import EVALUATED
from llmsuite_lab.reasoning.prompting import PAL
from llmsuite_lab.reasoning.training import TRAIN_DIGITS, TRAIN_STEPS, Settings, examples
from llmsuite_lab.world import leakage, readers
from llmsuite_lab.world.elsewhere import problems as elsewhere
from llmsuite_lab.world.varied.stories import stories
from llmsuite_lab.world.word_problems import Problem, load, problems

NUMBERS, PUBLIC_ITEMS = 60, 100
PUBLIC = {"svamp": "svamp.jsonl", "mawps": "mawps-single.jsonl"}  # both as PAL's repository writes them: input, target
HELD_OUT_DIGITS = (3, 4, 5, 6)  # below, a number belongs to neither split
SMALL, LARGE = 2, 5  # digits that a result of another author's problem is entered under


@dataclass(frozen=True)
class VariedSettings(Settings):
    """What a run is made of (`training.Settings`), and the share of the problems that are `scenes`."""

    steps: int = 1000
    scenes: float = 0.6


def training_problems(count: int, seed: int = 0, scenes: float = VariedSettings.scenes) -> list[Problem]:
    """`count` problems in training order, a share of them scenes; none shares a run of words with a held-out text of the course."""
    within("count", count, 0, 1_000_000)
    within("scenes", scenes, 0, 1)
    return list(islice(_clean(_drawn(seed, scenes)), count))


def train(seed: int = 0, settings: VariedSettings | None = None, **options: Any) -> tuple[Any, History, dict[str, Any]]:
    """Train one adapter: (the peft model, the history, the settings as data). `options` as for `lm.lora.train_lora`, errors too."""
    settings = settings or VariedSettings()
    chosen = training_problems(settings.steps * settings.batch_size, seed, settings.scenes)
    return train_lora(settings, lambda tokenizer: examples(PAL, tokenizer, chosen, seed), seed, **options)


def held_out() -> dict[str, list[str]]:
    """The texts that no training problem may hold: the frozen test and the problems of another author."""
    return {"test": [p.text for p in load("test")]} | {which: [p.text for p in elsewhere.load(which)] for which in elsewhere.SETS}


def solved(adapter: Path | str, seed: int = 0, settings: VariedSettings | None = None) -> dict[str, Any]:
    """An adapter's answers as rows by set; the public ones only where their files are named. Under "leaks" how many texts of each set share a run of
    words with what was trained on with this `seed`."""
    settings, lm = settings or VariedSettings(), LanguageModel.load(adapter=adapter)
    at_home = {"test": load("test")[:EVALUATED], "seen": load("seen"), "numbers": list(islice(stories(seed, HELD_OUT_DIGITS, held_out=True), NUMBERS))}
    found = {which: as_rows(evaluate(lm, PAL, chosen)) for which, chosen in at_home.items()} | away(lm)
    texts = held_out() | {which: [p.question for p in _public(which)] for which in PUBLIC if which in found}
    return found | {"leaks": _leaks(texts, seed, settings)}


def on_mawps(adapter: Path | str, seed: int = 0, settings: VariedSettings | None = None) -> dict[str, Any]:
    """An adapter's answers to the frozen "test", which tell whether it is the one of `solved` again, and to "mawps"; "leaks" as there.

    Raises LabError where LLMSUITE_REAL_DATA names no folder that holds MAWPS.
    """
    settings, told = settings or VariedSettings(), _public("mawps")
    if not told:
        raise LabError(f"set LLMSUITE_REAL_DATA to a folder that holds {PUBLIC['mawps']}: MAWPS' problems of one operation, a JSON line each (input, target)")
    lm = LanguageModel.load(adapter=adapter)
    found = {"test": as_rows(evaluate(lm, PAL, load("test")[:EVALUATED])), "mawps": _in_public(lm, told)}
    return found | {"leaks": _leaks({"mawps": [p.question for p in told]}, seed, settings)}


def shipped(adapter: Path | str = "pal") -> Outcome:
    """What the first PAL adapter makes of the problems of other authors: what the varied one is compared with."""
    return Outcome({"adapter": str(adapter)}, away(LanguageModel.load(adapter=adapter)))


def away(lm: LanguageModel) -> dict[str, list[dict[str, Any]]]:
    """Answers to problems of other authors as rows: "single", "several", and those of PUBLIC that the folder LLMSUITE_REAL_DATA names holds."""
    found = {}
    for which in elsewhere.SETS:
        told = elsewhere.load(which)
        found[which] = as_rows(_answers(lm, [p.text for p in told], [p.answer for p in told], [LARGE if p.large else SMALL for p in told]))
    for which, file in PUBLIC.items():
        if public := _public(which):
            found[which] = _in_public(lm, public)
        else:
            print(f"{which} is left out: LLMSUITE_REAL_DATA names no folder that holds {file}")
    return found


def _public(which: str) -> list[readers.Problem]:
    given = os.environ.get("LLMSUITE_REAL_DATA")
    file = Path(given) / PUBLIC[which] if given else None
    return readers.read("svamp", file, limit=PUBLIC_ITEMS) if file and file.is_file() else []


def _in_public(lm: LanguageModel, told: list[readers.Problem]) -> list[dict[str, Any]]:
    return as_rows(_answers(lm, [p.question for p in told], [p.answer for p in told], [0] * len(told)))


def _leaks(texts: dict[str, list[str]], seed: int, settings: VariedSettings) -> dict[str, int]:
    trained_on = [p.text for p in training_problems(settings.steps * settings.batch_size, seed, settings.scenes)]
    return {which: len(leakage.leaks(trained_on, asked)) for which, asked in texts.items()}


def _answers(lm: LanguageModel, texts: list[str], answers: list[float], digits: list[int]) -> list[Result]:
    traces = pal.solve(lm, texts, final=False)
    right = [correct(trace.value, answer) for trace, answer in zip(traces, answers, strict=True)]
    ends = [t.outcome.error or ("right" if ok else "wrong") for t, ok in zip(traces, right, strict=True)]
    return [Result(d, 0, ok, end, t.value, tokens=t.tokens) for d, ok, end, t in zip(digits, right, ends, traces, strict=True)]


def _drawn(seed: int, scenes: float) -> Iterator[Problem]:
    rng = Random(f"varied {seed}")
    told, running = stories(seed, TRAIN_DIGITS), problems("varied", seed, TRAIN_DIGITS, TRAIN_STEPS)
    while True:
        yield next(told if rng.random() < scenes else running)


def _clean(drawn: Iterator[Problem]) -> Iterator[Problem]:
    runs = {run for texts in held_out().values() for text in texts for run in leakage.grams(text)}
    lengths = {len(run) for run in runs}
    for problem in drawn:
        if not any(leakage.grams(problem.text, length) & runs for length in lengths):
            yield problem
