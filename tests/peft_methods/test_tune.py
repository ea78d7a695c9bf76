"""Tuning on one's own file, start to end: what is written loads in peft and transformers, what stops goes on, what cannot work is said before anything runs."""

import json
import re
from pathlib import Path

import pytest
import torch
import transformers
from peft import PeftModel
from safetensors.torch import save_file
from typer.testing import CliRunner

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import load_tensors
from llmsuite_lab.course import cli
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.peft_methods import tune as tuning


@pytest.fixture
def own(tmp_path):
    rows = [{"prompt": f"{i} + {i} =", "completion": f" {2 * i}"} for i in range(40)]
    file = tmp_path / "sums.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


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


@pytest.mark.parametrize(("method", "options"), [("lora", {"rank": 3}), ("adaptive", {"rank": 3}), ("prompt", {"length": 4})])
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


@pytest.mark.parametrize("method", ["lora", "prompt"])
def test_long_prompts_with_short_answers_are_tuned_on_and_not_written(method, llama, tmp_path):
    rows = [{"prompt": f"{i} {'x' * (100 if i % 2 else 20)}", "completion": "ab"} for i in range(40)]  # the context holds 64 tokens
    file = tmp_path / "long.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found, _ = tuned(file, tmp_path / "some", llama, method_name=method, steps=2, hold_out=0.3)
    assert found.rows["cut"] == 20
    assert found.exact_before is not None
    file.write_text("".join(json.dumps(row) + "\n" for row in rows if len(row["prompt"]) > 64), encoding="utf-8")
    assert tuned(file, tmp_path / "none", llama, method_name=method, steps=2, hold_out=0.3)[0].exact_after is None


def test_a_prompt_that_fits_but_leaves_no_room_to_write_is_not_written(llama, tmp_path):
    file = tmp_path / "near.jsonl"
    rows = [{"prompt": f"{i:02d}{'x' * 55}", "completion": "ab"} for i in range(30)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found, _ = tuned(file, tmp_path / "out", llama, steps=2, hold_out=0.3)
    assert (found.rows["cut"], found.exact_before, found.exact_after) == (0, None, None)


@pytest.mark.parametrize(
    ("method", "options", "how"), [("lora", {"rank": 3}, "lora (rank 3)"), ("prompt", {"length": 4}, "prompt (length 4)"), ("lora", {}, "rank-8")]
)
def test_the_card_tells_the_size_that_was_asked_for(method, options, how, own, llama, tmp_path):
    tuned(own, tmp_path / "out", llama, method_name=method, steps=1, **options)
    assert f"tuned by {how}" in (tmp_path / "out" / tuning.CARD).read_text(encoding="utf-8")


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


@pytest.mark.parametrize("method", ["lora", "adaptive"])
def test_an_encoder_decoder_takes_a_lora_that_peft_computes_alike(method, own, t5, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(tuning, "_write", lambda out, model, *rest, write=tuning._write: (kept.append(model), write(out, model, *rest)))
    found, _ = tuned(own, tmp_path / "out", t5, method_name=method, rank=3)
    assert found.loss_after < found.loss_before
    base = transformers.AutoModelForSeq2SeqLM.from_pretrained(t5, dtype=next(kept[0].parameters()).dtype)
    theirs, ids = PeftModel.from_pretrained(base, tmp_path / "out").eval(), torch.arange(3, 14)[None]
    with torch.no_grad():
        ours, read = (model(input_ids=ids, decoder_input_ids=ids[:, :5]).logits for model in (kept[0].eval(), theirs))
    torch.testing.assert_close(ours, read, atol=1e-4, rtol=1e-4)
    assert "AutoModelForSeq2SeqLM" in (tmp_path / "out" / tuning.CARD).read_text(encoding="utf-8")


def test_conversations_are_said_to_teach_their_last_turn(llama, tmp_path):
    talk = [{"messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"{i}."}]} for i in range(30)]
    file = tmp_path / "talk.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in talk), encoding="utf-8")
    _, said = tuned(file, tmp_path / "out", llama, steps=1, hold_out=0.2)
    assert said[0] == "30 rows are conversations: their last turn is learnt, what comes before it is the prompt"


def test_a_folder_that_lacks_a_weight_or_is_damaged_is_refused(own, llama, tmp_path):
    file = Path(llama) / "model.safetensors"
    whole = file.read_bytes()
    tensors = load_tensors(file)
    name = next(n for n in tensors if n.endswith("up_proj.weight"))
    save_file({n: t for n, t in tensors.items() if n != name}, file, metadata={"format": "pt"})
    with pytest.raises(LabError, match="lack 1 weights of a LlamaForCausalLM .*up_proj"):
        tuned(own, tmp_path / "out", llama)
    file.write_bytes(whole[:200])
    with pytest.raises(LabError, match="cannot be loaded"):
        tuned(own, tmp_path / "out", llama)
    file.write_bytes(whole)
    for config in ("{", "[]", '{"model_type": "nothing"}'):
        (Path(llama) / "config.json").write_text(config)
        with pytest.raises(LabError, match="cannot be loaded"):
            tuned(own, tmp_path / "out", llama)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["lora", "adaptive"])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(method, own, llama, tmp_path, monkeypatch):
    fit, settings = tuning.fit, {"steps": 8, "method_name": method, "rank": 3}
    through, _ = tuned(own, tmp_path / "through", llama, **settings)

    def stops(*args, on_step, **options):
        def stopping(step, history):
            if on_step is not None:
                on_step(step, history)
            if step == 5:
                raise KeyboardInterrupt

        return fit(*args, on_step=stopping, **options)

    monkeypatch.setattr(tuning, "fit", stops)
    with pytest.raises(LabError, match="stopped after 5 of 8 steps; the same command goes on"):
        tuned(own, tmp_path / "out", llama, **settings)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(tuning, "fit", fit)
    found, _ = tuned(own, tmp_path / "out", llama, **settings)
    assert (found.steps, found.loss_after) == (8, pytest.approx(through.loss_after, rel=1e-5))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method_name": "lorra"}, "did you mean 'lora'"),
        ({"model": "smollm"}, "unknown model"),
        ({"hold_out": 0.0}, "hold_out"),
        ({"method_name": "full", "rank": 3}, "full takes no rank"),
        ({"steps": 3, "epochs": 1.0}, "steps=3 and epochs=1.0"),
        ({"steps": None, "epochs": float("nan")}, "epochs"),
        ({"lr": -1.0}, "lr"),
        ({"method_name": "norms"}, "no format that others can load: choose lora, adaptive, prompt, full"),
        ({"method_name": "adaptive", "dropout": 0.1}, "adaptive takes no dropout"),
        ({"rank": 999}, "rank=999"),
        ({"steps": 0}, "steps=0"),
        ({"batch_size": 0}, "batch_size=0 must be a whole number"),
        ({"method_name": "prompt", "length": 64}, "length=64"),
        ({"longest": 2}, "rows cannot be trained on"),
    ],
)
def test_what_cannot_work_is_said_and_nothing_is_written(options, said, own, llama, tmp_path):
    with pytest.raises((ValueError, LabError), match=re.escape(said)):
        tuned(own, tmp_path / "out", **({"model": llama} | options))
    assert not (tmp_path / "out").exists()


def test_a_rank_that_no_layer_has_is_refused_before_anything_is_scored(own, llama, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "mean_loss", lambda *args: pytest.fail("the held-out rows were scored first"))
    with pytest.raises(ValueError, match="rank=999"):
        tuned(own, tmp_path / "out", llama, rank=999)


def test_the_command_line_hands_every_option_of_a_method_on(own, monkeypatch):
    asked = []

    def enough(*args, **options):
        asked.append(options)
        raise LabError("enough")

    monkeypatch.setattr(tuning, "tune", enough)
    for words in (["--rank", "4", "--alpha", "8", "--dropout", "0.1", "--rslora"], ["--method", "prompt", "--length", "3", "--text", "Sum up:"]):
        CliRunner().invoke(cli.app, ["tune", str(own), *words])
    taken = [{name: options[name] for names in tuning.OPTIONS.values() for name in names if name in options} for options in asked]
    assert taken == [{"rank": 4, "alpha": 8.0, "dropout": 0.1, "rslora": True}, {"length": 3, "text": "Sum up:"}]


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
