"""FLAN-T5 on DialogSum, whole, with a tiny random T5 and a few rows in DialogSum's form; refused where there is no GPU for the real one."""

from types import SimpleNamespace

import pytest
import torch

from llmsuite_lab.core import runs, zoo
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.metrics import rouge
from llmsuite_lab.finetuning import flan, recipes
from llmsuite_lab.finetuning.flan import Settings
from llmsuite_lab.world import readers

NAMES = ("Ann", "Bo", "Cy", "Di", "Eve", "Flo")
ROWS = [
    {"id": f"d_{n}", "dialogue": f"#Person1#: Hi, {name}, tea?\n#Person2#: No, a lift home.", "summary": f"{name} asks #Person1# for a lift.", "topic": "lift"}
    for n, name in enumerate(NAMES)
]
TINY = Settings(dialogues=4, steps=60, batch_size=3, lr=1e-2, items=2, tokens=9)


@pytest.fixture
def t5():
    import transformers

    torch.manual_seed(0)
    special = {"vocab_size": 259, "decoder_start_token_id": 256, "pad_token_id": 256, "eos_token_id": 258}
    return transformers.T5ForConditionalGeneration(transformers.T5Config(d_model=24, d_kv=6, d_ff=40, num_layers=2, num_heads=4, **special)).eval()


@pytest.fixture
def on_a_gpu(monkeypatch, t5, tiny_tokenizer):
    asked = []
    dial = SimpleNamespace(name="t4", device=torch.device("cpu"), train_dtype=torch.float32)
    monkeypatch.setattr(flan, "profile", lambda: dial)
    monkeypatch.setattr(zoo, "load_model", lambda name, dtype, device, source: asked.append((name, source)) or t5)
    monkeypatch.setattr(zoo, "load_tokenizer", lambda name, source: tiny_tokenizer)
    told_twice = [{"dialogue": row["dialogue"], "summary1": row["summary"], "summary2": "a lift"} for row in ROWS[4:]]
    splits = {"train": ROWS[:4], "test": told_twice}
    monkeypatch.setattr(readers, "from_hub", lambda hub, configuration, split, revision: asked.append((hub, split)) or splits[split])
    return asked


def test_the_whole_run_learns_the_summaries_and_scores_them_against_every_reference(on_a_gpu):
    done = flan.measure(3, TINY)
    assert on_a_gpu == [("flan-t5-base", "hub"), ("knkarthick/dialogsum", "train"), ("knkarthick/dialogsum", "test")]
    assert done.history.losses[-1] < 0.5 * done.history.losses[0]
    assert list(done.results) == ["before", "after"]
    for rows in done.results.values():
        assert len({row["item"] for row in rows}) == 2
        expected = rouge([row["said"] for row in rows], [[row["summary"].replace("#Person1#", "Person1"), "a lift"] for row in ROWS[4:]])
        assert [row["score"] for row in rows] == pytest.approx(expected["rougeL"])
    assert all(0 < len(row["said"]) <= TINY.tokens for row in done.results["after"])  # a token is a byte


def test_padding_changes_no_summary(t5, tiny_tokenizer):
    chosen = [flan.read_dialogue(row) for row in ROWS[:2]] + [flan.read_dialogue(ROWS[2] | {"dialogue": f"A: hi\nB: {'no ' * 20}"})]
    together = flan.summaries(t5, tiny_tokenizer, chosen, TINY)
    assert [row["said"] for row in together] == [flan.summaries(t5, tiny_tokenizer, [one], TINY)[0]["said"] for one in chosen]


def test_what_cannot_be_tuned_is_refused_in_a_sentence(t5, tiny_tokenizer, monkeypatch):
    chosen = [flan.read_dialogue(row) for row in ROWS]
    with pytest.raises(ValueError, match="Linear is no encoder–decoder"):
        flan.tune(torch.nn.Linear(2, 3), tiny_tokenizer, chosen[:2], chosen[2:])
    with pytest.raises(ValueError, match="2 dialogues to train on and 0 held out"):
        flan.tune(t5, tiny_tokenizer, chosen[:2], [])
    with pytest.raises(ValueError, match="1 dialogues are to be trained on and held out"):
        flan.tune(t5, tiny_tokenizer, chosen[:2], chosen[1:])
    cpu = SimpleNamespace(name="cpu")
    monkeypatch.setattr(flan, "profile", lambda: cpu)
    monkeypatch.setattr("llmsuite_lab.core.runtime.profile", lambda: cpu)
    with pytest.raises(LabError, match="for the t4 and gpu profiles, and this is cpu"):
        flan.measure()
    with pytest.raises(LabError, match="desk_flan is for the t4 and gpu profiles"):
        runs.make(next(recipe for recipe in recipes.RECIPES if recipe.name == "desk_flan"))
