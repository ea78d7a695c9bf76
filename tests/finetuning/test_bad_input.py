"""Whatever is put in the place of an argument, the fine-tuning section answers with a sentence (see tests/bad_input.py)."""

from llmsuite_lab.finetuning import forgetting, instruct, measuring, own_files
from llmsuite_lab.finetuning.templates import TASKS, Pair, render
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.world import support_desk
from llmsuite_lab.world.rows import read_dialogue

ROWS = [read_dialogue({"dialogue": f"Ann: Is number {i} late?\nBen: It is.", "summary": f"Number {i} is late."}) for i in range(40)]

LEFT_OUT = {
    "finetuning.flan": "tunes a model, whose kind, rows and profile are checked before: test_flan.py",
    "finetuning.with_trl.sft": "trains a model with trl, whose own errors it raises",
    "finetuning.forgetting.measure": "trains for minutes: test_forgetting.py",
    "finetuning.forgetting.along": "trains the real model: test_forgetting.py",
    "finetuning.forgetting.look": "asks the real model five tasks: test_forgetting.py",
    "finetuning.forgetting.by_way": "calls what trains: test_forgetting.py",
    "finetuning.instruct.train": "trains a model; its pairs are checked by instruct.pairs, the rest by lm.lora",
    "finetuning.measuring.tuned": "asks the real model for minutes",
    "finetuning.measuring.untuned": "asks the real model for minutes",
    "finetuning.measuring.by_chat": "asks a model tuned for chats, which the tests' writer is not",
    "finetuning.public_summaries.measured": "asks the real model for minutes",
    "finetuning.public_summaries.given": "reads files that the project does not hold: test_public_summaries.py",
}


def valid(folder, call, fresh, writer, tokenizer):
    """Valid calls, where the signature does not say enough."""
    pairs = render(ROWS[:2], "summary")
    own = folder / "own.jsonl"
    own.write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    rows = [{"task": task, "item": "a", "said": "yes", "score": 0.5} for task in TASKS]
    scores = {("intent", "a"): 0.5, ("intent", "b"): 1.0}
    return {
        "finetuning.entities.entity_line": call({"customer": "Ann"}),
        "finetuning.evaluation.score": call("summary", "It is late.", ROWS[0]),
        "finetuning.evaluation.scores": call("summary", ["It is late."], ROWS[:1]),
        "finetuning.evaluation.part_of": call(rows[0], "score"),
        "finetuning.evaluation.silent": call(rows),
        "finetuning.forgetting.training_pairs": call(forgetting.Settings(summaries=4), forgetting.Way("lora", 1e-3, 0.5), 0),
        "finetuning.forgetting.mean": call(rows, ["intent"]),
        "finetuning.instruct.pairs": call(instruct.Settings(dialogues=2)),
        "finetuning.instruct.phrasings": call("intent"),
        "finetuning.instruct.mixture": call(pairs, pairs, 0.5),
        "finetuning.measuring.answers": call(writer(), support_desk.dialogues(2)),
        "finetuning.measuring.abilities": call(writer()),
        "finetuning.public_summaries.judged": call("Ann asked about number 1.", ROWS[1]),
        "finetuning.public_summaries.part": call([{"kept": 0.5}], "kept"),
        "finetuning.records.by_item": call(rows),
        "finetuning.records.tuned": call("desk_multitask"),
        "finetuning.records.seeds": call("desk_multitask"),
        "finetuning.records.silent": call("desk_summary"),
        "finetuning.records.gain": call(scores, scores),
        "finetuning.records.by_task": call(scores),
        "finetuning.records.against_others": call("desk_multitask"),
        "finetuning.records.looks": call("lora 0.002"),
        "finetuning.records.at_end": call("lora 0.002", ["intent"]),
        "finetuning.records.label": call("lora 0.002"),
        "finetuning.records.along": call("lora 0.002", ["intent"]),
        "finetuning.records.in_first_phrasing": call({("intent", measuring.frozen_dialogues(1)[0].id): 0.5}),
        "finetuning.own_files.read": call(own),
        "finetuning.own_files.examples": call(own_files.read(own).rows, tokenizer, 20),
        "finetuning.own_files.fitting": call(own_files.read(own), tokenizer, 20),
        "finetuning.general.facts": call(writer()),
        "finetuning.general.prose": call(writer()),
        "finetuning.with_trl.in_order": call([Example([1, 2], [3])] * 4, 2, 2),
        "finetuning.splits.split": call(ROWS),
        "finetuning.splits.leaks": call({"train": ROWS[:2], "test": ROWS[2:4]}),
        "finetuning.templates.training": call("summary"),
        "finetuning.templates.held_out": call("summary"),
        "finetuning.templates.labels": call("intent"),
        "finetuning.templates.render": call(ROWS[:2], "summary"),
        "finetuning.templates.completion_of": call(ROWS[0], "summary"),
        "finetuning.templates.examples": call(pairs, tokenizer),
        "finetuning.templates.item_of": call(ROWS[0]),
        "finetuning.templates.text_of": call(Pair("a", "summary", "{text}", "words", " more")),
    }


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tiny_tokenizer, tmp_path, monkeypatch):
    table = valid(tmp_path, bad_input.call, bad_input.fresh_random, bad_input.Writer, tiny_tokenizer)
    bad_input.check("llmsuite_lab.finetuning", tmp_path, monkeypatch, valid=table, left_out=LEFT_OUT)


def test_the_same_nonsense_everywhere_is_answered_too(bad_input, tmp_path, monkeypatch):
    bad_input.check_nonsense("llmsuite_lab.finetuning", tmp_path, monkeypatch, left_out=LEFT_OUT)
