"""Tuning on one's own file, start to end: what is written loads in peft and transformers, what stops goes on, what cannot work is said before anything runs."""

import json
import re

import pytest
import torch
import transformers
from peft import PeftModel
from typer.testing import CliRunner

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.course import cli
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.peft_methods import tune as tuning

SIZES = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.fixture
def own(tmp_path):
    rows = [{"prompt": f"{i} + {i} =", "completion": f" {2 * i}"} for i in range(40)]
    file = tmp_path / "sums.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture
def llama(tmp_path, tiny_tokenizer):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=259, max_position_embeddings=64, eos_token_id=258, bos_token_id=257, pad_token_id=256, **SIZES)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    tiny_tokenizer.save_pretrained(tmp_path / "llama")
    return str(tmp_path / "llama")


@pytest.fixture
def t5(tmp_path, tiny_tokenizer):
    torch.manual_seed(0)
    sizes = {"d_model": 24, "d_kv": 6, "d_ff": 40, "num_layers": 2, "num_heads": 4}
    transformers.T5ForConditionalGeneration(transformers.T5Config(vocab_size=259, decoder_start_token_id=256, **sizes)).save_pretrained(tmp_path / "t5")
    tiny_tokenizer.save_pretrained(tmp_path / "t5")
    return str(tmp_path / "t5")


def tuned(own, out, model, **options):
    said = []
    settings = {"model": model, "steps": 30, "lr": 1e-2, "progress": False, "say": said.append} | options
    return tuning.tune(own, out, **settings), said


@pytest.mark.parametrize(("method", "options"), [("lora", {"rank": 3}), ("prompt", {"length": 4})])
def test_an_adapter_is_learnt_and_loads_in_peft(method, options, own, llama, tmp_path):
    found, said = tuned(own, tmp_path / "out", llama, method_name=method, **options)
    assert found.loss_after < found.loss_before
    assert said == [f"{found.rows['train']} rows to train on, {found.rows['held out']} held out"]
    assert found.rows["train"] + found.rows["held out"] == 40
    base = transformers.AutoModelForCausalLM.from_pretrained(llama)
    theirs = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    ids = torch.arange(3, 14)[None]
    with torch.no_grad():
        assert (theirs(ids).logits[:, -1] - transformers.AutoModelForCausalLM.from_pretrained(llama)(ids).logits[:, -1]).abs().max() > 1e-3
    card = (tmp_path / "out" / tuning.CARD).read_text(encoding="utf-8")
    assert f"| loss, nats per token | {found.loss_before:.4f} | {found.loss_after:.4f} |" in card
    assert "sums.jsonl" in card
    assert not (tmp_path / "out_training").exists()
    again, _ = tuned(own, tmp_path / "out", llama, method_name=method, **options)  # what the course made may be made again
    assert again.loss_after == pytest.approx(found.loss_after, rel=1e-3)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_whole_model_loads_in_transformers(family, own, tmp_path, request):
    folder = request.getfixturevalue(family)
    found, _ = tuned(own, tmp_path / "out", folder, method_name="full", lr=1e-3)
    assert found.loss_after < found.loss_before
    kind = transformers.AutoModelForCausalLM if family == "llama" else transformers.AutoModelForSeq2SeqLM
    loaded = kind.from_pretrained(tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.bin"))
    assert any((a != b).any() for a, b in zip(loaded.parameters(), kind.from_pretrained(folder).parameters(), strict=True))
    assert (found.exact_after is None) == (family == "t5")


def test_a_stopped_run_goes_on(own, llama, tmp_path, monkeypatch):
    fit = tuning.fit

    def stops(*args, **options):
        def on_step(step, history):
            if step == 3:
                raise KeyboardInterrupt

        return fit(*args, on_step=on_step, **options)

    monkeypatch.setattr(tuning, "fit", stops)
    with pytest.raises(LabError, match="stopped after . of 8 steps; the same command goes on"):
        tuned(own, tmp_path / "out", llama, steps=8)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(tuning, "fit", fit)
    found, _ = tuned(own, tmp_path / "out", llama, steps=8)
    assert found.steps == 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method_name": "lorra"}, "did you mean 'lora'"),
        ({"model": "smollm"}, "unknown model"),
        ({"hold_out": 0.0}, "hold_out"),
        ({"method_name": "full", "rank": 3}, "full takes no rank"),
        ({"steps": 3, "epochs": 1.0}, "steps or epochs"),
        ({"rank": 999}, "rank=999"),
        ({"longest": 2}, "rows cannot be trained on"),
    ],
)
def test_what_cannot_work_is_said_and_nothing_is_written(options, said, own, llama, tmp_path):
    with pytest.raises((ValueError, LabError), match=re.escape(said)):
        tuned(own, tmp_path / "out", **({"model": llama} | options))
    assert not (tmp_path / "out").exists()


def test_a_single_row_pickles_and_other_peoples_folders_are_refused(own, llama, tmp_path):
    one = tmp_path / "one.jsonl"
    one.write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    with pytest.raises(LabError, match="one.jsonl cannot be split"):
        tuned(one, tmp_path / "out", llama)
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_text("{}")
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(LabError, match="safetensors only"):
        tuned(own, tmp_path / "out", str(tmp_path / "pickled"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(LabError, match="thesis.txt"):
        tuned(own, tmp_path / "mine", llama)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"


def test_the_command_line_says_what_was_measured(own, llama, tmp_path):
    asked = ["tune", str(own), "--out", str(tmp_path / "out"), "--model", llama, "--steps", "4", "--rank", "2", "--json"]
    done = CliRunner().invoke(cli.app, asked)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"]["left out"] == 0


@pytest.mark.slow
@pytest.mark.real_model
def test_the_real_model_is_tuned_and_its_adapter_loads_both_ways(lm, own, tmp_path):
    found, _ = tuned(own, tmp_path / "out", None, steps=6, lr=2e-3)
    assert found.loss_after < found.loss_before
    ours = LanguageModel.load(adapter=tmp_path / "out", dtype=torch.float32, device="cpu")
    theirs = PeftModel.from_pretrained(LanguageModel.load(dtype=torch.float32, device="cpu").model, tmp_path / "out").eval()
    ids = torch.tensor([ours.tokenizer("7 + 7 =")["input_ids"]])
    with torch.no_grad():
        assert (ours.model(ids).logits - theirs(ids).logits).abs().max() < 1e-2
