"""Alignment on one's own preferences, start to end: a tiny model learns which reply was preferred, and what is written loads in peft."""

import functools
import inspect
import json
import re

import pytest
import torch
import transformers
from peft import PeftModel
from typer.testing import CliRunner

from llmsuite_lab.alignment import align as aligning
from llmsuite_lab.alignment import align_card, dpo, own_methods, own_pairs, own_reward, ppo
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import load_tensors
from llmsuite_lab.core.metrics import Interval
from llmsuite_lab.course import cli
from llmsuite_lab.peft_methods.lora import add_lora
from llmsuite_lab.peft_methods.own_run import divide
from llmsuite_lab.world.preferences_files import PairsFile, Preference, read_file


@pytest.fixture
def own(tmp_path):
    rows = [{"prompt": f"ask {i}:", "chosen": "yes" if i % 2 else "yes yes", "rejected": "no" if i % 3 else "no no"} for i in range(40)]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def aligned(own, out, model, **options):
    said = []
    settings = {"model": model, "max_tokens": 6, "progress": False, "say": said.append} | options
    return aligning.align(own, out, **settings), said


@pytest.mark.parametrize(("method", "options"), [("dpo", {"epochs": 8}), ("ppo", {"steps": 2, "lr": 1e-2}), ("rest", {"steps": 1, "lr": 1e-2})])
def test_an_adapter_is_learnt_and_loads_in_peft(method, options, own, llama, tmp_path):
    found, said = aligned(own, tmp_path / "out", llama, method_name=method, rank=3, **options)
    assert found.rows["train"] + found.rows["held out"] == 40
    assert found.scores["KL"].before.mean == pytest.approx(0, abs=1e-6)
    assert found.scores["KL"].after.mean > 1e-4
    assert found.scores["accuracy"].before.mean == 0.5
    base = transformers.AutoModelForCausalLM.from_pretrained(llama)
    theirs, ids = PeftModel.from_pretrained(base, tmp_path / "out").eval(), torch.arange(3, 14)[None]
    with torch.no_grad():
        assert (theirs(ids).logits - transformers.AutoModelForCausalLM.from_pretrained(llama)(ids).logits).abs().max() > 1e-4
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert (tmp_path / "out" / "metrics.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert align_card.AT_SCALE[method] in text
    assert all(f"| {name} |" in text for row in rows for name, value in row.items() if value is not None and name != "step")
    assert (found.reward is None) == (found.gain is None) == (method == "dpo") == (align_card.PROXY not in text)
    assert not (tmp_path / "out_training").exists()
    assert any("held out, by prompt" in line for line in said)


def test_dpo_raises_the_held_out_margin_and_the_same_seed_writes_the_same(own, llama, tmp_path):
    first, _ = aligned(own, tmp_path / "one", llama, epochs=8, lr=5e-3)
    assert first.scores["reward_margin"].after.low > 0
    assert first.scores["loss"].after.mean < first.scores["loss"].before.mean == pytest.approx(0.6931, abs=1e-4)
    assert first.scores["accuracy"].after.mean > 0.9
    again, _ = aligned(own, tmp_path / "one", llama, epochs=8, lr=5e-3)  # what the course made may be made again
    assert again.scores["loss"].after.mean == pytest.approx(first.scores["loss"].after.mean, rel=1e-4)


def test_what_rounds_to_nothing_has_no_sign():
    assert align_card.cell(Interval(-1e-9, -2e-9, 0.0, 4)) == "0.000"
    assert align_card.cell(Interval(0.5, -0.0001, 0.75, 4)) == "0.500 [0.000, 0.750]"


def test_no_prompt_stands_on_both_sides_whatever_its_case_and_marks(llama, tmp_path, tiny_tokenizer):
    rows = [{"prompt": f"{'ASK' if i % 2 else 'ask'} {i // 4}{'?' * (i % 3)}", "chosen": f"a{i}", "rejected": f"b{i}"} for i in range(80)]
    file = tmp_path / "same.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pairs, bad = own_pairs.ready(read_file(file), tiny_tokenizer, 64)
    train, held = divide(pairs, 0.3, 0, file)
    assert not bad
    assert not {own.preference.prompt.lower().rstrip("?") for own in train} & {own.preference.prompt.lower().rstrip("?") for own in held}
    assert len({own.id for own in pairs}) == 20


def test_what_the_sides_share_and_what_contradicts_itself_is_counted(tiny_tokenizer):
    made = [Preference("a", "x", "y"), Preference("a", "y", "x"), Preference("b", "x", "z"), Preference("c", "v", "w")]
    pairs, _ = own_pairs.ready(PairsFile(made, [], ""), tiny_tokenizer, 64)
    assert own_pairs.overlaps(pairs[:2], pairs[2:]) == {"held out with a reply seen in training": 1, "preferred both ways": 2}


def test_bad_pairs_are_named_by_line_or_left_out(own, llama, tmp_path):
    with own.open("a") as file:
        file.write(json.dumps({"prompt": "p", "chosen": "same", "rejected": "same"}) + "\n")
        file.write(json.dumps({"prompt": "p", "chosen": "c" * 80, "rejected": "r"}) + "\n")
    with pytest.raises(LabError, match="line 41: its chosen and rejected replies are the same"):
        aligned(own, tmp_path / "out", llama)
    found, said = aligned(own, tmp_path / "out", llama, skip_bad=True, steps=1)
    assert found.rows["left out"] == 2
    assert said[0].startswith("2 bad rows left out, first pairs.jsonl, line 41")
    own.write_text("\n".join(line for line in own.read_text().splitlines() if "same" not in line), encoding="utf-8")
    with pytest.raises(LabError, match="line 41: has a reply of 81 tokens"):
        aligned(own, tmp_path / "out", llama)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method_name": "dpoo"}, "did you mean 'dpo'"),
        ({"method_name": "rest", "beta": 0.1}, "rest takes no beta: its options are batch_size, lr, replies, reward_epochs"),
        ({"method_name": "ppo", "epochs": 2}, "ppo takes no epochs"),
        ({"replies": 2}, "dpo takes no replies"),
        ({"steps": 2, "epochs": 1.0}, "steps=2 and epochs=1.0"),
        ({"beta": 0}, "beta=0"),
        ({"lr": -1.0}, "lr"),
        ({"hold_out": 1.0}, "hold_out"),
        ({"rank": 999}, "rank=999"),
        ({"steps": 0}, "steps=0"),
        ({"max_tokens": 64}, "max_tokens=64"),
        ({"model": "smollm"}, "unknown model"),
        ({"longest": 4}, "pairs cannot be learnt"),
    ],
)
def test_what_cannot_work_is_said_and_nothing_is_written(options, said, own, llama, tmp_path):
    with pytest.raises((ValueError, LabError), match=re.escape(said)):
        aligned(own, tmp_path / "out", **({"model": llama} | options))
    assert not (tmp_path / "out").exists()


def test_too_few_pairs_and_other_peoples_folders_are_refused(own, llama, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(LabError, match="thesis.txt"):
        aligned(own, tmp_path / "mine", llama)
    own.write_text(own.read_text().splitlines()[0], encoding="utf-8")
    with pytest.raises(LabError, match="pairs.jsonl cannot be split"):
        aligned(own, tmp_path / "out", llama)


@pytest.mark.parametrize(("method", "part"), [("dpo", (dpo, "_loss")), ("ppo", (ppo, "_iteration"))])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(method, part, own, llama, tmp_path, monkeypatch):
    settings, calls = {"method_name": method, "steps": 4, "batch_size": 8}, []
    through, _ = aligned(own, tmp_path / "through", llama, **settings)

    do = getattr(*part)

    @functools.wraps(do)  # a checkpoint is told the loss by its name
    def stopping(*args, **options):
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return do(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(*part, stopping)
        with pytest.raises(LabError, match="stopped after 2 of 4 .*the same command goes on"):
            aligned(own, tmp_path / "out", llama, **settings)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out_training" / "metrics.png").is_file()
    found, _ = aligned(own, tmp_path / "out", llama, **settings)
    assert found.scores["reward_margin"].after.mean == pytest.approx(through.scores["reward_margin"].after.mean, rel=1e-4)


def test_a_run_that_diverges_keeps_its_last_good_weights(own, llama, tmp_path, monkeypatch):
    loss, calls = dpo._loss, []

    def breaks(model, batch, **options):
        calls.append(0)
        total, count = loss(model, batch, **options)
        return (total * float("nan"), count) if len(calls) == 4 else (total, count)

    three, _ = aligned(own, tmp_path / "fine", llama, steps=6)
    monkeypatch.setattr(dpo, "_loss", breaks)
    found, said = aligned(own, tmp_path / "out", llama, steps=6)
    assert "the loss is nan" in found.stopped
    assert found.steps == 2  # under these the third loss was finite; what the third update did, the fourth told
    assert any("last good weights are kept" in line for line in said)
    assert f"Ended early, with its last good weights: {found.stopped}" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert all(bool(tensor.isfinite().all()) for tensor in load_tensors(tmp_path / "out" / "adapter_model.safetensors").values())
    assert three.stopped is None


def test_the_reward_and_the_policy_share_a_base_and_do_not_touch_each_other(own, llama, tiny_tokenizer):
    pairs = [pair.pair for pair in own_pairs.ready(read_file(own), tiny_tokenizer, 64)[0]]
    base = transformers.AutoModelForCausalLM.from_pretrained(llama)
    plain = transformers.AutoModelForCausalLM.from_pretrained(llama)
    judge = own_reward.learn(base, pairs[:30], pairs[30:], rank=2, epochs=4, progress=False)
    assert judge.accuracy.mean > 0.9
    replies = [pair.chosen for pair in pairs[30:]]
    alone = judge.rewards(replies)
    policy = add_lora(base, rank=3)
    ids = torch.arange(3, 14)[None]
    with torch.no_grad():
        assert torch.equal(policy(ids).logits, plain(ids).logits)  # B is zero, and the reward's LoRA is not worn
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    torch.testing.assert_close(judge.rewards(replies), alone)


def test_the_command_line_says_what_was_measured_and_its_help_tells_the_defaults(own, llama, tmp_path):
    asked = ["align", str(own), "--out", str(tmp_path / "out"), "--model", llama, "--steps", "2", "--rank", "2", "--max-tokens", "5", "--json"]
    done = CliRunner().invoke(cli.app, asked)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"]["left out"] == 0
    told = {name: parameter.annotation.__metadata__[0].help for name, parameter in inspect.signature(cli.align).parameters.items() if name != "as_json"}
    for method, defaults in own_methods.DEFAULTS.items():
        for name, value in defaults.items():
            assert value is None or name == "epochs" or f"({value:g})" in told[name], (method, name)
