"""The numbers and texts in the pictures are those of the package's own functions."""

import pytest

from llmsuite_lab.retrieval import figures, index_concepts, prompt_concepts, records
from llmsuite_lab.retrieval.lexical import BM25
from llmsuite_lab.retrieval.pipeline import shown_text
from llmsuite_lab.retrieval.prompting import few_shot
from llmsuite_lab.retrieval.retriever import indexed_text
from llmsuite_lab.world import handbook


def words(picture):
    return [text.get_text() for text in picture.axes[0].texts]


def test_the_cosines_are_those_of_the_counts():
    shown = words(prompt_concepts.chunk_embed_search())
    assert [text for text in shown if text.startswith("cos")] == ["cos 0.82", "cos 0.41", "cos 0.50"]  # 2/√6, 1/√6, 1/2


@pytest.mark.parametrize("passages", [0, 1, 5])
def test_the_prompt_in_the_picture_is_the_package_own(passages):
    book = handbook.load()
    question = next(q for q in book.questions if q.note == "near-duplicate" and q.kind == "one")
    index = BM25([p.id for p in book.passages], [indexed_text(p) for p in book.passages])
    best = [shown_text(book.passage(found)) for found, _ in index.search([question.text], 5)[0]][:passages]
    drawn = " ".join(" ".join(words(prompt_concepts.prompt_with_passages(passages))).split())
    wanted = few_shot(question.text, best).split("\n\n")
    assert " ".join(wanted[-1].split()) in drawn
    assert " ".join(wanted[0].split()) in drawn
    assert f"and {len(wanted) - 2} more worked examples" in drawn
    with pytest.raises(ValueError, match="passages"):
        prompt_concepts.prompt_with_passages(6)


def test_an_index_of_depth_one_misses_and_a_deep_one_finds_all_with_more_comparisons():
    def counted(depth):
        shown = words(index_concepts.looking_at_a_part(depth))
        return [int(text.split()[0]) for text in shown if "comparisons" in text], [int(text[0]) for text in shown if "nearest found" in text]

    (all_points, *shallow), (every, *few) = counted(1)
    (_, *deep), (_, *found) = counted(6)
    assert all_points == 240
    assert every == 3
    assert max(few) < 3
    assert found == [3, 3]
    assert all(a < b < all_points for a, b in zip(shallow, deep))


def test_each_floor_begins_where_the_one_above_ended():
    ax = index_concepts.floors_of_a_graph().axes[0]
    paths = [line.get_xydata() for line in ax.lines if line.get_marker() == "None"]
    starts = [line.get_xydata()[0] for line in ax.lines if line.get_marker() == "o"]
    assert len(paths) == len(starts) == 3
    for above, start in zip(paths, starts[1:]):
        assert above[-1] + (3.75, 0) == pytest.approx(start)


def test_two_indexes_are_drawn_as_recorded():
    rows = {row.kind: row for row in records.search_by_size()[0] if row.size == 10_000}
    drawn = figures.two_indexes(10_000)
    heights = [[bar.get_height() for bar in ax.patches] for ax in drawn.axes]
    assert heights[0] == [rows["ivf"].query_ms, rows["hnsw"].query_ms]
    assert heights[3] == [rows["ivf"].gold, rows["hnsw"].gold]
    with pytest.raises(ValueError, match="was not measured"):
        figures.two_indexes(77)
