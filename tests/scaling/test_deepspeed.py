"""DeepSpeed's stages make the steps of one process, as ours do, by the configurations of data/configs; and its launcher runs our training."""

import importlib.util
import sys

import cloudpickle
import pytest
import torch

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.paths import data_dir
from llmsuite_lab.scaling import deepspeed
from llmsuite_lab.scaling.launch import ranks
from llmsuite_lab.scaling.layout import local_loss, local_rows
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder

cloudpickle.register_pickle_by_value(sys.modules[__name__])
needed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason=deepspeed.MISSING)
CONFIG = llama_config(23, n_layers=2, d_model=16, n_heads=2, d_ff=30, max_length=8)
OPTIONS = {"lr": 3e-3, "betas": (0.9, 0.95), "eps": 1e-4, "weight_decay": 0.1, "foreach": False}  # eps: fp32's noise in a small gradient is no step


def batches():
    """Five rows on two ranks: an uneven share."""
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(23, (5, 7), generator=generator) for _ in range(3)]


def total(logits, ids):
    """The loss summed over the tokens."""
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")


def alone():
    """The losses of one process and its weights."""
    torch.manual_seed(0)
    model, losses = Decoder(CONFIG), []
    optimizer = torch.optim.AdamW(model.parameters(), **OPTIONS)
    for ids in batches():
        loss = total(model(ids[:, :-1]), ids) / (5 * 6)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return losses, {name: p.detach().clone() for name, p in model.named_parameters()}


def by_deepspeed(stage):
    """The same on these ranks; the weights whole again."""
    import deepspeed as library
    import torch.distributed as dist

    torch.manual_seed(0)
    model, losses = Decoder(CONFIG), []
    engine = deepspeed.with_deepspeed(model, torch.optim.AdamW(model.parameters(), **OPTIONS), deepspeed.configuration(stage))
    for ids in batches():
        mine = local_rows(ids)
        mine_total = total(engine(mine[:, :-1]), mine)
        engine.backward(local_loss(mine_total, 5 * 6))
        engine.step()
        everyones = mine_total.detach().clone()
        dist.all_reduce(everyones)
        losses.append(float(everyones) / (5 * 6))
    with library.zero.GatheredParameters(list(model.parameters())):
        return losses, {name: p.detach().clone() for name, p in model.named_parameters()}


def all_stages():
    """In one launch."""
    return {stage: by_deepspeed(stage) for stage in (1, 2, 3)}


@needed
@pytest.mark.slow
def test_its_stages_make_the_steps_of_one_process():
    losses, weights = alone()
    for found in ranks(all_stages, 2, timeout_s=240, collective_timeout_s=60, show=False):
        for stage, (theirs, whole) in found.items():
            assert theirs == pytest.approx(losses, rel=1e-5), stage
            assert max(float((whole[name] - p).abs().max()) for name, p in weights.items()) < 2e-5, stage  # float32


def test_where_it_is_not_installed_it_says_how(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    monkeypatch.delenv("RANK", raising=False)
    from llmsuite_lab.scaling.launch import process_group

    model = torch.nn.Linear(2, 2)
    with process_group():
        with pytest.raises(LabError, match="extra for Linux: pip install"):
            deepspeed.with_deepspeed(model, torch.optim.AdamW(model.parameters()), deepspeed.configuration(1))
        with pytest.raises(ValueError, match="configured by an object"):
            deepspeed.with_deepspeed(model, torch.optim.AdamW(model.parameters()), {})


def test_every_stage_and_device_has_its_file():
    for stage in (1, 2, 3):
        for device in ("cpu", "gpu"):
            config = deepspeed.configuration(stage, device)
            assert config["zero_optimization"]["stage"] == stage
            assert config["gradient_clipping"] == 0.0
    with pytest.raises(ValueError, match="stages 1, 2 and 3"):
        deepspeed.configuration(0)
    assert len(list((data_dir() / "configs" / "deepspeed").glob("*.json"))) == 6
