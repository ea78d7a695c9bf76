"""Random numbers of one's own: what a function draws is the same each time, and whoever called it goes on drawing as if it had drawn nothing.

    torch.manual_seed(7)
    with seeded(0):
        model = Decoder(config)         the same weights each time
    torch.randn(3)                      what it would be without the two lines above

Two habits of the package. Where torch lets a generator be handed in (`torch.randn(…, generator=…)`), a generator of one's own is handed in. Where it does not
(the first weights of a layer, dropout), the draws stand in one of these blocks, which also decorate a function: `@seeded(0)`. torch's generators are those
of the whole process: a thread that draws while another is in such a block draws from the same numbers.
In production: `torch.random.fork_rng`, `transformers.enable_full_determinism`.
"""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from llmsuite_lab.core.errors import whole


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within this block torch draws from `seed` (CPU and GPUs); after it, torch's generators are as they were before. Nothing is done to NumPy's, Python's.

    Raises ValueError for a seed that is no whole number of at most 64 bits.
    """
    whole("seed", seed, -(2**63), 2**64 - 1)
    with torch_state_kept():
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """After this block the generators of torch (CPU and GPUs), NumPy and Python are as they were before: for a library that seeds all of them by itself."""
    numbers, arrays = random.getstate(), np.random.get_state()
    try:
        with torch_state_kept():
            yield
    finally:
        random.setstate(numbers)
        np.random.set_state(arrays)


@contextlib.contextmanager
def torch_state_kept() -> Iterator[None]:
    """After this block torch's generators (CPU and GPUs) are as they were before."""
    # A GPU's generators can be read once CUDA has started. Before that they have no state but the last seed: it is given again, which starts nothing.
    started, last_seed = torch.cuda.is_initialized(), torch.initial_seed()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if started else [], device_type="cuda"):
            yield
    finally:
        if not started:
            torch.cuda.manual_seed_all(last_seed)
