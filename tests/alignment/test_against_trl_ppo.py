"""Ours against the last PPOTrainer that trl released (1.12.0), run by tools/freeze_trl_ppo.py: equal, from the weights to the weights after four updates.

What ours does otherwise, on purpose, and what the tests account for:

- The score's place. trl lays it one cell behind the end token, on padding, and learns a value for that cell (a reply that fills its row has no such cell,
  and gets the score at its last action). Ours lays it on the last action, and nothing follows. At λ = 1 both give an action the same advantage; at λ < 1
  trl's end token is credited with λ (R − V) of that cell, V being the value of a state in which nothing is left to decide.
- Entropy and approximate KL are reported there as means over all cells, padding too; ours are over actions. trl's loss has no entropy term.
- trl counts an action as clipped where the clip raised the loss; ours where the ratio lies outside 1 ± ε.
- trl clips no gradient, and Adam's ε is 1e-8; ours clips to norm 1 by default, and ε is 1e-5. trl divides logits by the temperature it samples at, in updates
  too; ours takes log-probabilities of the policy itself. The case is at temperature 1.

Alike: k1 in the reward, the missing end subtracted, the clip of the values around the old ones, an unbiased variance in whitening, the sums over actions.
"""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from llmsuite_lab.alignment import parity
from llmsuite_lab.alignment.actions import score
from llmsuite_lab.alignment.divergence import estimate
from llmsuite_lab.alignment.objectives import clipped_loss, clipped_value_loss
from llmsuite_lab.alignment.rollouts import ActorCritic, Reference, Rollouts
from llmsuite_lab.alignment.settings import Settings
from llmsuite_lab.alignment.update import advantages_of
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.transformer.optimizer import AdamW

FROZEN = parity.frozen()
CASES = list(FROZEN["cases"])
NEAR = {"rtol": 1e-5, "atol": 1e-5}  # float32: trl pads prompts on the left, ours on the right, and sums come in another order


def filled(module, seed):
    """The weights that the file describes."""
    x = seed
    with torch.no_grad():
        for _, parameter in sorted(module.named_parameters()):
            numbers = []
            for _ in range(parameter.numel()):
                x = (1664525 * x + 1013904223) % 2**32
                numbers.append(x / 2**32 - 0.5)
            parameter.copy_(torch.tensor(numbers, dtype=torch.float64).view(parameter.shape) + (parameter.ndim == 1))
    return module


def made():
    """(policy with its value head, reference), as trl had them."""
    policy, reference = (filled(LlamaForCausalLM(LlamaConfig(**FROZEN["config"])), FROZEN["seeds"][name]) for name in ("policy", "reference"))
    model = ActorCritic(policy)
    filled(scorer := torch.nn.Linear(policy.config.hidden_size, 1, bias=False), FROZEN["seeds"]["score"])
    model.value.weight.data.copy_(scorer.weight)
    return model, Reference.frozen(reference)


def replies_of(case):
    """The replies in the order in which trl's loader drew them."""
    return [
        Example([t for t in query if t != FROZEN["pad"]], response[: last + 1])
        for query, response, last in zip(case["queries"], case["responses"], case["sequence_lengths"])
    ]


def rollouts_of(case, model, reference):
    replies = replies_of(case)
    with torch.no_grad():
        now = score(model.policy, replies)
        ended = torch.tensor([reply.completion_ids[-1] == case["end"] for reply in replies])
        scores = torch.tensor(case["unpenalised"])
        return Rollouts(replies, ended, scores, now.mask, now.logprobs, reference.score(replies).logprobs, model.values(now), now.entropy)


def judged(case, rollouts, **changes):
    """Our own advantages and returns, the way an iteration makes them."""
    options = case["options"]
    settings = Settings(prompts=6, gamma=options["gamma"], lam=options["lam"], missing_end=options["missing_eos_penalty"], **changes)
    gained = rollouts.scores - settings.missing_end * (~rollouts.ended).float()
    k1 = estimate(rollouts.logprobs, rollouts.reference).where(rollouts.mask, 0.0)
    return advantages_of(rollouts, gained, k1.sum(1), k1, settings, options["kl_coef"])


def wide_values(model, replies, wide):
    """Our values in trl's cells: those of the actions, and V of the state behind the end token."""
    longer = [Example(r.prompt_ids, [*r.completion_ids, 0][: int(n)]) for r, n in zip(replies, wide.sum(1))]
    return model.values(score(model.policy, longer))


def test_the_file_says_what_it_holds():
    assert FROZEN["versions"]["trl"] == "1.12.0"
    replies = sorted((list(r.prompt_ids), list(r.completion_ids)) for r in replies_of(FROZEN["cases"][CASES[0]]))
    assert replies == sorted((prompt, reply) for prompt, reply in FROZEN["replies"])
    assert any(r[-1] != 1 for _, r in replies)
    assert any(r == [1] for _, r in replies)
    assert any(1 in p for p, _ in replies)
    assert len({len(p) for p, _ in replies}) > 3


def test_from_the_same_tensors_every_quantity_is_the_same_and_a_wrong_sign_is_seen():
    assert parity.largest_difference() <= 1e-6
    assert parity.largest_difference("clip") > 1e-3
    assert parity.largest_difference("kl") > 1e-3
    names = {c.name for c in parity.compared(CASES[0])}
    assert {"kl", "rewards", "advantages", "returns", "update 3: pg_loss", "update 3: vf_loss", "update 3: logprobs_grad", "update 3: entropy"} <= names


@pytest.mark.parametrize("name", CASES)
def test_the_later_updates_clip_some_and_not_all(name):
    updates = FROZEN["cases"][name]["updates"]
    for share in ("pg_clipfrac", "vf_clipfrac"):
        assert updates[0][share] == 0
        assert any(0.1 < update[share] < 0.9 for update in updates[1:])


def test_from_the_same_weights_the_scores_of_the_replies_are_the_same():
    case = FROZEN["cases"][CASES[0]]
    model, reference = made()
    rollouts = rollouts_of(case, model, reference)
    mask, wide = rollouts.mask, ~torch.tensor(case["padding_mask_p1"])
    assert torch.equal(mask, ~torch.tensor(case["padding_mask"]))
    for ours, name in ((rollouts.logprobs, "logprobs"), (rollouts.reference, "ref_logprobs"), (rollouts.values, "values")):
        torch.testing.assert_close(ours[mask], torch.tensor(case[name])[mask], **NEAR)
    torch.testing.assert_close(wide_values(model, rollouts.replies, wide)[wide], torch.tensor(case["values"])[wide], **NEAR)
    rows = case["updates"][0]["mini_batch_inds"]
    torch.testing.assert_close(rollouts.entropy[rows][mask[rows]], torch.tensor(case["updates"][0]["entropy"])[mask[rows]], **NEAR)
    kl = estimate(rollouts.logprobs, rollouts.reference).where(mask, 0.0).sum(1).mean()
    assert kl.item() == pytest.approx(case["metrics"]["objective/kl"], abs=1e-5)


def test_at_lambda_one_the_score_s_place_makes_no_difference_to_an_action():
    case = FROZEN["cases"]["lam 1"]
    rollouts = rollouts_of(case, *made())
    advantages, returns = judged(case, rollouts, whiten=False)
    mask = rollouts.mask
    torch.testing.assert_close(advantages[mask], torch.tensor(case["advantages_unwhitened"])[mask], **NEAR)
    torch.testing.assert_close(returns[mask], torch.tensor(case["returns"])[mask], **NEAR)
    torch.testing.assert_close(judged(case, rollouts)[0][mask], torch.tensor(case["advantages"])[mask], **NEAR)


def test_below_one_a_reply_that_fills_its_row_is_judged_alike_and_another_by_the_value_of_its_padding():
    case = FROZEN["cases"]["lam 0.95"]
    rollouts = rollouts_of(case, *made())
    advantages, _ = judged(case, rollouts, whiten=False)
    trls, values = torch.tensor(case["advantages_unwhitened"]), torch.tensor(case["values"])
    lengths = rollouts.mask.sum(1)
    full = lengths == rollouts.mask.shape[1]
    assert full.tolist().count(True) == 2
    torch.testing.assert_close(advantages[full], trls[full], **NEAR)
    for row in (~full).nonzero().flatten().tolist():
        last = int(lengths[row]) - 1
        behind = values[row, last + 1]
        credited = (1 - case["options"]["lam"]) * (rollouts.scores[row] - behind)  # R by way of V: λ (R − V) + V, instead of R
        torch.testing.assert_close(advantages[row, last] - credited, trls[row, last], **NEAR)


def losses(model, case, update, wide):
    """trl's loss on a minibatch, by ours, from the model's weights as they are now."""
    rows, options = update["mini_batch_inds"], case["options"]
    replies = [replies_of(case)[i] for i in rows]
    now = score(model.policy, replies)
    cut = lambda name, mask: torch.tensor(case[name])[rows][:, : mask.shape[1]]  # noqa: E731
    V, cells = wide_values(model, replies, wide[rows]), wide[rows][:, : int(wide[rows].sum(1).max())]
    policy_loss = clipped_loss(now.logprobs, cut("logprobs", now.mask), cut("advantages", now.mask), now.mask, options["cliprange"])
    value_loss = clipped_value_loss(V, cut("values", cells), cut("returns", cells), cells, options["cliprange_value"])
    return policy_loss, value_loss, policy_loss + options["vf_coef"] * value_loss


def named(model):
    return dict(model.policy.named_parameters()) | {"score.weight": model.value.weight}


@pytest.mark.parametrize("name", CASES)
def test_four_updates_have_the_same_losses_and_gradients_and_end_at_the_same_weights(name):
    case = FROZEN["cases"][name]
    model, _ = made()
    model.value.bias.requires_grad_(False)  # trl's value head has none
    options, wide = case["options"], ~torch.tensor(case["padding_mask_p1"])
    optimizer = AdamW([p for p in model.parameters() if p.requires_grad], lr=options["learning_rate"], eps=1e-8, weight_decay=0.0)
    for n, update in enumerate(case["updates"]):
        policy_loss, value_loss, loss = losses(model, case, update, wide)
        near = {"rel": 1e-5, "abs": 1e-5} if n == 0 else {"rel": 2e-5, "abs": 2e-5}  # Adam divides by √v: what rounding leaves of a small gradient grows
        assert policy_loss.item() == pytest.approx(update["pg_loss"], **near)
        assert value_loss.item() == pytest.approx(update["vf_loss"], **near)
        assert loss.item() == pytest.approx(update["loss"], **near)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in named(model).values()]).norm()
        assert norm.item() == pytest.approx(update["gradient_norm"], rel=1e-5 if n == 0 else 1e-4)
        for parameter, entries in update["gradient"].items():
            found = named(model)[parameter].grad.flatten()[: len(entries)]
            torch.testing.assert_close(found, torch.tensor(entries), rtol=1e-4, atol=1e-5 if n == 0 else 1e-4)
        optimizer.step()
    for parameter, entries in case["weights_after"].items():
        torch.testing.assert_close(named(model)[parameter].detach().flatten()[: len(entries)], torch.tensor(entries), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_trl_s_reports_are_ours_once_padding_is_accounted_for(name):
    case = FROZEN["cases"][name]
    for update, approxkl in zip(case["updates"], case["approxkl"]):
        rows = update["mini_batch_inds"]
        mask = ~torch.tensor(case["padding_mask"])[rows]
        new, old, A = (torch.tensor(x) for x in (update["new_logprobs"], [case["logprobs"][i] for i in rows], [case["advantages"][i] for i in rows]))
        k2 = estimate(new, old, "k2").where(mask, 0.0)
        assert (k2.sum() / mask.numel()).item() == pytest.approx(approxkl, rel=1e-5, abs=1e-9)  # over all cells; ours: over actions
        ratio = (new - old).exp()
        raised = torch.where(A > 0, ratio > 1.2, ratio < 0.8) & mask
        assert (raised.sum() / mask.sum()).item() == pytest.approx(update["pg_clipfrac"], abs=1e-6)
