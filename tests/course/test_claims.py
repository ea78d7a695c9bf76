"""Verdicts come from value and criterion only; measurements that cannot be judged are refused; the rows are complete."""

import math
import re

import pytest

from llmsuite_lab.core.metrics import Interval
from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.course.claims import FAILED, HELD, MIME, OPEN, Claim, claim, claims
from llmsuite_lab.course.exercises import exercises

SECTIONS = "course transformer retrieval reasoning agents chains scaling bitnet finetuning peft_methods alignment".split()
IN_CLAIMS_MD = """limits.cutoff limits.arithmetic limits.hallucination rag.accuracy rag.hallucination rag.context_window rag.vector_store
cot.multi_step cot.large_numbers pal.exact pal.loop react.cycle react.grounding react.fact_checking langchain.composition attention.equation
attention.multi_head attention.all_pairs attention.parallel positions.sinusoid families original.size ddp.equivalence ddp.speedup zero.stage1
zero.stage2 zero.stage3 zero.optimizer_states fsdp.communication fsdp.fits fsdp.small_models bitnet.ternary bitnet.memory bitnet.latency
bitnet.throughput bitnet.energy bitnet.quality data.catalogue tuning.instruction tuning.few_examples tuning.forgetting tuning.multitask
tuning.templates tuning.domain flan.facts peft.memory peft.forgetting lora.count lora.quality lora.rank lora.merge prompt.count prompt.frozen
prompt.scale prompt.neighbours peft.hybrid peft.adaptive reward.model ppo.objective ppo.trust_region ppo.entropy rlhf.improves
rlhf.reward_hacking a2c rest.loop rest.cost rest.stability rest.hacking q_learning dpo""".split()

# one effect a row: each was half of another
TAKEN_APART = {"rag.declining", "pal.size", "positions.causal_mask", "langchain.code", "react.recovery", "rlhf.larger"}
TAKEN_APART |= {"react.closed_book", "react.one_retrieval", "pal.elsewhere", "react.elsewhere", "rag.elsewhere"}
OF_THE_COURSE = {"bitnet.fidelity"}  # what the course claims of its own engine, and is held to


def row(**changed):
    """A claim judged on the low end ≥ 0.2, unless changed."""
    usual = {"id": "x.y", "section": "course", "claim": "c", "paper": "p", "test": "t", "notebook": "00_start_here", "quantity": "gain"}
    control = {"control": "none of it", "control_op": "<=", "control_threshold": 0.1, "items": "questions", "items_most": 9}
    return Claim(**{**usual, **control, "unit": "", "judged": "low", "op": ">=", "threshold": 0.2, "holds": "reproduced", **changed})


def test_every_row_of_the_paper_is_there_and_complete():
    rows = claims()
    assert set(IN_CLAIMS_MD) <= set(rows)
    assert {id for id in rows if id not in IN_CLAIMS_MD} == {id for id in rows if id.startswith("slips.")} | TAKEN_APART | OF_THE_COURSE
    for item in rows.values():
        assert item.section in SECTIONS
        assert item.notebook[:2].isdigit()
        assert all(text.strip() for text in (item.claim, item.paper, item.test, item.quantity)), item.id
        assert bool(item.correction) == (item.holds == "wrong in the paper"), f"{item.id}: the correct fact with its source, and only there"
    assert {item.section for item in exercises()} <= set(SECTIONS)


@pytest.mark.parametrize(
    ("op", "threshold", "value", "held"),
    [
        (">=", 0.2, 0.2, True),
        (">", 0.2, 0.2, False),
        ("<=", 0.2, 0.21, False),
        ("<", 0.2, 0.19, True),
        ("==", 74, 74, True),
        ("==", 74, 73, False),
    ],
)
def test_operators(op, threshold, value, held):
    judged = row(judged="value", op=op, threshold=threshold, holds="arithmetic")
    assert judged.measure(value, n=1, seeds=[0], control=0).verdict == ("arithmetic" if held else FAILED)


def test_the_end_named_in_the_row_decides():
    measured = {"value": 0.3, "n": 9, "seeds": [0], "spread": (0.1, 0.5), "control": 0.0}
    assert row(judged="low").measure(**measured).verdict == FAILED
    assert row(judged="value").measure(**measured).verdict == "reproduced"
    assert row(judged="high", op="<=").measure(**{**measured, "value": 0.15}).verdict == FAILED
    with pytest.raises(ValueError, match="lower end of the interval: pass spread"):
        row(judged="low").measure(0.3, 9, seeds=[0], control=0.0)


def test_no_verdict_without_its_control_and_none_when_the_control_fails():
    good = {"value": 0.3, "n": 9, "seeds": [0], "spread": (0.25, 0.5)}
    assert row().measure(**good, control=0.1).verdict == "reproduced"
    assert row().measure(**good, control=0.11).verdict == FAILED  # the effect is there where it must not be
    assert row(control_op=">=", control_threshold=0.6).measure(**good, control=0.5).verdict == FAILED  # and is missing where it must be
    assert row().measure(**good).verdict == OPEN
    with pytest.raises(ValueError, match="names no control; write it into claims.toml"):
        row(control="", control_threshold=math.nan).measure(**good, control=0.1)


def test_as_good_as_wants_the_whole_interval_within_the_margin():
    alike = row(judged="interval", op="==", threshold=0, margin=0.15)
    assert alike.criterion == "whole interval of the gain within 0.15 of 0"
    verdicts = {ends: alike.measure(0.0, 9, seeds=[0], spread=ends, control=0).verdict for ends in ((-0.1, 0.15), (-0.2, 0.1), (-0.1, 0.2))}
    assert list(verdicts.values()) == ["reproduced", FAILED, FAILED]
    for changed in ({"judged": "interval"}, {"margin": 0.1}, {"judged": "interval", "margin": 0}):
        with pytest.raises(ValueError, match="equivalence takes"):
            row(**changed)


def test_seeds_are_never_counted_as_items():
    with pytest.raises(ValueError, match="n=27, but there are 9 questions: average over seeds item by item"):
        row().measure(0.3, n=27, seeds=[0, 1, 2], spread=(0.25, 0.5), control=0)
    with pytest.raises(ValueError, match="2 seeds, and its row does not say how many questions"):
        row(items_most=0).measure(0.3, n=27, seeds=[0, 1], spread=(0.25, 0.5), control=0)


def test_an_interval_brings_its_figures():
    taken = row().measure(Interval(0.3, 0.25, 0.5, 7), seeds=[0], control=Interval(0.05, 0.0, 0.3, 7))
    assert (taken.value, taken.spread, taken.n, taken.control) == (0.3, (0.25, 0.5), 7, 0.05)
    with pytest.raises(ValueError, match="brings its own n and spread"):
        row().measure(Interval(0.3, 0.25, 0.5, 7), 7, seeds=[0])


def test_rows_of_the_written_notebooks_have_control_items_and_date():
    """A row may wait for these until its notebook is written; `measure` then refuses it without them."""
    written = {file.stem for file in (repo_dir() / "notebooks").glob("*.ipynb")}
    for item in claims().values():
        if item.notebook in written:
            assert item.control, item.id
            assert item.items, item.id
            assert re.search(r"\b20\d\d-\d\d-\d\d\b", item.fixed), f"{item.id}: when was the threshold fixed?"
        if item.holds != "arithmetic" and re.search(r"\bas good as\b|\bequal to\b|\bno longer depends\b|\bcomparable\b", item.claim) and item.control:
            assert item.margin, f"{item.id}: name the margin of equivalence"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"value": math.nan}, "value=nan"),
        ({"value": math.inf}, "value=inf"),
        ({"value": None}, "value=None is not a number"),
        ({"n": 0}, "n=0"),
        ({"n": 2.5}, "n=2.5"),
        ({"n": True}, "n=True"),
        ({"seeds": []}, "seeds=.* is empty"),
        ({"spread": (0.4, 0.5)}, "outside its own spread"),
        ({"spread": (0.5, 0.1)}, "outside its own spread"),
        ({"spread": (0.1, math.nan)}, "spread=nan"),
        ({"spread": (0.3, 0.3)}, "has no width"),
        ({"spread": (0.3, 0.3 + 1e-15)}, "has no width"),
        ({"spread": (0.1, 0.2, 0.5)}, "3 ends"),
        ({"seeds": [0, 0]}, "must be different"),
        ({"seeds": "012"}, "must be different"),
        ({"control": math.nan}, "control=nan"),
        ({"n": None}, "n=None"),
    ],
)
def test_what_cannot_be_judged_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        row().measure(**{"value": 0.3, "n": 7, "seeds": [0], "spread": (0.1, 0.5), "control": 0.0, **arguments})


def test_numpy_and_torch_numbers_are_taken():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    taken = row().measure(torch.tensor(0.375), n=np.int64(7), seeds=np.arange(3), spread=np.array([0.25, 0.5]), control=np.float32(0))
    assert taken.record() == {
        "id": "x.y", "verdict": "reproduced", "value": 0.375, "n": 7, "seeds": [0, 1, 2], "spread": [0.25, 0.5], "control": 0.0, "note": ""
    }  # fmt: skip


def test_display_is_stable_where_it_is_compared_and_full_where_it_is_read():
    bundle = row(fixed="2030-01-01").measure(0.31234, n=7, seeds=[0, 1], spread=(0.25, 0.5), control=0.05, note="a < b")._repr_mimebundle_()
    assert bundle["text/plain"] == "x.y: reproduced (n = 7)"
    assert bundle[MIME]["value"] == 0.31234
    figures = ("0.312 [0.25 … 0.5]", "n = 7 questions", "2 seeds", "gain", "≥ 0.2", "0.05, holds (none of it: ≤ 0.1)")
    for part in ("x.y", "reproduced", *figures, "2030-01-01", "a &lt; b"):
        assert part in bundle["text/html"]


def test_unknown_id_names_the_nearest():
    with pytest.raises(ValueError, match="no claim 'rag.acuracy'.*rag.accuracy"):
        claim("rag.acuracy")


@pytest.mark.parametrize("changed", [{"op": "~"}, {"judged": "middle"}, {"holds": "true"}, {"threshold": math.nan}, {"control": ""}, {"control_op": "~"}])
def test_a_row_that_breaks_the_form_is_refused(changed):
    with pytest.raises(ValueError, match="x.y"):
        row(**changed)


def test_verdict_words_are_the_five_of_the_design():
    assert {item.holds for item in claims().values()} | {FAILED} == {*HELD, FAILED}
