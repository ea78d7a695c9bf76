"""Where a training's memory goes, by formula: any decoder, optimizer, precision, stage and number of ranks, with and without activation checkpointing.

    Ψ parameters, n ranks, bytes a rank           float32 AdamW: 4, 4, 8        mixed AdamW: 2, 2, 4 + 8 (masters, m, v)
    stage 0 (DDP)   w Ψ   + g Ψ   + k Ψ           16 Ψ                          16 Ψ
    stage 1         w Ψ   + g Ψ   + k Ψ/n          8 Ψ + 8 Ψ/n                   4 Ψ + 12 Ψ/n
    stage 2         w Ψ   + g Ψ/n + k Ψ/n          4 Ψ + 12 Ψ/n                  2 Ψ + 14 Ψ/n
    stage 3         w Ψ/n + g Ψ/n + k Ψ/n         16 Ψ/n                        16 Ψ/n

Activations are what the forward pass keeps for the backward pass, counted in elements a token: every tensor that autograd saves in our decoder with torch's
fused kernels, without dropout, whose masks come on top. (In 16 bits torch's CPU versions of RMSNorm and of stored attention count in float32 and keep
that too; kernels for GPUs do not.)
Sharding leaves them alone; a rank's smaller share of the batch, or checkpointing, makes them fewer. What stands beside these for a while (a bucket, a
gathered block, the gradient of the logits), and how much is there at one moment, is in `step_memory`.

Sources: Rajbhandari et al. 2020, sections 3 and 5 (states; that Adam's are twice the weights holds in float32 alone: in mixed precision they are six
times); Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", section 4 (activations; theirs has dropout).
In production: `torch.distributed._tools.mem_tracker`, `accelerate estimate-memory`, DeepSpeed's `estimate_zero3_model_states_mem_needs`.
"""

import math
from dataclasses import dataclass

from llmsuite_lab.core.errors import unknown, whole
from llmsuite_lab.transformer.config import TransformerConfig, gpt2_config, llama_config

STAGES = (0, 1, 2, 3)
MAX_RANKS = 1_000_000


@dataclass(frozen=True)
class Precision:
    """Bytes an element: what the model computes in, its gradients, and (0 for none) the copies in which the optimizer counts; its moments."""

    weight: int
    gradient: int
    master: int
    moment: int


PRECISIONS = {
    "float32": Precision(4, 4, 0, 4),
    "mixed": Precision(2, 2, 4, 4),  # bfloat16 or float16 with float32 masters and moments: `transformer.optimizer.AdamW`, DeepSpeed, Megatron
    "bfloat16": Precision(2, 2, 0, 2),  # everything in 16 bits: small updates round away
}
MOMENTS = {"adamw": 2, "momentum": 1, "sgd": 0}  # numbers an optimizer keeps for each parameter
GPUS = {"T4": 16, "L4": 24, "A100 40 GB": 40, "A100 80 GB": 80, "H100": 80, "H200": 141, "B200": 192}  # memory in GB (10⁹ bytes), by the makers' data sheets

_GPT3 = {"1.3B": (24, 2048, 16), "2.7B": (32, 2560, 32), "6.7B": (32, 4096, 32), "13B": (40, 5120, 40), "175B": (96, 12288, 96)}
_LLAMA = {"7B": (32, 4096, 32, 11008), "13B": (40, 5120, 40, 13824), "33B": (60, 6656, 52, 17920), "65B": (80, 8192, 64, 22016)}
MODELS: dict[str, TransformerConfig] = {  # Brown et al. 2020, table 2.1 (heads so that they divide); Touvron et al. 2023, table 2
    **{f"GPT-3 {name}": gpt2_config(50257, d, n_layers, heads, 4 * d, max_length=2048) for name, (n_layers, d, heads) in _GPT3.items()},
    **{f"LLaMA {name}": llama_config(32000, d, n_layers, heads, ff, tie_embeddings=False) for name, (n_layers, d, heads, ff) in _LLAMA.items()},
}


def block_tensors(config: TransformerConfig) -> tuple[list[int], list[int]]:
    """Parameters of each tensor of one decoder block, in the module's order: of attention and its norm, of feed-forward and its norm."""
    d, inner, kv, ff = config.d_model, config.n_heads * config.head_width, config.kv_heads * config.head_width, config.d_ff
    attention = [(d * inner, inner), (d * kv, kv), (d * kv, kv), (inner * d, d)]  # each matrix and its bias
    feed_forward = [(d * ff, ff)] * (2 if config.gated else 1) + [(ff * d, d)]
    norm = [config.d_model] * (2 if config.norm == "layer" else 1)
    parts = ((attention, config.attention_bias), (feed_forward, config.feed_forward_bias))
    return tuple([n for pair in part for n in pair[: 1 + biased]] + norm for part, biased in parts)


def block_parameters(config: TransformerConfig) -> int:
    """Parameters of one decoder block: attention, feed-forward, two norms."""
    return sum(map(sum, block_tensors(config)))


def root_parameters(config: TransformerConfig) -> int:
    """Parameters of a decoder outside its blocks: embeddings, the last norm, the output matrix where it is not the embedding."""
    d, words = config.d_model, config.vocab_size * config.d_model
    embeddings = words + (config.max_length * d if config.positions == "learned" else 0) + config.n_segments * d
    norms = (_norm(config) if config.pre_norm else 0) + (_norm(config) if config.embedding_norm else 0)
    relative = config.n_buckets * config.n_heads if config.positions == "relative" else 0
    return embeddings + norms + relative + (0 if config.tie_embeddings else words) + (config.vocab_size if config.logit_bias else 0)


def parameters(config: TransformerConfig) -> int:
    """Parameters of a decoder, a tied matrix once."""
    return config.n_layers * block_parameters(config) + root_parameters(config)


def _norm(config: TransformerConfig) -> int:
    return (2 if config.norm == "layer" else 1) * config.d_model


def model_states(
    total: int, *, stage: int = 0, ranks: int = 1, precision: str = "float32", optimizer: str = "adamw", trained: int | None = None
) -> tuple[int, int, int]:
    """(parameters, gradients, optimizer state) in bytes on each rank, for a model of `total` parameters of which `trained` are (default: all).

    Stage 0 is data parallel, 1 to 3 are ZeRO's. Raises ValueError for a stage, precision or optimizer that is not known, and for counts that cannot be.
    """
    whole("stage", stage, 0, 3)
    whole("ranks", ranks, 1, MAX_RANKS)
    whole("total", total, 1, 10**15)
    trained = total if trained is None else trained
    whole("trained", trained, 0, total)
    p = _precision(precision)
    if optimizer not in MOMENTS:
        raise ValueError(unknown("optimizer", optimizer, list(MOMENTS)))

    def share(count: int, from_stage: int) -> int:
        return -(-count // ranks) if stage >= from_stage else count

    held = p.master + MOMENTS[optimizer] * p.moment
    return p.weight * share(total, 3), p.gradient * share(trained, 2), held * share(trained, 1)


def _precision(name: str) -> Precision:
    if name not in PRECISIONS:
        raise ValueError(unknown("precision", name, list(PRECISIONS)))
    return PRECISIONS[name]


@dataclass(frozen=True)
class KeptByToken:
    """Bytes a token that autograd keeps: of one block, of its feed-forward part alone, of the ends (last norm, log-probabilities of all words), and of a
    block's input; `shared` of these are both, in the block and its input."""

    block: float
    feed_forward: float
    ends: float
    input: float
    shared: float


def kept_by_token(config: TransformerConfig, seq: int, *, precision: str = "float32", attention: str = "fused") -> KeptByToken:
    """What a pre-norm decoder keeps from forward to backward for each of seq tokens. Raises ValueError for sizes or names that cannot be."""
    whole("seq", seq, 1, config.max_length)
    if attention not in ("fused", "stored"):
        raise ValueError(unknown("attention", attention, ["fused", "stored"]))
    p, d, inner = _precision(precision), config.d_model, config.n_heads * config.head_width
    # a norm's output, its input, and the statistics; RMSNorm computes in float32 whatever it is given, and keeps x and x / rms so
    norm = d * p.weight + (2 * d + 1) * 4 if config.norm == "rms" else (2 * d + 2) * p.weight
    weights = config.n_heads * (1 if attention == "fused" else seq)
    heads = (4 * inner + weights) * p.weight  # Q, K, V (each key head repeated for its queries) and the heads' outputs
    hidden = (4 if config.gated else 2) - (config.activation == "relu")  # before and after the activation (of relu after it alone); gated: the other two
    feed_forward = norm + hidden * config.d_ff * p.weight
    shared = 0 if config.norm == "rms" and p.weight < 4 else d * p.weight  # a converted copy is no block's input
    return KeptByToken(norm + heads + feed_forward, feed_forward, norm + config.vocab_size * p.weight, d * p.weight, shared)


def activations(
    config: TransformerConfig, rows: int, seq: int, *, precision: str = "float32", checkpointing: bool = False, attention: str = "fused"
) -> int:
    """Bytes that a pre-norm decoder keeps from forward to backward for rows × seq tokens, at their most.

    attention: "fused" keeps one number a query and head, "stored" the whole matrix of weights (what kernels before FlashAttention do). checkpointing: each
    block keeps its input alone, and one block at a time is computed again, when the ends are gone. Raises ValueError for sizes or names that cannot be.
    """
    whole("rows", rows, 0, 10**9)
    kept = kept_by_token(config, seq, precision=precision, attention=attention)
    if checkpointing and config.n_layers:
        return math.ceil(rows * seq * (config.n_layers * kept.input + max(kept.ends, kept.block - kept.shared)))
    return math.ceil(rows * seq * (config.n_layers * kept.block + kept.ends))
