"""Actions scored in a grid are those of each reply alone, whatever its neighbours, its padding and the mode the model is in."""

import pytest
import torch
from torch import nn

from llmsuite_lab.alignment.actions import action_mask, grid, masked_mean, score
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.generation import generate
from llmsuite_lab.transformer.sampling import Sampling

END, VOCABULARY = 1, 23


def alone(model, reply):
    """The same by hand: the whole sequence, log softmax, the rows that an action follows."""
    ids = torch.tensor([[*reply.prompt_ids, *reply.completion_ids]])
    out = model(ids)
    logits = out if isinstance(out, torch.Tensor) else out.logits
    logp = logits.log_softmax(-1)[0, len(reply.prompt_ids) - 1 : -1]
    return logp


@pytest.mark.parametrize("family", ["decoder", "llama"])
def test_a_grid_holds_what_each_reply_gives_alone(tiny, replies, family):
    model = tiny(family)
    scored = score(model, replies, distribution=True)
    assert scored.mask.sum(1).tolist() == [4, 6, 2, 1]
    for row, reply in enumerate(replies):
        logp, n = alone(model, reply), len(reply.completion_ids)
        torch.testing.assert_close(scored.distribution[row, :n], logp, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(scored.logprobs[row, :n], logp[range(n), reply.completion_ids], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(scored.entropy[row, :n], torch.distributions.Categorical(logits=logp).entropy(), rtol=1e-5, atol=1e-5)
        assert not scored.logprobs[row, n:].any()


def test_what_sampling_recorded_is_what_scoring_gives(tiny):
    model = tiny()
    prompts = [[5, 6, 7], [8], [9, 10]]
    rows = generate(model, prompts, 8, eos_ids=END, sampling=Sampling(temperature=1.0, seed=0), logprobs=True)
    scored = score(model, [Example(p, row.actions) for p, row in zip(prompts, rows)])
    recorded = torch.tensor([value for row in rows for value in row.model_logprobs])
    torch.testing.assert_close(scored.logprobs[scored.mask], recorded, rtol=1e-5, atol=1e-5)


def test_dropout_does_not_reach_the_scores(replies):
    torch.manual_seed(0)
    model = Decoder(llama_config(VOCABULARY, n_layers=2, d_model=24, n_heads=3, d_ff=40, max_length=64, dropout=0.5)).train()
    one, two = score(model, replies), score(model, replies)
    assert torch.equal(one.logprobs, two.logprobs)
    assert model.training


def test_gradients_flow_through_every_part(tiny, replies):
    model = tiny()
    scored = score(model, replies)
    for part in (scored.logprobs, scored.entropy, scored.hidden):
        model.zero_grad()
        part.sum().backward(retain_graph=True)
        assert model.embedding.token.weight.grad.abs().sum() > 0


def test_means_leave_out_what_is_no_action_even_nan():
    mask = action_mask([2, 1])
    assert masked_mean(torch.tensor([[1.0, 2.0], [6.0, float("nan")]]), mask) == 3.0
    assert grid(torch.tensor([1.0, 2.0, 6.0]), mask).tolist() == [[1.0, 2.0], [6.0, 0.0]]


@pytest.mark.parametrize(
    ("replies", "words"),
    [([], "list is empty"), ([Example([], [3])], "reply 0 has an empty prompt"), ([Example([3], [4]), Example([3], [])], "reply 1 has an empty reply")],
)
def test_what_cannot_be_scored_is_refused(tiny, replies, words):
    with pytest.raises(ValueError, match=words):
        score(tiny(), replies)


def test_a_model_without_hidden_states_is_refused(tiny, replies):
    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Linear(2, 2)

    with pytest.raises(TypeError, match="hidden_states"):
        score(Logits(), replies)
    with pytest.raises(ValueError, match="every reply has at least one"):
        action_mask([2, 0])
    with pytest.raises(ValueError, match="2 values for 3 actions"):
        grid(torch.zeros(2), action_mask([2, 1]))
