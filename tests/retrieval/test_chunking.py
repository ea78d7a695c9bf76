"""Chunks: nothing lost, nothing moved, borders where they were asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.text import word_spans
from llmsuite_lab.retrieval.chunking import by_headings, by_sentences, by_tokens, read_document, token_offsets

TEXT = st.text(alphabet="ab .\n!é字X1", max_size=120)


def cut(text):
    return [text[a:b].strip() for a, b in word_spans(text)]


@given(TEXT, st.integers(1, 7), st.data())
def test_windows_cover_every_word_and_share_exactly_the_overlap(text, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    chunks = by_tokens(text, size, overlap)
    assert all(text[c.start : c.end] == c.text for c in chunks)
    closed = "# C#\n## D ##  \n### #\n#\n# " + "e" + " " * 100_000 + "f\n"  # the last took a regular expression hours
    assert [(c.heading, c.text) for c in by_headings(closed)] == [("C# > D > #", "#"), ("", "e" + " " * 100_000 + "f")]
    assert all(len(cut(c.text)) <= size for c in chunks)
    joined = cut(chunks[0].text) if chunks else []
    for before, after in zip(chunks, chunks[1:]):
        assert cut(before.text)[len(cut(before.text)) - overlap :] == cut(after.text)[:overlap]
        joined += cut(after.text)[overlap:]
    assert joined == cut(text)


@given(TEXT, st.integers(1, 9), st.integers(0, 3))
def test_sentence_chunks_are_slices_and_cover_the_text(text, size, overlap):
    chunks = by_sentences(text, size, overlap)
    assert all(text[c.start : c.end] == c.text for c in chunks)
    covered = set().union(*(range(c.start, c.end) for c in chunks)) if chunks else set()
    assert all(i in covered or text[i].isspace() for i in range(len(text)))


def test_sentences_are_never_cut_and_the_last_is_repeated():
    text = "One two three. Four five. Six seven eight nine! Ten? Version 2.5 of it came."
    chunks = [c.text for c in by_sentences(text, size=6, overlap=1)]
    assert chunks == [
        "One two three. Four five.",
        "Four five. Six seven eight nine!",
        "Six seven eight nine! Ten?",
        "Ten? Version 2.5 of it came.",
    ]


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        ("Он пришёл. Это он! А ты?", 2, ["Он пришёл.", "Это он!", "А ты?"]),
        ("Zoé part. Élan vient.", 2, ["Zoé part.", "Élan vient."]),
        ("वह आया। वह गया। ठीक?", 2, ["वह आया।", "वह गया।", "ठीक?"]),
        ("هل جاء؟ نعم جاء.", 2, ["هل جاء؟", "نعم جاء."]),
        ("猫坐着。狗睡了！「好。」他说。", 3, ["猫坐着。", "狗睡了！", "「好。」", "他说。"]),
        ("Version 2.5 came, e.g. to us. It ran.", 8, ["Version 2.5 came, e.g. to us. It ran."]),
    ],
)
def test_sentences_of_other_scripts_end_where_theirs_do(text, size, expected):
    assert [c.text for c in by_sentences(text, size)] == expected


def test_a_text_without_spaces_is_cut_to_size():
    chunks = by_tokens("猫坐在沙发上睡觉", 3, 1)
    assert [c.text for c in chunks] == ["猫坐在", "在沙发", "发上睡", "睡觉"]


def test_headings_carry_their_path_and_code_is_no_heading():
    text = "before\n# A\nintro\n## B\nbody b\n```\n# not a heading\n```\n## C\n### D\nbody d\n# E\n"
    chunks = by_headings(text)
    assert [(c.heading, c.text.splitlines()[0]) for c in chunks] == [
        ("", "before"),
        ("A", "intro"),
        ("A > B", "body b"),
        ("A > C > D", "body d"),
        ("", "E"),  # nothing below it, and still said
    ]
    assert "# not a heading" in chunks[2].text
    assert [(c.heading, c.text) for c in by_headings("# A\n## B\n## C\n~~~\n# x\n```\n~~~\n# D\n")] == [("A", "B"), ("A > C", "~~~\n# x\n```\n~~~"), ("", "D")]
    assert all(text[c.start : c.end] == c.text for c in chunks)


def test_a_long_body_under_a_heading_is_cut_by_sentences():
    text = "# A\nOne two three. Four five six. Seven."
    chunks = by_headings(text, size=4)
    assert [(c.heading, c.text) for c in chunks] == [("A", "One two three."), ("A", "Four five six. Seven.")]
    assert all(text[c.start : c.end] == c.text for c in chunks)


def test_token_windows_follow_the_tokenizer(tiny_tokenizer):
    text = "kettle é 12"
    chunks = by_tokens(text, 4, 1, token_offsets(tiny_tokenizer))  # one token per byte: "é" is two tokens on the same character
    assert [c.text for c in chunks][:2] == ["kett", "tle"]
    assert all(text[c.start : c.end] == c.text for c in chunks)


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (3, 3), (3, -1)])
def test_impossible_windows_are_refused(size, overlap):
    with pytest.raises(ValueError, match=f"size={size}, overlap={overlap}"):
        by_tokens("a b c", size, overlap)
    with pytest.raises(ValueError, match="size must be at least 1"):
        by_sentences("a", 0)


def test_a_document_in_another_encoding_is_named_with_its_byte(tmp_path):
    path = tmp_path / "rules.txt"
    path.write_bytes("Kettle für alle".encode("latin-1"))
    with pytest.raises(LabError, match=r"rules.txt is not utf-8: byte 0xfc at position 8.*latin-1"):
        read_document(path)
    assert read_document(path, "latin-1") == "Kettle für alle"
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):  # a byte order mark says what it is, and is no text
        path.write_bytes("# Kettle\r\nfür alle".encode(encoding))
        assert read_document(path) == read_document(path, "latin-1") == "# Kettle\nfür alle"
    with pytest.raises(LabError, match="No document"):
        read_document(tmp_path / "none.txt")
