"""AdamW with masters, clipping and the schedule against torch's and transformers' own."""

import pytest
import torch

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.transformer import optimizer as ours_module
from llmsuite_lab.transformer.optimizer import AdamW, clip_gradients, cosine_with_warmup, decay_groups


def two_models(dtype: torch.dtype = torch.float32) -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    ours = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3)).to(dtype)
    theirs = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3)).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("cached", [2**19, 20])  # 20 elements: every tensor is a run of its own
@pytest.mark.parametrize(("betas", "eps", "weight_decay"), [((0.9, 0.999), 1e-8, 0.01), ((0.8, 0.95), 1e-3, 0.3), ((0.0, 0.9), 1e-8, 0.0)])
def test_adamw_takes_torchs_steps(betas, eps, weight_decay, cached, monkeypatch):
    monkeypatch.setattr(ours_module, "CACHED", cached)
    ours, theirs = two_models()
    a = AdamW(ours.parameters(), lr=0.05, betas=betas, eps=eps, weight_decay=weight_decay)
    b = torch.optim.AdamW(theirs.parameters(), lr=0.05, betas=betas, eps=eps, weight_decay=weight_decay)
    x, y = torch.randn(11, 5), torch.randn(11, 3)
    for step in range(6):
        for model, optimizer in ((ours, a), (theirs, b)):
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            if step % 3 == 1:
                model[0].bias.grad = None  # so that the parameters differ in age
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


def test_a_bfloat16_model_is_torchs_adamw_on_float32_masters_rounded():
    ours, reference = two_models(torch.bfloat16)
    exact = [p.detach().float() + 1e-4 for p in ours.parameters()]  # values that bfloat16 cannot hold
    a = AdamW(ours.parameters(), lr=1e-3, masters=dict(zip(ours.parameters(), exact)))
    masters = [torch.nn.Parameter(value.clone()) for value in exact]
    b = torch.optim.AdamW(masters, lr=1e-3)
    for _ in range(5):
        for p, m in zip(ours.parameters(), masters, strict=True):
            p.grad = torch.randn_like(p)
            m.grad = p.grad.float()
        for p, q in zip(ours.parameters(), reference.parameters(), strict=True):
            q.grad = p.grad
        a.step()
        a.zero_grad()
        b.step()
    for p, ours_master, m in zip(ours.parameters(), a.masters, masters, strict=True):
        torch.testing.assert_close(ours_master, m, atol=1e-7, rtol=1e-6)
        assert torch.equal(p, ours_master.bfloat16())
    assert all(t.grad is None for t in (*ours.parameters(), *a.masters))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_state_saves_and_loads_alone_through_safetensors(dtype, tmp_path):
    from safetensors.torch import load_file, save_file

    def steps(model, optimizer, n, seed):
        torch.manual_seed(seed)
        for _ in range(n):
            for i, p in enumerate(model.parameters()):
                p.grad = torch.randn_like(p) if i else None  # the first has never had a step
            optimizer.step()
            optimizer.zero_grad()

    through, _ = two_models(dtype)
    whole = AdamW(decay_groups(through.parameters(), 0.1), lr=0.02)
    steps(through, whole, 3, seed=1)
    save_file({name: tensor.clone() for name, tensor in whole.state_dict().items()}, tmp_path / "adamw.safetensors")
    steps(through, whole, 2, seed=2)

    later, _ = two_models(dtype)
    resumed = AdamW(decay_groups(later.parameters(), 0.1), lr=0.02)
    steps(later, resumed, 1, seed=9)  # what was there is replaced, step counts too
    resumed.load_state_dict(load_file(tmp_path / "adamw.safetensors"))
    steps(later, resumed, 2, seed=2)
    for p, q in zip((*later.parameters(), *resumed.masters), (*through.parameters(), *whole.masters), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda s: s.pop("master.2"), "master.2 is missing"),
        (lambda s: s.pop("v.1"), "incomplete: .*1 is there"),
        (lambda s: s.update({"m.0": torch.zeros(2, 2)}), r"m.0 is of shape \(2, 2\), and \(7, 5\) is wanted"),
        (lambda s: s.update({"master.4": torch.zeros(1)}), "master.4 is of shape .* no such parameter"),
    ],
)
def test_a_state_of_other_parameters_is_refused_and_changes_nothing(harm, says):
    ours, _ = two_models()
    optimizer = AdamW(ours.parameters())
    ours(torch.randn(4, 5)).sum().backward()
    optimizer.step()
    state = {name: tensor.clone() + 1 for name, tensor in optimizer.state_dict().items()}
    before = [p.detach().clone() for p in ours.parameters()]
    harm(state)
    with pytest.raises(LabError, match=says):
        optimizer.load_state_dict(state)
    assert all(torch.equal(p, q) for p, q in zip(ours.parameters(), before))
    assert optimizer.state[ours[0].weight]["t"] == 1


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


def test_clipping_spreads_no_nan_and_refuses_a_senseless_bound():
    p = torch.nn.Parameter(torch.ones(3))
    assert float(clip_gradients([p], 1.0)) == 0.0
    p.grad = torch.tensor([1.0, float("nan"), 2.0])
    assert torch.isnan(clip_gradients([p], 1.0))
    assert p.grad[0] == 1
    assert p.grad[2] == 2
    with pytest.raises(ValueError, match="max_norm=0"):
        clip_gradients([p], 0)


@pytest.mark.parametrize(("n_steps", "n_warmup"), [(1, 0), (1, 1), (2, 1), (13, 0), (13, 4), (13, 13), (250, 25)])
def test_schedule_is_transformers_at_every_step(n_steps, n_warmup):
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = get_cosine_schedule_with_warmup(optimizer, n_warmup, n_steps)
    theirs = []
    for _ in range(n_steps + 1):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert [cosine_with_warmup(t, n_steps, n_warmup, 0.3) for t in range(n_steps + 1)] == pytest.approx(theirs, abs=1e-12)


def test_schedule_ends_at_the_floor_and_refuses_what_cannot_be():
    assert cosine_with_warmup(13, 13, 4, 0.3, floor=0.03) == pytest.approx(0.03)
    assert cosine_with_warmup(99, 13, 4, 0.3) == 0.0
    for wrong in ((0, 3, 5), (-1, 3, 1), (0, 0, 0)):
        with pytest.raises(ValueError, match=f"n_warmup={wrong[2]}"):
            cosine_with_warmup(*wrong, 0.1)


def test_senseless_options_are_refused():
    for wrong in ({"betas": (0.9, 1.0)}, {"lr": float("nan")}, {"eps": -1.0}, {"weight_decay": float("inf")}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            AdamW([torch.nn.Parameter(torch.ones(2))], **wrong)
    for decay in (-1.0, float("nan"), float("inf")):  # of a group: the default is not used then
        with pytest.raises(ValueError, match=f"weight_decay={decay} must be 0 or more"):
            AdamW([{"params": [torch.nn.Parameter(torch.ones(2))], "weight_decay": decay}])
