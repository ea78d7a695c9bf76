"""Nonsense in every place of a function: the course answers with a sentence (see tests/bad_input.py)."""

LEFT_OUT = {
    "course.cli": "the command line has its own test: test_cli.py",
    "course.exercises": "a student's answer may be anything at all: test_checking.py and test_exercises.py",
    "course.bench": "measures for minutes; names and measurements are checked in test_bench.py",
    "course.browser": "starts a browser",
    "course.headers.store": "writes the course's own timings: test_notebooks.py",
    "course.notebooks.refresh": "runs and rewrites the course's own notebooks: test_notebooks.py",
    "course.notebooks.rehearse": "as refresh",
    "course.pictures.place_readme_pictures": "writes the course's own pictures",
    "course.slides.build": "writes the course's own decks: test_slides.py",
    "course.nbval_plugin": "called by pytest: test_nbval_plugin.py",
}


def test_every_function_answers_nonsense_with_a_sentence(bad_input, tmp_path, monkeypatch):
    bad_input.check_nonsense("llmsuite_lab.course", tmp_path, monkeypatch, left_out=LEFT_OUT)
