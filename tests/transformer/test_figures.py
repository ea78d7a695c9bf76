"""Pictures, the head scores behind them, and the explorer: drawn from data, refused when sizes do not fit."""

import pytest
import torch

from llmsuite_lab.core import sliders
from llmsuite_lab.core.history import History
from llmsuite_lab.transformer import explorer, figures, head_scores, part_figures
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.experiments.pretraining import Corpus, Pretraining
from llmsuite_lab.transformer.experiments.retrieval_task import Reach
from llmsuite_lab.transformer.experiments.speed import Speed

LAYERS, HEADS, SEQ = 2, 3, 10


@pytest.fixture
def maps():
    weights = torch.rand(LAYERS, HEADS, SEQ, SEQ, generator=torch.Generator().manual_seed(0)).tril()
    return weights / weights.sum(-1, keepdim=True)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Decoder(llama_config(41, 12, LAYERS, HEADS, 16, 32)).eval()


@pytest.mark.parametrize("name", ["sinusoids", "masked_weights", "why_the_root", "named_patterns", "residual_stream"])
def test_pictures_for_slides_need_no_arguments(name):
    drawn = getattr(figures, name)()
    assert drawn.axes
    drawn.canvas.draw()


def test_the_weights_shown_are_causal_and_sum_to_one():
    image = figures.masked_weights(seq=4).axes[0].images[0].get_array()
    assert torch.allclose(torch.tensor(image.data).sum(-1), torch.ones(4).double())
    assert torch.equal(torch.tensor(image.data), torch.tensor(image.data).tril())


def test_the_root_keeps_weights_even():
    plain, scaled = (line.get_ydata() for line in figures.why_the_root(widths=(1, 256)).axes[0].lines[:2])
    assert plain[1] > 0.8
    assert scaled[1] < 0.4


def test_head_scores_find_the_pattern_that_was_put_in():
    n, size = 5, 10
    maps = torch.full((LAYERS, HEADS, size, size), 1 / size)
    maps[0, 2] = torch.eye(size).roll(1, 1)  # query i looks at i + 1: none of the three
    maps[1, 0] = torch.diag(torch.ones(size - 1), -1)
    maps[0, 1] = 0
    maps[0, 1, :, 0] = 1
    maps[1, 2] = torch.diag(torch.ones(size - (n - 1)), -(n - 1))
    found = [
        head_scores.strongest("previous token", head_scores.previous_token_scores(maps)),
        head_scores.strongest("first token", head_scores.first_token_scores(maps)),
        head_scores.strongest("induction", head_scores.induction_scores(maps, n)),
    ]
    assert [(head.layer, head.head) for head in found] == [(1, 0), (0, 1), (1, 2)]
    assert all(head.score == pytest.approx(1.0) for head in found)
    with pytest.raises(ValueError, match="needs 12 tokens"):
        head_scores.induction_scores(maps, 6)


def test_attention_maps_equal_the_models_and_sum_to_one(model):
    ids = torch.randint(41, (1, 7), generator=torch.Generator().manual_seed(1))
    maps = head_scores.attention_maps(model, ids)
    assert maps.shape == (LAYERS, HEADS, 7, 7)
    assert torch.allclose(maps.sum(-1), torch.ones(LAYERS, HEADS, 7), atol=1e-5)
    assert torch.equal(maps, maps.tril())
    with pytest.raises(ValueError, match="one sequence"):
        head_scores.attention_maps(model, ids.expand(2, 7))


def test_a_repeated_sequence_says_the_same_different_tokens_twice():
    ids = head_scores.repeated_sequence(41, 6, seed=3, lowest=10)[0]
    assert torch.equal(ids[:6], ids[6:])
    assert len(set(ids.tolist())) == 6
    assert int(ids.min()) >= 10
    with pytest.raises(ValueError, match="do not fit"):
        head_scores.repeated_sequence(5, 6)


def test_heads_are_named_and_drawn(model, maps):
    names = head_scores.name_heads(model, torch.arange(8)[None], n=4)
    assert list(names) == list(head_scores.PATTERNS)
    assert all(0 <= head.layer < LAYERS and 0 <= head.head < HEADS and 0 <= head.score <= 1 for head in names.values())
    drawn = figures.named_head_maps(list(names.values()), [maps] * 3, [list("abcdefghij")] * 3)
    assert len(drawn.axes) == 3
    assert figures.score_table(head_scores.first_token_scores(maps), "first token").axes


def test_panels_refuse_what_does_not_fit(maps):
    tokens = list("abcdefghij")
    assert len(figures.attention_panels([maps[0, 0], maps[1, 1]], tokens, ["a", "b"]).axes) == 2
    with pytest.raises(ValueError, match="as many titles"):
        figures.attention_panels([maps[0, 0]], tokens, ["a", "b"])
    with pytest.raises(ValueError, match="does not belong to 3 tokens"):
        figures.attention_panels([maps[0, 0]], ["a", "b", "c"], ["a"])


def test_measured_pictures_draw_what_was_measured():
    history = History(losses=[5.0, 4.0, 3.0], tokens=[8, 8, 8], seconds=[0.1] * 3)
    text = Corpus(None, torch.zeros(2), torch.zeros(2), 4, unigram=5.0, bigram=3.5)
    drawn = figures.pretraining_curve(Pretraining(history, [(0, 5.0), (24, 3.0)]), text)
    assert "Below the bigram line" in drawn.axes[0].get_title(loc="left")
    drawn = figures.pretraining_curve(Pretraining(history, [(0, 5.0), (24, 3.6)]), text)
    assert "Not below" in drawn.axes[0].get_title(loc="left")
    scores = {"attention": ([0.9] * 8, [0.8] * 8), "LSTM": ([0.7] * 8, [0.5] * 8)}
    runs = [Reach(name, seed, 100, [0.9, 0.8, 0.7, 0.6], 8, near, far) for seed in range(3) for name, (near, far) in scores.items()]
    ax = figures.reach_over_distance(runs, chance=0.25).axes[0]
    assert len(ax.lines) == 3
    assert ax.get_title(loc="left") == "Attention is ahead by 0.20 next door, by 0.30 far away"
    speeds = [Speed(8, [10.0, 12.0], [5.0, 6.0]), Speed(16, [9.0, 9.0, 2.0], [3.0, 9.0, 4.0])]
    assert speeds[1].ratio == [3.0, 1.0, 0.5]
    assert "trains at 1.50×" in figures.speed_over_length(speeds).axes[0].get_title(loc="left")  # the mean of pairs, not 9 / 4


def test_the_explorer_degrades_to_a_grid_outside_a_notebook(maps):
    tokens = list("abcdefghij")
    assert not sliders.widgets_run()
    assert len(explorer.explore(maps, tokens).axes) == LAYERS * HEADS
    with pytest.raises(ValueError, match="layers 0 to 1"):
        explorer.explore(maps, tokens, layer=2)
    with pytest.raises(ValueError, match="heads 0 to 2"):
        explorer.head_grid(maps, tokens, heads=[3])


def test_the_sliders_redraw_the_map(maps):
    widgets = pytest.importorskip("ipywidgets")
    box = explorer.explore(maps, list("abcdefghij"), static=False)
    layer, head, picture = box.children
    assert isinstance(picture, widgets.Image)
    before = picture.value
    layer.value, head.value = 1, 2
    assert picture.value != before
    assert layer.max == LAYERS - 1
    assert head.max == HEADS - 1


def test_cold_scores_leave_the_likeliest_alone_and_very_hot_ones_make_all_alike():
    logits = torch.tensor([0.0, 2.0, 1.0])
    drawn = part_figures.temperatures(logits, "abc".__getitem__, (0.1, 100.0))
    bars = [patch.get_height() for patch in drawn.axes[0].patches]
    assert bars[0] > 0.99
    assert bars[3:] == pytest.approx([1 / 3] * 3, abs=0.01)
    assert [label.get_text() for label in drawn.axes[0].get_xticklabels()] == ["b", "c", "a"]
    with pytest.raises(ValueError, match=r"not \(1, 3\)"):
        part_figures.temperatures(logits[None], "abc".__getitem__)


def test_tokens_that_are_not_drawn_one_by_one_have_their_share_of_the_probability():
    axes = part_figures.temperatures(torch.zeros(40), str, (2.0,)).axes[0]
    assert [patch.get_height() for patch in axes.patches] == pytest.approx([1 / 40] * 8 + [32 / 40])
    assert axes.get_xticklabels()[-1].get_text() == "32 others"


def test_what_is_lost_is_the_difference_to_the_whole_model():
    found = {"nothing": [1.0, 2.0], "one head": [1.0, 2.0], "positions": [3.0, 5.0]}
    assert part_figures.damage(found, "positions").mean == 2.5
    assert list(part_figures.as_rows(found)) == ["positions", "one head"]
    assert part_figures.losses_without(found).axes[0].get_title(loc="left") == "Most is lost without positions"
    rates = part_figures.learning_rates(10, 4, 1e-3).axes[0].lines[0].get_ydata()
    assert rates.argmax() == 3
    assert rates.max() == pytest.approx(1.0)


def test_recall_is_drawn_by_number_of_entries():
    marks = {"attention": [(720, [0.4, 0.6]), (1440, [1.0, 1.0])], "LSTM": [(720, [0.2, 0.3]), (1440, [0.2, 0.3])]}
    drawn = part_figures.recall_curves({8: marks, 64: marks}, chance=0.25)
    assert drawn.axes[0].lines[0].get_ydata() == pytest.approx([0.5, 1.0])
    assert [ax.get_title(loc="left") for ax in drawn.axes] == ["8 entries", "64 entries"]
    with pytest.raises(ValueError, match="nothing to draw"):
        part_figures.recall_curves({}, 0.25)
