"""Is the sequence processed in parallel? Training tokens per second over the sequence length, attention against an LSTM of the same size.

The tokens in a batch stay the same; only their arrangement changes, from many short sequences to a few long ones. Attention does the same
matrix products either way (plus scores that grow with the length); an LSTM must take `length` steps, each smaller than the one before.

Source of the claim: Vaswani et al. 2017, table 1 (sequential operations O(1) against O(n)).
"""

import time
from dataclasses import dataclass

import torch
from torch import nn

from llmsuite_lab.core.seeding import seeded
from llmsuite_lab.transformer.experiments.lstm import lstm_of_size
from llmsuite_lab.transformer.experiments.pretraining import small_decoder


@dataclass(frozen=True)
class Speed:
    """Training tokens per second at one sequence length, one figure per repetition."""

    length: int
    attention: list[float]
    lstm: list[float]

    @property
    def ratio(self) -> list[float]:
        """Attention over LSTM, repetition by repetition (they are run in turn, so that a busy machine slows both)."""
        return [a / b for a, b in zip(self.attention, self.lstm)]


def measure_speed(
    lengths: tuple[int, ...] = (32, 128, 512, 2048),
    tokens: int = 2048,
    repeats: int = 3,
    d_model: int = 256,
    vocab_size: int = 512,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> list[Speed]:
    """Time one forward and backward pass of `tokens` tokens at each length. Raises ValueError for a length that does not divide `tokens`."""
    if bad := [length for length in lengths if length < 1 or tokens % length]:
        raise ValueError(f"tokens={tokens} cannot be cut into sequences of {bad[0]}")
    with seeded(seed):
        decoder = small_decoder(vocab_size, d_model, max_length=max(lengths)).to(device)
        lstm = lstm_of_size(vocab_size, 2, sum(p.numel() for p in decoder.parameters())).to(device)
    ids = torch.randint(vocab_size, (tokens,), generator=torch.Generator().manual_seed(seed)).to(device)
    results = []
    for length in lengths:
        batch = ids.view(-1, length)
        for model in (decoder, lstm):
            _step_seconds(model, batch)  # the first pass plans kernels and allocates
        pairs = [(tokens / _step_seconds(decoder, batch), tokens / _step_seconds(lstm, batch)) for _ in range(repeats)]
        results.append(Speed(length, [a for a, _ in pairs], [b for _, b in pairs]))
    return results


def _step_seconds(model: nn.Module, ids: torch.Tensor) -> float:
    began = time.perf_counter()
    model.loss(ids, ids).backward()
    if ids.is_cuda:  # a GPU works on after the call has returned
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    model.zero_grad()
    return seconds
