"""What one-bit weights save in arithmetic energy, and in sequences that fit beside the weights: calculations from published numbers, not measurements.

    energy of a matrix product = Σ operations × picojoules of one operation             71.4 = (FP16 multiply + FP16 add) / (INT8 add), 7 nm
    throughput at a budget     = B / step(B),   B = ⌊(budget - weights) / bytes of one sequence's keys and values⌋

Sources of the table: Wang et al. 2023 (BitNet), table 2, prints these energies of FP32, FP16 and INT8 at 45 and 7 nm, after Horowitz 2014, "Computing's
energy problem", figure 1.1.9, and Zhang, Zhang & Lew 2022 (PokeBNN); Ma et al. 2024, section 3, computes the 71.4 by the same model. INT32: Horowitz at
45 nm; at 7 nm Jouppi et al. 2021, "Ten Lessons From Three Generations Shaped Google's TPUv4i", table 2, which prints all eight operations at both nodes and
what one node takes less than the other. Two published transcriptions of that table, independent of each other, agree with every number here.
Throughput: table 3 of Ma et al.: batches of 16 and 176 (11 times), 333 and 2,977 tokens/s (8.9 times).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from llmsuite_lab.bitnet.model import count, layer_shapes
from llmsuite_lab.core.errors import unknown, whole, within
from llmsuite_lab.transformer.config import TransformerConfig

PICOJOULES = {  # (number, operation) → pJ of one, per process node
    "45nm": {
        ("int8", "add"): 0.03, ("int8", "multiply"): 0.2, ("int32", "add"): 0.1, ("int32", "multiply"): 3.1,
        ("fp16", "add"): 0.4, ("fp16", "multiply"): 1.1, ("fp32", "add"): 0.9, ("fp32", "multiply"): 3.7,
    },
    "7nm": {
        ("int8", "add"): 0.007, ("int8", "multiply"): 0.07, ("int32", "add"): 0.03, ("int32", "multiply"): 1.48,
        ("fp16", "add"): 0.16, ("fp16", "multiply"): 0.34, ("fp32", "add"): 0.38, ("fp32", "multiply"): 1.31,
    },
}  # fmt: skip
PAPER = {"energy": 71.4, "batch": {"llama": 16, "bitnet": 176}, "tokens_per_s": {"llama": 333, "bitnet": 2977}}  # 70B, two 80 GB GPUs, 512 tokens
LARGEST = 10**18


def picojoules(node: str, number: str, operation: str) -> float:
    """Energy of one operation in pJ. Raises ValueError for a node, number or operation that the table does not have."""
    if not isinstance(node, str) or node not in PICOJOULES:
        raise ValueError(unknown("node", node, list(PICOJOULES)))
    table = PICOJOULES[node]
    names = [" ".join(key) for key in table]
    if f"{number} {operation}" not in names:
        raise ValueError(unknown("operation", f"{number} {operation}", names))
    return table[number, operation]


@dataclass(frozen=True)
class Energy:
    """Arithmetic energy of one token through the linear layers of the blocks, in picojoules."""

    full: float
    ternary: float

    @property
    def ratio(self) -> float:
        """How many times less the ternary one takes."""
        return self.full / self.ternary


def paper_ratio(node: str = "7nm") -> float:
    """(FP16 multiply + FP16 add) / (INT8 add): 71.4 at 7 nm, 50 at 45 nm. The paper's figure, which assumes that

    - each weight costs one INT8 addition, zeros too, although a sum of int8 values does not fit into eight bits;
    - scales, norms, attention, embedding and head cost nothing, and neither does reading the weights.
    """
    return (picojoules(node, "fp16", "multiply") + picojoules(node, "fp16", "add")) / picojoules(node, "int8", "add")


def per_token(config: TransformerConfig, node: str = "7nm", zeros: float = 0.0, accumulator: str = "int8", scales: bool = False, head: bool = False) -> Energy:
    """The same for a whole model, with the paper's assumptions (the defaults) or stricter ones.

    Args:
        zeros: share of weights that are 0 and skipped, 0 to 1 (1/3 where all three values are as frequent).
        accumulator: number type of the additions; "int32" is what the sums need.
        scales: count two FP16 multiplications an output (s and γ) as well.
        head: count the output matrix, FP16 in both.

    Raises:
        ValueError: as `model.count` and `picojoules`, or a share outside 0 to 1.
    """
    within("zeros", zeros, 0, 1)
    weights = count(config).ternary
    outputs = config.n_layers * sum(d_out for d_out, _ in layer_shapes(config))
    multiply, both = picojoules(node, "fp16", "multiply"), picojoules(node, "fp16", "multiply") + picojoules(node, "fp16", "add")
    same = config.vocab_size * config.d_model * both if head else 0.0
    ternary = weights * (1 - zeros) * picojoules(node, accumulator, "add") + (2 * outputs * multiply if scales else 0.0) + same
    if not ternary:
        raise ValueError(f"zeros={zeros} of {weights:,} weights leave no operation to compare with")
    return Energy(weights * both + same, ternary)


def cache_bytes(config: TransformerConfig, tokens: int, bits: float = 16) -> float:
    """Bytes of one sequence's keys and values. Raises TypeError for no config, ValueError for tokens below 1 or bits outside 1-64."""
    whole("tokens", tokens, 1, LARGEST)
    within("bits", bits, 1, 64)
    if not isinstance(config, TransformerConfig):
        raise TypeError(f"config must be a TransformerConfig, got a {type(config).__name__}")
    return 2 * config.n_layers * config.kv_heads * config.head_width * tokens * bits / 8


def largest_batch(budget: float, weights: float, sequence: float) -> int:
    """Sequences that fit beside the weights, all in bytes; 0 where not even one does. Raises ValueError for a number that is not above 0 and finite."""
    for name, value in (("budget", budget), ("weights", weights), ("sequence", sequence)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(f"{name}={str(value)[:40]} must be a number of bytes above 0")
    return max(0, int((budget - weights) // sequence))


def throughput(budget: float, weights: float, sequence: float, step_s: Callable[[int], float]) -> float:
    """Tokens per second of the largest batch that fits: B / step_s(B); 0.0 where none fits.

    step_s: seconds that one step of a batch of B takes, as it was measured. Raises ValueError as `largest_batch`, or for a time that is not above 0.
    """
    batch = largest_batch(budget, weights, sequence)
    if batch == 0:
        return 0.0
    seconds = step_s(batch)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ValueError(f"step_s({batch}) gave {str(seconds)[:40]}, but a step takes a number of seconds above 0")
    return batch / seconds
