"""Direct preference optimisation: Bradley–Terry in the rewards that a policy and its reference imply."""

import math

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def dpo_loss(logprobs: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor, beta: float) -> torch.Tensor:
    """The solution: log π/π_ref of each whole reply, β times the difference of the two, and the logarithm of its sigmoid."""
    rewards = beta * ((logprobs - reference) * mask).sum(-1)  # (2, pairs)
    return -torch.nn.functional.logsigmoid(rewards[0] - rewards[1]).mean()


def _loss(difference):
    return torch.nn.functional.softplus(-difference)


def _ratios(logprobs, reference, mask):
    return ((logprobs - reference) * mask).sum(-1)


def _averaged(logprobs, reference, mask, beta):
    chosen, rejected = _ratios(logprobs, reference, mask) / mask.sum(-1)
    return _loss(beta * (chosen - rejected)).mean()


def _averaged_over_all_columns(logprobs, reference, mask, beta):
    chosen, rejected = ((logprobs - reference) * mask).mean(-1)
    return _loss(beta * (chosen - rejected)).mean()


def _no_reference(logprobs, reference, mask, beta):
    return dpo_loss(logprobs, 0 * reference, mask, beta)


def _reference_added(logprobs, reference, mask, beta):
    return dpo_loss(logprobs, -reference, mask, beta)


def _reference_of_the_chosen_alone(logprobs, reference, mask, beta):
    return dpo_loss(logprobs, reference * torch.tensor([1.0, 0.0])[:, None, None], mask, beta)


def _reference_and_policy_swapped(logprobs, reference, mask, beta):
    return dpo_loss(reference, logprobs, mask, beta)


def _swapped(logprobs, reference, mask, beta):
    return dpo_loss(logprobs.flip(0), reference.flip(0), mask.flip(0), beta)


def _beta_outside(logprobs, reference, mask, beta):
    return beta * dpo_loss(logprobs, reference, mask, 1.0)


def _beta_forgotten(logprobs, reference, mask, beta):
    return dpo_loss(logprobs, reference, mask, 1.0)


def _divided_by_beta(logprobs, reference, mask, beta):
    return dpo_loss(logprobs, reference, mask, 1 / beta)


def _beta_twice(logprobs, reference, mask, beta):
    return dpo_loss(logprobs, reference, mask, beta**2)


def _own_beta(logprobs, reference, mask, beta):
    return dpo_loss(logprobs, reference, mask, 0.1)


def _on_everything(logprobs, reference, mask, beta):
    return dpo_loss(logprobs, reference, torch.ones_like(mask), beta)


def _from_the_first_token(logprobs, reference, mask, beta):
    """Padding left out, the prompt not: everything up to the reply's last token."""
    return dpo_loss(logprobs, reference, mask.flip(-1).cumsum(-1).flip(-1) > 0, beta)


def _to_the_last_column(logprobs, reference, mask, beta):
    """The prompt left out, padding not: everything from the reply's first token on."""
    return dpo_loss(logprobs, reference, mask.cumsum(-1) > 0, beta)


def _outside_the_mask(logprobs, reference, mask, beta):
    return dpo_loss(logprobs, reference, ~mask, beta)


def _end_left_out(logprobs, reference, mask, beta):
    last = mask & (mask.flip(-1).cumsum(-1).flip(-1) == 1)
    return dpo_loss(logprobs, reference, mask & ~last, beta)


def _chosens_mask(logprobs, reference, mask, beta):
    return dpo_loss(logprobs, reference, mask[:1].expand_as(mask), beta)


def _common_tokens(logprobs, reference, mask, beta):
    return dpo_loss(logprobs, reference, mask.all(0).expand_as(mask), beta)


def _token_by_token(logprobs, reference, mask, beta):
    ratio = (logprobs - reference) * mask
    return _loss(beta * (ratio[0] - ratio[1])).mean()


def _of_probabilities(logprobs, reference, mask, beta):
    chosen, rejected = _ratios(logprobs, reference, mask).exp()
    return _loss(beta * (chosen - rejected)).mean()


def _each_alone(logprobs, reference, mask, beta):
    chosen, rejected = beta * _ratios(logprobs, reference, mask)
    return (_loss(chosen) + _loss(-rejected)).mean()


def _chosen_alone(logprobs, reference, mask, beta):
    return _loss(beta * _ratios(logprobs, reference, mask)[0]).mean()


def _likelihood(logprobs, reference, mask, beta):
    return -(logprobs * mask)[0].sum(-1).mean()


def _positive(logprobs, reference, mask, beta):
    return -dpo_loss(logprobs, reference, mask, beta)


def _no_log(logprobs, reference, mask, beta):
    chosen, rejected = beta * _ratios(logprobs, reference, mask)
    return -torch.sigmoid(chosen - rejected).mean()


def _difference_alone(logprobs, reference, mask, beta):
    chosen, rejected = beta * _ratios(logprobs, reference, mask)
    return (rejected - chosen).mean()


def _hinge(logprobs, reference, mask, beta):
    chosen, rejected = beta * _ratios(logprobs, reference, mask)
    return torch.relu(1 - (chosen - rejected)).mean()


def _squared(logprobs, reference, mask, beta):
    chosen, rejected = _ratios(logprobs, reference, mask)
    return (chosen - rejected - 1 / (2 * beta)).square().mean()


def _overflows(logprobs, reference, mask, beta):
    chosen, rejected = beta * _ratios(logprobs, reference, mask)
    return -torch.sigmoid(chosen - rejected).log().mean()


def _summed(logprobs, reference, mask, beta):
    return dpo_loss(logprobs, reference, mask, beta) * mask.shape[1]


def _of_the_mean(logprobs, reference, mask, beta):
    chosen, rejected = beta * _ratios(logprobs, reference, mask)
    return _loss((chosen - rejected).mean())


def _over_both_replies(logprobs, reference, mask, beta):
    return dpo_loss(logprobs, reference, mask, beta) / 2


def _per_pair(logprobs, reference, mask, beta):
    chosen, rejected = beta * _ratios(logprobs, reference, mask)
    return _loss(chosen - rejected)


def _as_in_the_paper(logprobs, reference, mask, beta):
    new, old = ((x.double() * mask).sum(2) for x in (logprobs, reference))
    return torch.nn.functional.softplus(beta * ((new[1] - old[1]) - (new[0] - old[0]))).mean()


def _in_numpy(logprobs, reference, mask, beta):
    ratio = np.where(mask.numpy(), logprobs.numpy().astype(float) - reference.numpy(), 0).sum(-1) * beta
    return np.logaddexp(0, ratio[1] - ratio[0]).mean()


def _by_loops(logprobs, reference, mask, beta):
    losses = []
    for pair in range(mask.shape[1]):
        chosen, rejected = (float((logprobs[i, pair].double() - reference[i, pair].double())[mask[i, pair]].sum()) for i in (0, 1))
        d = beta * (chosen - rejected)
        losses.append(max(-d, 0) + math.log1p(math.exp(-abs(d))))
    return sum(losses) / len(losses)


def _in_place(logprobs, reference, mask, beta):
    logprobs -= reference
    logprobs[~mask] = 0
    logprobs[1] *= -1
    return -torch.nn.LogSigmoid()(beta * logprobs.sum((0, 2))).mean().reshape(1)


def _as_two_classes(logprobs, reference, mask, beta):
    rewards = (logprobs - reference).masked_fill(~mask, 0.0).sum(-1).mul(beta)
    return torch.nn.functional.cross_entropy(rewards.T, torch.zeros(mask.shape[1], dtype=torch.long))


def _by_einsum(logprobs, reference, mask, beta):
    difference = torch.einsum("ipt,ipt,i->p", (logprobs - reference).double(), mask.double(), torch.tensor([beta, -beta]).double())
    return torch.logaddexp(torch.zeros(()).double(), -difference).mean().item()


def _by_log_softmax(logprobs, reference, mask, beta):
    return [-torch.where(mask, beta * (logprobs - reference), 0.0).sum(-1).log_softmax(0)[0].mean()]


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(15)

    def case(prompts: list[int], chosen: list[int], rejected: list[int], beta: float, rule: str, scale: float = 1.0, more: int = 0) -> Case:
        pairs, width = len(prompts), max(p + max(c, r) for p, c, r in zip(prompts, chosen, rejected)) + more
        reference = -3 * torch.rand(2, pairs, width, generator=generator)  # of prompt and padding, too
        logprobs = reference + torch.randn(2, pairs, width, generator=generator) * scale
        mask, losses = torch.zeros(2, pairs, width, dtype=torch.bool), []
        for pair, start in enumerate(prompts):
            ratios = []
            for which, n in enumerate((chosen[pair], rejected[pair])):
                mask[which, pair, start : start + n] = True
                kept = slice(start, start + n)
                ratios.append(sum((logprobs[which, pair, kept].double() - reference[which, pair, kept].double()).tolist()))
            d = beta * (ratios[0] - ratios[1])
            losses.append(max(-d, 0.0) + math.log1p(math.exp(-abs(d))))
        return Case((logprobs, reference, mask, beta), sum(losses) / pairs, rule)

    whole = "A reply's log-probability is the sum over its tokens: replies of different length are not averaged."
    outside = "Neither the prompt nor the padding counts: they lie outside the mask."
    price = "β multiplies the difference inside the sigmoid."
    huge = "For differences in the thousands the loss must be finite, and right: take the logarithm of the sigmoid in one step."
    logprobs = torch.tensor([[[-5.0, -1.0, -1.0]], [[-5.0, -2.0, -9.0]]])
    reference = torch.tensor([[[-4.0, -2.0, -2.0]], [[-4.0, -1.0, -1.0]]])
    mask = torch.tensor([[[False, True, True]], [[False, True, False]]])
    return [
        Case((logprobs, reference, mask, 0.5), 0.2014133, "This is the statement's example."),
        case([2], [4], [3], 0.1, whole),
        case([1, 3, 2], [5, 1, 3], [2, 6, 3], 0.3, whole),
        case([0, 0, 0, 0], [2, 4, 1, 3], [4, 1, 2, 3], 0.7, price),
        case([3, 1], [2, 5], [4, 2], 0.5, outside, more=2),
        case([4, 2, 1, 5, 3], [1, 1, 2, 3, 2], [1, 3, 1, 2, 2], 2.0, price),
        case([2, 1, 3], [6, 9, 4], [8, 7, 9], 5.0, huge, scale=300.0),
    ]


_MISTAKES = (
    Wrong(_averaged, "You average over a reply's tokens: a nat would cost less in a long reply. The log-probability of a reply is the sum."),
    Wrong(_averaged_over_all_columns, "You take the mean over all columns. The log-probability of a reply is the sum over its tokens."),
    Wrong(_no_reference, "The reference is missing: only what the policy has changed is a reward."),
    Wrong(_reference_added, "The reference is added. The reward is log π − log π_ref."),
    Wrong(_reference_of_the_chosen_alone, "The reference is taken off the chosen reply alone. It is taken off both."),
    Wrong(_reference_and_policy_swapped, "Policy and reference are swapped, or chosen and rejected: your loss falls as the rejected reply is learnt.", True),
    Wrong(_beta_outside, "β stands outside the sigmoid: there it only scales the loss. It multiplies the difference."),
    Wrong(_beta_forgotten, "β is missing."),
    Wrong(_divided_by_beta, "You divide by β. The reward is β times the logarithm."),
    Wrong(_beta_twice, "β counts twice in yours."),
    Wrong(_own_beta, "You use 0.1 whatever `beta` is."),
    Wrong(_on_everything, "Prompt and padding count in yours. Only the tokens of the mask are the reply's."),
    Wrong(_from_the_first_token, "The prompt counts in yours. Nobody chose it: only the tokens of the mask are the reply's."),
    Wrong(_to_the_last_column, "The padding counts in yours. Only the tokens of the mask are the reply's."),
    Wrong(_outside_the_mask, "The mask is used the wrong way round: it is True at the reply's tokens."),
    Wrong(_end_left_out, "The reply's last token is missing: its end is an action like any other."),
    Wrong(_chosens_mask, "You use the chosen reply's mask for both. The rejected one has its own."),
    Wrong(_common_tokens, "You compare the places that both replies have. Each is summed over its own tokens."),
    Wrong(_token_by_token, "You compare token by token. The two replies are compared as wholes: sum first."),
    Wrong(_of_probabilities, "You take the difference of two ratios. It is of their logarithms."),
    Wrong(_each_alone, "You judge each reply alone. Only their difference goes through the sigmoid."),
    Wrong(_chosen_alone, "The rejected reply has no effect."),
    Wrong(_likelihood, "That is the likelihood of the chosen reply: plain fine-tuning."),
    Wrong(_positive, "The sign is wrong: a loss of this kind is never below zero."),
    Wrong(_no_log, "The logarithm is missing: this is minus the probability itself."),
    Wrong(_difference_alone, "The log-sigmoid is missing: this is the difference of the rewards."),
    Wrong(_hinge, "That is a hinge loss. Minus log σ of the difference is asked for."),
    Wrong(_squared, "That is the squared loss of IPO. Minus log σ of the difference is asked for."),
    Wrong(_overflows, "Differences in the thousands give inf: the sigmoid is 0 by then. Is there a function for log σ in one step?"),
    Wrong(_summed, "This is the sum; the mean does not grow with the number of pairs."),
    Wrong(_of_the_mean, "You take the mean of the differences first. Each pair has its loss; the mean is over those."),
    Wrong(_over_both_replies, "You divide by the number of replies. A pair has one loss: divide by the number of pairs."),
)

EXERCISE = Exercise(
    id="alignment.dpo_loss",
    notebook="13_rest",
    title="the loss of DPO",
    difficulty=3,
    minutes=15,
    statement=(
        "Write `dpo_loss(logprobs, reference, mask, beta)`. `logprobs` and `reference` are `(2, pairs, tokens)`: log π and log π_ref of every token, of the "
        "chosen texts at `[0]` and of the rejected ones at `[1]`; `mask` is True at the reply's tokens, and False at prompt and padding. The reward of a reply "
        "is $\\hat R = \\beta\\log\\frac{\\pi(y|x)}{\\pi_{ref}(y|x)}$, and log π(y|x) is the sum over its tokens. Return the mean over the pairs of "
        "$-\\log\\sigma(\\hat R_w - \\hat R_l)$, finite for differences in the thousands. With β ½, a chosen reply of two tokens each one nat above the "
        "reference and a rejected one of one token a nat below it, the rewards are 1 and −½, and the loss is 0.2014."
    ),
    name="dpo_loss",
    starter="def dpo_loss(logprobs, reference, mask, beta):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "From tokens to replies first: `(2, pairs, tokens)` becomes `(2, pairs)`. Then chosen less rejected, one number a pair.",
        "The difference to the reference may be taken before the sum. The mask multiplies; nothing is divided by its length.",
        "`rewards = beta * ((logprobs - reference) * mask).sum(-1)`; then `logsigmoid(rewards[0] - rewards[1])`.",
    ),
    solution=dpo_loss,
    wrong=(
        *_MISTAKES,
        Wrong(_swapped, "chosen and rejected: your loss falls as the rejected reply is learnt", True),
        Wrong(_per_pair, "A reply's log-probability is the sum"),
    ),
    right=(_as_in_the_paper, _in_numpy, _by_loops, _in_place, _as_two_classes, _by_einsum, _by_log_softmax),
)  # fmt: skip
