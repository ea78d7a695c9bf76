"""The catalogue's rows and facts, its loaders on samples in every public form, and what they say of files that do not fit."""

import json

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.world import catalogue, catalogue_loading, catalogue_samples
from llmsuite_lab.world.catalogue import ENTRIES, FACTS, entry, prompts
from llmsuite_lab.world.catalogue_loading import load

READABLE = [name for name, row in ENTRIES.items() if row.readable]


def test_the_twenty_rows_stand_in_the_papers_order_with_all_that_a_reader_needs():
    titles = "GLUE SuperGLUE MMLU BIG-Bench HELM Gemini CoLA SST2 MRPC STS QQP MNLI QNLI RTE WNLI CoT Muffin|Natural Instructions v2|MGSM BBH"
    assert [row.title for row in ENTRIES.values()] == [t for part in titles.split("|") for t in ([part] if "v2" in part else part.split())]
    assert [name for name, row in ENTRIES.items() if not row.readable] == ["gemini"]
    for row in ENTRIES.values():
        assert row.paper_says.startswith(f"{row.title} | ")
        assert all([row.task, row.about, row.reference, row.metric, row.sources])
        if row.readable:
            assert all([row.licence, row.languages, row.size or row.parts])
            assert 1 <= len(row.templates) <= 2
            assert row.hub or row.name == "helm"
            kinds = {kind.removesuffix("?") for part in [row.part(), *row.parts.values()] for kind in part.columns.values()}
            assert kinds <= {"text", "number", "texts", "numbers", "class 2", "class 3", "class 4"}
        for part in row.parts.values():
            assert part.size


def test_slips_are_named_where_the_papers_reference_is_wrong():
    assert set(catalogue.slips()) == {"BIG-Bench", "Gemini", "CoLA", "RTE", "CoT", "Muffin", "Natural Instructions v2", "MGSM", "BBH"}
    assert "2206.04615" in entry("bigbench").reference
    assert "2210.09261" in entry("BBH").reference
    assert "2204.07705" in entry("Natural Instructions v2").reference
    assert "2210.03057" in entry("mgsm").reference


def test_sizes_add_up():
    assert entry("cola").examples == 10657  # as the abstract of the corpus' paper says
    tasks = ["cola", "sst2", "mrpc", "sts", "qqp", "mnli", "qnli", "rte", "wnli"]
    assert entry("glue").examples == sum(entry(name).examples for name in tasks)
    assert list(entry("glue").parts) == [entry(name).configuration for name in tasks]
    assert entry("muffin").examples is None
    assert entry("mgsm").examples == 11 * (250 + 8) == len(entry("mgsm").languages) * 258


def test_the_papers_four_counts_against_their_sources():
    assert [(fact.paper, fact.value, fact.agrees) for fact in FACTS] == [(473, 473, True), (146, 146, True), (16000, 16369, True), (13000, 13460, True)]
    wrong = catalogue.Fact("a", "b", 100, "exactly", 101, "c")
    assert not wrong.agrees
    assert not catalogue.Fact("a", "b", 100, "over", 99, "c").agrees
    assert not catalogue.Fact("a", "b", 100, "about", 107, "c").agrees


def test_the_table_shows_what_is_not_known():
    table = catalogue.table()
    assert list(table.index) == [row.title for row in ENTRIES.values()]
    assert table.loc["Muffin", "examples"] == "not verified (80 tasks)"
    assert table.loc["MNLI", "examples"] == "431,992"
    assert table.loc["Gemini", "hub"] == "–"
    assert (table.loc["CoLA", "splits"], table.loc["CoLA", "templates"]) == ("train, validation, test", 2)
    assert (table.loc["Gemini", "splits"], table.loc["Gemini", "templates"]) == ("–", 0)
    assert not table.isna().any().any()


@pytest.mark.parametrize("name", READABLE)
def test_every_loader_reads_its_set_in_every_form(name, tmp_path):
    known = entry(name)
    wanted = [{column: row.get(column) for column in known.part().columns} for row in catalogue_samples.sample(name)]
    files = catalogue_samples.write(name, tmp_path)
    assert {"jsonl", "json", "csv", "tsv", "parquet", "folder"} <= set(files)
    for form, file in files.items():
        found = load(name, file)
        assert found.column_names == list(known.part().columns)
        assert len(found) == len(wanted)
        if form != "own":  # a set's own files hold less than the hub's columns: compared below
            assert found.to_list() == wanted, form
    assert catalogue_samples.tried(name) == dict.fromkeys(files, 2)


@pytest.mark.parametrize("part", list(entry("superglue").parts))
def test_the_parts_of_superglue_are_read(part, tmp_path):
    files = catalogue_samples.write("superglue", tmp_path, part)
    for form in ("jsonl", "parquet", "csv"):
        (row, *_) = load("superglue", files[form], part=part).to_list()
        sample = catalogue_samples.sample("superglue", part)[0]
        assert row == {column: sample.get(column) for column in entry("superglue").parts[part].columns}


def test_parts_of_glue_are_the_rows_of_the_table(tmp_path):
    files = catalogue_samples.write("mnli", tmp_path)
    assert load("glue", files["jsonl"], part="mnli").to_list() == load("mnli", files["jsonl"]).to_list()
    with pytest.raises(ValueError, match="unknown part of GLUE 'mnlli'; did you mean 'mnli'"):
        load("glue", files["jsonl"], part="mnlli")
    with pytest.raises(LabError, match="MNLI needs the columns premise, hypothesis, label, found sentence, label, idx: premise, hypothesis is missing"):
        load("mnli", catalogue_samples.write("cola", tmp_path / "cola")["jsonl"])


def test_own_forms_carry_their_meaning(tmp_path):
    own = {name: load(name, catalogue_samples.write(name, tmp_path / name)["own"]).to_list() for name in ("mmlu", "bigbench", "mgsm", "helm")}
    assert own["mmlu"][1] == {"question": "Which, of these, is a metal?", "choices": ["tin", "oak", "salt", "ice"], "answer": 0, "subject": None}
    assert own["mmlu"][1]["choices"][own["mmlu"][1]["answer"]] == "tin"
    assert own["bigbench"][0]["targets"] == ["False"]
    assert own["bigbench"][0]["multiple_choice_scores"] == [0, 1]
    assert own["bigbench"][1]["targets"] == ["ay", "aye"]
    assert [row["answer_number"] for row in own["mgsm"]] == [7, 1990]
    assert own["mgsm"][1]["question"].startswith('"Zweitausend", sagt Bo')
    assert own["helm"][0]["correct"] == ["Oslo"]


def lines(folder, *rows, name="rows.jsonl"):
    (folder / name).write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return folder / name


GOOD = {"sentence": "A lamp.", "label": 1}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([GOOD, {"text": "A", "label": 1}], r"rows.jsonl, line 2: CoLA needs the columns sentence, label, found text, label: sentence is missing"),
        ([GOOD, GOOD, GOOD | {"sentence": 3}], r"rows.jsonl, line 3: 'sentence' is a number, not text\.$"),
        ([GOOD | {"label": 2}], r"'label' is 2, but the classes are 0 to 1, and -1 where the label is withheld"),
        ([GOOD | {"label": "good"}, GOOD, GOOD | {"label": None}], r"'good', not a class below 2 or one of unacceptable, acceptable\. It is the first of 2"),
        ([GOOD | {"label": -2}], r"'label' is -2, but the classes are 0 to 1"),
        ([GOOD | {"label": 0.5}], "not a class"),
        ([GOOD | {"sentence": None}], "'sentence' is null or empty"),
        ([GOOD, "[1, 2]"], "line 2: a row of CoLA is an object with columns, not a list"),
        ([GOOD, "{broken"], r"rows.jsonl, line 2: not JSON"),
        ([], "is empty"),
    ],
)
def test_rows_that_do_not_fit_are_named(rows, said, tmp_path):
    with pytest.raises(LabError, match=said):
        load("cola", lines(tmp_path, *rows))


def test_types_of_lists_and_numbers(tmp_path):
    mmlu = {"question": "?", "choices": ["a", "b", "c", "d"], "answer": 1}
    assert load("mmlu", lines(tmp_path, mmlu | {"answer": "D"})).to_list()[0]["answer"] == 3
    for wrong, said in (({"choices": "a, b"}, "'choices' is text, not a list"), ({"choices": ["a", 2]}, r"'choices\[1\]' is a number, not text")):
        with pytest.raises(LabError, match=said):
            load("mmlu", lines(tmp_path, mmlu | wrong))
    with pytest.raises(LabError, match="'label' is text, not a number"):
        load("sts", lines(tmp_path, {"sentence1": "a", "sentence2": "b", "label": "4"}))
    with pytest.raises(LabError, match="not the set's own form"):
        load("helm", lines(tmp_path, {"input": {"words": "a"}, "references": []}))
    with pytest.raises(LabError, match="has another shape"):
        load("natural_instructions", lines(tmp_path, {"Instances": [{"input": "a", "output": ["b"]}]}, name="task.json"))
    (tmp_path / "t.csv").write_text("sentence1,sentence2,label\na,b,four\n", encoding="utf-8")
    with pytest.raises(LabError, match="t.csv, row 1: 'label' is the text 'four', not a number"):
        load("sts", tmp_path / "t.csv")


def test_a_withheld_label_is_read_and_limit_cuts(tmp_path):
    file = lines(tmp_path, GOOD | {"label": -1}, GOOD, GOOD | {"label": 9})
    assert [row["label"] for row in load("cola", file, limit=2).to_list()] == [-1, 1]  # the third is not looked at
    with pytest.raises(ValueError, match="limit=0"):
        load("cola", file, limit=0)


def test_text_in_tables_is_text(tmp_path):
    (tmp_path / "t.csv").write_bytes('\ufeffsentence,label\r\n007,acceptable\r\n"NA, or ""null"" \u00e9",0\r\nNA,1\r\n'.encode())
    assert load("cola", tmp_path / "t.csv").to_list() == [
        {"sentence": "007", "label": 1, "idx": None}, {"sentence": 'NA, or "null" \u00e9', "label": 0, "idx": None},
        {"sentence": "NA", "label": 1, "idx": None},
    ]


def test_a_name_is_no_pattern_and_nothing_is_shown(tmp_path, capfd):
    for name, sentence in (("a[1].csv", "mine"), ("a1.csv", "another's")):
        (tmp_path / name).write_text(f"sentence,label\n{sentence},1\n", encoding="utf-8")
    assert load("cola", tmp_path / "a[1].csv").to_list()[0]["sentence"] == "mine"
    assert capfd.readouterr() == ("", "")


def test_folders_are_read_by_split(tmp_path):
    lines(tmp_path, GOOD, name="train.jsonl")
    lines(tmp_path, GOOD, GOOD, GOOD, name="test-00000.jsonl")
    assert (len(load("cola", tmp_path)), len(load("cola", tmp_path, split="test"))) == (1, 3)
    with pytest.raises(LabError, match="no file of the split 'validation' in .*which has test-00000.jsonl, train.jsonl"):
        load("cola", tmp_path, split="validation")
    (tmp_path / "more.csv").write_text("sentence,label\n", encoding="utf-8")
    with pytest.raises(LabError, match="several forms"):
        load("cola", tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(LabError, match="holds no file of the forms"):
        load("cola", tmp_path / "none")


def test_files_that_are_none(tmp_path):
    for name, content, said in (
        ("a.pkl", b"", "none of the forms"), ("a.csv", b"", "empty|cannot be read"), ("a.parquet", b"no parquet", "cannot be read as parquet"),
        ("b.csv", b"sentence,sentence\na,b\n", "each needs a name of its own"), ("c.csv", b"sentence,label\n\xff\xfe,1\n", "cannot be read"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LabError, match=said):
            load("cola", tmp_path / name)
    for name in ("x.jsonl", "x.csv", "x.parquet"):
        with pytest.raises(LabError, match="No file at"):
            load("cola", tmp_path / name)


def test_what_cannot_be_loaded_says_why_in_a_sentence(monkeypatch):
    with pytest.raises(ValueError, match="Gemini cannot be loaded: none: Gemini is a family of models"):
        load("gemini")
    with pytest.raises(LabError, match="HELM is no data set on the hub: pass the path"):
        load("helm")
    with pytest.raises(ValueError, match="did you mean 'mnli'"):
        load("mnlii")
    asked = []

    def offline(*args, **options):
        asked.append((args, options))
        raise ConnectionError("Couldn't reach the hub\nand more")

    monkeypatch.setattr("datasets.load_dataset", offline)
    for name, part in (("sts", None), ("mgsm", "de")):
        with pytest.raises(LabError, match=r"could not be loaded from the hub \(Couldn't reach the hub\)\. Without a network, download it elsewhere") as error:
            load(name, part=part)
        assert "\n" not in str(error.value)
    assert asked == [
        (("nyu-mll/glue", "stsb"), {"split": "train", "revision": None}), (("juletxara/mgsm", "de"), {"split": "test", "revision": "refs/convert/parquet"})
    ]


def test_rows_of_the_hub_are_checked_as_files_are(monkeypatch):
    monkeypatch.setattr(catalogue_loading, "from_hub", lambda *args: iter([GOOD, GOOD | {"label": 7}]))
    with pytest.raises(LabError, match="nyu-mll/glue, row 2: 'label' is 7"):
        load("cola")


@pytest.mark.parametrize("name", READABLE)
def test_prompts_are_filled_from_a_row(name):
    known, row = entry(name), catalogue_samples.sample(name)[0]
    made = prompts(name, row)
    assert len(made) == len(known.templates)
    for prompt, completion in made:
        assert "{" not in prompt + completion
        assert completion.startswith(" ")
        if labels := known.part().labels:
            assert completion.strip(" .").endswith(labels[row.get("label", row.get("answer"))])


def test_prompts_refuse_what_they_cannot_show():
    with pytest.raises(ValueError, match="the label is withheld"):
        prompts("mrpc", catalogue_samples.sample("mrpc")[1])
    with pytest.raises(ValueError, match="asks for the column 'sentence', but the row has text"):
        prompts("cola", {"text": "a"})
    assert "\nA. 5\nB. 6\nC. 7\nD. 8\n" in prompts("mmlu", catalogue_samples.sample("mmlu")[0])[0][0]
    assert prompts("bigbench", catalogue_samples.sample("bigbench")[1])[0][1] == " ay"
    assert prompts("sts", catalogue_samples.sample("sts")[0])[0][1] == " 4.75"
