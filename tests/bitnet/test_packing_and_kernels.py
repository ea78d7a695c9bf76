"""Packed bytes against the integers they hold, and every path of the kernel against the integer product, over odd sizes."""

import math
import warnings

import pytest
import torch

from llmsuite_lab.bitnet.kernels import choice, cpu, plain
from llmsuite_lab.bitnet.kernels.plain import Unpacked
from llmsuite_lab.bitnet.linear import BitLinear
from llmsuite_lab.bitnet.packing import FORMS, Ternary, pack
from llmsuite_lab.bitnet.quantize import int8_activations, ternary_weights

SIZES = [(1, 1), (3, 5), (4, 64), (5, 65), (7, 63), (16, 128), (21, 200), (33, 2049), (6, 4111)]  # d_out, d_in: none a multiple of all widths


def ternary(d_out, d_in, seed=0):
    return torch.randint(-1, 2, (d_out, d_in), generator=torch.Generator().manual_seed(seed), dtype=torch.int8)


def activations(n, d, seed=0):
    return torch.randint(-127, 128, (n, d), generator=torch.Generator().manual_seed(seed), dtype=torch.int8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", SIZES)
def test_what_is_packed_comes_back_to_the_bit_and_takes_the_bytes_that_are_said(form, size):
    T = ternary(*size)
    packed = pack(T, 0.25, form)
    assert torch.equal(packed.check().unpack(), T.float())
    rows, columns = math.ceil(size[0] / FORMS[form]), 64 * math.ceil(size[1] / 64)
    assert packed.bytes.shape == (rows, columns)
    assert packed.bits_per_weight == 8 * rows * columns / (size[0] * size[1])


def test_sizes_of_the_3b_model_take_two_bits_and_1_6_bits_exactly():
    T = torch.zeros(3200, 8640, dtype=torch.int8)
    assert pack(T).bits_per_weight == 2.0
    assert pack(T, form="five_trits").bits_per_weight == 1.6


def test_every_five_trits_have_a_byte_of_their_own_and_no_other_byte_is_accepted():
    T = torch.cartesian_prod(*[torch.tensor([-1, 0, 1])] * 5).T.contiguous()  # (5, 243)
    packed = pack(T, form="five_trits")
    codes = packed.bytes[0, :243].tolist()
    assert len(set(codes)) == 243
    for wrong in set(range(256)) - set(codes):
        with pytest.raises(ValueError, match="no code"):
            Ternary(torch.full((1, 64), wrong, dtype=torch.uint8), 1.0, (5, 64), "five_trits").check()
    with pytest.raises(ValueError, match="no code"):
        Ternary(torch.full((1, 64), 0b11, dtype=torch.uint8), 1.0, (4, 64)).check()


def test_weights_in_the_padding_are_damage():
    packed = pack(ternary(3, 5))
    packed.bytes[0, 63] = 0
    with pytest.raises(ValueError, match="padding"):
        packed.check()


@pytest.mark.parametrize("bad", [2.0, 0.5, math.nan, -1.0001])
def test_what_is_not_ternary_is_refused_with_its_place(bad):
    T = ternary(4, 6).float()
    T[2, 3] = bad
    with pytest.raises(ValueError, match=r"T\[2, 3\] = .* none of -1, 0, 1"):
        pack(T)


def test_what_a_number_type_cannot_hold_is_no_minus_one():
    T = torch.ones(3, 4, dtype=torch.uint8)
    assert torch.equal(pack(T).unpack(), torch.ones(3, 4))
    T[2, 3] = 255  # torch finds it equal to -1
    with pytest.raises(ValueError, match=r"T\[2, 3\] = 255 is none of -1, 0, 1"):
        pack(T)
    with pytest.raises(ValueError, match="float32"):
        pack(torch.ones(3, 4), 1e39)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", SIZES)
def test_all_paths_give_the_integers_of_the_reference(kernel, form, size):
    T = ternary(*size, seed=3)
    packed = pack(T, form=form)
    for n in (1, 2, 3, 5, 8):
        q = activations(n, size[1], seed=n)
        expected = q.long() @ T.long().T
        for path in kernel.paths():
            for threads in (1, 3):
                assert torch.equal(kernel.integers(packed, q, path, threads).long(), expected), (n, path, threads)


@pytest.mark.parametrize("form", FORMS)
def test_the_largest_sums_do_not_overflow(kernel, form):
    columns = 2**17
    for sign in (1, -1):
        packed = pack(torch.full((5, columns), sign, dtype=torch.int8), form=form)
        for q in (127, -127):
            for path in kernel.paths():
                assert set(kernel.integers(packed, torch.full((7, columns), q, dtype=torch.int8), path).flatten().tolist()) == {sign * q * columns}


@pytest.mark.parametrize("form", FORMS)
def test_the_layer_its_packed_form_and_torch_s_path_agree_to_the_bit(kernel, form):
    torch.manual_seed(1)
    layer = BitLinear(203, 37)
    T, gamma = ternary_weights(layer.weight.detach())
    packed = pack(T, float(gamma), form)
    x = torch.randn(2, 3, 203) * torch.tensor([1e-6, 1.0, 1e4])[:, None]
    x[1, 2] = 0
    normed = layer.norm(x).detach()
    expected = layer(x).detach()
    for path in kernel.paths():
        assert torch.equal(kernel.multiply(packed, normed, path, 2), expected), path
    assert torch.equal(Unpacked(packed)(normed), expected)
    q, s = int8_activations(normed)
    assert torch.equal(kernel.integers(packed, q.flatten(0, 1).to(torch.int8)).float() * (s.flatten(0, 1) * gamma), expected.flatten(0, 1))


def test_bfloat16_without_the_kernel_is_off_by_its_own_rounding_only():
    T, x = ternary(40, 96), torch.randn(3, 96, generator=torch.Generator().manual_seed(0)).bfloat16()
    exact = Unpacked(pack(T, 0.5))(x.float())
    got = Unpacked(pack(T, 0.5), torch.bfloat16)(x)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), exact, rtol=0.03, atol=0.03 * float(exact.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("int8", [True, False])
def test_torch_s_own_product_has_the_kernel_s_integers_with_int8_and_without(int8, dtype, monkeypatch):
    if int8 and not plain.int8_products():
        pytest.skip("this build of torch has no int8 product worth using")
    monkeypatch.setattr(plain, "int8_products", lambda: int8)
    generator = torch.Generator().manual_seed(3)
    sizes = SIZES + [tuple(torch.randint(1, most, (1,), generator=generator).item() for most in (120, 900)) for _ in range(20)]
    for n, (d_out, d_in) in enumerate(sizes):
        T, q = ternary(d_out, d_in, n), activations(1 + n % 9, d_in, n).double()
        if n % 5 == 0:
            T, q = torch.ones_like(T), torch.full_like(q, 127 if n % 2 else -127)  # the largest sums there can be
        q[:, 0] = 127  # so that the scale is 1 and x is its own rounding
        unpacked = Unpacked(pack(T, 1.0), dtype)
        assert unpacked.int8 == (int8 and d_in > 1)
        assert torch.equal(unpacked(q.to(dtype)).double(), q @ T.double().t()), (d_out, d_in)
    assert unpacked(torch.empty(2, 0, d_in, dtype=dtype)).shape == (2, 0, d_out)
    broken = torch.ones(3, d_in, dtype=dtype)
    broken[1, 0] = torch.inf
    y = unpacked(broken)
    assert bool(y[1].isnan().all())
    assert torch.equal(y[[0, 2]], unpacked(torch.ones(2, d_in, dtype=dtype)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_token_in_sixteen_bits_is_rounded_as_in_float32(dtype):
    if not plain.int8_products():
        pytest.skip("this build of torch has no int8 product worth using")
    W = pack(ternary(9, 64), 0.5)
    for size in (1.0, 1e-3):  # 127 / m is 128 in bfloat16 for many m, and too large for float16 where m is small
        x = (size * torch.randn(512, 64, generator=torch.Generator().manual_seed(0))).to(dtype)
        assert torch.equal(Unpacked(W)(x), Unpacked(W)(x.float()).to(dtype))


def test_a_token_that_is_not_finite_stays_told_and_its_neighbours_are_right(kernel):
    packed, x = pack(ternary(9, 70), 0.5), torch.randn(4, 70, generator=torch.Generator().manual_seed(0))
    expected = kernel.multiply(packed, x)
    for bad in (math.nan, math.inf, -math.inf):
        for place in (3, 69):
            broken = x.clone()
            broken[2, place] = bad
            for path in kernel.paths():
                y = kernel.multiply(packed, broken, path)
                assert bool(y[2].isnan().all())
                assert torch.equal(y[[0, 1, 3]], expected[[0, 1, 3]])


def test_no_rows_give_no_rows(kernel):
    assert kernel.multiply(pack(ternary(9, 70)), torch.empty(2, 0, 70)).shape == (2, 0, 9)


def test_without_a_compiler_the_product_is_torch_s_and_says_that_it_is_slower(monkeypatch):
    monkeypatch.setattr(cpu, "why_not", lambda: "there is no compiler in this test")
    monkeypatch.setattr(choice, "_said", set())
    packed, x = pack(ternary(9, 70), 0.5), torch.randn(4, 70)
    with pytest.warns(UserWarning, match="slower than the compiled kernel.*no compiler in this test"):
        found = choice.product(packed)
    assert torch.equal(found(x), Unpacked(packed)(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choice.product(packed)


def test_widths_and_paths_that_do_not_fit_are_told(kernel):
    packed = pack(ternary(9, 70))
    with pytest.raises(ValueError, match="d_in=70"):
        kernel.multiply(packed, torch.ones(2, 64))
    with pytest.raises(ValueError, match="unknown path 'avx'"):
        kernel.multiply(packed, torch.ones(2, 70), "avx")
    for call, other in ((kernel.multiply, torch.ones(2, 70)), (kernel.integers, torch.ones(2, 70, dtype=torch.int8))):
        with pytest.raises(TypeError, match="packed weights"):
            call(torch.ones(9, 70), other)
    with pytest.raises(ValueError, match="-128"):
        kernel.integers(packed, torch.full((1, 70), -128, dtype=torch.int8))
