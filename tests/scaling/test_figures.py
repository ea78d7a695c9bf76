"""Pictures, calculator and the statistics of the record: what they say is worked out, and what is missing is said."""

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.scaling import calculator, concepts, cost, figures, records, timing, train
from llmsuite_lab.scaling.memory import GPUS, MODELS
from llmsuite_lab.scaling.step_memory import smallest_stage


def test_each_stage_tells_its_bytes():
    for number, total in enumerate(("16", "7", "5.5", "4")):
        words = [text.get_text() for text in concepts.stage(number).axes[0].texts]
        assert f"{total} bytes a parameter" in words
    with pytest.raises(ValueError, match="number"):
        concepts.stage("4")


@pytest.mark.parametrize("ranks", [2, 3, 4, 5])
def test_a_ring_gives_every_rank_every_sum_in_its_steps(ranks):
    everything = set(range(ranks))
    half, end = concepts.held_after(ranks - 1, ranks), concepts.held_after(2 * (ranks - 1), ranks)
    assert all(sum(terms == everything for terms in pieces) == 1 for pieces in half)  # after the reduce-scatter each owns one whole piece
    assert sorted(piece for pieces in half for piece, terms in enumerate(pieces) if terms == everything) == list(range(ranks))
    assert all(terms == everything for pieces in end for terms in pieces)
    assert not all(terms == everything for pieces in concepts.held_after(2 * (ranks - 1) - 1, ranks) for terms in pieces)


def test_the_chart_of_what_fits_says_what_the_formula_says():
    axes = figures.what_fits_where(ranks=(8, 1024)).axes
    for ax, gpu in zip(axes, figures.SHOWN_GPUS, strict=True):
        said = {(round(t.get_position()[0]), round(t.get_position()[1])): t.get_text() for t in ax.texts}
        for row, model in enumerate(figures.SHOWN_MODELS):
            first = smallest_stage(MODELS[model], GPUS[gpu] * 1e9, 1024, 1, 2048, precision="mixed", checkpointing=True)
            assert said[1, row] == {None: "–", 0: "DP"}.get(first, str(first))
    assert {t.get_text() for ax in axes for t in ax.texts} >= {"DP", "1", "3", "–"}


def test_lines_over_ranks_are_drawn_and_unknown_names_refused():
    assert len(figures.memory_by_ranks().axes[0].lines) == 5
    assert len(figures.traffic_by_stage().axes[0].patches) == 8
    curves = figures.efficiency_at_scale().axes[0].lines
    assert all((line.get_ydata()[1:] <= line.get_ydata()[:-1] + 1e-9).all() for line in curves)  # never faster with more ranks
    for wrong in (lambda: figures.memory_by_ranks("GPT-9"), lambda: figures.memory_by_ranks(gpu="H"), lambda: figures.efficiency_at_scale(link="string")):
        with pytest.raises(ValueError, match="unknown"):
            wrong()


def test_the_calculator_is_a_table_outside_a_notebook_and_follows_its_menus_inside():
    table = calculator.calculator()
    assert list(table.index) == ["data parallel", "ZeRO-1", "ZeRO-2", "ZeRO-3"]
    assert list(table["fits H100"]) == ["no", "yes", "yes", "yes"]
    made = calculator.calculator(static=False, ranks=12)
    menus, shown = made.children[:-1], made.children[-1]
    before = shown.value
    menus[0].value = "GPT-3 175B"
    assert shown.value != before
    assert "fits H100" in shown.value
    with pytest.raises(ValueError, match="model"):
        calculator.bill("GPT-9")
    with pytest.raises(ValueError, match="gpu"):
        calculator.bill(gpu="H")


@pytest.fixture
def measured(recorded, no_records):
    """A record in which everything takes as long as the model says: a link of 1 ms and 1 GB/s, arithmetic of 40 ms, twice that on four processes."""
    from llmsuite_lab.core import records as core_records

    link = cost.Link(1e-3, 1e9)
    links = [[n, size, cost.collective_s(size, n, link, times), times] for n in (2, 4) for size in (10**4, 10**7) for times in (1, 2)]
    steps = []
    for number in range(3):
        for n in (1, 2, 4):
            alone = 0.04 * (2 if n == 4 else 1) * (1 + number / 10)
            for size in timing.SIZES:
                times = {train.ALONE: alone} | dict.fromkeys(train.ENGINES, alone * 1.25)
                steps += [{"round": number, "ranks": n, "size": size, "engine": e, "seconds": [t, t * 1.1, t * 0.9]} for e, t in times.items()]
    core_records.write(recorded("scaling_steps", {"steps": steps, "links": links, "traffic": [], "others": [0.0, 0.03, 0.01]}), no_records)


def test_what_is_read_off_the_record(measured):
    gained = records.speedup()
    assert gained.mean == pytest.approx(2 / 1.25)
    assert gained.n == 3
    assert records.slower("torch-fsdp").mean == pytest.approx(1.0)
    rows = records.predicted()
    assert [(row["stage"], row["ranks"]) for row in rows] == [(s, n) for n in (2, 4) for s in range(4)]
    for row in rows:
        alone = 0.044 * (2 if row["ranks"] == 4 else 1)
        assert row["own"] == pytest.approx(1.25)
        assert row["plain_s"] > alone
        assert row["predicted_s"] - row["plain_s"] == pytest.approx(0.25 * alone)
        assert row["measured_s"] == pytest.approx(0.055 * (2 if row["ranks"] == 4 else 1))
    assert len(figures.predicted_and_measured().axes[0].lines) == 5
    assert records.used_by_others() == 0.03
    left, right = figures.measured_steps().axes
    assert [t.get_text() for t in left.texts] == ["2.00"] * 2 + ["1.60"] * 4
    assert {t.get_text() for t in right.texts} == {"1.00"}
    with pytest.raises(LabError, match="holds no steps of 'zero9'"):
        records.seconds("zero9", 2)
    for other in ({}, {"steps": {"ok": 3}}, {"steps": [3]}, [1]):
        with pytest.raises(ValueError, match="holds no steps with engine, .* give the results of a run of scaling_steps"):
            records.seconds("ddp", 2, found=other)


@pytest.mark.parametrize("picture", [figures.predicted_and_measured, figures.measured_steps])
def test_without_the_record_the_figure_says_which_command_makes_it(no_records, picture):
    words = " ".join(text.get_text() for text in picture().axes[0].texts)
    assert "llmsuite train scaling_steps" in " ".join(words.split())


def test_a_machine_that_does_something_else_is_noted_and_said_once(monkeypatch):
    monkeypatch.setattr(timing, "ranks", lambda fn, n, *args, **limits: [{}])
    used = iter((0.01, 0.4, 0.5, 0.0))
    monkeypatch.setattr(timing, "used_by_others", lambda: next(used))
    with pytest.warns(UserWarning, match="others use 40%") as told:
        found = timing.measure(timing.Settings(processes=(1, 2), rounds=2))
    assert len(told) == 1
    assert found.results["others"] == [0.01, 0.4, 0.5, 0.0]


def test_what_others_use_is_seen():
    import threading

    ends = threading.Event()

    def work():
        while not ends.is_set():
            sum(range(1000))

    busy = threading.Thread(target=work)
    busy.start()
    try:
        assert 0 < timing.used_by_others(0.3) <= 1
    finally:
        ends.set()
        busy.join(5)


@pytest.mark.slow
@pytest.mark.timeout(1500)  # a machine whose cores are taken by others gives it a fiftieth of them
@pytest.mark.filterwarnings("ignore:others use")
def test_the_recipe_runs_small():
    found = timing.measure(timing.Settings(processes=(1, 2), rounds=1, steps=1, collective_bytes=(1000, 100_000)))
    assert {(row["ranks"], row["engine"]) for row in found.results["steps"]} == {(n, e) for n in (1, 2) for e in timing.ENGINES}
    volumes = {row["engine"]: row["logical"] for row in found.results["traffic"]}
    assert volumes["ddp"] == pytest.approx(2.0, rel=0.01)
    assert 2.5 < volumes["zero3"] < 3.01
    assert len(found.results["links"]) == 4
    assert len(found.results["others"]) == 2
    with pytest.raises(ValueError, match="size"):
        timing.model_config("huge")
