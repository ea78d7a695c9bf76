"""The memory of one training step, moment by moment. Activations go while gradients come: what a rank needs is its fullest moment, and less than all maxima.

    moment          activations        own gradients (stages 2, 3)   for a while
    loss            all                none                          two more matrices of logits: the gradients of the picked log p, and of the logits
    output matrix   all but log p      none                          the logits' gradient; the matrix's (tied, it waits for the embedding's, to the end)
    block k         blocks 1..k        of blocks k+1..L, 1/n         gradients of the stream, of the hidden layer or of heads, and of one tensor at a time
    embedding       none               all but its own, 1/n          its gradient in full
    besides, at each of them:          stage 2: a bucket that fills and one that travels;   stage 3: the root and one block gathered, the gradient of the
                                       root, and of a block that fills and of one that travels
    reduction       none               (stage 1 alone)               a bucket's part
    norm            none               all, 1/n                      stages 1 to 3: one piece of a gradient in float64, squared
    update          none               all, 1/n                      a run of AdamW, `CACHED` elements or one larger tensor: √v̂ + ε; of 16 bits the
                                                                     gradient in float32
    publication     none               none                          stages 1 and 2: a bucket's part of the new parameters

The update is `transformer.optimizer.AdamW`'s. Gradients that it was told to gather in float32 before (micro-batches, `normalise`) come on top.
The tests hold the fullest moment within 15 % of what two and four processes measure in whole steps, on decoders of Llama's and GPT-2's kind.

Checkpointing: block k stands beside the inputs of blocks 1..k. On CPUs gloo works on copies of what it scatters or gathers, and each checkpoint keeps the
state of the random numbers; GPUs do without. oneDNN's copies of 16-bit matrices on CPUs differ by processor (up to 1.4 times the whole on small models)
and are not counted.

Sources: as `memory`; Rajbhandari et al. 2020, section 6, counts buffers and activations beside the states. In production: torch's memory snapshots
(`torch.cuda.memory._record_memory_history`), `torch.distributed._tools.mem_tracker`.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from llmsuite_lab.scaling.layout import BUCKET_BYTES
from llmsuite_lab.scaling.memory import (
    PRECISIONS,
    STAGES,
    activations,
    block_parameters,
    block_tensors,
    kept_by_token,
    model_states,
    parameters,
    root_parameters,
)
from llmsuite_lab.transformer.config import TransformerConfig
from llmsuite_lab.transformer.optimizer import CACHED

RANDOM_STATE = torch.get_rng_state().nbytes  # of torch's generator on CPUs, which a checkpoint keeps so that dropout falls again as it fell


@dataclass(frozen=True, slots=True)
class Moment:
    """Bytes on one rank while a step runs, beside parameters and the optimizer's state."""

    name: str
    activations: int
    gradients: int
    temporary: int

    @property
    def held(self) -> int:
        """All three."""
        return self.activations + self.gradients + self.temporary


@dataclass(frozen=True)
class Memory:
    """Bytes on one rank: each kind at its most, and `total`, all of them at the fullest moment of a step."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    temporary: int
    total: int

    @property
    def states(self) -> int:
        """Parameters, gradients and the optimizer's state: what training holds from step to step."""
        return self.parameters + self.gradients + self.optimizer


class _Walk:
    """What is held on the way; each `note` is a moment."""

    def __init__(self, ranks: int, copies: int, own: float, gathered: float) -> None:
        self.ranks, self.copies, self.own, self.gathered = ranks, copies, own, gathered
        self.waiting = self.filling = self.travelling = 0.0  # full gradients: one that waits for its other half, a bucket that fills, one that travels
        self.found: list[Moment] = []

    def note(self, name: str, activations: float, more: float) -> None:
        temporary = self.gathered + self.waiting + self.filling + self.travelling * (1 + self.copies) + more
        self.found.append(Moment(name, math.ceil(activations), math.ceil(self.own), math.ceil(temporary)))

    def send(self, name: str, activations: float, more: float) -> None:
        """What was filled leaves, and is there with the one before it until that one has arrived."""
        self.own += self.filling / self.ranks
        self.note(name, activations, more + self.filling * self.copies)
        self.travelling, self.filling = self.filling, 0.0


def moments(
    config: TransformerConfig,
    rows: int,
    seq: int,
    *,
    stage: int = 0,
    ranks: int = 1,
    precision: str = "float32",
    checkpointing: bool = False,
    attention: str = "fused",
    bucket_bytes: float = BUCKET_BYTES,
    cpu: bool = False,
) -> list[Moment]:
    """What one rank holds as the backward pass of rows × seq tokens goes from the loss to the embedding, and in the update, in that order.

    stage: 0 is data parallel, 1 to 3 are ZeRO's, as `ddp`, `zero1`, `zero2` and `zero3` do them. cpu: count gloo's copies and the random numbers' state.
    Raises ValueError for sizes or names that cannot be, TypeError for a `cpu` that is neither True nor False.
    """
    if cpu not in (True, False):
        raise TypeError(f"cpu={cpu!r:.40} must be True or False: whether gloo's copies and the random numbers' state count")
    everything = activations(config, rows, seq, precision=precision, attention=attention)
    kept = kept_by_token(config, seq, precision=precision, attention=attention)
    own = model_states(parameters(config), stage=stage, ranks=ranks, precision=precision)[1]
    if not 0 < bucket_bytes < math.inf:
        raise ValueError(f"bucket_bytes={bucket_bytes} must be above 0 and finite")
    p, tokens, tied, layers = PRECISIONS[precision], rows * seq, config.tie_embeddings, range(config.n_layers, 0, -1)
    widths = (config.d_model, config.n_heads * config.head_width, config.d_ff, config.vocab_size)
    stream, heads, hidden, logits = (tokens * width * p.weight for width in widths)
    block, root, words = block_parameters(config), root_parameters(config), config.vocab_size * config.d_model
    attention_part, feed_forward_part = (part[::-1] for part in block_tensors(config))
    norm = attention_part[0] * (2 if config.norm == "layer" else 1)
    rest = max(0, root - words * (1 if tied else 2) - norm)  # positions and whatever else is no word's
    order = [*([] if tied else [words]), norm, *(feed_forward_part + attention_part) * config.n_layers, rest, words]
    buckets = list(_buckets(order[::-1] if stage == 1 else order, bucket_bytes / p.gradient, ranks))
    leaving = iter(buckets if stage == 2 else [])
    walk = _Walk(ranks, int(cpu), own if stage < 2 else 0, root * p.weight if stage == 3 else 0)
    arrived, (bucket, last) = 0, next(leaving, (0, 0))

    def arrive(name: str, elements: int, activations: float, more: float) -> None:
        """A tensor's gradient is computed, and then moves to where the stage keeps it."""
        nonlocal arrived, bucket, last
        arrived += 1
        walk.note(name, activations, more + elements * p.gradient)
        if stage == 2:
            walk.filling = bucket * p.gradient
            walk.note(f"{name} arrives", activations, more + elements * p.gradient)
        if arrived == last:
            walk.send(f"{name}: the bucket leaves", activations, more)
            bucket, last = next(leaving, (0, 0))

    def held(k: int) -> float:
        """Activations of blocks 1 to k before the k-th, with checkpointing, is computed again."""
        return k * (tokens * kept.input + RANDOM_STATE * cpu if checkpointing else tokens * kept.block)

    ends = held(config.n_layers) + tokens * kept.ends if checkpointing else everything
    walk.note("loss", ends, 2 * logits)
    if tied:
        walk.waiting = words * p.gradient
        walk.note("output matrix", ends - logits, stream + logits)
    else:
        arrive("output matrix", words, ends - logits, stream + logits)
    walk.waiting += root * p.gradient if stage == 3 else 0
    arrive("last norm", norm, ends - logits, 2 * stream)
    for k in layers:
        again = tokens * (kept.block - kept.shared) if checkpointing else 0
        if stage == 3:
            walk.gathered = (root + block) * p.weight
            walk.note(f"block {k} is gathered", held(k), stream + cpu * block * p.weight)
            walk.filling = block * p.gradient
        walk.note(f"block {k}", held(k) + again, stream + hidden * (2 if config.gated else 1))
        for elements in feed_forward_part if stage == 2 else [max(feed_forward_part)]:
            arrive(f"block {k}, feed-forward", elements, held(k) + again, stream + hidden)
        again -= tokens * kept.feed_forward
        walk.note(f"block {k}, heads", held(k) + again, stream + 4 * heads)  # of their outputs, Q, K and V
        for elements in attention_part if stage == 2 else [max(attention_part)]:
            arrive(f"block {k}, attention", elements, held(k) + again, stream + 2 * heads)
        if stage == 3:
            walk.send(f"block {k}: its gradient leaves", held(k - 1), stream)
            walk.gathered = root * p.weight
    arrive("positions", rest, 0, stream)
    if tied:
        walk.note("embedding, both halves", 0, stream + words * p.gradient)
        walk.waiting -= words * p.gradient
    arrive("embedding", words, 0, stream)
    if stage == 3:
        walk.waiting, walk.filling = 0.0, root * p.gradient
        walk.send("embedding: the root's gradient leaves", 0, 0)
    walk.gathered = walk.travelling = 0.0
    flat = [(block, max(feed_forward_part + attention_part)), (root, max(words, rest))] if stage == 3 else [(max(n for n, _ in buckets), max(order))]
    shares = ranks if stage else 1
    part = max(-(-elements // shares) for elements, _ in flat)
    piece = max(min(-(-elements // shares), tensor) for elements, tensor in flat)
    whole = part * ranks * int(cpu)
    if stage == 1:
        walk.note("gradients are reduced", 0, (part + whole) * p.gradient)
    if stage:
        walk.note("norm", 0, piece * 8)  # counted in float64
    walk.note("update", 0, min(-(-parameters(config) // shares), max(piece, CACHED)) * (p.moment + p.master))  # √v̂ + ε, and the gradient in float32
    if stage in (1, 2):
        walk.own = own if stage == 1 else 0.0
        walk.note("parameters are gathered", 0, (part + whole) * p.weight)
    return walk.found


def _buckets(order: Iterable[int], limit: float, ranks: int) -> Iterator[tuple[int, int]]:
    """(elements with padding, number of the last tensor) of each bucket, filled as `layout.layouts` does; tensors count from 1."""
    filled, n = 0, 0
    for n, elements in enumerate(order, 1):
        if filled and filled + elements > limit:
            yield -(-filled // ranks) * ranks, n - 1
            filled = 0
        filled += elements
    yield -(-filled // ranks) * ranks, n


def fullest(found: Iterable[Moment]) -> Moment:
    """The moment at which most is held. Raises ValueError for no moments."""
    found = list(found)
    if not found:
        raise ValueError("no moments to choose from: give what `moments` returns")
    return max(found, key=lambda moment: moment.held)


def training_memory(
    config: TransformerConfig,
    rows: int,
    seq: int,
    *,
    stage: int = 0,
    ranks: int = 1,
    precision: str = "float32",
    optimizer: str = "adamw",
    checkpointing: bool = False,
    attention: str = "fused",
) -> Memory:
    """Everything on one rank, which works on `rows` sequences of `seq` tokens at a time. Raises ValueError as `moments` and `model_states` do."""
    shared = {"stage": stage, "ranks": ranks, "precision": precision}
    weights, gradients, state = model_states(parameters(config), **shared, optimizer=optimizer)
    found = moments(config, rows, seq, **shared, checkpointing=checkpointing, attention=attention)
    kept, more = max(m.activations for m in found), max(m.temporary for m in found)
    return Memory(weights, gradients, state, kept, more, weights + state + max(gradients, fullest(found).held))


def smallest_stage(config: TransformerConfig, gpu_bytes: float, ranks: int, rows: int = 1, seq: int = 2048, **options: object) -> int | None:
    """The first stage at which the training fits into `gpu_bytes` on each of `ranks` GPUs; None where not even stage 3 does."""
    if not 0 < gpu_bytes < math.inf:
        raise ValueError(f"gpu_bytes={gpu_bytes} must be above 0 and finite")
    fitting = (stage for stage in STAGES if training_memory(config, rows, seq, stage=stage, ranks=ranks, **options).total <= gpu_bytes)
    return next(fitting, None)
