"""Nonsense in every place of a function: the transformer section answers with a sentence (see tests/bad_input.py)."""

LEFT_OUT = {
    "transformer.layers.Linear": "torch's own constructor",
    "transformer.layers.Embedding": "torch's own constructor",
    "transformer.experiments": "trains models: test_experiments.py",
}


def test_every_function_answers_nonsense_with_a_sentence(bad_input, tmp_path, monkeypatch):
    bad_input.check_nonsense("llmsuite_lab.transformer", tmp_path, monkeypatch, left_out=LEFT_OUT)
