"""Whatever is put in the place of an argument, the world answers with a sentence (see tests/bad_input.py)."""

import dataclasses
import datetime
from random import Random

from llmsuite_lab.world import almanac, catalogue, catalogue_samples, handbook, preferences, support_desk, word_problems
from llmsuite_lab.world.almanac_questions import TRAINED_KINDS
from llmsuite_lab.world.almanac_relations import relation
from llmsuite_lab.world.support_desk_telling import Teller
from llmsuite_lab.world.support_desk_values import Values
from llmsuite_lab.world.varied import pages as varied_pages

LEFT_OUT = {
    "world.varied.relations": "what worlds are drawn from: fed through world.varied.pages.World",
    "world.readers.from_hub": "needs the network; what it says without one is in test_catalogue.py and test_readers.py",
    "world.catalogue_rows.Cell": "a str",
    "world.catalogue.Template": "a row of catalogue.toml",
    "world.catalogue.Part": "a row of catalogue.toml",
    "world.catalogue.Fact": "a row of catalogue.toml",
    "world.rows": "reads one row of a public file: fed through world.readers.read, and test_readers.py",
    "world.support_desk.freeze": "writes the frozen dialogues of the course anew; no person calls it",
    "world.almanac_frozen.freeze": "writes the frozen splits of the course anew; no person calls it",
}


def valid(folder, call, fresh, writer):
    """Valid calls, where the signature does not say enough."""
    small = almanac.build("train", 3, {"person": 8, "city": 4, "river": 3, "company": 4, "magazine": 4})
    book, problem = handbook.load(), word_problems.load("test")[0]
    person = small.titles("person")[0]
    almanac.save(small, folder / "almanac.json")
    handbook.save(book, folder / "book.jsonl")
    word_problems.write(folder / "problems.jsonl", [problem])
    (folder / "gsm8k.jsonl").write_text('{"question": "How many?", "answer": "So 3.\\n#### 3"}\n', encoding="utf-8")
    cola = catalogue_samples.write("cola", folder / "cola")["jsonl"]
    talk = support_desk.dialogues(1)[0]
    support_desk.write(folder / "dialogues.jsonl", [talk])
    (folder / "pairs.jsonl").write_text('{"prompt": "A lamp?", "chosen": "Yes.", "rejected": "No."}\n', encoding="utf-8")
    asked = preferences.cases(1)[0]
    sentence = problem.sentences[0]
    varied_world = varied_pages.World(1)
    known = {line.target: line.value for s in problem.sentences for line in s.lines}
    return {
        "world.almanac.Almanac.titles": call("person", on=lambda: small),
        "world.almanac.Almanac.follow": call(person, ("birthplace",), on=lambda: small),
        "world.almanac_reworded.reworded": call(small),
        "world.almanac.save": call(small, folder / "again.json"),
        "world.almanac.load": call(folder / "almanac.json"),
        "world.almanac_claims.draw_claim": call(small, "supports", fresh),
        "world.almanac_frozen.load_questions": call((TRAINED_KINDS[0],), 1),
        "world.almanac_questions.phrase": call(person, [relation("person", "birthplace")], "train", fresh),
        "world.almanac_questions.chain_question": call(small, "birthplace", person, ("birthplace",), fresh),
        "world.almanac_questions.pair_question": call(small, "same_birthplace", person, small.titles("person")[1], fresh),
        "world.almanac_questions.draw_question": call(small, TRAINED_KINDS[0], fresh),
        "world.almanac_questions.draw_chain": call(small, 1, fresh),
        "world.almanac_questions.contains_held_out": call(("birthplace",)),
        "world.almanac_relations.relation": call("person", "birthplace"),
        "world.almanac_relations.chain_of": call("person", ("birthplace",)),
        "world.catalogue.entry": call("cola"),
        "world.catalogue.prompts": call("cola", {"sentence": "A lamp.", "label": 1}),
        "world.catalogue.Entry.part": call("cola", on=lambda: catalogue.ENTRIES["glue"]),
        "world.catalogue_loading.load": call("cola", cola, limit=1),
        "world.catalogue_rows.fitted": call({"label": 1}, {"label": "class 2"}),
        "world.catalogue_samples.sample": call("cola"),
        "world.catalogue_samples.own_file": call("mgsm"),
        "world.catalogue_samples.tried": call("cola"),
        "world.catalogue_samples.refuses": call("cola", "rte"),
        "world.catalogue_samples.write": call("cola", folder / "again"),
        "world.elsewhere.corpora.load": call("letters"),
        "world.elsewhere.pages.load": call("valley", 2),
        "world.elsewhere.problems.load": call("single", "validation"),
        "world.leakage.leaks": call(["one text"], ["another"]),
        "world.leakage.grams": call("one text", 2),
        "world.varied.corpora.generate": call(0, 3, 2),
        "world.varied.pages.World.draw": call("one", fresh, on=lambda: varied_world),
        "world.varied.retold.retold": call(small, fresh),
        "world.varied.sentences.widened": call({"goods": {"ask": ["How many?"]}}),
        "world.formulas.value": call("a + 1", {"a": 3}),
        "world.formulas.draw": call("a=1..3", fresh),
        "world.handbook.Handbook.passage": call(book.passages[0].id, on=lambda: book),
        "world.handbook.Handbook.of_kind": call(("one",), on=lambda: book),
        "world.handbook.generate": call("train", 0, one=4, two=2, unanswerable=2),
        "world.handbook.save": call(book, folder / "again.jsonl"),
        "world.handbook.load": call(folder / "book.jsonl"),
        "world.handbook.as_markdown": call(book),
        "world.handbook_values.draw_value": call("price", "Lamp", fresh),
        "world.names.names": call("given", "train", fresh),
        "world.preferences.label": call(asked, "It is sent.", "Who cares?", fresh),
        "world.preferences_agents.reply": call(asked, "expert", fresh),
        "world.preferences_cases.Case.allowed": call("cancel", on=lambda: asked),
        "world.preferences_judge.judge": call(asked, "It is sent."),
        "world.preferences_files.read_pairs": call(folder / "pairs.jsonl"),
        "world.preferences_files.read_file": call(folder / "pairs.jsonl"),
        "world.preferences_values.drawn": call("day", "train", fresh),
        "world.readers.usable_rows": call(folder / "pairs.jsonl", lambda where, value: value, "a row is anything"),
        "world.readers.file_rows": call(folder / "gsm8k.jsonl"),
        "world.readers.read": call("gsm8k", folder / "gsm8k.jsonl"),
        "world.readers.Format": call(dict, "set", None, "test"),
        "world.support_desk.write": call(folder / "again_dialogues.jsonl", [talk]),
        "world.support_desk.read": call(folder / "dialogues.jsonl"),
        "world.support_desk_dialogue.Facts": call(*[getattr(talk.facts, f.name) for f in dataclasses.fields(talk.facts)]),
        "world.support_desk_dialogue.Dialogue": call(*[getattr(talk, f.name) for f in dataclasses.fields(talk)]),
        "world.support_desk_dialogue.Dialogue.as_dict": call(on=lambda: talk),
        "world.support_desk_dialogue.Dialogue.from_dict": call(talk.as_dict()),
        "world.support_desk_facts.facts_in": call(talk.summary, talk),
        "world.support_desk_telling.Teller": call("train", fresh),
        "world.support_desk_telling.Teller.tell": call(0, on=lambda: Teller("train", Random(1))),
        "world.support_desk_values.Values": call("train", fresh),
        "world.support_desk_values.Values.draw": call(on=lambda: Values("train", Random(1))),
        "world.support_desk_values.spell": call(datetime.date(2031, 3, 14), 0),
        "world.word_problems.Problem": call(*[getattr(problem, f.name) for f in dataclasses.fields(problem)]),
        "world.word_problems.Problem.as_dict": call(on=lambda: problem),
        "world.word_problems.Problem.from_dict": call(problem.as_dict()),
        "world.word_problems.grid": call("train", 1),
        "world.word_problems.twins": call("train", 1),
        "world.word_problems.write": call(folder / "again_problems.jsonl", [problem]),
        "world.word_problems.read": call(folder / "problems.jsonl"),
        "world.word_stories.equations": call(sentence.lines[0].expression, known),
        "world.word_stories.value_of": call("2 + 3 * 4", {}),
        "world.word_stories.draw_story": call(fresh, "train", 1, 2),
        "world.word_stories.draw_stories": call(fresh, "train", (1, 2), 2),
    }


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tmp_path, monkeypatch):
    table = valid(tmp_path, bad_input.call, bad_input.fresh_random, bad_input.Writer)
    bad_input.check("llmsuite_lab.world", tmp_path, monkeypatch, valid=table, left_out=LEFT_OUT)
