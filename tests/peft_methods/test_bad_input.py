"""Whatever is put in the place of an argument, the parameter-efficient section answers with a sentence (see tests/bad_input.py)."""

import importlib.util
import zlib
from pathlib import Path

import torch

from llmsuite_lab.lm.batching import Example, collate
from llmsuite_lab.peft_methods import files, hybrid, lora
from llmsuite_lab.peft_methods.adapters import add_adapters
from llmsuite_lab.peft_methods.adaptive import RankBudget, add_adaptive
from llmsuite_lab.peft_methods.comparing import Budget
from llmsuite_lab.peft_methods.parameter_files import save_parameters
from llmsuite_lab.peft_methods.prompt_tuning import add_soft_prompt
from llmsuite_lab.world import support_desk

_conftest = importlib.util.spec_from_file_location("tiny_models", Path(__file__).with_name("conftest.py"))
models = importlib.util.module_from_spec(_conftest)
_conftest.loader.exec_module(models)

ROWS = [{"method": "lora", "task": "summary", "lr": 1e-3, "loss": 2.0}]
LEFT_OUT = {
    "peft_methods.records": "reads runs that are not recorded yet: test_records.py makes some up",
    "peft_methods.tune": "trains a model; its file, folder and options are checked before anything runs: test_tune.py",
    "peft_methods.own_run": "the steps of tune and align, which say what they are given: test_tune.py, tests/alignment/test_align.py",
    "peft_methods.own_model.load_base": "loads a model; unknown names and damaged folders: test_tune.py",
    "peft_methods.comparing.tune": "trains the real model; method, task and options are checked before: test_comparing.py",
    "peft_methods.comparing.measured": "trains the real model",
    "peft_methods.comparing.rates": "trains the real model",
    "peft_methods.comparing.sweep": "trains the real model",
    "peft_methods.forgetting.measure": "trains the real model: test_forgetting.py",
    "peft_methods.comparing.validation_loss": "needs a model with a tokenizer: test_comparing.py",
    "peft_methods.adapters.Bottleneck": "stands inside a model: add_adapters checks what it is made of, and its calls are a layer's",
    "peft_methods.adaptive.GatedLinear": "stands inside a model: add_adaptive checks what it is made of, and its calls are a layer's",
    "peft_methods.lora.LoRALinear": "stands inside a model: add_lora checks what it is made of, and its calls are a layer's",
    "peft_methods.methods.Method.on_step": "a field, whose functions are fed by their own names",
    "peft_methods.methods.Method.finish": "a field, whose functions are fed by their own names",
    "peft_methods.sizes.own_base": "trains a decoder; an unknown size: test_sizes.py",
    "peft_methods.sizes.base": "trains a decoder or loads the real model",
    "peft_methods.sizes.larger": "asks the profile, and takes no argument: test_sizes.py",
    "peft_methods.sizes.rates": "a table's row by size and method, whose names its callers take from the tables",
    "peft_methods.sizes.tune": "trains a model: test_sizes.py",
    "peft_methods.sizes.measured": "trains models: test_sizes.py",
    "peft_methods.weighing.weigh": "trains a model: test_weighing.py",
    "peft_methods.soft_prompt": "modules that stand in front of a model: add_soft_prompt checks what they are made of",
}


def valid(folder, call, tokenizer):
    """Valid calls, where the signature does not say enough."""

    def fresh():
        return models.make("llama")

    def fresh_lora():
        return lora.add_lora(models.make("llama"))

    def fresh_merged():
        from llmsuite_lab.peft_methods.merging import merge

        return merge(fresh_lora())

    def fresh_prompt():
        return add_soft_prompt(models.make("llama"), 3)

    def fresh_bottlenecks():
        return add_adapters(models.make("llama"))

    def fresh_hybrid():
        return hybrid.add_hybrid(models.make("llama"), length=3)

    def fresh_gates():
        return add_adaptive(models.make("llama"))

    def fresh_measured():
        model = fresh_gates()
        for name, buffer in model.named_buffers():
            if name.endswith((".mean", ".spread")):
                buffer.fill_(1.0)
        return model

    hybrid.save(folder / "hybrid", fresh_hybrid())
    files.save(folder / "lora", fresh_lora())
    save_parameters(folder / "bottlenecks", fresh_bottlenecks())
    linear = torch.nn.Linear(3, 4)
    dialogues = support_desk.dialogues(3)

    def words(texts):
        return [[zlib.crc32(word.encode()) % 251 for word in text.split()] for text in texts]

    A, B = torch.randn(2, 48), torch.zeros(48, 2)
    return {
        "peft_methods.comparing.mean_loss": call(fresh, [Example([1, 2], [3])]),
        "peft_methods.comparing.best_rate": call(ROWS, "lora"),
        "peft_methods.comparing.as_data": call(Budget()),
        "peft_methods.adapters.add_adapters": call(fresh),
        "peft_methods.adapters.unload": call(fresh_bottlenecks),
        "peft_methods.adaptive.add_adaptive": call(fresh),
        "peft_methods.adaptive.RankBudget": call(fresh_gates, 4),
        "peft_methods.adaptive.RankBudget.__call__": call(1, on=lambda: RankBudget(fresh_gates(), 4)),
        "peft_methods.adaptive.budget": call(3, 1, 5, 20, 10),
        "peft_methods.adaptive.finish": call(fresh_measured),
        "peft_methods.adaptive.ranks": call(fresh_gates),
        "peft_methods.hybrid.add_hybrid": call(fresh, length=3),
        "peft_methods.hybrid.save": call(folder / "both", fresh_hybrid),
        "peft_methods.hybrid.load": call(fresh, folder / "hybrid"),
        "peft_methods.memory.count": call(fresh),
        "peft_methods.memory.measure": call(fresh_lora, collate([Example([1, 2], [3])])),
        "peft_methods.neighbours.nearest": call(A, torch.randn(7, 48)),
        "peft_methods.neighbours.random_like": call(A),
        "peft_methods.neighbours.share_within": call(torch.tensor([[1, 2]]), [1]),
        "peft_methods.neighbours.words_of": call(["ab"], tokenizer),
        "peft_methods.neighbours.against_random": call(A, torch.randn(7, 48), [1], draws=2),
        "peft_methods.sizes.Budget": call(),
        "peft_methods.sizes.message": call(dialogues[0]),
        "peft_methods.sizes.short": call(3, "train"),
        "peft_methods.sizes.examples": call(dialogues, words),
        "peft_methods.sizes.label_ids": call(words),
        "peft_methods.sizes.answers": call(fresh, words, "test", 3),
        "peft_methods.selective.train_only": call(fresh, ["*.weight"]),
        "peft_methods.selective.train_biases": call(fresh, True),
        "peft_methods.selective.train_norms": call(fresh),
        "peft_methods.selective.train_last_layers": call(fresh),
        "peft_methods.selective.add_biases": call(fresh, ["q_proj"]),
        "peft_methods.selective.note_biases": call(fresh),
        "peft_methods.parameter_files.save_parameters": call(folder / "parameters", fresh_bottlenecks),
        "peft_methods.parameter_files.load_parameters": call(fresh, folder / "bottlenecks"),
        "peft_methods.files.save": call(folder / "saved", fresh_lora),
        "peft_methods.files.load": call(fresh, folder / "lora"),
        "peft_methods.files.lora_tensors": call(fresh_lora),
        "peft_methods.files.prompt_tensors": call(fresh_prompt),
        "peft_methods.lora.add_lora": call(fresh, ["q_proj"]),
        "peft_methods.lora.check_new": call(fresh, "other", 8.0, 0.0),
        "peft_methods.lora.place": call(fresh, "model.layers.0.self_attn.q_proj", "other", A, B, 4.0),
        "peft_methods.lora.lora_layers": call(fresh_lora),
        "peft_methods.lora.names": call(fresh_lora),
        "peft_methods.lora.activate": call(fresh_lora, "default"),
        "peft_methods.merging.merge": call(fresh_lora),
        "peft_methods.merging.unmerge": call(fresh_merged),
        "peft_methods.merging.merge_and_unload": call(fresh_lora),
        "peft_methods.merging.unload": call(fresh_lora),
        "peft_methods.methods.method": call("lora"),
        "peft_methods.prompt_tuning.add_soft_prompt": call(fresh, 3),
        "peft_methods.weighing.file_bytes": call(fresh_lora),
        "peft_methods.figures.allotted": call({"model.layers.0.self_attn.q_proj": 3}),
        "peft_methods.prompt_tuning.place": call(fresh, torch.zeros(2, 48)),
        "peft_methods.switching.adapters_off": call(fresh_prompt),
        "peft_methods.switching.wearing": call(fresh_lora, "default"),
        "peft_methods.targets.find_targets": call(fresh, ["q_proj"]),
        "peft_methods.targets.check_rank": call(2, {"a": linear}),
        "peft_methods.targets.is_linear": call(linear),
        "peft_methods.targets.dimensions": call(linear),
        "peft_methods.targets.is_transposed": call(linear),
        "peft_methods.targets.freeze": call(fresh),
        "peft_methods.targets.layer_called": call(fresh, "model.layers.0.self_attn.q_proj"),
        "peft_methods.targets.matches": call("model.layers.0.mlp", "mlp"),
        "peft_methods.targets.put": call(fresh, "model.layers.0.self_attn.q_proj", linear),
    }


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tiny_tokenizer, tmp_path, monkeypatch):
    bad_input.check("llmsuite_lab.peft_methods", tmp_path, monkeypatch, valid=valid(tmp_path, bad_input.call, tiny_tokenizer), left_out=LEFT_OUT)


def test_the_same_nonsense_everywhere_is_answered_too(bad_input, tmp_path, monkeypatch):
    bad_input.check_nonsense("llmsuite_lab.peft_methods", tmp_path, monkeypatch, left_out=LEFT_OUT)
