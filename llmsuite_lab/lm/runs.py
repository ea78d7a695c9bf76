"""Runs that train an adapter: train, score it as it will be loaded, then write it with how it was made.

A run that is stopped while it is scored leaves the adapter of the earlier run beside that run's record: both are replaced together at the end.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from llmsuite_lab.core.files import check_folder
from llmsuite_lab.core.history import History
from llmsuite_lab.core.runs import Outcome, Run
from llmsuite_lab.lm.adapters import KIND, write_adapter


def trained(run: Run, train: Callable[..., tuple[Any, History, dict[str, Any]]], evaluate: Callable[[Path], Any]) -> Outcome:
    """What `run` came to: `train(seed, checkpoint=folder)` gives (peft model, history, settings), `evaluate(folder of the adapter)` the results.

    A stopped training goes on from `run.checkpoint`. Raises LabError when it was stopped again (no adapter is written then) and, before anything
    runs, where the adapter's folder holds what the course did not make.
    """
    check_folder(run.adapter, KIND)
    model, history, settings = train(run.seed, checkpoint=run.checkpoint)
    wall_s = run.finished(history).wall_s
    made = run.provenance(wall_s) | {"settings": settings, "tokens": sum(history.tokens)}
    print(f"tokens:  {sum(history.tokens):,} in {wall_s:,.0f} s of steps, last loss {history.losses[-1]:.3f}")
    with TemporaryDirectory() as aside:
        results = evaluate(write_adapter(Path(aside) / "adapter", model, made, base=settings["model"]))
    print(f"adapter: {write_adapter(run.adapter, model, made, base=settings['model'])}")
    return Outcome(settings, results, history)
