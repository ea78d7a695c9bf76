"""Reading documents of one's own: each kind of file, what is left out and why, tables, chunks, and a hostile folder."""

import os
import sys
from functools import partial

import pytest
from datasets import Dataset, DatasetDict

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.text import word_spans
from llmsuite_lab.retrieval.documents import from_rows, pdf_pages, read_folder, read_rows
from llmsuite_lab.retrieval.html_pages import html_text

HTML = """<!doctype html><html><head><title>Cats &amp; dogs</title><style>p {color: red}</style><script>var x = "<p>no</p>";</script></head>
<body><h1>Feeding</h1><p>The cat is fed at <b>seven</b>
 in the morning.</p><ul><li>Fish</li><li>Milk</li></ul><h2>Dogs</h2>The dog eats at noon.<br>Every day.</body></html>"""


def pdf(*pages: str) -> bytes:
    """A PDF of these pages, one line of Helvetica each."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>"]
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for i, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        objects.append(f"<< /Type /Page /Parent 2 0 R /Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * i} 0 R /MediaBox [0 0 612 792] >>")
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    body, places = "%PDF-1.4\n", []
    for number, text in enumerate(objects, start=1):
        places.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    tail = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF"
    return (body + tail).encode("latin-1")


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    (folder / "sub").mkdir(parents=True)
    (folder / "cat.md").write_text("# Cat\n\nThe cat is grey.\n\n## Food\n\nIt eats fish. It drinks milk.\n", encoding="utf-8")
    (folder / "sub" / "dog.txt").write_text("The dog sleeps. # no heading\nIt barks at night.", encoding="utf-8")
    (folder / "page.html").write_text(HTML, encoding="utf-8")
    (folder / "manual.pdf").write_bytes(pdf("Press the red button.", "Then wait for 44 minutes."))
    return folder


def test_every_kind_of_file_becomes_passages_with_their_place(notes):
    passages, skipped = read_folder(notes)
    assert skipped == []
    found = {p.id: (p.document, p.title, p.text) for p in passages}
    assert found["cat.md#1"] == ("cat.md", "cat: Cat > Food", "It eats fish. It drinks milk.")
    assert found["sub/dog.txt#0"] == ("sub/dog.txt", "dog", "The dog sleeps. # no heading\nIt barks at night.")
    assert found["page.html#1"][1:] == ("page: Feeding", "The cat is fed at seven in the morning.\n\nFish\n\nMilk")
    assert found["page.html#2"][1] == "page: Feeding > Dogs"
    assert found["manual.pdf#page2.0"] == ("manual.pdf", "manual, page 2", "Then wait for 44 minutes.")
    assert all(p.dated == "" for p in passages)
    alone, _ = read_folder(notes / "cat.md")
    assert [p.id for p in alone] == ["cat.md#0", "cat.md#1"]


def test_what_cannot_be_read_is_left_out_and_named(notes):
    (notes / "old.txt").write_bytes("Größe".encode("latin-1"))
    (notes / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    (notes / "scan.pdf").write_bytes(pdf(""))
    (notes / "empty.md").write_text("", encoding="utf-8")
    (notes / "zero.txt").write_bytes(b"a\x00b")
    (notes / "sheet.xlsx").write_bytes(b"PK")
    (notes / ".hidden.md").write_text("# secret", encoding="utf-8")
    (notes / ".git").mkdir()
    (notes / ".git" / "x.txt").write_text("secret", encoding="utf-8")
    passages, skipped = read_folder(notes)
    reasons = {one.file: one.reason for one in skipped}
    assert set(reasons) == {"old.txt", "broken.pdf", "scan.pdf", "empty.md", "zero.txt", "sheet.xlsx"}
    assert "latin-1" in reasons["old.txt"]
    assert "cannot be read as PDF" in reasons["broken.pdf"]
    assert "OCR" in reasons["scan.pdf"]
    assert ".xlsx are not read" in reasons["sheet.xlsx"]
    assert not any("secret" in p.text for p in passages)
    assert any("Größe" in p.text for p in read_folder(notes, encoding="latin-1")[0])


def test_a_folder_without_text_is_refused_with_the_reason(tmp_path):
    with pytest.raises(LabError, match="there is no folder"):
        read_folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LabError, match="it is empty"):
        read_folder(tmp_path / "empty")
    (tmp_path / "empty" / "a.docx").write_bytes(b"PK")
    with pytest.raises(LabError, match=r"a.docx: files of the kind .docx are not read"):
        read_folder(tmp_path / "empty")
    with pytest.raises(ValueError, match="size=0"):
        read_folder(tmp_path, size=0)
    with pytest.raises(LabError, match="cannot be read as PDF"):
        pdf_pages(tmp_path / "empty" / "a.docx")


def test_what_is_no_file_or_not_to_be_opened_is_named_too(notes, monkeypatch):
    (notes / "to_folder").symlink_to(notes / "sub")
    (notes / "to_file.md").symlink_to(notes / "cat.md")
    (notes / "to_nothing.md").symlink_to(notes / "gone.md")
    passages, skipped = read_folder(notes)
    assert {one.file: one.reason for one in skipped} == {
        "to_folder": "it is a link to a folder, and those are not followed",
        "to_nothing.md": "it is a link that leads nowhere",
    }
    assert "to_file.md#0" in {p.id for p in passages}
    (notes / "shut").mkdir()
    scandir = os.scandir  # a folder that its reader may not list; the tests may run as root, who may

    def shut(place):
        if os.fspath(place).endswith("shut"):
            raise PermissionError(13, "Permission denied", os.fspath(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", shut)
    assert ("shut", "it cannot be opened (Permission denied)") in {(one.file, one.reason) for one in read_folder(notes)[1]}
    stat, lstat = os.stat, os.lstat

    def no_entry(place, *args, real, **options):
        if os.fspath(place).endswith(("dog.txt", "sealed")):
            raise PermissionError(13, "Permission denied", os.fspath(place))
        return real(place, *args, **options)

    monkeypatch.setattr(os, "stat", partial(no_entry, real=stat))
    monkeypatch.setattr(os, "lstat", partial(no_entry, real=lstat))
    assert ("sub/dog.txt", "it cannot be opened (Permission denied)") in {(one.file, one.reason) for one in read_folder(notes)[1]}
    with pytest.raises(LabError, match="sealed cannot be opened .Permission denied"):
        read_folder(notes / "sealed")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems let no such name or file be made")
def test_a_name_that_is_no_text_and_a_pipe_spoil_nothing(notes):
    with open(os.path.join(os.fsencode(notes), b"bad\xff.txt"), "wb") as file:
        file.write(b"three")
    os.mkfifo(notes / "pipe.txt")
    passages, skipped = read_folder(notes)
    assert {one.file: one.reason for one in skipped} == {
        "bad\\udcff.txt": "its name is no text in UTF-8: rename it",
        "pipe.txt": "it is neither a file nor a folder",
    }
    assert len(passages) == 8


def test_a_page_in_its_own_encoding_and_marks_of_byte_order(notes):
    (notes / "old.html").write_bytes('<head><META content="text/html; charset=ISO-8859-1"></head><p>Größe “4”</p>'.encode("cp1252"))
    (notes / "new.html").write_text('<meta charset="iso-8859-1"><p>Größe</p>', encoding="utf-8")  # as many editors leave it
    (notes / "wrong.html").write_bytes('<meta charset="no-such"><p>Größe</p>'.encode("cp1252"))
    (notes / "bom.md").write_bytes("\ufeff# Insurance\r\n\r\nNumber 4711.\r\n".encode())
    passages, skipped = read_folder(notes)
    found = {p.id: (p.title, p.text) for p in passages}
    assert found["old.html#0"] == ("old", "Größe “4”")
    assert found["new.html#0"] == ("new", "Größe")
    assert found["bom.md#0"] == ("bom: Insurance", "Number 4711.")
    assert [one.file for one in skipped] == ["wrong.html"]


def test_a_pictures_bytes_and_pages_without_text(notes):
    (notes / "picture.md").write_text(f"![a](data:image/png;base64,{'iVBORw0K' * 9000}) is the bridge at Zell", encoding="utf-8")
    (notes / "half.pdf").write_bytes(pdf("Press the red button.", "", ""))
    passages, skipped = read_folder(notes)
    assert next(p.text for p in passages if p.document == "picture.md") == "![a](data:image/png;base64,…) is the bridge at Zell"
    assert [(one.file, one.reason) for one in skipped] == [("half.pdf", "there is no text on 2 of its pages, 2, 3 (scanned pages need OCR)")]


def test_half_characters_of_a_pdfs_fonts_are_put_right(notes, monkeypatch):
    monkeypatch.setattr("pypdf.PageObject.extract_text", lambda self: "a \ud83d\ude00 b \ud83d c")
    assert pdf_pages(notes / "manual.pdf")[0] == "a \U0001f600 b \ufffd c"


@pytest.mark.parametrize("kind", [AssertionError, IndexError, RecursionError, NotImplementedError])
def test_whatever_a_broken_pdf_makes_its_reader_raise_the_file_is_named(notes, monkeypatch, kind):
    def broken(self):
        raise kind("xref")

    monkeypatch.setattr("pypdf.PageObject.extract_text", broken)
    passages, skipped = read_folder(notes)
    assert [(one.file, one.reason) for one in skipped] == [("manual.pdf", "it cannot be read as PDF (xref)")]
    assert {p.document for p in passages} == {"cat.md", "sub/dog.txt", "page.html"}


@pytest.mark.parametrize("text", ["word " * 500, "A sentence of six words here. " * 90, "# Head\n\n" + "x y z " * 300, "| a | b |\n" * 400])
def test_no_chunk_is_longer_than_the_size_and_no_word_is_lost(tmp_path, text):
    (tmp_path / "long.md").write_text(text, encoding="utf-8")
    passages, _ = read_folder(tmp_path, size=50)
    assert max(len(word_spans(p.text)) for p in passages) <= 50
    said = {word for p in passages for word in p.text.split()}
    assert said >= set(text.replace("# Head", "").split())


def test_html_that_is_no_good_html_is_read_all_the_same():
    assert html_text("<p>a<p>b<div>c &lt;d&gt;</div></style><b>e") == "a\n\nb\n\nc <d>\n\ne"
    assert html_text("<script>x") == ""


def test_the_cells_of_a_table_stand_apart_and_text_is_no_heading(tmp_path):
    (tmp_path / "a.html").write_text(
        "<h1>Prices</h1><table><tr><th>Item<th>Price</tr><tr><td>Lamp</td><td>12 crowns</td></tr></table>"
        "<p># 1 is the lamp</p><button>Buy</button><footer>Foot</footer><p>``` no code</p><h2>End</h2>",
        encoding="utf-8",
    )
    found = [(p.title, p.text) for p in read_folder(tmp_path)[0]]
    assert found == [("a: Prices", "Item | Price\n\nLamp | 12 crowns\n\n# 1 is the lamp\n\nBuy\n\nFoot\n\n``` no code"), ("a: Prices", "End")]


def test_a_row_without_text_is_left_out_and_named():
    table = Dataset.from_dict({"title": ["A", "B", "C"], "text": [None, "b two", "  "]})
    passages, skipped = read_rows(table)
    assert [(p.id, p.title, p.text) for p in passages] == [("row1", "B", "b two")]
    assert [one.file for one in skipped] == ["row 0", "row 2"]
    passages, skipped = read_rows([{"text": "a \ud83d b"}, {"id": "\ud83d", "text": "a"}, {"text": "fine"}])
    assert ([p.text for p in passages], [one.file for one in skipped]) == (["fine"], ["row 0", "row 1"])
    with pytest.raises(ValueError, match="row 0 has no text under 'n', but a int"):
        from_rows([{"n": 3}], text="n")


def test_a_table_is_taken_as_it_is():
    table = Dataset.from_dict({"id": ["x", "y"], "title": ["Cat", "Dog"], "text": ["It is grey.", "It barks. " * 100], "stars": [1, 2]})
    passages = from_rows(table)
    assert (passages[0].id, passages[0].title, passages[0].text) == ("x", "Cat", "It is grey.")
    assert [p.id for p in passages[1:3]] == ["y#0", "y#1"]
    assert {p.document for p in passages} == {"x", "y"}
    assert from_rows([{"answer": "only this"}])[0].text == "only this"
    assert from_rows([{"q": "a", "a": "b"}], text="a")[0].text == "b"
    for rows, said in [
        (DatasetDict(train=table), "several splits"),
        ([{"q": "a", "a": "b"}], "which column holds the text"),
        ([{"text": 3}], "which column|no text"),
        ([], "holds no text"),
        ([{"id": 1, "text": "a"}, {"id": 1, "text": "b"}], "different ids"),
        (["a"], "must be a mapping"),
    ]:
        with pytest.raises(ValueError, match=said):
            from_rows(rows)
