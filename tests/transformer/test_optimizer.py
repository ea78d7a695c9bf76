"""AdamW, clipping and the schedule against torch's and transformers' own."""

import pytest
import torch

from llmsuite_lab.transformer.optimizer import AdamW, clip_gradients, cosine_with_warmup


def two_models() -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    ours = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))
    theirs = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize(("betas", "eps", "weight_decay"), [((0.9, 0.999), 1e-8, 0.01), ((0.8, 0.95), 1e-3, 0.3), ((0.0, 0.9), 1e-8, 0.0)])
def test_adamw_takes_torchs_steps(betas, eps, weight_decay):
    ours, theirs = two_models()
    a = AdamW(ours.parameters(), lr=0.05, betas=betas, eps=eps, weight_decay=weight_decay)
    b = torch.optim.AdamW(theirs.parameters(), lr=0.05, betas=betas, eps=eps, weight_decay=weight_decay)
    x, y = torch.randn(11, 5), torch.randn(11, 3)
    for _ in range(6):
        for model, optimizer in ((ours, a), (theirs, b)):
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()
        for p, q in zip(ours.parameters(), theirs.parameters()):
            torch.testing.assert_close(p, q, atol=1e-6, rtol=0)


def test_groups_and_parameters_without_gradient_are_respected():
    ours, _ = two_models()
    still = ours[0].weight.clone()
    optimizer = AdamW([{"params": [ours[0].weight], "lr": 0.0}, {"params": [ours[0].bias, ours[2].weight]}], lr=0.1)
    before = ours[2].weight.clone()
    ours[2].bias.requires_grad_(False)
    ours(torch.randn(4, 5)).sum().backward()
    ours[0].bias.grad = None
    bias = ours[0].bias.clone()
    optimizer.step()
    assert torch.equal(ours[0].weight, still)
    assert torch.equal(ours[0].bias, bias)
    assert not torch.equal(ours[2].weight, before)


@pytest.mark.parametrize("max_norm", [0.05, 1000.0])
def test_clipping_is_torchs(max_norm):
    ours, theirs = two_models()
    x = torch.randn(11, 5)
    for model in (ours, theirs):
        (5 * model(x)).square().sum().backward()
    expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), max_norm)
    torch.testing.assert_close(clip_gradients(ours.parameters(), max_norm), expected)
    for p, q in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(p.grad, q.grad, atol=1e-6, rtol=1e-6)


def test_clipping_refuses_a_nan_and_a_senseless_bound():
    p = torch.nn.Parameter(torch.ones(3))
    assert float(clip_gradients([p], 1.0)) == 0.0
    p.grad = torch.tensor([1.0, float("nan"), 2.0])
    with pytest.raises(ValueError, match="norm is nan"):
        clip_gradients([p], 1.0)
    with pytest.raises(ValueError, match="max_norm=0"):
        clip_gradients([p], 0)


def test_schedule_is_transformers_after_warmup_and_ends_at_the_floor():
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = get_cosine_schedule_with_warmup(optimizer, 4, 13)
    theirs = []
    for _ in range(13):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    ours = [cosine_with_warmup(step, 13, 4, 0.3) for step in range(13)]
    assert ours[4:] == pytest.approx(theirs[4:])
    assert ours[:4] == pytest.approx([0.075, 0.15, 0.225, 0.3])  # theirs starts at 0, which wastes the first step
    assert cosine_with_warmup(13, 13, 4, 0.3, floor=0.03) == pytest.approx(0.03)
    assert cosine_with_warmup(99, 13, 4, 0.3) == 0.0
    with pytest.raises(ValueError, match="n_warmup=5"):
        cosine_with_warmup(0, 3, 5, 0.1)


def test_senseless_options_are_refused():
    with pytest.raises(ValueError, match="betas"):
        AdamW([torch.nn.Parameter(torch.ones(2))], betas=(0.9, 1.0))
