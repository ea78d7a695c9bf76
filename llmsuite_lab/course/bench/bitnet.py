"""`llmsuite bench bitnet`: the packed ternary product beside oneDNN's prepacked BF16 and `F.linear` in BF16, on the matrices of the 3B model. A processor
without BF16 instructions has no prepacked form, and `F.linear` is slow there: float32 in its fastest layout takes the place, and the rows say so.

Every call works on another copy of its matrix, and the copies together are no smaller than the processor's last cache (at most half a gigabyte): the
weights come from memory, as in generating a token. Ours includes quantising the activations. Both forms, every instruction set that is here, batch 1
and 8, one thread and all.

Then the throughput of the 70B shape at the batches that fit a memory, one small product beside the figure that microsoft/BitNet publishes for it (theirs
was measured on another machine), and whole tokens end to end (`_bit_tokens`).
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import torch
from torch.nn import functional as F

from llmsuite_lab.bitnet import energy
from llmsuite_lab.bitnet.kernels import cpu
from llmsuite_lab.bitnet.model import layer_shapes, model_bytes, paper_config
from llmsuite_lab.bitnet.packing import FORMS, Ternary, pack
from llmsuite_lab.core.errors import LabError, within
from llmsuite_lab.core.runtime import available_cores, return_freed_memory
from llmsuite_lab.course.bench import Row, clock, compare, interleaved, say, seconds_unit
from llmsuite_lab.course.bench._bit_tokens import ROUNDS, end_to_end_rows, fastest_form, twin_rows
from llmsuite_lab.transformer.packing import Packed, choose_layout


def _last_cache() -> int:
    """Bytes of the processor's largest cache, as Linux tells them; 0 elsewhere."""
    sizes = [file.read_text(encoding="ascii").strip() for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max((1024 * int(size[:-1]) for size in sizes if size.endswith("K")), default=0)


BATCHES = (1, 8)
COLD_BYTES = min(max(256 * 2**20, _last_cache()), 512 * 2**20)  # of copies on each side, in turn: as much as the last cache holds
TILE = 256  # rows of random weights that are repeated to a large matrix
LONGEST_S = 0.2  # a measurement repeats its call until it has taken about this long
PUBLISHED = (2048, 2048, 0.058e-3)  # d_out, d_in, seconds: src/README.md of microsoft/BitNet, "Weight Parallel", one thread of an AMD EPYC 7V13


def rows() -> list[Row]:
    """All rows; some minutes on two free cores, and 2 to 3 GB. Raises LabError where there is no compiled kernel."""
    if (reason := cpu.why_not()) is not None:
        raise LabError(f"there is nothing of ours to measure here: {reason}")
    products = [row for shape in sorted(set(layer_shapes(paper_config("3B")))) for row in shape_rows(*shape)]
    return [*products, *block_rows(), *batch_rows(), published_row(), *twin_rows(), *end_to_end_rows()]


def block_rows(n: int = 11, shapes: Sequence[tuple[int, int]] | None = None, cold_bytes: int = COLD_BYTES) -> list[Row]:
    """All products of one block of the 3B model with one vector, torch's threads: the packed kernel against each of the `references`, the fastest first, and
    last that one against itself, which tells the clock's noise. Seconds, and 2 to 3 GB. Raises LabError where there is no compiled kernel."""
    if (reason := cpu.why_not()) is not None:
        raise LabError(f"there is nothing of ours to measure here: {reason}")
    shapes = list(shapes or layer_shapes(paper_config("3B")))
    generator = torch.Generator().manual_seed(0)
    T = [torch.randint(-1, 2, shape, generator=generator, dtype=torch.int8) for shape in shapes]
    x = [torch.randn(1, d_in, generator=generator) for _, d_in in shapes]
    packs = [pack(one) for one in T]
    ours = _cold(packs, cold_bytes)

    def call(blocks: list[list[Callable]], give: Callable) -> Callable[[], float]:
        given = [give(one) for one in x]
        return _timed(blocks, lambda block: [product(one) for product, one in zip(block, given)])

    theirs = references(T, cold_bytes)
    calls = {name: call(*made) for name, made in theirs.items()}
    fastest = min(calls, key=lambda name: min(calls[name]() for _ in range(3)))
    order = [fastest, *(name for name in calls if name != fastest)]
    mine = _timed(ours, lambda block: [cpu.multiply(W, one) for W, one in zip(block, x)])
    values, *took, again = interleaved(mine, *(calls[name] for name in order), call(*theirs[fastest]), n=n)
    threads = torch.get_num_threads()
    name = f"{len(shapes)} products of a block, batch 1, {threads} thread{'s' * (threads > 1)}"
    rows = [compare(f"{name}: packed against {other}", seconds_unit(), values, theirs_s) for other, theirs_s in zip(order, took)]
    return [*rows, compare(f"{name}: {fastest} against itself", seconds_unit(), again, took[0])]


def batch_rows(
    n: int = 5,
    size: str = "70B",
    budget: float = 160e9,
    tokens: int = 512,
    shapes: Sequence[tuple[int, int]] | None = None,
    cold_bytes: int = COLD_BYTES,
) -> list[Row]:
    """Tokens a second at the batch that fits: how many sequences of `tokens` keys and values, for each head, lie beside the weights of the model in `budget`
    bytes is a calculation; the time of a step is measured, as that of one block's products at that batch, times the blocks. Packed against torch's fastest,
    and that one against itself, which tells the clock's noise. A quarter of a minute, and 1.5 GB. Raises LabError where there is no compiled kernel, ValueError
    for a size that is not known or a budget beside which no sequence fits.
    """
    if (reason := cpu.why_not()) is not None:
        raise LabError(f"there is nothing of ours to measure here: {reason}")
    config = paper_config(size)
    sequence = energy.cache_bytes(replace(config, n_kv_heads=config.n_heads), tokens)
    held = {form: model_bytes(config, form) for form in (None, "two_bits")}
    few, many = (energy.largest_batch(budget, weights, sequence) for weights in held.values())
    within(f"the sequences that fit beside {held[None] / 1e9:.0f} GB of weights", few, 1, 10**6)
    within("n", n, 1, 10**6)
    rounds = [[0.0] * n for _ in range(3)]  # seconds of a block's products: packed, torch's fastest, that again
    for (d_out, d_in), times in Counter(shapes or layer_shapes(config)).items():  # one shape at a time: a whole block takes 2 GB
        return_freed_memory()
        for total, seconds in zip(rounds, _batch_s(d_out, d_in, many, few, n, cold_bytes)):
            total[:] = (before + times * one for before, one in zip(total, seconds))

    def rates(form: str | None, took: Sequence[float]) -> list[float]:
        return [energy.throughput(budget, held[form], sequence, lambda batch, s=s: config.n_layers * s) for s in took]

    values, took, again = (rates(form, seconds) for form, seconds in zip(("two_bits", None, None), rounds))
    what = f"{'prepacked BF16' if fastest_form()[1] == 'prepacked' else 'float32'}, batch {few}"
    name, unit = f"{size}, {budget / 1e9:.0f} GB: packed, batch {many}", f"tokens/{seconds_unit()}"
    return [compare(f"{name} against {what}", unit, values, took), compare(f"{what} against itself", unit, again, took)]


def _batch_s(d_out: int, d_in: int, many: int, few: int, n: int, cold_bytes: int) -> list[list[float]]:
    """Seconds of one matrix's product, `n` times each: packed at a batch of `many`, torch's fastest at `few`, and that again."""
    generator, (dtype, layout) = torch.Generator().manual_seed(0), fastest_form()
    rows = math.gcd(d_out, TILE) if d_out % 4 == 0 else d_out  # one tile of random weights, repeated: the time does not depend on them
    tile, repeated = torch.randint(-1, 2, (rows, d_in), generator=generator, dtype=torch.int8), (d_out // rows, 1)
    theirs = [Packed(tile.to(dtype).repeat(repeated), None, layout) for _ in range(-(-cold_bytes // (dtype.itemsize * d_out * d_in)))]
    W = pack(tile)  # four rows share a byte
    W = replace(W, bytes=W.bytes.repeat(repeated), shape=(d_out, d_in))
    ours = [replace(W, bytes=W.bytes.clone()) for _ in range(-(-cold_bytes // W.bytes.numel()))]
    x, y = (torch.randn(batch, d_in, generator=generator) for batch in (many, few))
    full = _timed(theirs, lambda product: product(y.to(dtype)))
    return interleaved(_timed(ours, lambda W: cpu.multiply(W, x)), full, full, n=n)


def published_row(n: int = ROUNDS) -> Row:
    """Ours on one thread, the same matrix each time as theirs, over the published time; the ratio compares two machines.

    Raises LabError where there is no compiled kernel, or it gives other integers than torch.
    """
    d_out, d_in, theirs = PUBLISHED
    T = torch.randint(-1, 2, (d_out, d_in), generator=torch.Generator().manual_seed(0), dtype=torch.int8)
    x, before = torch.randn(1, d_in, generator=torch.Generator().manual_seed(1)), torch.get_num_threads()
    _check(W := pack(T), T, 1, cpu.paths()[-1])
    torch.set_num_threads(1)
    try:
        (values,) = interleaved(_timed([W] * 2000, lambda W: cpu.multiply(W, x)), n=n)
    finally:
        torch.set_num_threads(before)
    return compare(f"{d_out}×{d_in}, batch 1, 1 thread, two_bits against microsoft/BitNet as published (EPYC 7V13)", "s", values, [theirs] * n)


def shape_rows(d_out: int, d_in: int, n: int = ROUNDS, cold_bytes: int = COLD_BYTES) -> list[Row]:
    """The rows of one matrix (d_out, d_in). Every product is compared with the integers' first; LabError where one differs.

    Raises ValueError for sizes below 1 or above a million; LabError as `rows`.
    """
    within("d_out", d_out, 1, 10**6)
    within("d_in", d_in, 1, 10**6)
    within("cold_bytes", cold_bytes, 1, 2**40)
    generator, before = torch.Generator().manual_seed(0), torch.get_num_threads()
    T = torch.randint(-1, 2, (d_out, d_in), generator=generator, dtype=torch.int8)
    theirs = references([T], cold_bytes)
    ours = {form: _cold([pack(T, 1.0, form)], cold_bytes) for form in FORMS}
    measured = []
    try:
        for threads in sorted({1, available_cores()}):
            torch.set_num_threads(threads)
            for batch in BATCHES:
                x = torch.randn(batch, d_in, generator=generator)
                calls = {name: _timed(blocks, lambda block, x=x, give=give: block[0](give(x))) for name, (blocks, give) in theirs.items()}
                for form, copies in ours.items():
                    for path in [p for p in cpu.paths() if p != "portable"]:
                        _check(copies[0][0], T, batch, path)
                        mine = _timed(copies, lambda block, x=x, path=path: cpu.multiply(block[0], x, path))
                        values = interleaved(mine, *calls.values(), n=n)
                        name = f"{d_out}×{d_in}, batch {batch}, {threads} thread{'s' * (threads > 1)}, {form} {path}"
                        measured += [compare(f"{name} against {other}", seconds_unit(), values[0], took) for other, took in zip(calls, values[1:])]
                        say(f"  {name}: " + ", ".join(f"{row.ratio:.2f}x {other}" for other, row in zip(calls, measured[-len(calls) :])))
    finally:
        torch.set_num_threads(before)
    return measured


def references(matrices: Sequence[torch.Tensor], cold_bytes: int = COLD_BYTES) -> dict[str, tuple[list[list[Callable]], Callable]]:
    """What ours is compared with: {name: (blocks of callables x → x Wᵀ for these matrices, enough of them to be cold, and what makes a float32 x theirs)}."""
    half, full, cpu_device = torch.bfloat16, torch.float32, torch.device("cpu")
    kinds: dict[str, tuple[torch.dtype, Callable]] = {"F.linear BF16": (half, lambda W: lambda x: F.linear(x, W))}
    if choose_layout(half, cpu_device) == "prepacked":
        kinds = {"prepacked BF16": (half, lambda W: Packed(W, None, "prepacked"))} | kinds
    else:
        kinds = {"float32": (full, lambda W: Packed(W, None, choose_layout(full, cpu_device)))} | kinds
    found = {}
    for name, (dtype, make) in kinds.items():
        blocks = _enough(dtype.itemsize * sum(T.numel() for T in matrices), cold_bytes)
        found[name] = ([[make(T.to(dtype)) for T in matrices] for _ in range(blocks)], lambda x, dtype=dtype: x.to(dtype))
    return found


def _cold(packs: Sequence[Ternary], cold_bytes: int) -> list[list[Ternary]]:
    """Blocks of copies of the same matrices, enough of them to be cold."""
    return [[replace(W, bytes=W.bytes.clone()) for W in packs] for _ in range(_enough(sum(W.bytes.numel() for W in packs), cold_bytes))]


def _enough(bytes_each: int, cold_bytes: int) -> int:
    """How many copies of so many bytes are larger than the caches: two at least."""
    return max(2, -(-cold_bytes // bytes_each))


def _timed(copies: list, call: Callable) -> Callable[[], float]:
    """Seconds of one call, as the mean over enough of them; each takes the next copy."""
    turn, times = cycle(copies), [1]

    def timed() -> float:
        began = clock()
        with torch.inference_mode():
            for _ in range(times[0]):
                call(next(turn))
        took = clock() - began
        seconds = took / times[0]
        times[0] = max(1, min(len(copies), int(LONGEST_S / max(seconds, 1e-9))))  # every reference goes once through its copies at most
        return max(seconds, 1e-12)

    return timed


def _check(W: Ternary, T: torch.Tensor, batch: int, path: str) -> None:
    q = torch.randint(-127, 128, (batch, T.shape[1]), generator=torch.Generator().manual_seed(1), dtype=torch.int8)
    if not torch.equal(cpu.integers(W, q, path).float(), q.float() @ T.float().T):
        raise LabError(f"the {W.form} kernel ({path}) gives other integers than torch on a matrix {tuple(T.shape)}: nothing is measured")
