"""Whatever is put in the place of an argument, the language model in use answers with a sentence (see tests/bad_input.py)."""

import copy

import torch
from peft import LoraConfig
from pydantic import BaseModel

from llmsuite_lab.core.history import History
from llmsuite_lab.lm import adapters, checkpoint, structured
from llmsuite_lab.lm.batching import Example, collate
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.transformer.optimizer import AdamW, decay_groups

LEFT_OUT = {
    "lm.lora.train_lora": "trains the real model; what it takes is fed through lm.training.fit and lm.adapters.add_lora",
    "lm.runs.trained": "trains a model",
    "lm.language_model.LanguageModel.load": "loads the real model: test_language_model.py; its adapter's place is fed through lm.adapters",
}


class Named(BaseModel):
    """Something with a name."""

    name: str


def valid(folder, call, model, tokenizer):
    """Valid calls, where the signature does not say enough. `model()` makes a tiny random Llama."""
    torch.manual_seed(0)
    examples = [Example([5, 6, 7], [8, 9]), Example([5], [6, 7, 8])]
    batch, ready = collate(examples), model()
    lm = LanguageModel(ready, tokenizer, "tiny")
    optimizer = AdamW(decay_groups(ready.parameters(), 0.0))
    state, start = {"seed": 0}, checkpoint.buffer_states(ready)
    checkpoint.save_checkpoint(folder / "run", optimizer, History(), state, ready, start)
    lora = adapters.add_lora(model(), 0, rank=2)
    adapters.write_adapter(folder / "adapter", lora, {"seed": 0})
    Q, K, V = (torch.randn(2, heads, 5, 4) for heads in (6, 2, 2))
    few = {"max_new_tokens": 2}
    turn, tool = {"role": "user", "content": "a"}, {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    wide, shown = model(), copy.deepcopy(tokenizer)
    wide.config.max_position_embeddings = 512
    shown.chat_template = "{{ tools | tojson }}{% for m in messages %}{{ m.content }}{{ m.tool_calls | tojson if m.tool_calls }}{% endfor %}"

    def fresh_model():
        return model()

    return {
        "lm.adapters.adapter_path": call(str(folder / "adapter")),
        "lm.adapters.adapter_damage": call(folder / "adapter"),
        "lm.adapters.adapter_base": call(folder / "adapter"),
        "lm.adapters.add_lora": call(fresh_model, 0, rank=2),
        "lm.adapters.carries_adapter": call(ready),
        "lm.adapters.write_adapter": call(folder / "written", lora, {"seed": 0}, base="tiny"),
        "lm.batching.Batch.to": call("cpu", on=lambda: batch),
        "lm.batching.encode": call(tokenizer, "some words", "more"),
        "lm.batching.check_examples": call(examples),
        "lm.batching.collate": call(examples),
        "lm.batching.length_buckets": call([3, 5, 4], 2, seed=0, epoch=1),
        "lm.batching.fingerprint": call(examples),
        "lm.checkpoint.buffer_states": call(ready),
        "lm.checkpoint.save_checkpoint": call(folder / "again", optimizer, History(), state, ready, start),
        "lm.checkpoint.load_checkpoint": call(folder / "run", optimizer, state, ready, start),
        "lm.checkpoint.frozen_fingerprint": call(ready),
        "lm.language_model.LanguageModel": call(ready, tokenizer, "tiny"),
        "lm.language_model.LanguageModel.count_tokens": call("some words", on=lambda: lm),
        "lm.language_model.LanguageModel.complete": call(["a"], **few, on=lambda: lm),
        "lm.language_model.LanguageModel.chat": call(["a"], **few, on=lambda: lm),
        "lm.language_model.LanguageModel.chat_prompt": call("a", on=lambda: lm),
        "lm.language_model.LanguageModel.stream": call("a", **few, on=lambda: lm),
        "lm.language_model.LanguageModel.score": call(["a"], [" b"], on=lambda: lm),
        "lm.memory.Kept": call([Q, K]),
        "lm.memory.held": call([Q, K]),
        "lm.merging.refuse_another_base": call(fresh_model, folder / "adapter"),
        "lm.merging.read_adapter": call(folder / "adapter"),
        "lm.merging.unusable": call(LoraConfig(), LoraConfig().to_dict()),
        "lm.merging.misfit": call({}, {}, {}, {}),
        "lm.merging.merge_adapter": call(fresh_model, folder / "adapter"),
        "lm.supervised.is_encoder_decoder": call(ready),
        "lm.supervised.head_alone": call(ready),
        "lm.supervised.supervised_loss": call(ready, batch),
        "lm.supervised.supervised_logits": call(ready, batch),
        "lm.supervised.hidden_and_logits": call(ready, batch),
        "lm.supervised.supervised_hidden": call(ready, batch),
        "lm.supervised.supervised_logprobs": call(ready, batch),
        "lm.messages.check_turn": call(turn),
        "lm.messages.strings_of": call(turn),
        "lm.messages.marked": call([turn], "@"),
        "lm.messages.each_string": call(["a"], str.upper),
        "lm.structured.structured": call(LanguageModel(wide, tokenizer, "wide"), ["a"], Named, retries=0, **few),
        "lm.structured.until_valid": call(lambda rows: ["a" for _ in rows], 1, str),
        "lm.structured.request": call({"properties": {"name": {"type": "string"}}}),
        "lm.structured.with_request": call([turn], "more"),
        "lm.structured.again": call(structured.Structured(None, ["a"], ["no"])),
        "lm.structured.object_of": call('{"name": "a"}'),
        "lm.structured.value_of": call('{"name": "a"}', Named),
        "lm.tool_calls.forced_call": call(shown, [turn], [tool], "f"),
        "lm.tool_calls.shows_tools": call(tokenizer),
        "lm.schemas.in_words": call({"type": "string"}),
        "lm.structured.said": call("<think>a</think>b"),
        "lm.tool_calls.decoded": call("[1]", 0),
        "lm.tool_calls.read_json": call('{"a": 1}'),
        "lm.tool_calls.types_of": call({"type": "string"}),
        "lm.tool_calls.typed": call("[1]", {"type": "array"}),
        "lm.text.template_text": call(tokenizer, "<s>"),
        "lm.text.Prompt": call("a", ["a"]),
        "lm.text.encode": call(tokenizer, ["some words"]),
        "lm.text.encode_wrapped": call(tokenizer, ["some words"], 4),
        "lm.text.offsets": call(tokenizer, "some words"),
        "lm.chatting.converse": call(lm, ["hello"], print, 2),
        "lm.chatting.described": call(lm),
        "lm.text.chat_prompt": call(tokenizer, [{"role": "user", "content": "a"}]),
        "lm.text.listed": call(["a"], "complete"),
        "lm.training.computing_in": call(ready, torch.float32),
        "lm.training.limits": call(fresh_model),
        "lm.training.training_dtype": call(fresh_model),
        "lm.training.fit": call(fresh_model, examples, steps=1, batch_size=2, dtype=torch.float32, progress=False),
        "lm.training_attention.grouped_causal_attention": call(Q, K, V, 0.5),
        "lm.training_attention.plain_attention": call(ready),
    }


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tmp_path, monkeypatch, tiny_model, tiny_tokenizer):
    table = valid(tmp_path, bad_input.call, lambda: copy.deepcopy(tiny_model), tiny_tokenizer)
    bad_input.check("llmsuite_lab.lm", tmp_path, monkeypatch, valid=table, left_out=LEFT_OUT)


def test_every_function_answers_nonsense_with_a_sentence(bad_input, tmp_path, monkeypatch):
    bad_input.check_nonsense("llmsuite_lab.lm", tmp_path, monkeypatch, left_out=LEFT_OUT)
