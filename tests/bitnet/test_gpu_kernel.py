"""The Triton kernel against the integers of torch: on a GPU where there is one, and by Triton's interpreter, in a process of its own, where it is installed."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from llmsuite_lab.bitnet.kernels import choice, gpu
from llmsuite_lab.bitnet.kernels.plain import Unpacked
from llmsuite_lab.bitnet.linear import BitLinear
from llmsuite_lab.bitnet.packing import FORMS, Ternary, pack
from llmsuite_lab.bitnet.quantize import ternary_weights
from llmsuite_lab.core.errors import LabError

SIZES = [(1, 1), (3, 5), (5, 65), (21, 200), (83, 333)]  # d_out, d_in


def agrees(device):
    """Raise AssertionError where a product differs, over odd sizes, both forms and tokens that are not finite."""
    generator = torch.Generator().manual_seed(0)
    for form in FORMS:
        for d_out, d_in in SIZES:
            T = torch.randint(-1, 2, (d_out, d_in), generator=generator, dtype=torch.int8)
            q = torch.randint(-127, 128, (3, d_in), generator=generator, dtype=torch.int8)
            assert torch.equal(gpu.integers(pack(T.to(device), form=form), q.to(device)).cpu().long(), q.long() @ T.long().T), (form, d_out, d_in)
        torch.manual_seed(1)
        layer = BitLinear(203, 37).to(device)
        W, gamma = ternary_weights(layer.weight.detach())
        x = torch.randn(2, 3, 203, device=device)
        y = gpu.multiply(pack(W, float(gamma), form), layer.norm(x).detach())
        torch.testing.assert_close(y, layer(x).detach(), rtol=1e-5, atol=1e-6)
        x[1, 2, 5] = torch.inf
        broken = gpu.multiply(pack(W, float(gamma), form), x)
        assert bool(broken[1, 2].isnan().all())
        assert bool(broken[0].isfinite().all())


@pytest.mark.skipif(find_spec("triton") is None or not torch.cuda.is_available(), reason="no CUDA device with Triton here")
def test_on_a_gpu_the_products_are_the_integers_and_the_layer_s():
    agrees("cuda")
    T = torch.randint(-1, 2, (9, 70), dtype=torch.int8, device="cuda")
    assert torch.equal(choice.product(pack(T))(torch.ones(2, 70, device="cuda")), gpu.multiply(pack(T), torch.ones(2, 70, device="cuda")))


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed here")
def test_by_triton_s_interpreter_the_products_are_the_same():
    run = [sys.executable, "-c", "from tests.bitnet.test_gpu_kernel import agrees; agrees('cpu'); print('the same')"]
    done = subprocess.run(run, cwd=Path(__file__).parents[2], env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=300)
    assert "the same" in done.stdout, done.stderr[-2000:]


def test_where_it_cannot_run_it_says_why(monkeypatch):
    monkeypatch.setattr(gpu, "triton", None)
    assert "not installed" in gpu.why_not("cuda")
    assert "lie on cpu" in gpu.why_not("cpu"), "no package would mend that"
    for call in (lambda W: gpu.integers(W, torch.ones(1, 4, dtype=torch.int8)), lambda W: gpu.multiply(W, torch.ones(1, 4))):
        with pytest.raises(LabError, match="lie on cpu"):
            call(pack(torch.ones(3, 4)))
    with pytest.raises(TypeError, match="packed weights"):
        gpu.multiply(torch.ones(3, 4), torch.ones(1, 4))
    with pytest.raises(ValueError, match="d_in=4"):
        gpu.multiply(pack(torch.ones(3, 4)), torch.ones(1, 5))


def test_a_product_does_not_look_at_its_numbers_which_would_make_it_wait_for_the_gpu(monkeypatch):
    """On the device "meta" no number can be looked at: one that is raises an error."""
    monkeypatch.setattr(gpu, "why_not", lambda device: None)
    monkeypatch.setattr(gpu, "_KERNEL", MagicMock())
    W = Ternary(torch.empty(1, 64, dtype=torch.uint8, device="meta"), 1.0, (4, 64))
    assert gpu.multiply(W, torch.ones(2, 64, device="meta")).shape == (2, 4)
    with pytest.raises((RuntimeError, NotImplementedError)):
        gpu.integers(W, torch.ones(2, 64, dtype=torch.int8, device="meta"))
    with pytest.raises(ValueError, match="x lies on cpu"):
        gpu.multiply(W, torch.ones(2, 64))


def test_packed_weights_elsewhere_are_asked_of_the_gpu_s_kernel_and_fall_back_with_its_reason(monkeypatch):
    monkeypatch.setattr(choice, "_said", set())
    monkeypatch.setattr(gpu, "why_not", lambda device: f"nothing runs on {device} in this test")
    with pytest.warns(UserWarning, match="nothing runs on meta in this test"):
        found = choice.product(Ternary(torch.empty(1, 64, dtype=torch.uint8, device="meta"), 1.0, (4, 64)))
    assert isinstance(found, Unpacked)
