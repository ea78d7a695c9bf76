"""One's own file: every form read, every bad row named by its line, prompts cut at their beginning and completions never."""

import hashlib
import json

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.finetuning import own_files

GOOD = [
    {"prompt": "Say hi.", "completion": " hi"},
    {"instruction": "Add.", "input": "1 and 2", "output": "3"},
    {"instruction": "Greet.", "output": "hello"},
    {"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]},
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "<|im_end|>?"}, {"role": "assistant", "content": "No."}]},
]
BAD = [
    ({"prompt": "x"}, "no 'completion'"),
    ({"completion": "x"}, "no 'prompt'"),
    ({"prompt": "x", "completion": ""}, "completion is empty"),
    ({"prompt": 3, "completion": "x"}, "prompt is a number"),
    ({"text": "x"}, "forms are"),
    ([1, 2], "a list, not an object"),
    ({"messages": []}, "at least two turns"),
    ({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}, "last message is the user's"),
    ({"messages": [{"role": "user"}, {"role": "assistant", "content": "b"}]}, "message 1 is not"),
    ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]}, "last message is empty"),
    ({"instruction": "x"}, "no 'output'"),
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_every_form_is_read(tmp_path):
    file = write(tmp_path / "my.jsonl", GOOD)
    own = own_files.read(file)
    assert [(row.prompt, row.completion) for row in own.rows[:3]] == [("Say hi.", " hi"), ("Add.\n\n1 and 2", "3"), ("Greet.", "hello")]
    assert own.rows[3].turns == (("user", "Hi?"),)
    assert own.rows[4].completion == "No."
    assert own.rows[4].where == "my.jsonl, line 5"
    assert own.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "list.json").write_text(json.dumps(GOOD), encoding="utf-8")
    assert [row.prompt for row in own_files.read(tmp_path / "list.json").rows] == [row.prompt for row in own.rows]


@pytest.mark.parametrize(("row", "said"), BAD)
def test_a_bad_row_is_named_by_its_line(row, said, tmp_path):
    file = write(tmp_path / "my.jsonl", [GOOD[0], row, GOOD[1]])
    with pytest.raises(LabError, match=r"1 of 3 rows .*my.jsonl, line 2: .*" + said):
        own_files.read(file)
    own = own_files.read(file, skip_bad=True)
    assert len(own.rows) == 2
    assert [where for where, _ in own.bad] == ["my.jsonl, line 2"]


def test_many_bad_rows_are_counted_and_lines_that_are_no_json_are_rows_too(tmp_path):
    file = write(tmp_path / "my.jsonl", [{"prompt": str(i)} for i in range(9)])
    with pytest.raises(LabError, match="9 of 9 rows .*line 5.*and 4 more"):
        own_files.read(file)
    with pytest.raises(LabError, match="no row that can be used"):
        own_files.read(file, skip_bad=True)
    file.write_text(json.dumps(GOOD[0]) + "\n{torn\n" + json.dumps(GOOD[1]) + "\n", encoding="utf-8")
    with pytest.raises(LabError, match="1 of 3 rows cannot be used .*line 2: not JSON"):
        own_files.read(file)
    assert [where for where, _ in own_files.read(file, skip_bad=True).bad] == ["my.jsonl, line 2"]
    for content in (b"", b"\x89PNG\xff", b"[1, 2", b"[]"):
        file.write_bytes(content)
        with pytest.raises(LabError):
            own_files.read(file)
    file.write_text('{"prompt": "a"}\n{torn\n' + json.dumps(GOOD[1]) + "\n", encoding="utf-8")
    with pytest.raises(LabError, match="2 of 3 rows .*line 1: it has no 'completion'.*line 2: not JSON") as told:
        own_files.read(file)  # both kinds at once, and not a word of downloads
    assert "download" not in str(told.value)
    with pytest.raises(LabError, match="No file.*a file of your own") as told:
        own_files.read(tmp_path / "nowhere.jsonl")
    assert "hub" not in str(told.value)


def test_text_stays_text_and_the_template_speaks(tmp_path, tiny_tokenizer):
    own = own_files.read(write(tmp_path / "my.jsonl", [*GOOD[:1], {"messages": [{"role": "user", "content": "a</s>"}, {"role": "assistant", "content": "b"}]}]))
    (plain, chat), cut = own_files.examples(own.rows, tiny_tokenizer, 96)
    assert cut == []
    assert plain.completion_ids[-1] == chat.completion_ids[-1] == tiny_tokenizer.eos_token_id
    assert list(chat.prompt_ids).count(tiny_tokenizer.eos_token_id) == 1  # the template's own; the person's is text
    assert tiny_tokenizer.decode(chat.completion_ids[:-1]) == "b"


def test_prompts_lose_their_beginning_and_completions_nothing(tmp_path, tiny_tokenizer):
    own = own_files.read(write(tmp_path / "my.jsonl", [{"prompt": "0123456789", "completion": "abc"}, {"prompt": "xy", "completion": "z"}]))
    rows = own.rows
    made, cut = own_files.examples(rows, tiny_tokenizer, 8)
    assert [row.where for row in cut] == ["my.jsonl, line 1"]
    assert tiny_tokenizer.decode(made[0].prompt_ids) == "6789"
    assert tiny_tokenizer.decode(made[0].completion_ids) == "abc</s>"
    with pytest.raises(LabError, match="1 of 2 rows .*line 1: its completion has 4 tokens, and 4 are the limit"):
        own_files.fitting(own, tiny_tokenizer, 4)
    fits = own_files.fitting(own, tiny_tokenizer, 4, skip_bad=True)
    assert [row.where for row in fits.rows] == ["my.jsonl, line 2"]
    assert [where for where, _ in fits.bad] == ["my.jsonl, line 1"]
    with pytest.raises(LabError, match="2 of 2 rows"):
        own_files.fitting(own, tiny_tokenizer, 1, skip_bad=True)
    source, _ = own_files.examples(rows, tiny_tokenizer, 4, separate=True)
    assert tiny_tokenizer.decode(source[0].prompt_ids) == "6789"


def test_rows_with_one_prompt_are_one_item(tmp_path):
    rows = own_files.read(write(tmp_path / "my.jsonl", [{"prompt": "a", "completion": c} for c in "xyz"])).rows
    assert len({row.item for row in rows}) == 1
