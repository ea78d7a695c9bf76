"""The loop against a loop written with torch's parts, and what it does when it is stopped or the loss is not finite."""

import pytest
import torch
from torch import nn

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.history import History
from llmsuite_lab.transformer.optimizer import AdamW
from llmsuite_lab.transformer.training_loop import gradient, train, training_step

X, Y = (torch.randn(23, width, generator=torch.Generator().manual_seed(width)) for width in (5, 3))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def squared(model: nn.Module, rows: slice) -> tuple[torch.Tensor, int]:
    """Summed over rows, so that N is the number of rows."""
    return (model(X[rows]) - Y[rows]).square().mean(1).sum(), len(X[rows])


def unequal(step: int) -> list[slice]:
    """Micro-batches of 4 and 9 rows, another place each step."""
    return [slice(step, step + 4), slice(step + 5, step + 14)]


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (7, 0.0), (7, 0.4), (6, 1.0)])
def test_the_loop_is_torchs_parts_at_transformers_rates(steps, warmup):
    from transformers import get_cosine_schedule_with_warmup

    ours, theirs = network(), network()
    history = train(ours, unequal, squared, steps=steps, lr=0.02, warmup=warmup, clip=0.3, weight_decay=0.2)
    matrices, vectors = [p for p in theirs.parameters() if p.ndim > 1], [p for p in theirs.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices}, {"params": vectors, "weight_decay": 0}], lr=0.02, betas=(0.9, 0.95), weight_decay=0.2
    )
    schedule = get_cosine_schedule_with_warmup(optimizer, -(-int(warmup * steps * 10) // 10), steps + 1)
    for step in range(steps):
        schedule.step()  # asked for t + 1
        rows = torch.cat([torch.arange(23)[part] for part in unequal(step)])
        loss = (theirs(X[rows]) - Y[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(theirs.parameters(), 0.3)
        assert history.lrs[step] == pytest.approx(optimizer.param_groups[0]["lr"]) != 0
        optimizer.step()
        assert history.losses[step] == pytest.approx(loss.item(), abs=1e-6)
        assert history.grad_norms[step] == pytest.approx(float(norm), rel=1e-5)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-5)
    assert history.steps == history.planned_steps == steps
    assert history.tokens == history.supervised == [13] * steps


def test_a_run_in_two_parts_is_the_run_in_one():
    whole, parts = network(), network()
    expected = train(whole, unequal, squared, steps=6, lr=0.02)
    optimizer, history = AdamW(parts.parameters(), betas=(0.9, 0.95), weight_decay=0.0), History(planned_steps=6)
    reference = AdamW(whole.parameters())
    assert reference.masters[0] is whole[0].weight, "float32 is its own master"

    def stop(done, history):
        if done == 4:
            raise KeyboardInterrupt

    options = {"steps": 6, "lr": 0.02, "optimizer": optimizer, "history": history}
    with pytest.raises(KeyboardInterrupt):
        train(parts, unequal, squared, on_step=stop, **options)
    assert history.interrupted
    assert history.steps == 4
    history.interrupted = False
    train(parts, unequal, squared, **options)
    again = network()
    train(again, unequal, squared, steps=6, lr=0.02, weight_decay=0.0)
    assert all(torch.equal(p, q) for p, q in zip(parts.parameters(), again.parameters(), strict=True))
    assert history.lrs == expected.lrs


def test_only_what_requires_a_gradient_moves_and_the_mode_of_each_part_comes_back():
    model = network().eval()
    model[0].requires_grad_(False)
    model[1].train()
    before, modes = {n: p.detach().clone() for n, p in model.named_parameters()}, []
    train(model, unequal, squared, steps=2, lr=0.1, on_step=lambda done, history: modes.append(model.training))
    assert [n for n, p in model.named_parameters() if not torch.equal(p, before[n])] == ["2.weight", "2.bias"]
    assert modes == [True, True]
    assert [part.training for part in model.modules()] == [False, False, True, False]


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_what_is_not_finite_stops_the_loop_and_moves_nothing(bad):
    model = network()

    def breaking(model, rows):
        loss, n = squared(model, rows)
        return (loss * torch.nan if bad == "loss" else loss + (model[2].bias * 0).sqrt().sum()), n

    before = [p.detach().clone() for p in model.parameters()]
    model[0].eval()
    with pytest.raises(LabError, match=r"stopped at step 1 of 2: the loss is .* learning rate .* smaller lr"):
        train(model, unequal, breaking, steps=2, lr=1.0)
    assert [part.training for part in model.modules()] == [True, False, True, True]
    assert all(torch.equal(p, q) and p.grad is None for p, q in zip(model.parameters(), before, strict=True))
    with pytest.raises(ValueError, match="steps=0"):
        train(model, unequal, squared, steps=0, lr=1.0)
    with pytest.raises(ValueError, match="nothing to average over"):
        gradient(model, [slice(0, 0)], AdamW(model.parameters()), squared, lr=1.0, clip=None)


def test_the_halves_of_a_step_are_the_step():
    """Between them a worker puts its collective; another method brings its own loss."""
    one, halves = network(), network()
    a, b = AdamW(one.parameters()), AdamW(halves.parameters())
    for step in range(3):
        found = training_step(one, unequal(step), a, squared, lr=0.05, clip=0.2)
        assert gradient(halves, unequal(step), b, squared, lr=0.05, clip=0.2) == found
        b.set_lr(0.05)
        b.step()
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), halves.parameters(), strict=True))
