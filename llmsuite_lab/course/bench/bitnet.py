"""`llmsuite bench bitnet`: the packed ternary product beside oneDNN's prepacked BF16 and `F.linear` in BF16, on the matrices of the 3B model.

Every call works on another copy of its matrix, and the copies together are larger than the processor's caches: the weights come from memory, as in
generating a token. Ours includes quantising the activations. Both forms, every instruction set that is here, batch 1 and 8, one thread and all.
"""

from collections.abc import Callable
from itertools import cycle

import torch
from torch.nn import functional as F

from llmsuite_lab.bitnet.kernels import cpu
from llmsuite_lab.bitnet.model import layer_shapes, paper_config
from llmsuite_lab.bitnet.packing import FORMS, Ternary, pack
from llmsuite_lab.core.errors import LabError, within
from llmsuite_lab.core.runtime import available_cores
from llmsuite_lab.course.bench import Row, clock, compare, interleaved, say, seconds_unit
from llmsuite_lab.transformer.packing import Packed, choose_layout

BATCHES, ROUNDS = (1, 8), 15
COLD_BYTES = 256 * 2**20  # of copies on each side: larger than the last cache of the processors this was written for
LONGEST_S = 0.2  # a measurement repeats its call until it has taken about this long


def rows() -> list[Row]:
    """All rows; about ten minutes on two free cores, and 2 GB. Raises LabError where there is no compiled kernel or no prepacked layout."""
    if (reason := cpu.why_not()) is not None:
        raise LabError(f"there is nothing of ours to measure here: {reason}")
    return [row for shape in sorted(set(layer_shapes(paper_config("3B")))) for row in shape_rows(*shape)]


def shape_rows(d_out: int, d_in: int, n: int = ROUNDS, cold_bytes: int = COLD_BYTES) -> list[Row]:
    """The rows of one matrix (d_out, d_in). Every product is compared with the integers' first; LabError where one differs.

    Raises ValueError for sizes below 1 or above a million; LabError as `rows`.
    """
    within("d_out", d_out, 1, 10**6)
    within("d_in", d_in, 1, 10**6)
    within("cold_bytes", cold_bytes, 1, 2**40)
    if choose_layout(torch.bfloat16, torch.device("cpu")) != "prepacked":
        raise LabError("this build of torch has no prepacked BF16 layout, which is what ours is compared with")
    generator, before = torch.Generator().manual_seed(0), torch.get_num_threads()
    T = torch.randint(-1, 2, (d_out, d_in), generator=generator, dtype=torch.int8)
    few = max(2, -(-cold_bytes // (2 * d_out * d_in)))
    prepacked = [Packed(T.bfloat16(), None, "prepacked") for _ in range(few)]
    plain = [T.bfloat16() for _ in range(few)]
    packed = {form: _copies(pack(T, 1.0, form), cold_bytes) for form in FORMS}
    measured = []
    try:
        for threads in sorted({1, available_cores()}):
            torch.set_num_threads(threads)
            for batch in BATCHES:
                x = torch.randn(batch, d_in, generator=generator)
                half = x.bfloat16()
                theirs = [_timed(prepacked, lambda W, x=half: W(x)), _timed(plain, lambda W, x=half: F.linear(x, W))]
                for form, copies in packed.items():
                    for path in [p for p in cpu.paths() if p != "portable"]:
                        _check(copies[0], T, batch, path)
                        ours = _timed(copies, lambda W, x=x, path=path: cpu.multiply(W, x, path))
                        values = interleaved(ours, *theirs, n=n)
                        name = f"{d_out}×{d_in}, batch {batch}, {threads} thread{'s' * (threads > 1)}, {form} {path}"
                        for reference, against in zip(values[1:], ("prepacked BF16", "F.linear BF16")):
                            measured.append(compare(f"{name} against {against}", seconds_unit(), values[0], reference))
                        say(f"  {name}: {measured[-2].ratio:.2f}x prepacked, {measured[-1].ratio:.2f}x F.linear")
    finally:
        torch.set_num_threads(before)
    return measured


def _copies(W: Ternary, cold_bytes: int) -> list[Ternary]:
    return [Ternary(W.bytes.clone(), W.scale, W.shape, W.form) for _ in range(max(2, -(-cold_bytes // W.bytes.numel())))]


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
