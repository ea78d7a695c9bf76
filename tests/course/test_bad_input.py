"""Whatever is put in the place of an argument, the course's own parts answer with a sentence (see tests/bad_input.py)."""

import copy
import os
from pathlib import Path
from types import SimpleNamespace

from nbformat import v4

from llmsuite_lab.core.metrics import Interval
from llmsuite_lab.course import bench, exercises, goals, headers, limits, notebooks, slides
from llmsuite_lab.course.claims import claim
from llmsuite_lab.course.doctor import Finding
from llmsuite_lab.course.execution import PeakMemory
from llmsuite_lab.course.exercises import Case, Mistake, exercise

SECTIONS = [folder.name for folder in Path(exercises.__file__).parent.iterdir() if folder.is_dir() and not folder.name.startswith("_")]
LEFT_OUT = {
    "course.challenges.Challenge": "scores whatever is given, in a sentence: test_challenges.py",
    "course.challenges.Score": "made by a challenge",
    "course.challenges.retrieval_find_without_vectors.rare_words": "an answer as a reader writes it, called by its challenge: test_challenges.py",
    "course.challenges.transformer_beyond_the_bigram": "an example is read, not called: test_challenges.py",
    **{f"course.exercises.{section}": "solutions are read, not called; their checks are fed by test_checking.py" for section in SECTIONS},
    **{f"course.bench.{name}": "measures for minutes: test_bench.py" for name in bench.names()},
    "course.bench.child_peak_bytes": "starts a process: test_bench.py",
    "course.bench.run": "as those it runs; its names are checked in test_bench.py",
    "course.browser.open_page": "starts a browser",
    "course.browser.print_pdf": "starts a browser",
    "course.browser.show": "takes a browser's page",
    "course.cli": "the command line has its own test: test_cli.py",
    "course.doctor.examine": "takes nothing, and looks at the whole machine: test_doctor.py",
    "course.exercises.Exercise": "made by the exercises' own files: test_exercises.py",
    "course.execution.execute": "starts a kernel: test_notebooks.py",
    "course.four_bits.measure": "measures with whole models: test_four_bits.py",
    "course.headers.store": "writes the course's own timings: test_notebooks.py",
    "course.notebooks.refresh": "runs and rewrites the course's own notebooks: test_notebooks.py",
    "course.notebooks.rehearse": "as refresh",
    "course.notebooks.render_readme": "rewrites the course's own README",
    "course.pictures.place_readme_pictures": "writes the course's own pictures",
    "course.slides.build": "builds every deck; what it is made of is fed here, and test_slides.py",
    "course.nbval_plugin": "called by pytest: test_nbval_plugin.py",
    "course.exercises.mutants.main": "runs every mutant of every exercise: test_mutants.py",
}


def _stopped():
    memory = PeakMemory()
    memory.stop()
    return memory


def double(x: int) -> int:
    """Twice x."""
    return x * 2


def valid(folder, call, writer):
    """Valid calls, where the signature does not say enough."""
    row, done = claim("limits.cutoff"), exercise("course.exact_match")
    measured = row.measure(0.7, n=40, seeds=[0, 1], spread=(0.6, 0.8), control=0.75)
    outputs = [v4.new_output("display_data", data={"text/plain": "t", "application/vnd.llmsuite.claim+json": measured.record()})]
    cells = [v4.new_markdown_cell("# 00 · A title"), v4.new_code_cell("1 + 1", execution_count=1, outputs=outputs)]
    book = v4.new_notebook(cells=cells, metadata={"llmsuite": {"paper": "1", "see": "it"}})
    notebooks.write(folder / "nb.ipynb", book)
    (folder / "README.md").write_text(f"{headers.BEGIN}\n{headers.END}\n", encoding="utf-8")
    (folder / "deck.md").write_text("---\ntitle: A deck\n---\n\n# One\n\ntext\n\n<!-- 2 min · say it -->\n", encoding="utf-8")
    figures = headers.entry(book, 3.0, 10**8)
    share = Interval(0.5, 0.4, 0.6, 10)
    calculation = limits.calculations(1)[:2]
    sums = [limits.Sum(digits, "+", 1, 2, 3, 3) for digits in limits.DIGITS]
    entries = [{"id": row.id, **measured.record(), "control": {"value": 0.75}, "notebook": "00"}]
    cases = [Case((2,), 4, "Twice two is four."), Case((0,), 0)]
    check = SimpleNamespace(id="x.double", name="double", solution=double, check=lambda answer: None, time_limit_s=2.0)

    def fresh_book():
        return copy.deepcopy(book)

    return {
        "course.four_bits.table": call({"set": {"float32": [True, False], "q4": [True, True]}}),
        "course.four_bits.difference": call([True, False], [True, True]),
        "course.bench.Row.as_dict": call(on=lambda: bench.compare("n", "s", [1.0], [2.0])),
        "course.bench.interleaved": call(lambda: 1.0, lambda: 2.0, n=1),
        "course.bench.compare": call("name", "s", [1.0, 2.0], [2.0, 3.0]),
        "course.bench.table": call([bench.compare("n", "s", [1.0], [2.0])]),
        "course.claims.Claim": call(**vars(row)),
        "course.claims.Claim.control_holds": call(0.7, on=lambda: row),
        "course.claims.Claim.verdict": call(0.7, (0.6, 0.8), 0.75, on=lambda: row),
        "course.claims.Claim.measure": call(0.7, 40, seeds=[0, 1], spread=(0.6, 0.8), control=0.75, on=lambda: row),
        "course.claims.Measurement.of": call(row, 0.7, 40, [0, 1], (0.6, 0.8), 0.75),
        "course.claims.Measurement.record": call(on=lambda: measured),
        "course.claims.claim": call("limits.cutoff"),
        "course.concepts.here": call("00"),
        "course.concepts.claims_of": call("retrieval", "rag.accuracy"),
        "course.concepts.verdicts": call("retrieval"),
        "course.doctor.table": call([Finding("Python", "3.12")]),
        "course.execution.read_notebook": call(folder / "nb.ipynb"),
        "course.execution.PeakMemory.watch": call(os.getpid(), on=_stopped),
        "course.execution.PeakMemory.stop": call(on=_stopped),
        "course.execution.weight": call({"text": "some words", "data": {"text/plain": "t"}}),
        "course.exercises.Task.check": call(double, on=lambda: done),
        "course.exercises.Task.hint": call(1, on=lambda: done),
        "course.exercises.Task.solution": call(on=lambda: done),
        "course.exercises.Task.working": call(double, on=lambda: done),
        "course.exercises.exercise": call("course.exact_match"),
        "course.exercises.exercise_line": call(2, 15),
        "course.challenges.challenge": call("transformer.beyond_the_bigram"),
        "course.challenges.agents_plan_by_hand.which_was_first": call("Was Ada Weekly or Bo Weekly started first?", lambda name, argument: "in 1900"),
        "course.exercises.cases.by_cases": call(lambda: cases),
        "course.exercises.cases.check_cases": call(double, cases),
        "course.exercises.cases.calls_watched": call({sum: "no sum", "softmax": "no softmax"}),
        "course.exercises.checking.expect": call(1 < 2, "a hint of three words"),
        "course.exercises.checking.never_returned": call(TimeoutError(), 1.5),
        "course.exercises.checking.no_function": call("double", 3),
        "course.exercises.checking.run_check": call(check, double),
        "course.exercises.checking.with_limit": call(1.0, lambda: None),
        "course.exercises.mutants.mutants": call(double),
        "course.exercises.mutants.survivors": call(done.exercise),
        "course.exercises.stubs.is_stub": call(double),
        "course.exercises.values.cloned": call([1, 2]),
        "course.exercises.values.array": call([1, 2]),
        "course.exercises.values.agrees": call([1, 2], [1, 2]),
        "course.exercises.values.shown": call([1, 2]),
        "course.exercises.values.call_text": call(double, (2,)),
        "course.exercises.values.difference": call([1, 2], [1, 3]),
        "course.figures.arithmetic": call({"addition": [share] * len(limits.DIGITS)}),
        "course.goals.table": call([goals.Goal("right", 0.5, share)]),
        "course.headers.counts": call(book),
        "course.headers.entry": call(book, 3.0, 10**8),
        "course.headers.settled": call(figures, figures),
        "course.headers.header": call(figures),
        "course.headers.place_header": call(fresh_book, figures),
        "course.headers.title": call(book),
        "course.headers.table": call({"00_nb": book}, {"00_nb": figures}),
        "course.headers.place_table": call(folder / "README.md", "a table"),
        "course.ledger.measurements": call(book),
        "course.ledger.table": call(entries),
        "course.limits.ask": call(writer(), [limits.general_facts.Fact("Who?", ("Ada",))]),
        "course.limits.difference_of_shares": call(share, share),
        "course.limits.told_apart": call([1.0], [2.0]),
        "course.limits.calculate": call(writer(), calculation),
        "course.limits.accuracy_by_size": call(sums),
        "course.limits.loss_of_exactness": call(sums),
        "course.normalise.normalise": call(fresh_book),
        "course.normalise.clean": call("some words"),
        "course.notebooks.find": call(["00"]),
        "course.notebooks.read": call("00_start_here"),
        "course.notebooks.text_of": call(book),
        "course.notebooks.write": call(folder / "again.ipynb", book),
        "course.notebooks.summary": call([{"notebook": "00", "failed": False, "claims": {}, **figures}]),
        "course.page.to_html": call(book, "00"),
        "course.pictures.stored_picture": call("00_start_here:figure-map"),
        "course.slides.parse": call(folder / "deck.md"),
        "course.slides.render": call(slides.parse(folder / "deck.md"), folder),
        "course.slides.chosen": call(["00"]),
        "course.source.show": call(double),
        "course.train.recipe": call("pal"),
        "course.train.table": call([{"name": "n", "section": "s", "minutes": 1.0, "seeds": [0], "shipped": True, "makes": "it"}]),
    }


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tmp_path, monkeypatch):
    monkeypatch.setattr(exercises, "_shown", {})  # how far each exercise's hints have been asked for: tests that follow count them
    table = valid(tmp_path, bad_input.call, bad_input.Writer)
    bad_input.check("llmsuite_lab.course", tmp_path, monkeypatch, valid=table, left_out=LEFT_OUT, allowed=(Mistake,))
