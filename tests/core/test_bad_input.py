"""Whatever is put in the place of an argument, the ground floor answers with a sentence (see tests/bad_input.py)."""

from fractions import Fraction
from types import SimpleNamespace

import torch
from safetensors import SafetensorError

from llmsuite_lab.core import plots, records
from llmsuite_lab.core.history import History
from llmsuite_lab.core.metrics import Interval

LEFT_OUT = {
    "core.native.load": "needs a compiler, which may not be here: test_native.py",
    "core.native.compiler": "needs a compiler, which may not be here: test_native.py",
    "core.annotations": "what explains wrong arguments; test_arguments.py feeds it",
    "core.arguments": "as annotations",
    "core.fetch.from_wheel": "downloads: test_zoo.py fakes it",
    "core.fetch.probe_hub": "takes no argument and asks the network",
    "core.gguf": "reads whole models: test_zoo.py",
    "core.llama_cpp": "needs a wheel, which may not be here: test_llama_cpp.py",
    "core.labels.name_points": "draws the whole figure at each call, which is slow: test_plots.py",
    "core.own_models": "as gguf: test_own_models.py",
    "core.zoo.load_model": "loads a model: the name is checked by zoo.entry, which is fed here",
    "core.zoo.load_tokenizer": "as load_model",
    "core.zoo.path": "as load_model",
    "core.zoo.fetch_model": "as load_model, and downloads",
    "core.zoo.source_file": "as load_model",
    "core.zoo.verify": "takes no argument and hashes whole models",
    "core.runs.make": "trains; what a recipe may be is fed through Recipe",
    "core.runs.Run": "made by `make`",
    "core.runtime.bf16_speedup": "times a machine",
    "core.swap": "the inner steps of core.files, whose functions are fed here",
}


def valid(folder, call, fresh, writer):
    """Valid calls, where the signature does not say enough."""
    history = History()
    history.record(1.0, 0.1, 1.0, 10, 5, 0.1)
    (folder / "there").mkdir()
    (folder / "there" / "a.txt").write_text("x", encoding="utf-8")
    from safetensors.torch import save_file

    save_file({"w": torch.ones(2)}, folder / "w.safetensors")
    _, ax = plots.figure()
    interval = Interval(0.5, 0.4, 0.6, 10)
    return {
        "core.diagrams.say": call(ax, 0.1, 0.1, "text"),
        "core.diagrams.box": call(ax, 0.1, 0.1, 1.0, 1.0),
        "core.diagrams.arrow": call(ax, (0.0, 0.0), (1.0, 1.0)),
        "core.diagrams.cells": call(ax, 0.1, 0.1, ["a", "b"]),
        "core.diagrams.tint": call("baseline", 0.5),
        "core.diagrams.matrix": call(ax, 0.1, 0.1, [[1.0, 2.0]]),
        "core.diagrams.from_records": call(lambda: None),
        "core.errors.whole": call("n", 3, 1, 9),
        "core.files.write_json": call(folder / "a.json", {"a": 1}),
        "core.files.as_json": call({"a": 1}),
        "core.files.write_output": call(folder / "o.json", "{}"),
        "core.files.check_output": call(folder / "new.json"),
        "core.files.whole_folder": call(folder / "whole", "index"),
        "core.files.remove_folder": call(folder / "nothing there"),
        "core.files.check_folder": call(folder / "new folder", "index"),
        "core.history.History.save": call(folder / "h.json", on=lambda: history),
        "core.metrics.rouge": call(["some words"], ["some words"]),
        "core.values.finite": call("3"),
        "core.values.canonical": call(Fraction(3, 2)),
        "core.errors.within": call("k", 2, 1, 3),
        "core.errors.unknown": call("model", "x", ["xy"]),
        "core.fetch.sha256": call(folder / "there" / "a.txt"),
        "core.fetch.damage": call(folder / "there"),
        "core.fetch.write_manifest": call(folder / "there", {}),
        "core.fetch.lock": call(folder / "locked", limit_s=0.2),
        "core.files.load_tensors": call(folder / "w.safetensors"),
        "core.history.History.from_dict": call(history.as_dict()),
        "core.errors.no_empty_name": call("model", "smollm2"),
        "core.records.file_name": call("pal", 0),
        "core.records.read_all": call("pal"),
        "core.records.read": call("pal", 0),
        "core.records.seeds": call("pal"),
        "core.records.write": call(records.read("pal", 0), folder / "runs"),
        "core.records.mean_over_seeds": call([[1.0, 0.0], [0.0, 0.0]], list),
        "core.records.held": call(records.read("pal", 0), lambda run: run.results),
        "core.records.per_seed": call([records.read("pal", 0)], lambda run: [1.0, 0.0]),
        "core.runs.Recipe": call("small", "what it makes", lambda run: None),
        "core.zoo.entry": call("smollm2-135m-instruct"),
        "core.metrics.perplexity": call([SimpleNamespace(logprob=-1.0, tokens=2)]),
        "core.metrics.proportion_interval": call(1, 2),
        "core.metrics.mean_interval": call([1.0, 0.0]),
        "core.metrics.load_metric": call("rouge"),
        "core.metrics.distinct_n": call(["a b c"], 1),
        "core.sliders.with_sliders": call(lambda x=1: plots.figure()[0], {"x": [1, 2]}),
        "core.plots.bars_with_intervals": call({"base": interval}, title="t", ylabel="y"),
        "core.plots.lines_with_bands": call([1, 2], {"base": [interval, 0.5]}, title="t", xlabel="x", ylabel="y"),
        "core.plots.loss_curve": call(history, title="t"),
        "core.plots.heat_map": call([[0.1, 0.2], [0.3, 0.4]], title="t"),
        "core.plots.save_figure": call(plots.figure()[0], folder / "f.png"),
    }


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMSUITE_CACHE", str(tmp_path / "cache"))
    table = valid(tmp_path, bad_input.call, bad_input.fresh_random, bad_input.Writer)
    bad_input.check("llmsuite_lab.core", tmp_path, monkeypatch, valid=table, left_out=LEFT_OUT, allowed=(SafetensorError,))
