"""Adaptive ranks: importance by hand, the schedule as peft has it, a planted problem, an ordinary LoRA at the end."""

from copy import deepcopy

import pytest
import torch
from peft import AdaLoraConfig, PeftModel
from peft.tuners.adalora.layer import RankAllocator
from torch import nn

from llmsuite_lab.lm.adapters import quiet_peft
from llmsuite_lab.lm.training import fit
from llmsuite_lab.peft_methods import adaptive, files
from llmsuite_lab.peft_methods.adaptive import GatedLinear, RankBudget, add_adaptive, budget, finish, ranks
from llmsuite_lab.peft_methods.lora import add_lora
from llmsuite_lab.peft_methods.memory import count
from llmsuite_lab.peft_methods.switching import adapters_off
from llmsuite_lab.transformer.generation import generate

IDS = torch.tensor([[3, 200, 45, 8, 17], [9, 9, 31, 77, 250]])
LAYERS = ["q_proj", "v_proj", "down_proj"]


def test_the_schedule_is_peft_s():
    total, first, last, begin, settle = 50, 120, 40, 7, 12
    config = AdaLoraConfig(total_step=total, tinit=begin, tfinal=settle, target_r=1, init_r=1)
    allocator = RankAllocator(nn.Linear(2, 2), config, "default")
    allocator.init_bgt, allocator.target_bgt = first, last
    assert [budget(t, begin, total - settle, first, last) for t in range(1, total + 1)] == [allocator.budget_schedule(t)[0] for t in range(1, total + 1)]


def test_a_gated_layer_is_its_equation_and_importance_is_what_hand_gives(tiny, outputs):
    base = tiny("llama")
    model = add_adaptive(deepcopy(base), LAYERS, rank=3, alpha=6)
    assert torch.equal(outputs(model, IDS), outputs(base, IDS))
    layer = model.model.layers[1].self_attn.v_proj
    assert isinstance(layer, GatedLinear)
    assert layer.A.shape == (4, 48)  # 3 × 1.5, rounded to even
    torch.manual_seed(1)
    layer.B.data.normal_()
    layer.g.data.normal_()
    layer.mask[2] = 0
    x = torch.randn(5, 48)
    W = layer.base_layer.weight + 2.0 * layer.B @ torch.diag(layer.g * layer.mask) @ layer.A
    torch.testing.assert_close(layer(x), x @ W.T, rtol=1e-4, atol=1e-4)
    with adapters_off(model):
        assert torch.equal(outputs(model, IDS), outputs(base, IDS))
    watcher = RankBudget(model, 10, begin=0.9, settle=0.0)
    outputs(model, IDS).logsumexp(-1).sum().backward()
    first = {p: p.grad.clone() for p in (layer.A, layer.B, layer.g)}
    outputs(model, IDS).square().mean().backward()  # a second micro-batch
    watcher(1)
    expected = (
        (layer.g * layer.g.grad).abs() + (layer.A * layer.A.grad).abs().mean(1) + (layer.B * layer.B.grad).abs().mean(0)
    ).detach()  # fmt: skip
    assert not torch.equal(first[layer.g], layer.g.grad)
    torch.testing.assert_close(layer.mean, 0.15 * expected)
    torch.testing.assert_close(layer.spread, 0.15 * 0.85 * expected)
    assert float(layer.g.grad[2].abs()) > 0  # gated off, and still measured
    assert float(layer.B.grad[:, 2].abs().sum()) == 0


class Two(nn.Module):
    """Two maps side by side, of different widths; only `right` has something to learn."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(10, 14, bias=False), nn.Linear(12, 12, bias=False)

    def forward(self, x, y):
        return torch.cat([self.left(x), self.right(y)], dim=1)


def test_the_layer_that_has_something_to_learn_gets_the_ranks(tmp_path):
    torch.manual_seed(0)
    base = Two()
    teacher = deepcopy(base)
    teacher.right.weight.data += torch.randn(12, 4) @ torch.randn(4, 12) / 3
    rows = [(x, y, teacher(x[None], y[None])[0].detach()) for x, y in ((torch.randn(10), torch.randn(12)) for _ in range(64))]

    def loss(model, batch):
        x, y, wanted = batch
        return (model(x, y) - wanted).square().sum(), len(x)

    def trained(folder=None, resume=False, on=None):
        model = add_adaptive(deepcopy(base), ["left", "right"], rank=2, spare=2.0, alpha=4)
        counter = RankBudget(model, 60)
        options = {"loss_fn": loss, "collate_fn": lambda items: [torch.stack(part) for part in zip(*items)]}

        def step(t, history):
            counter(t, history)
            if t == on:
                raise KeyboardInterrupt

        history = fit(
            model, rows, steps=60, batch_size=8, lr=0.05, progress=False, on_step=step, checkpoint=folder, checkpoint_every=7, resume=resume, **options
        )
        return model, history

    model, history = trained()
    assert ranks(model) == {"left": 0, "right": 4}
    assert history.losses[-1] < history.losses[0] / 20
    trained(tmp_path / "run", on=30)
    again, _ = trained(tmp_path / "run", resume=True)
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))
    x, y = torch.randn(3, 10), torch.randn(3, 12)
    before = model(x, y)
    torch.testing.assert_close(finish(model)(x, y), before)
    assert type(model.left) is nn.Linear
    assert count(model).trained == 4 * 24


def test_what_is_left_costs_no_more_than_one_rank_for_all_and_loads_in_peft(tiny, examples, outputs, tmp_path):
    base = tiny("llama")
    model = add_adaptive(deepcopy(base), LAYERS, rank=3, seed=2)
    assert count(model).trained > count(add_lora(deepcopy(base), LAYERS, rank=3)).trained
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    fit(model, examples, steps=20, batch_size=4, lr=0.02, dtype=torch.float32, progress=False, on_step=RankBudget(model, 20))
    assert all(torch.equal(dict(model.named_parameters())[name], p) for name, p in frozen.items())
    found, before = ranks(model), outputs(model, IDS)
    written = [row.ids for row in generate(model, [[3, 4], [5]], 6)]
    finish(model)
    uniform = count(add_lora(deepcopy(base), LAYERS, rank=3)).trained
    assert uniform - (48 + 80) < count(model).trained <= uniform
    assert len(set(found.values())) > 1
    torch.testing.assert_close(outputs(model, IDS), before, rtol=1e-4, atol=1e-4)
    assert [row.ids for row in generate(model, [[3, 4], [5]], 6)] == written
    files.save(tmp_path / "a", model)
    with quiet_peft():
        theirs = PeftModel.from_pretrained(deepcopy(base), tmp_path / "a").eval()
    torch.testing.assert_close(outputs(theirs, IDS), outputs(model, IDS), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs(files.load(deepcopy(base), tmp_path / "a"), IDS), outputs(model, IDS))


def test_refusals(tiny):
    model = tiny("llama")
    for call, says in (
        (lambda: add_adaptive(model, ["q_porj"]), "did you mean 'q_proj'"),
        (lambda: add_adaptive(model, rank=17, targets=["k_proj"]), "over the rank"),
        (lambda: add_adaptive(model, spare=0.5), "spare=0.5"),
        (lambda: add_adaptive(model, alpha=0), "above zero"),
        (lambda: add_adaptive(add_lora(tiny("llama"))), "adapter"),
        (lambda: RankBudget(model, 5), "no gated terms"),
        (lambda: RankBudget(add_adaptive(tiny("llama")), 5, 0.5, 0.5), "below 1 together"),
        (lambda: finish(add_adaptive(tiny("llama"))), "never measured|ever measured"),
        (lambda: adaptive.ranks(model), "no gated terms"),
    ):
        with pytest.raises(ValueError, match=says):
            call()
        assert all(p.requires_grad for p in model.parameters())
