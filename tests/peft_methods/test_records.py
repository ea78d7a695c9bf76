"""What is read off the records of the comparison: seeds averaged per dialogue, methods paired, options found, figures drawn."""

import pytest

from llmsuite_lab.core import records as recorded
from llmsuite_lab.core.records import Record
from llmsuite_lab.finetuning.templates import TASKS as DESK
from llmsuite_lab.peft_methods import figures, records
from llmsuite_lab.peft_methods.comparing import TASKS

SCORES = {"full": 0.8, "lora": 0.7, "prompt": 0.2, "hybrid": 0.65, "adaptive": 0.75}


def run(name, seed, results):
    made = {"command": "-", "versions": {}, "machine": "-", "date": "-", "wall_s": 1.0, "commit": "-", "settings": {}}
    return Record(name, seed, **made, results=results)


def row(method, task, score, seed, **options):
    answers = [{"task": task, "item": f"d{i}", "score": score + 0.1 * (seed - 0.5) * (-1) ** i} for i in range(4)]
    answers = [answer | dict.fromkeys(("rougeL", "recall", "precision"), answer["score"]) for answer in answers]
    return {"method": method, "task": task, "lr": 1e-3, "options": options, "loss": 1 - score, "trainable": 10 * len(method), "step_s": 0.1, "prose": 20.0,
            "answers": answers}  # fmt: skip


def sized(size, weights, method, right, seed, **more):
    answers = [{"item": f"m{i}", "said": "refund", "score": float(i < right + (seed == 1))} for i in range(6)]
    return {"size": size, "weights": weights, "method": method, "lr": 1e-3, "loss": 1.0, "answers": answers, "unseen": answers[:2]} | more


def by_size(seed):
    rows = [sized("small", 1_000, "full", 5, seed), sized("small", 1_000, "prompt", 1, seed), sized("large", 9_000_000, "full", 5, seed)]
    nearest = {"learned": [[1, 2], [3, 4 + seed]], "start": [[7, 8], [9, 1]]}
    other = sized("large", 9_000_000, "prompt", 4, seed, neighbours={"learned": [[0, 0]] * 2, "start": [[0, 0]] * 2})
    unscored = {key: value for key, value in other.items() if key not in ("answers", "unseen")}  # at a worse rate
    return [*rows, unscored, sized("large", 9_000_000, "prompt", 4, seed, neighbours=nearest)]


def summaries(count, score, task="summary"):
    return [{"task": task, "item": f"d{i}", "recall": score, "f1": score if i < 3 else 0.0, "rougeL": score} for i in range(count)]


def look(step, learnt, kept):
    """Four dialogues, three seeds' difference aside: the summaries at `learnt`, the other tasks at `kept`."""
    answers = [{"task": t, "item": f"d{i}", "score": learnt if t == "summary" else kept} for t in DESK for i in range(4)]
    return {"step": step, "answers": answers, "facts": [True], "prose": 20.0}


def along(seed):
    """LoRA keeps more at its lower rate, which never learns much; full tuning has one rate."""
    return {
        "start": look(0, 0.0, 0.8),
        "full 0.1": [look(10, 0.4, 0.4), look(40, 0.8, 0.0)],
        "lora 0.2": [look(10, 0.2, 0.6 + 0.2 * (seed - 0.5)), look(40, 0.6, 0.5)],
        "lora 0.1": [look(10, 0.1, 0.8), look(40, 0.5, 0.7)],
        "full 0.1 mixed": [look(10, 0.4, 0.8), look(40, 0.9, 0.8)],
    }


@pytest.fixture(autouse=True)
def made(monkeypatch):
    runs = {
        "prompt_sizes": by_size,
        "desk_prompt": lambda s: {"answers": summaries(3, 0.75)},
        **{f"peft_{task}": lambda s, task=task: [row(method, task, score, s) for method, score in SCORES.items()] for task in TASKS},
        "lora_ranks": lambda s: [row("lora", "summary", 0.1 * rank, s, rank=rank, alpha=2 * rank) for rank in (1, 2, 4)],
        "prompt_lengths": lambda s: [row("prompt", "summary", 0.1 * n, s, length=n) for n in (1, 5)],
        "desk_forgetting": along,
        "desk_untuned": lambda s: {
            "general": {"prose": 16.0},
            "shots": [answer | {"f1": 0.5} for answer in row("untuned", "summary", 0.3, 0.5)["answers"]],
            "chat": summaries(5, 0.25) + summaries(5, 1.0, "intent"),
        },
        "peft_rates": lambda s: [row("lora", task, 0.5, s) | {"lr": lr, "loss": lr * 100 + n} for lr in (1e-3, 1e-2) for n, task in enumerate(TASKS)],
    }
    monkeypatch.setattr(recorded, "read_all", lambda name: [run(name, s, runs[name](s)) for s in (0, 1)])
    monkeypatch.setattr(recorded, "read", lambda name, seed=0: run(name, seed, runs[name](seed)))


def test_a_dialogues_score_is_its_mean_over_seeds_and_methods_are_paired():
    assert records.seeds() == [0, 1]
    assert records.methods() == list(SCORES)
    assert list(records.scores("lora", "answer").values()) == pytest.approx([0.7] * 4)
    gap = records.difference("lora", "full", "summary")
    assert (gap.mean, gap.n) == (pytest.approx(-0.1), 4)
    assert {task: list(found) for task, found in records.quality().items()} == dict.fromkeys(TASKS, list(SCORES))
    with pytest.raises(ValueError, match="no row with"):
        records.scores("lorra", "answer")
    with pytest.raises(ValueError, match="answer, entities, summary"):
        records.scores("lora", "intent")


def test_what_states_nothing_has_no_precision_and_is_counted(monkeypatch):
    def quiet(seed):
        rows = [row(method, "summary", score, seed) for method, score in SCORES.items()]
        for made in rows:
            made["answers"] = [a | {"states": float(i > 1 or seed == 1), "precision": 0.5 * (i > 0)} for i, a in enumerate(made["answers"])]
        return rows

    monkeypatch.setattr(recorded, "read_all", lambda name: [run(name, s, quiet(s)) for s in (0, 1)])
    assert records.silent("prompt") == (2, 8)
    assert records.scores("prompt", "summary", "precision") == {"d0": 0.0, "d1": 0.5, "d2": 0.5, "d3": 0.5}  # d1 by one seed alone


def test_costs_options_and_rates_are_found():
    assert records.cost("prompt", "trainable") == 60
    assert records.cost("hybrid", "trainable") == 60
    with pytest.raises(ValueError, match="ask for trainable"):
        records.cost("prompt", "price")
    assert {rank: round(sum(items.values()) / 4, 3) for rank, items in records.by_option("lora_ranks", "rank").items()} == {1: 0.1, 2: 0.2, 4: 0.4}
    assert records.swept() == {"lora": {1e-3: pytest.approx(1.1), 1e-2: pytest.approx(2.0)}}


def test_the_gap_is_paired_by_message_and_closes_from_smallest_to_largest():
    assert list(records.by_size("full")) == [1_000, 9_000_000]
    assert list(records.gaps()[1_000].values()) == [0, 0.5, 1, 1, 1, 0.5]  # right in both seeds, in the second alone, …
    assert list(records.gaps()[9_000_000].values()) == [0, 0, 0, 0, 0.5, 0.5]
    closed = records.gap_closed()
    assert (closed.mean, closed.n) == (pytest.approx(0.5), 6)
    assert 0 < closed.low < 0.5 < closed.high <= 1  # of (0, 0.5, 1, 1, 0.5, 0)
    assert len(records.by_size("prompt", "unseen")[1_000]) == 2
    with pytest.raises(ValueError, match="no 'seen' of 'full' at 'small'"):
        records.by_size("full", "seen")


def test_neighbours_are_those_of_the_scored_prompt_by_place_and_averaged_over_seeds():
    assert records.neighbour_shares({1, 4, 9}) == [0.5, 0.25]
    assert records.neighbour_shares({1, 4, 9}, "start") == [0, 1.0]


def test_written_and_learned_are_compared_on_the_same_dialogues():
    heights = [round(bar.get_height(), 3) for bar in figures.written_or_learned().axes[0].patches]
    assert heights == [0.25, 0.3, 0.75, 0.25, 0.5, 0.75, 0.25, 0.3, 0.75]  # of five the untuned model answered, the first three alone


def test_the_table_has_a_row_a_method_with_its_distance_from_full_tuning():
    rows = {row["method"]: row for row in records.table()}
    assert list(rows) == list(SCORES)
    assert rows["full"]["minus full"] == 0
    assert rows["lora"]["minus full"] == pytest.approx(-0.1)
    assert (rows["prompt"]["trained"], rows["prompt"]["summary"], rows["prompt"]["prose"]) == (60, pytest.approx(0.2), pytest.approx(20.0))
    assert len(records.over_tasks("lora")) == 4 * len(TASKS)


def test_each_seed_has_its_own_mean_and_its_own_perplexities(monkeypatch):
    monkeypatch.setattr(recorded, "read_all", lambda name: [run(name, s, [row("lora", name[5:], 0.4 + 0.1 * s, 0.5) | {"prose": 10.0 * 4**s}]) for s in (0, 1)])
    assert records.by_seed("lora") == {0: pytest.approx(0.4), 1: pytest.approx(0.5)}
    assert records.prose("lora") == {task: [10.0, 40.0] for task in TASKS}
    assert records.cost("lora", "prose") == pytest.approx(20.0)  # e to the mean loss: halfway between 10 and 40 in logarithms


def test_the_front_holds_what_no_other_beats():
    assert records.front() == ["full"]  # 40 numbers here, and the highest score
    assert records.front("answer") == ["full"]


def test_the_hybrid_stands_beside_a_lora_of_its_own_rank_and_the_longest_prompt():
    means = {name: sum(items.values()) / 4 for name, items in records.hybrid_and_parts().items()}
    assert means == {"hybrid": pytest.approx(0.65), "LoRA": pytest.approx(0.4), "prompt": pytest.approx(0.5)}


def test_the_hybrids_rank_is_the_one_that_is_trained():
    import inspect

    from llmsuite_lab.peft_methods.hybrid import add_hybrid

    taken = {name: inspect.signature(add_hybrid).parameters[name].default for name in ("rank", "alpha", "length")}
    assert taken == {"rank": records.HYBRID_RANK, "alpha": 2 * records.HYBRID_RANK, "length": 10}  # alpha / r as in lora_ranks


def test_forgetting_is_read_where_both_have_learnt_as_much_by_the_rate_that_keeps_most():
    assert records.equal_learning("full", "lora") == pytest.approx(0.6)  # full tuning has learnt more, its mixture does not count
    kept = {name: sum(found.values()) / len(found) for name in ("full", "lora") if (found := records.kept_at(0.6, name))}
    assert kept == {"full": pytest.approx(0.2), "lora": pytest.approx(0.5)}
    lower = records.kept_at(0.5, "lora")
    assert len(lower) == 16
    assert sum(lower.values()) / 16 == pytest.approx(0.7)  # there the lower rate arrives, too
    assert sum(records.kept_at(0.0, "lora").values()) / 16 == pytest.approx(0.8)  # the start
    with pytest.raises(ValueError, match="0.60 at most"):
        records.kept_at(0.7, "lora")
    with pytest.raises(ValueError, match="prompt"):
        records.equal_learning("prompt")


FIGURES = ["forgetting", "at_equal_learning", "directions", "sizes", "ranks", "lengths", "rates", "quality", "pareto", "lora_against_full"]


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_drawn_from_the_records(name):
    assert getattr(figures, name)().axes[0].get_title(loc="left") not in ("", "Not measured yet")


def test_lora_stands_between_the_untuned_and_the_fully_tuned_model_in_its_figure():
    ax = figures.lora_against_full().axes[0]
    bars = [bar.get_height() for bar in ax.patches if bar.get_height() > 0]
    assert sorted({round(height, 6) for height in bars}) == [0.3, 0.7, 0.8]


def test_ranks_stand_by_layer_and_matrix_and_what_kept_nothing_counts_zero():
    shown = figures.allotted({"model.layers.0.self_attn.q_proj": 3, "model.layers.2.self_attn.q_proj": 1, "model.layers.1.mlp.up_proj": 5})
    assert shown.axes[0].images[0].get_array().tolist() == [[3, 0, 1], [0, 5, 0]]
    with pytest.raises(ValueError, match="layer's number"):
        figures.allotted({"q_proj": 3})
