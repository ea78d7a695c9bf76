"""Pictures and figures: what they say is worked out by the package, and a record that is not there is named."""

import pytest

from llmsuite_lab.bitnet import concepts, energy, figures, twins
from llmsuite_lab.bitnet.model import model_bytes, paper_config
from llmsuite_lab.core import records


def words(drawn):
    return " ".join(text.get_text() for ax in drawn.axes for text in ax.texts)


def test_the_packed_byte_is_the_package_s():
    """The column is +1 0 -1 +1 0, and so the digits are 2 1 0 2 1."""
    assert f"{2 + 1 * 4 + 0 * 16 + 2 * 64:08b}" in words(concepts.packed_byte()), "the first row lowest"
    value = 2 * 81 + 1 * 27 + 0 * 9 + 2 * 3 + 1
    assert f"⌈256 · {value} / 243⌉ = {-(-256 * value // 243)}" in words(concepts.packed_byte("five_trits")), "the first row highest"
    with pytest.raises(ValueError, match="unknown form"):
        concepts.packed_byte("six")


def test_the_layer_s_first_row_adds_up():
    """The largest number of the token, 1.27, becomes 127, and so the others are whole numbers too; the weights are rounded here by Python."""
    q = [round(100 * x) for x in concepts.TOKEN]
    gamma = sum(abs(w) for row in concepts.SHOWN for w in row) / 12
    signs = [max(-1, min(1, round(w / gamma))) for w in concepts.SHOWN[0]]
    assert signs == [1, 0, 1, -1]
    assert f"{q[0]} + {q[2]} - {q[3]} = {sum(t * a for t, a in zip(signs, q))}" in words(concepts.one_layer())


def test_the_bytes_of_a_token_leave_out_the_embedding_of_which_one_row_is_read():
    config = paper_config("3B")
    least = (model_bytes(config, None) - 2 * config.vocab_size * config.d_model) / 1e9
    assert f"{least:.2f} GB, at least {1000 * least / 20:.0f} ms" in words(concepts.bytes_of_a_token())
    for wrong in ("0", "-3", "nan", "inf"):
        with pytest.raises(ValueError, match="gigabytes_a_second="):
            concepts.bytes_of_a_token(wrong)


def test_energies_go_from_the_paper_s_figure_downwards_when_sums_need_their_bits():
    heights = [patch.get_height() for patch in figures.energies().axes[0].patches]
    assert heights[0] == pytest.approx(energy.paper_ratio(), rel=1e-9)
    assert all(other < heights[0] / 2 for other in heights[1:])
    assert heights[4] < heights[3] < heights[2] > heights[1]


def test_more_sequences_fit_beside_small_weights():
    fits = [patch.get_height() for patch in figures.sequences_that_fit().axes[0].patches]
    assert all(two > full for full, two in zip(fits[:4], fits[4:]))


def test_without_records_the_figures_say_which_and_with_them_they_draw(monkeypatch, tmp_path):
    monkeypatch.setattr(records, "runs_dir", lambda: tmp_path)
    for draw in (figures.gap_over_size, figures.losses_over_size, figures.rates, figures.ternarised):
        assert "make it again with" in words(draw())
    made = {"seed": 0, "command": "", "versions": {}, "machine": "", "date": "", "wall_s": 1.0, "commit": "", "settings": {}}
    for name, worse in (("bitnet_twins", {"full": 0.0, "ternary": 0.3}), ("bitnet_norms", {"normed": -0.1})):
        rows = []
        for k, size in enumerate(twins.SIZES):
            for kind, more in worse.items():
                base = {"kind": kind, "size": size, "weights": 10 ** (3 + k), "losses": [5 - k + more + 0.1 * i for i in range(4)]}
                rows += [base | {"lr": lr, "validation": 5 - k + lr} for lr in (0.1, 0.2)]
        records.write(records.Record(name, results=rows, **made), tmp_path)
    lines = figures.gap_over_size().axes[0].lines
    assert [list(line.get_ydata()) for line in lines[:2]] == [pytest.approx([0.3] * 3), pytest.approx([0.4] * 3)]
    assert len(figures.losses_over_size().axes[0].patches) == 9
    assert [len(ax.lines) for ax in figures.rates().axes] == [3] * 3
    told = (("three values", "none", 0, 3.0), ("three values", "first", 1, 7.0), ("three values", "last", 1, 5.0), ("three values", "all", 3, 11.0))
    after = [{"how": how, "end": end, "blocks": n, "weights": 9 * n, "losses": [loss]} for how, end, n, loss in (*told, ("eight bits", "all", 3, 3.1))]
    records.write(records.Record("bitnet_ternarised", results=after, **made), tmp_path)
    lines = figures.ternarised().axes[0].lines
    assert [list(line.get_ydata()) for line in lines[:3]] == [[3.0, 7.0, 11.0], [3.0, 5.0, 11.0], [3.1]]
