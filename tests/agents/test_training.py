"""The recipe: the loss sees the model's turns and nothing else, in the tokens that the loop will produce."""

import pytest
import torch

from llmsuite_lab.agents.demonstrations import Turn, demonstrate, opening_text, render_observation, render_turn
from llmsuite_lab.agents.training import MIXTURES, collate_turns, draw_items, encode_trajectory, training_set
from llmsuite_lab.lm.supervised import supervised_loss
from llmsuite_lab.world.almanac import build
from llmsuite_lab.world.almanac_claims import Claim


def test_only_the_models_turns_are_supervised(tiny_tokenizer):
    turns = [Turn("I look.", "Search", "Ada", "Ada is a city."), Turn("Known.", "Finish", "yes")]
    example = encode_trajectory(tiny_tokenizer, "Question: ?\nThought:", turns)
    batch = collate_turns([example])
    wanted = render_turn(turns[0]) + render_turn(turns[1])
    assert tiny_tokenizer.decode(batch.targets.tolist()) == wanted
    whole = "Question: ?\nThought:" + render_turn(turns[0]) + render_observation("Ada is a city.") + render_turn(turns[1])
    assert tiny_tokenizer.decode([*example.prompt_ids, *example.completion_ids]) == whole
    following = batch.ids[0][1:].tolist() + [example.completion_ids[-1]]
    assert [following[i] for i in batch.mask[0].nonzero().flatten().tolist()] == batch.targets.tolist()


def test_the_masked_batch_equals_one_example_per_turn(tiny_tokenizer, tiny_model):
    """Closed form: the loss of a trajectory is the sum over its turns of the loss of a turn given all before it."""
    from llmsuite_lab.lm.batching import Example, collate

    long = [Turn("a", "Go", "b", "cd"), Turn("ef", "Finish", "g")]
    short = [Turn("x", "Finish", "yz")]
    openings = ["Q: mn\nThought:", "Q: o\nThought:"]
    examples = [encode_trajectory(tiny_tokenizer, o, t) for o, t in zip(openings, (long, short))]
    loss, count = supervised_loss(tiny_model, collate_turns(examples))
    separate, n = torch.tensor(0.0), 0
    for opening, turns in zip(openings, (long, short)):
        context = opening
        for turn in turns:
            ids = [tiny_tokenizer(t, add_special_tokens=False)["input_ids"] for t in (context, render_turn(turn))]
            one, k = supervised_loss(tiny_model, collate([Example(*ids)]))
            separate, n = separate + one, n + k
            context += render_turn(turn) + (render_observation(turn.observation) if turn.observation else "")
    assert count == n
    torch.testing.assert_close(loss, separate, rtol=1e-5, atol=1e-4)


@pytest.mark.real_model
def test_pieces_tokenised_apart_are_the_whole_tokenised_at_once():
    """Otherwise the adapter would be trained on tokens it never meets in the loop."""
    from llmsuite_lab.core import zoo
    from llmsuite_lab.core.errors import LabError

    try:
        tokenizer = zoo.load_tokenizer("smollm2-135m-instruct")
    except LabError as error:
        pytest.skip(f"the real tokenizer is not here: {error}")
    for item, world in draw_items("varied", 60, seed=4):
        turns = demonstrate(item, world)
        example = encode_trajectory(tokenizer, opening_text(item), turns)
        text = opening_text(item) + "".join(render_turn(t) + (render_observation(t.observation) if t.observation else "") for t in turns)
        assert [*example.prompt_ids, *example.completion_ids] == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_mixtures_hold_what_they_say_and_seeds_differ(tiny_tokenizer):
    for name, shares in MIXTURES.items():
        assert sum(shares.values()) == pytest.approx(1.0)
        items = [item for item, _ in draw_items(name, 120, seed=1)]
        assert 0.1 < sum(isinstance(item, Claim) for item in items) / 120 < 0.32
    a, b, c = (training_set(tiny_tokenizer, "varied", 9, seed) for seed in (0, 0, 1))
    assert a == b != c
    with pytest.raises(ValueError, match="choose one of"):
        draw_items("everything", 3, 0)
    with pytest.raises(ValueError, match="nothing to learn"):
        encode_trajectory(tiny_tokenizer, "Q", [])


def test_demonstrations_refuse_facts_that_the_pages_do_not_hold():
    from dataclasses import replace
    from random import Random

    from llmsuite_lab.world.almanac_questions import draw_question

    world = build("train", 12)
    question = draw_question(world, "founder_birthplace", Random(2))
    (subject, name, _), *rest = question.hops
    with pytest.raises(ValueError, match="does not hold"):
        demonstrate(replace(question, hops=((subject, name, "Nobody Atall"), *rest)), world)
