"""Implicit Q-learning finds the values of a chain that can be worked out, and writes by them."""

import pytest
import torch

from llmsuite_lab.alignment import q_learning
from llmsuite_lab.alignment.actions import score
from llmsuite_lab.alignment.q_learning import Guided, Logged, QHeads, expectile_loss, losses
from llmsuite_lab.lm.batching import Example
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


def test_values_of_a_chain_and_the_writing_that_follows_from_them():
    """With an expectile near 1: Q(start, GOOD) → 1, Q(start, BAD) → 0, and with guidance the policy writes GOOD GOOD."""
    heads = QHeads(policy(), 6, tau=0.9, conservative=0.0, slow=0.2)
    base = [p.clone() for p in heads.base.parameters()]
    q_learning.train(heads, log(), epochs=40, batch_size=100, lr=1e-2, progress=False)
    for a, b in zip(heads.base.parameters(), base):
        assert torch.equal(a, b)
    with torch.no_grad():
        hidden = heads.base.hidden_states(torch.tensor([[2, 3], [3, GOOD]]))  # the start; its last state
        Q = heads.q(hidden)[0, -1]
    assert Q[GOOD] > 0.7
    assert Q[BAD] < 0.3
    written = generate(Guided(heads, 20.0), [[2, 3]], 3, eos_ids=END)[0].actions
    assert written[:2] == [GOOD, GOOD]


def test_without_guidance_it_is_the_base_and_with_it_the_scores_are_of_what_is_written(tiny, replies):
    base = tiny()
    heads = QHeads(base, 23)
    torch.nn.init.normal_(heads.q[2].weight)
    plain, guided = Guided(heads, 0.0), Guided(heads, 2.0)
    torch.testing.assert_close(score(plain, replies).logprobs, score(base, replies).logprobs)
    assert not torch.allclose(score(guided, replies).logprobs, score(base, replies).logprobs, atol=1e-2)
    rows = generate(guided, [[5, 6], [7]], 4, eos_ids=END, logprobs=True)
    again = score(guided, [Example(p, row.actions) for p, row in zip([[5, 6], [7]], rows)])
    torch.testing.assert_close(again.logprobs[again.mask], torch.tensor([x for row in rows for x in row.model_logprobs]), rtol=1e-4, atol=1e-4)


def test_padding_and_neighbours_change_no_loss(tiny, replies):
    heads = QHeads(tiny(), 23)
    torch.nn.init.normal_(heads.q[2].weight)
    items = [Logged(reply, float(n)) for n, reply in enumerate(replies)]
    together, count = losses(heads, items)
    apart = [losses(heads, [item]) for item in items]
    assert count == sum(n for _, n in apart)
    torch.testing.assert_close(together, sum(loss for loss, _ in apart), rtol=1e-4, atol=1e-4)


def test_the_slow_copy_follows_a_share_at_a_time(tiny):
    heads = QHeads(tiny(), 23, slow=0.25)
    before = heads.target[2].bias.clone()
    heads.q[2].bias.data.add_(1.0)
    heads.follow()
    torch.testing.assert_close(heads.target[2].bias, before + 0.25)


def test_what_cannot_work_is_refused(tiny, replies):
    with pytest.raises(ValueError, match="tau"):
        QHeads(tiny(), 23, tau=0.2)
    with pytest.raises(TypeError, match=r"transformer\.Decoder"):
        Guided(QHeads(tiny("llama"), 23))
    with pytest.raises(ValueError, match="reward nan"):
        q_learning.train(QHeads(tiny(), 23), [Logged(replies[0], float("nan"))])
