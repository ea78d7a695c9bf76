"""Seeded blocks: what is drawn inside is always the same, and what the caller draws afterwards is what it would have drawn anyway."""

import random

import numpy as np
import pytest
import torch

from llmsuite_lab.core.seeding import random_state_kept, seeded, torch_state_kept


def drawn():
    return torch.rand(3).tolist(), random.random(), np.random.rand()


def everything_from(seed):
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def test_inside_is_a_seed_and_after_it_is_as_before():
    torch.manual_seed(5)
    wanted = torch.rand(3).tolist()
    torch.manual_seed(7)
    before, undisturbed = torch.rand(2).tolist(), torch.rand(3).tolist()
    torch.manual_seed(7)
    assert torch.rand(2).tolist() == before
    with seeded(5):
        assert torch.rand(3).tolist() == wanted
    assert torch.rand(3).tolist() == undisturbed
    assert torch.initial_seed() == 7


def test_also_after_an_error_within_another_block_and_as_a_decorator():
    @seeded(5)
    def two():
        return torch.rand(2).tolist()

    with seeded(5):
        wanted = torch.rand(2).tolist()
        then = torch.rand(2).tolist()
    before = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(3):
        {}[torch.rand(1)]
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(5):
        assert (two(), two(), torch.rand(2).tolist()) == (wanted, wanted, wanted)
        with seeded(1), torch_state_kept():
            torch.rand(9)
        assert torch.rand(2).tolist() == then
    assert torch.equal(torch.get_rng_state(), before)


def test_a_library_may_seed_all_generators():
    everything_from(4)
    wanted = drawn()
    everything_from(4)
    with random_state_kept():
        everything_from(9)
        assert drawn() != wanted
    assert drawn() == wanted
    everything_from(4)
    with seeded(9):  # torch's alone
        drawn()
    torchs, pythons, numpys = drawn()
    assert torchs == wanted[0]
    assert pythons != wanted[1]
    assert numpys != wanted[2]


def test_a_wrong_seed_changes_nothing():
    before = torch.get_rng_state()
    for wrong in (2**64, -(2**63) - 1, 0.5, True, None):
        with pytest.raises(ValueError, match="seed=.* must be a whole number"), seeded(wrong):
            pass
    assert torch.equal(torch.get_rng_state(), before)


class Gpus:
    """Two GPUs' generators: a state is [the seed, how many draws]."""

    def __init__(self, monkeypatch, started):
        self.states, self.started, self.read = [[0, 0], [0, 0]], started, []
        for name in ("is_initialized", "device_count", "get_rng_state", "set_rng_state", "manual_seed_all"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))

    def is_initialized(self):
        return self.started

    def device_count(self):
        return 2

    def get_rng_state(self, device):
        assert self.started, "reading a generator starts CUDA"
        self.read.append(device)
        return list(self.states[device])

    def set_rng_state(self, state, device):
        assert self.started
        self.states[device] = list(state)

    def manual_seed_all(self, seed):
        self.states = [[seed, 0], [seed, 0]]

    def draw(self, device):
        self.states[device][1] += 1
        return tuple(self.states[device])


def test_gpus_are_seeded_inside_and_go_on_afterwards(monkeypatch):
    gpus = Gpus(monkeypatch, started=True)
    torch.manual_seed(7)
    assert (gpus.draw(0), gpus.draw(1), gpus.draw(1)) == ((7, 1), (7, 1), (7, 2))
    with seeded(5):
        assert gpus.draw(1) == (5, 1)
    assert (gpus.draw(0), gpus.draw(1)) == ((7, 2), (7, 3))
    assert gpus.read == [0, 1]


@pytest.mark.parametrize("starts", [False, True])
def test_a_gpu_that_has_not_started_is_not_started_and_keeps_the_callers_seed(monkeypatch, starts):
    gpus = Gpus(monkeypatch, started=False)
    torch.manual_seed(7)
    with seeded(5):
        gpus.started = starts  # the model that is made here goes there
        assert gpus.draw(0) == (5, 1)
    assert gpus.draw(0) == (7, 1)
    assert gpus.read == []
