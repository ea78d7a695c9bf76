"""Nonsense in every place of a function: the language model answers with a sentence (see tests/bad_input.py)."""

LEFT_OUT = {
    "lm.lora.train_lora": "trains a model; what it takes is checked by lm.training.fit: test_training.py",
    "lm.adapters.add_lora": "peft's own constructor, for any torch module: test_lora.py",
    "lm.runs.trained": "trains a model",
}


def test_every_function_answers_nonsense_with_a_sentence(bad_input, tmp_path, monkeypatch):
    bad_input.check_nonsense("llmsuite_lab.lm", tmp_path, monkeypatch, left_out=LEFT_OUT)
