"""How long a step takes at scale, as a calculation: arithmetic, and collectives that hide behind it as far as they can.

    collective of S bytes over n ranks (ring)     t = (n-1) · α + (n-1)/n · S / β        α latency in s, β bandwidth in bytes/s; an all-reduce takes two
    arithmetic of a step                          t = 6 Ψ · tokens / F                   2 Ψ forward, 4 Ψ backward; F FLOP/s that the matrix units reach
    step                                          t = arithmetic + (what no arithmetic hides)

What can hide: data parallel's all-reduce and stage 2's reduce-scatter behind backward, but for the last bucket; stage 3's gathers and scatters behind forward
and backward; stage 1's two collectives and stage 2's all-gather behind nothing, since they stand on both sides of the update.

Two numbers describe a link, and `fit_link` finds them from timed collectives, best of one kind: gloo's all-gather takes as long as its all-reduce. It is
a model: equal ranks, no stragglers, nobody else on the wire.

Sources: Thakur et al. 2005, "Optimization of Collective Communication Operations in MPICH" (α-β); Kaplan et al. 2020, section 2.1 (6 Ψ a token); Rajbhandari
et al. 2020, section 7. Production: nccl-tests measures α and β, `torch.profiler` what really hides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmsuite_lab.core.errors import whole
from llmsuite_lab.scaling.layout import BUCKET_BYTES
from llmsuite_lab.scaling.memory import PRECISIONS, block_parameters, parameters, root_parameters
from llmsuite_lab.transformer.config import TransformerConfig


@dataclass(frozen=True)
class Link:
    """α (seconds a message) and β (bytes a second, one direction) between two ranks. Raises ValueError unless α ≥ 0 and β > 0, both finite."""

    latency_s: float
    bytes_per_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.latency_s < math.inf or not 0 < self.bytes_per_s < math.inf:
            raise ValueError(f"a link needs latency_s of 0 or more and bytes_per_s above 0, both finite; got {self.latency_s}, {self.bytes_per_s}")


# Bandwidths a GPU and direction, from data sheets; the latencies are assumptions of usual size, as every figure made with them says.
LINKS = {
    "NVLink (H100)": Link(5e-6, 450e9),
    "NVLink (A100)": Link(5e-6, 300e9),
    "PCIe 4.0 x16": Link(8e-6, 32e9),
    "InfiniBand NDR": Link(10e-6, 50e9),
    "100 Gb Ethernet": Link(30e-6, 12.5e9),
}
PEAK_FLOPS = {"A100": 312e12, "H100": 989e12}  # dense bfloat16, from data sheets; trainings reach 30-50 % of it


@dataclass(frozen=True)
class Step:
    """Seconds of one step on each rank: arithmetic, all collectives, and the part of these that nothing hides."""

    arithmetic_s: float
    communication_s: float
    exposed_s: float

    @property
    def total_s(self) -> float:
        """What the step takes."""
        return self.arithmetic_s + self.exposed_s

    @property
    def efficiency(self) -> float:
        """Share of the step that is arithmetic: the speed-up over one rank, divided by the number of ranks (each with its own batch)."""
        return self.arithmetic_s / self.total_s


def collective_s(bytes_: float, ranks: int, link: Link, times: int = 1) -> float:
    """Seconds that a ring needs for a tensor of so many bytes; times=2 for an all-reduce. One rank needs none."""
    whole("ranks", ranks, 1, 10**6)
    whole("times", times, 1, 2)
    if not 0 <= bytes_ < math.inf:
        raise ValueError(f"bytes_={bytes_} must be 0 or more, and finite")
    return times * (ranks - 1) * (link.latency_s + bytes_ / ranks / link.bytes_per_s)


def step_time(
    config: TransformerConfig, tokens: int, *, stage: int, ranks: int, link: Link, flops_per_s: float, precision: str = "mixed", overlap: float = 1.0
) -> Step:
    """One step in which each rank reads `tokens` tokens. overlap: the share of backward (stage 3: of both passes) that communication can use.

    Raises ValueError for a stage, a precision or sizes that cannot be.
    """
    whole("stage", stage, 0, 3)
    whole("tokens", tokens, 1, 10**12)
    whole("ranks", ranks, 1, 10**6)
    if not 0 < flops_per_s < math.inf or not 0 <= overlap <= 1:
        raise ValueError(f"flops_per_s={flops_per_s} must be above 0 and finite, overlap={overlap} between 0 and 1")
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} is not known; choose one of {', '.join(PRECISIONS)}")
    p, psi = PRECISIONS[precision], parameters(config)
    arithmetic = 6 * psi * tokens / flops_per_s
    forward, backward = arithmetic / 3, 2 * arithmetic / 3
    buckets = max(1, math.ceil(psi * p.gradient / BUCKET_BYTES))

    def pieces(total: float, count: int, times: int = 1) -> float:
        return count * collective_s(total / count, ranks, link, times)

    if stage < 3:
        # what leaves while backward computes: all but the last bucket, which nothing is left to hide
        early = {0: pieces(psi * p.gradient, buckets, 2), 1: 0.0, 2: pieces(psi * p.gradient, buckets)}[stage]
        late = {0: 0.0, 1: pieces(psi * p.gradient, buckets), 2: 0.0}[stage] + (pieces(psi * p.weight, buckets) if stage else 0.0)
        last = early / buckets
        exposed = late + last + max(0.0, early - last - overlap * backward)
        return Step(arithmetic, early + late, exposed)
    block, root, layers = block_parameters(config), root_parameters(config), max(1, config.n_layers)
    gather = pieces(block * config.n_layers * p.weight, layers)
    scatter = pieces(block * config.n_layers * p.gradient, layers)
    ends = collective_s(root * p.weight, ranks, link) + collective_s(root * p.gradient, ranks, link)  # before the first and after the last arithmetic
    first = gather / layers  # nothing computes while the first block comes
    exposed = ends + first + max(0.0, gather - first - overlap * forward) + max(0.0, gather + scatter - overlap * backward)
    return Step(arithmetic, 2 * gather + scatter + ends, exposed)


def fit_link(samples: Sequence[tuple[int, int, float, int]]) -> Link:
    """α and β from timed collectives [(ranks, bytes, seconds, times)], by least squares on relative errors, so that small and large tensors count alike.

    A latency that would come out negative is 0. Raises ValueError for fewer than two samples, sizes that are all alike, and times that fall with size.
    """
    rows = [(ranks, size, seconds, times) for ranks, size, seconds, times in samples if ranks > 1]
    if len(rows) < 2 or len({(ranks, size) for ranks, size, _, _ in rows}) < 2:
        raise ValueError(f"{len(rows)} samples over two or more ranks are not enough: time at least two sizes")
    if not all(0 < seconds < math.inf for *_, seconds, _ in rows):
        raise ValueError("every sample needs a time above 0 and finite")
    A = np.array([[times * (n - 1) / s, times * (n - 1) / n * size / s] for n, size, s, times in rows], dtype=float)
    (alpha, inverse), *_ = np.linalg.lstsq(A, np.ones(len(rows)), rcond=None)
    if alpha < 0:
        alpha, inverse = 0.0, float(A[:, 1].sum() / (A[:, 1] ** 2).sum())
    if not inverse > 0:
        raise ValueError("larger tensors took no longer than smaller ones: time larger ones, or more often")
    return Link(float(alpha), float(1 / inverse))
