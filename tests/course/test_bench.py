"""The bench's arithmetic on made-up measurements, and its training comparison on one real step."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.llama_cpp import LlamaCpp
from llmsuite_lab.course import bench
from llmsuite_lab.course.bench import Row, compare, interleaved, table
from llmsuite_lab.lm.batching import Example


def test_ratio_is_the_median_of_pairs_not_the_ratio_of_medians():
    row = compare("generate", "tokens/s", [10.0, 40.0, 90.0], [5.0, 10.0, 100.0])
    assert row == Row("generate", 40.0, 10.0, "tokens/s", 2.0, 3, (0.9, 4.0))


def test_seconds_are_better_small_and_bytes_are_ours_over_theirs():
    assert compare("load", "s", [0.5, 0.5], [10.0, 20.0]).ratio == 30.0
    assert compare("peak", "bytes", [300.0], [400.0]).ratio == 0.75


@pytest.mark.parametrize(("ours", "reference"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0])])
def test_what_cannot_be_compared_is_refused(ours, reference):
    with pytest.raises(ValueError, match="pairs|above zero"):
        compare("x", "s", ours, reference)


def test_measurements_alternate_and_warmup_is_dropped():
    calls = []

    def measured(name):
        def call():
            calls.append(name)
            return float(len(calls))

        return call

    values = interleaved(measured("a"), measured("b"), measured("c"), n=2, warmup=1)
    assert "".join(calls) == "abccbaabc"
    assert values == [[6.0, 7.0], [5.0, 8.0], [4.0, 9.0]]
    with pytest.raises(ValueError, match="n=0"):
        interleaved(measured("a"), n=0)


def test_table_and_json_carry_the_same(monkeypatch):
    rows = [Row("load", 0.25, 10.0, "s", 40.0, 3, (38.0, 44.5)), Row("peak", 2**20, 2**21, "bytes", 0.5, 1, (0.5, 0.5))]
    text = table(rows).splitlines()
    assert text[0].split() == ["benchmark", "ours", "reference", "unit", "ratio", "n", "spread"]
    assert "40.00x" in text[1]
    assert "38.00 – 44.50" in text[1]
    assert "MiB" in text[2]
    monkeypatch.setattr(bench, "run", lambda name: rows)
    from llmsuite_lab.course.cli import app

    done = CliRunner().invoke(app, ["bench", "core", "--json"])
    data = json.loads(done.stdout)
    assert done.exit_code == 0
    assert data == [row.as_dict() for row in rows]
    assert list(data[0]) == ["name", "ours", "reference", "unit", "ratio", "n", "spread"]


def test_the_clock_says_what_it_counts(monkeypatch):
    import time

    monkeypatch.setenv("LLMSUITE_BENCH_CLOCK", "cpu")
    assert bench.seconds_unit() == "CPU s"
    began = bench.clock()
    time.sleep(0.2)
    assert bench.clock() - began < 0.1, "a sleeping process uses no processor"
    assert compare("load", "CPU s", [1.0], [3.0]).ratio == 3.0
    monkeypatch.setenv("LLMSUITE_BENCH_CLOCK", "sundial")
    with pytest.raises(ValueError, match="wall"):
        bench.clock()


def test_unknown_benchmark_names_the_known():
    assert "core" in bench.names()
    assert not any(name.startswith("_") for name in bench.names())
    with pytest.raises(ValueError, match="core"):
        bench.run("nonsense")


def test_references_read_the_batches_that_fit_reads():
    from llmsuite_lab.course.bench import _training
    from llmsuite_lab.finetuning import with_trl
    from llmsuite_lab.lm.batching import length_buckets

    examples = [Example([1] * (3 + i * 7 % 50), [2] * (1 + i % 5)) for i in range(_training.BATCH * 3)]
    ordered = with_trl.in_order(examples, _training.BATCH, len(examples) // _training.BATCH)
    first = length_buckets([len(e) for e in examples], _training.BATCH, seed=0, epoch=0)[0]
    assert ordered[: _training.BATCH] == [examples[i] for i in first]
    batch = _training._collate_with_labels([Example([5, 6], [7]), Example([5], [7, 8, 9])])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 0], [5, 7, 8, 9]]
    assert batch["labels"].tolist() == [[-100, -100, 7, -100], [-100, 7, 8, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_peak_memory_is_this_programs_own_and_grows_with_it():
    """A child's peak must not begin at its parent's size (getrusage's does): the parent here weighs over 300 MB."""
    ballast = bytearray(300 * 2**20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    code = "from llmsuite_lab.course.bench import peak_resident_bytes as p; a = p(); b = bytearray(b'x') * (80 * 2**20); print(a, p(), len(b))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    before, after, size = map(int, done.stdout.split())
    assert before < 200 * 2**20 < len(ballast)
    assert 0.9 * size < after - before < 1.5 * size


def test_a_child_s_peak_is_what_it_printed_last_and_a_child_that_fails_is_told_with_its_words(tmp_path, monkeypatch, capsys):
    code = ["import sys, json", "assert sys.argv[1] != 'wrong', 'no such model'", "print('a line')", "print(json.dumps({'peak_bytes': 7}))"]
    (tmp_path / "weighing.py").write_text("\n".join(code))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert bench.child_peak_bytes("weighing", "ours") == 7
    assert "ours: peak" in capsys.readouterr().err
    with pytest.raises(LabError, match="(?s)benchmark of wrong did not finish.*no such model"):
        bench.child_peak_bytes("weighing", "wrong")


def test_the_generation_bench_says_what_to_install(monkeypatch):
    from llmsuite_lab.course.bench import generation

    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(LabError, match=r"pip install -e '\.\[bench\]'"):
        generation.Llama()
    assert len(generation.long_prompt().split()) == 1500


def test_both_decode_rates_leave_out_the_first_token_and_the_reading_of_the_prompt(tiny_lm):
    from llmsuite_lab.course.bench import generation

    assert generation.decode_rate(tiny_lm, [[1, 2, 3], [4]], 3) > 0
    llama = generation.Llama.__new__(generation.Llama)
    asked = []
    told = {"choices": [{"text": ""}], "timings": {"predicted_n": 9, "predicted_ms": 4.0}}
    llama.engine = LlamaCpp.__new__(LlamaCpp)
    llama.engine.server = type("Server", (), {"handle_completions": lambda self, request: asked.append(request) or told})()
    assert llama.decode_rate([[1, 2], [3]], 9) == pytest.approx(2 * 8 / 0.008)
    assert [request["n_predict"] for request in asked] == [9, 9]
    assert all(request["ignore_eos"] and not request["cache_prompt"] for request in asked)


def test_the_ppo_bench_says_what_it_needs_and_refuses_another_trl_and_another_policy(monkeypatch, tmp_path):
    """The interpreter of the tests has a trl without PPO: its process ends, and its words are told."""
    from llmsuite_lab.course.bench import ppo

    for value in ("", str(tmp_path / "no" / "python")):
        monkeypatch.setenv(ppo.VARIABLE, value)
        with pytest.raises(LabError, match=r"trl==1\.12\.0.*set it to"):
            ppo.rows()
    monkeypatch.setenv(ppo.VARIABLE, sys.executable)
    assert ppo.interpreter() == sys.executable
    prompts, models = ppo.prompts_of(3), ppo.policies()
    assert len({len(prompt) for prompt in prompts}) > 1
    models[ppo.LLAMA].save_pretrained(tmp_path / "model")
    task = {"prompts": prompts, "options": ppo.options(ppo.SETTINGS), "threads": 1}
    (tmp_path / "task.json").write_text(json.dumps(task))
    with pytest.raises(LabError, match=r"(?s)did not answer.*trl\.experimental\.ppo"):
        with ppo.OldTrl(sys.executable, tmp_path):
            pass
    one, other = (ppo.Ours(name, policy, prompts) for name, policy in models.items())
    assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
    one.entropy, other.entropy = 4.0, 4.1
    ppo.check_same(one, other)
    other.entropy = 5.0
    with pytest.raises(LabError, match="do not write alike"):
        ppo.check_same(one, other)
    other.logprob += 0.1
    with pytest.raises(LabError, match="do not begin with one policy"):
        ppo.check_same(one, other)


def test_the_reward_of_the_ppo_bench_is_the_one_that_trl_reads():
    import torch

    from llmsuite_lab.course.bench import _old_trl, ppo

    replies = [Example([5, 6], [7, 3, 11]), Example([8], [9, 0, 4, 1])]
    for reply in replies:
        ids = torch.tensor([[0, *reply.prompt_ids, *reply.completion_ids]])  # padding is hidden behind id 0
        assert _old_trl.Points().read(ids).hidden_states[-1][0, -1, 0].item() == pytest.approx(ppo.points([reply]).item())


def test_the_peft_bench_takes_one_step_with_each_lora_and_refuses_two_that_do_not_train_the_same(monkeypatch, capsys):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from llmsuite_lab.course.bench import _training, peft

    sizes = {"vocab_size": 61, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    seeds = {"ours": 3, "peft": 3}

    def tiny(whose):
        torch.manual_seed(seeds[whose])
        model = LlamaForCausalLM(LlamaConfig(**sizes, initializer_range=0.4))
        return peft.add_lora(model, rank=2, alpha=4) if whose == "ours" else peft.add_pefts(model, 0, rank=2, alpha=4)

    monkeypatch.setattr(_training, "BATCH", 2)
    monkeypatch.setattr(_training, "STEPS", 1)
    monkeypatch.setattr(_training, "bench_examples", lambda n: [Example([3 + i, 7, 20], [9, 11 + i][: 1 + i % 2]) for i in range(n)])
    monkeypatch.setattr(peft, "lora_model", tiny)
    (row,) = peft.step_rows(n=1)
    assert row.name == "LoRA step, ours against peft"
    assert row.ours > 0 < row.reference
    told = [line.split("first loss")[1] for line in capsys.readouterr().err.splitlines() if "first loss" in line]
    assert len(told) == 4  # a warm-up and a round for each
    assert len(set(told[:2])) == 1
    seeds["peft"] = 4
    with pytest.raises(LabError, match="they do not train the same thing"):
        peft.step_rows(n=1)
