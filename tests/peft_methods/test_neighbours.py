"""Neighbours of a soft prompt: cosines as scipy has them, chance measured beside."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from llmsuite_lab.peft_methods import neighbours


def test_cosines_as_scipy_has_them_and_zeros_are_far():
    P, E = torch.randn(3, 7, generator=torch.Generator().manual_seed(1)), torch.randn(11, 7, generator=torch.Generator().manual_seed(2))
    expected = 1 - cdist(P.double().numpy(), E.double().numpy(), "cosine")
    ids, cosines = neighbours.nearest(P, E, 4)
    order = np.argsort(-expected, axis=1)[:, :4]
    assert ids.tolist() == order.tolist()
    np.testing.assert_allclose(cosines.numpy(), np.take_along_axis(expected, order, 1), rtol=1e-5)
    E[5] = 0
    assert float(neighbours.nearest(P, E, 11)[1][neighbours.nearest(P, E, 11)[0] == 5].abs().max()) == 0


def test_random_vectors_are_as_long_and_a_prompt_made_of_task_words_beats_them():
    E = torch.randn(400, 24, generator=torch.Generator().manual_seed(3))
    wanted = set(range(40))
    P = 3 * E[:6] + 0.1 * torch.randn(6, 24, generator=torch.Generator().manual_seed(4))
    noise = neighbours.random_like(P, 5)
    torch.testing.assert_close(noise.norm(dim=1), P.norm(dim=1))
    assert not torch.equal(noise, neighbours.random_like(P, 6))
    found = neighbours.against_random(P, E, wanted, k=1, draws=30)
    assert found["learned"] == 1.0
    assert found["chance"] == 0.1
    assert abs(np.mean(found["random"]) - 0.1) < 0.08  # 180 vectors at a share of 0.1: standard error 0.02


def test_words_and_refusals(tiny_tokenizer):
    assert neighbours.words_of(["ab", "b</s>"], tiny_tokenizer) == {tiny_tokenizer.convert_tokens_to_ids(c) for c in "ab</s>"}
    P = torch.randn(2, 4)
    for call, says in (
        (lambda: neighbours.nearest(P, torch.randn(9, 5)), "same width"),
        (lambda: neighbours.nearest(P, torch.randn(9, 4), 10), "from 1 to 9"),
        (lambda: neighbours.share_within(torch.tensor([[1]]), []), "no wanted"),
        (lambda: neighbours.words_of("ab", tiny_tokenizer), "list of texts"),
    ):
        with pytest.raises(ValueError, match=says):
            call()
