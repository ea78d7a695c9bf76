"""What the notebook runs on its ranks: as near to one process as float64 allows, and the control far away; volumes and bytes by the formulas."""

import pytest

from llmsuite_lab.scaling import experiments, timing
from llmsuite_lab.scaling.launch import process_group, ranks
from llmsuite_lab.scaling.memory import model_states, parameters
from llmsuite_lab.scaling.step_memory import fullest, moments


@pytest.fixture(scope="module")
def found():
    """All three on two ranks, in one launch."""

    def everything():
        from llmsuite_lab.scaling import experiments

        return experiments.parity(steps=2), experiments.states(), experiments.volume()

    return ranks(everything, 2, timeout_s=240)


def test_every_stage_makes_the_steps_of_one_process_and_the_control_does_not(found):
    for parity, _, _ in found:
        assert list(parity) == [*experiments.STAGES, experiments.APART]
        control = parity.pop(experiments.APART)
        assert control.gradients > 1e-2
        assert control.weights > 1e-3
        assert all(d.gradients <= 1e-12 and d.weights <= 1e-10 for d in parity.values())


def test_bytes_and_volumes_are_the_formulas(found):
    total = parameters(experiments.CONFIG)
    for _, states, volumes in found:
        for stage, held in enumerate(states.values()):
            assert held == pytest.approx(model_states(total, stage=stage, ranks=2, precision="mixed"), rel=0.02)
        for name, moved in volumes.items():
            assert moved == pytest.approx(3.0 if name in ("zero3", "torch-fsdp") else 2.0, rel=0.02)


def test_what_else_saves_memory_saves_what_the_formulas_say():
    found = experiments.savings(rows=24, parts=3)
    plain = found["nothing"]

    def beside_the_states(rows, **options):
        moment = fullest(moments(experiments.CONFIG, rows, experiments.SEQ, cpu=True, **options))
        return moment.held - moment.gradients

    psi = parameters(experiments.CONFIG)
    smaller = beside_the_states(24) - beside_the_states(8) - 4 * psi  # the first piece's gradients are there while the next is computed
    assert plain - found["3 micro-batches"] == pytest.approx(smaller, rel=0.15)
    assert plain - found["activations recomputed"] == pytest.approx(beside_the_states(24) - beside_the_states(24, checkpointing=True), rel=0.15)
    half = beside_the_states(24) - beside_the_states(24, precision="mixed") - 2 * psi  # before any gradient: 2 + 12 bytes of state, where float32 has 4 + 8
    assert plain - found["mixed precision"] == pytest.approx(half, rel=0.15)
    assert min(found, key=found.get) == "all three"


def test_a_name_that_is_not_known_is_refused_before_anything_trains(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with process_group():
        for call in (
            lambda: experiments.parity(["zero9"]),
            lambda: experiments.volume(["zero9"]),
            lambda: experiments.states("float8"),
            lambda: timing.step_times("small", ["zero9"]),
        ):
            with pytest.raises(ValueError, match="unknown (engine|precision) '(zero9|float8)'"):
                call()
        with pytest.raises(ValueError, match="steps"):
            experiments.parity(steps=0)
    with pytest.raises(ValueError, match="step"):
        experiments.batch(-1)
    with pytest.raises(ValueError, match="parts"):
        experiments.savings(rows=2, parts=3)
