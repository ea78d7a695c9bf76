"""Implicit Q-learning finds the values of a chain that can be worked out, and writes by them."""

import math
from dataclasses import replace

import pytest
import torch

from llmsuite_lab.alignment import q_learning
from llmsuite_lab.alignment.actions import score
from llmsuite_lab.alignment.q_learning import Logged, QHeads, expectile_loss, guided, losses, values
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.peft_methods.lora import add_lora, lora_layers
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.generation import generate

END, GOOD, BAD = 1, 4, 5


def policy(seed=0):
    torch.manual_seed(seed)
    return Decoder(llama_config(6, n_layers=1, d_model=16, n_heads=2, d_ff=24, max_length=16))


def log(n=300):
    """After GOOD the reply may still turn bad: GOOD GOOD is worth 1, all else 0."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(n):
        body = [(GOOD, BAD)[i] for i in torch.randint(2, (2,), generator=generator).tolist()]
        found.append(Logged(Example([2, 3], [*body, END]), float(body == [GOOD, GOOD])))
    return found


def test_the_expectile_at_a_half_is_half_the_square_and_above_it_leans_to_the_best():
    u = torch.tensor([2.0, -2.0])
    assert expectile_loss(u, 0.5).tolist() == [2.0, 2.0]
    assert expectile_loss(u, 0.9).tolist() == pytest.approx([3.6, 0.4])


def learnt(seed, conservative):
    heads = QHeads(policy(seed), tau=0.9, conservative=conservative, slow=0.2, seed=seed)
    q_learning.train(heads, log(), epochs=25, batch_size=100, lr=1e-2, seed=seed, progress=False)
    return heads, generate(guided(heads, 20.0), [[2, 3]], 3, eos_ids=END)[0].actions


def test_the_values_of_a_chain_are_found_and_the_base_stays_as_it_is():
    """Upper expectiles: what follows GOOD is worth nearly 1 at once, what follows BAD nothing."""
    heads, _ = learnt(0, 0.0)
    for kept, first in zip(heads.base.parameters(), policy(0).parameters()):
        assert torch.equal(kept, first)
    Q, V = values(heads, [Example([2, 3], [GOOD, GOOD, END]), Example([2, 3], [BAD, GOOD, END]), Example([2, 3], [GOOD, BAD, END])])
    assert Q[0].min() > 0.7
    assert max(Q[1].max(), Q[2, 1]) < 0.3
    assert V[0, 0] == pytest.approx(0.9, abs=0.2)


def test_guided_by_conservative_values_the_best_reply_is_written_and_without_it_tokens_that_nobody_wrote():
    assert [learnt(seed, 0.3)[1] for seed in range(5)] == [[GOOD, GOOD, END]] * 5
    assert any(learnt(seed, 0.0)[1] != [GOOD, GOOD, END] for seed in range(5))


def shaken(base, **options):
    """Heads that say something without having learnt."""
    heads = QHeads(base, **options)
    torch.nn.init.normal_(heads.q[2].weight)
    return heads


@pytest.mark.parametrize("family", ["decoder", "llama", "lora"])
def test_without_guidance_it_is_the_base_and_with_it_the_scores_are_of_what_is_written(tiny, replies, family):
    base = tiny("llama" if family == "llama" else "decoder")
    if family == "lora":
        for layer in lora_layers(add_lora(base, ["W_Q"], rank=2)).values():
            torch.nn.init.normal_(layer.B["default"])
    before = score(base, replies).logprobs
    heads = shaken(base)
    torch.testing.assert_close(score(guided(heads, 0.0), replies).logprobs, before)
    moved = guided(heads, 2.0)
    assert type(moved) is type(base)
    for prompt, reply in ((r.prompt_ids, r.completion_ids) for r in replies):
        ids = torch.tensor([[*prompt, *reply[:-1]]])
        with torch.no_grad():
            plain = base(ids) if family != "llama" else base(ids).logits
            hidden = base.hidden_states(ids) if family != "llama" else base.base_model(ids).last_hidden_state
        expected = (plain + 2 * heads.q(hidden)).log_softmax(-1)[0, len(prompt) - 1 :].gather(1, torch.tensor(reply)[:, None])[:, 0]
        torch.testing.assert_close(score(moved, [Example(prompt, reply)]).logprobs[0], expected, rtol=1e-4, atol=1e-4)
    rows = generate(moved, [[5, 6], [7]], 4, eos_ids=END, logprobs=True)
    again = score(moved, [Example(p, row.actions) for p, row in zip([[5, 6], [7]], rows)])
    torch.testing.assert_close(again.logprobs[again.mask], torch.tensor([x for row in rows for x in row.model_logprobs]), rtol=1e-4, atol=1e-4)
    assert torch.equal(score(base, replies).logprobs, before)


def test_the_loss_by_hand(tiny):
    """Two actions: the first learns γ V behind it, the last the reward; V the slow Q, upwards more than downwards; L_C as a cross-entropy."""
    heads = shaken(tiny(), tau=0.8, gamma=0.5, conservative=0.1)
    torch.nn.init.normal_(heads.v[2].weight)
    heads.slow_2_weight.normal_()
    ids = torch.tensor([[5, 6, 9]])
    with torch.no_grad():
        hidden = heads.base.hidden_states(ids)[0, 1:]
        Q, slow, V = (f(hidden) for f in (heads.q, heads.slow_q, heads.v))
    (q1, q2), (s1, s2), (v1, v2) = (Q[0, 9], Q[1, END]), (slow[0, 9], slow[1, END]), V[:, 0]
    expected = (0.5 * v2 - q1) ** 2 + (3.0 - q2) ** 2
    for u in (s1 - v1, s2 - v2):
        expected += (0.8 if u > 0 else 0.2) * u**2
    expected -= 0.1 * (Q[0].log_softmax(0)[9] + Q[1].log_softmax(0)[END])
    loss, count = losses(heads, [Logged(Example([5, 6], [9, END]), 3.0)])
    assert count == 2
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)


def test_of_two_heads_both_learn_and_the_lower_is_believed(tiny):
    """The loss by hand, the guidance, and the copies: each of its own head."""
    heads = QHeads(tiny(), tau=0.8, conservative=0.1, slow=0.5, twins=True)
    one, other = heads.q.heads
    assert not torch.equal(one[0].weight, other[0].weight)
    for n, head in enumerate((one, other)):
        torch.nn.init.normal_(head[2].weight, generator=torch.Generator().manual_seed(n))
    heads.follow()
    with torch.no_grad():
        hidden = heads.base.hidden_states(torch.tensor([[5, 6]]))[0, 1:]
        said, V = [head(hidden)[0] for head in (one, other)], heads.v(hidden)[0, 0]
        lower = torch.minimum(*said)
        assert not any(torch.equal(lower, q) for q in said)
        torch.testing.assert_close(heads.q(hidden)[0], lower)
        assert float((heads.slow_q(hidden)[0] - torch.minimum(said[0] / 2, said[1] / 2)).abs().max()) < 1e-5  # half way from zero, each
        u = heads.slow_q(hidden)[0, 9] - V
        expected = sum((2.0 - q[9]) ** 2 - 0.1 * q.log_softmax(0)[9] for q in said) + (0.8 if u > 0 else 0.2) * u**2
        loss, count = losses(heads, [Logged(Example([5, 6], [9]), 2.0)])
    assert count == 1
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    moved = guided(heads, 2.0)
    with torch.no_grad():
        torch.testing.assert_close(moved.hidden_states(torch.tensor([[5, 6]])), heads.base.hidden_states(torch.tensor([[5, 6]])))
        torch.testing.assert_close(moved.logits(hidden)[0], heads.base.logits(hidden)[0] + 2 * (lower - V), rtol=1e-4, atol=1e-4)


def test_twins_find_the_best_reply_of_the_chain_as_well():
    heads = QHeads(policy(0), tau=0.9, conservative=0.3, slow=0.2, twins=True, seed=0)
    q_learning.train(heads, log(), epochs=25, batch_size=100, lr=1e-2, seed=0, progress=False)
    assert generate(guided(heads, 20.0), [[2, 3]], 3, eos_ids=END)[0].actions == [GOOD, GOOD, END]


def test_padding_and_neighbours_change_no_loss(tiny, replies):
    heads = shaken(tiny())
    items = [Logged(reply, float(n)) for n, reply in enumerate(replies)]
    together, count = losses(heads, items)
    apart = [losses(heads, [item]) for item in items]
    assert count == sum(n for _, n in apart)
    torch.testing.assert_close(together, sum(loss for loss, _ in apart), rtol=1e-4, atol=1e-4)


def test_dropout_in_the_base_reaches_no_loss(replies):
    torch.manual_seed(0)
    heads = shaken(Decoder(llama_config(23, n_layers=2, d_model=24, n_heads=3, d_ff=40, max_length=64, dropout=0.5))).train()
    items = [Logged(reply, 1.0) for reply in replies]
    assert torch.equal(losses(heads, items)[0], losses(heads, items)[0])
    assert heads.base.training


def test_a_base_that_scales_its_hidden_states_is_moved_by_what_the_heads_were_taught_on(tiny):
    base = tiny()
    base.config = replace(base.config, logit_scale=0.25)
    heads, ids = shaken(base), torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        hidden = base.hidden_states(ids)
        torch.testing.assert_close(guided(heads, 2.0)(ids), base.logits(hidden) + 2 * heads.q(hidden), rtol=1e-4, atol=1e-4)


def test_the_slow_copy_follows_a_share_at_a_time(tiny):
    heads = QHeads(tiny(), slow=0.25)
    before = heads.slow_2_bias.clone()
    heads.q[2].bias.data.add_(1.0)
    heads.follow()
    torch.testing.assert_close(heads.slow_2_bias, before + 0.25)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been_and_not_with_another_expectile(tmp_path):
    how = {"epochs": 4, "batch_size": 30, "progress": False}
    seen = []
    whole_run = q_learning.train(QHeads(policy(), slow=0.3), log(90), on_step=lambda step, history: seen.append(step), **how)
    assert seen == list(range(1, 13))

    def stop(step, history):
        if step == 7:
            raise KeyboardInterrupt

    kept = how | {"checkpoint": tmp_path / "run"}
    assert q_learning.train(QHeads(policy(), slow=0.3), log(90), on_step=stop, **kept).interrupted
    with pytest.raises(LabError, match="another run"):
        q_learning.train(QHeads(policy(), slow=0.3, tau=0.9), log(90), resume=True, **kept)
    assert q_learning.train(QHeads(policy(), slow=0.3), log(90), resume=True, **kept).losses == whole_run.losses


def test_what_cannot_work_is_refused(tiny, replies):
    with pytest.raises(ValueError, match="tau"):
        QHeads(tiny(), tau=0.2)
    with pytest.raises(TypeError, match="does not tell its width"):
        QHeads(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="reward nan"):
        q_learning.train(QHeads(tiny()), [Logged(replies[0], math.nan)])
    with pytest.raises(ValueError, match="context of 64"):
        q_learning.train(QHeads(tiny("llama")), [Logged(Example([5] * 64, [END]), 1.0)])
