"""The measurement of fidelity: two readings of one engine, its arithmetic on made-up readings, llama.cpp's answers from a stand-in, and a toy run."""

import math

import pytest
import torch

from llmsuite_lab.bitnet import fidelity
from llmsuite_lab.bitnet.fidelity import Reading
from llmsuite_lab.core.llama_cpp import LlamaCpp
from llmsuite_lab.transformer.generation import engine_for


def test_token_by_token_and_in_one_pass_are_the_same_reading(tiny_model):
    ids = torch.randint(0, 259, (11,), generator=torch.Generator().manual_seed(1)).tolist()
    whole, steps = fidelity.read_whole(tiny_model, ids), fidelity.read_stepwise(engine_for(tiny_model), ids)
    assert whole.likeliest == steps.likeliest
    assert len(whole.likeliest) == len(whole.logprobs) == 10
    assert steps.logprobs == pytest.approx(whole.logprobs, abs=1e-4)
    loss = tiny_model(torch.tensor([ids]), labels=torch.tensor([ids])).loss
    assert sum(whole.logprobs) / 10 == pytest.approx(-loss.item(), abs=1e-5)


def test_agreement_and_perplexity_by_hand():
    half = math.log(0.5)
    readings = {
        "float32": [Reading([1, 2], [half, half]), Reading([3, 4], [half, half])],
        "q4": [Reading([1, 2], [half, half]), Reading([3, 9], [half, 2 * half])],
        "llama.cpp": [Reading([1, 9], [half, half]), Reading([9, 4], [half, half])],
    }
    rows = {row["engine"]: row for row in fidelity.table(fidelity.compare(readings))}
    assert (rows["q4"]["n"], rows["q4"]["agreement"].mean, rows["float32"]["agreement"].mean) == (4, 0.75, 1.0)
    assert rows["q4"]["perplexity"] == pytest.approx(2 ** (5 / 4))
    ratio = rows["q4"]["perplexity_ratio"]
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((2**0.25, 1, 2**0.5))  # the second window's half nat more, averaged over two windows
    assert rows["float32"]["perplexity_ratio"] is None
    same = fidelity.table(fidelity.compare({"float32": readings["float32"], "same": readings["float32"]}))[1]["perplexity_ratio"]
    assert (same.mean, same.low, same.high) == (1, 1, 1)
    assert rows["q4"]["against_llama_cpp"].mean == pytest.approx(0.25)
    assert "against_llama_cpp" not in rows["llama.cpp"]


def test_windows_are_of_one_length_and_of_both_registers(tiny_lm):
    found = fidelity.windows(tiny_lm, 4, 40)
    assert [len(ids) for ids in found] == [40] * 4
    assert len({tuple(ids) for ids in found}) == 4
    for wrong in ({"n": 0}, {"length": 1}, {"length": 5000}):
        with pytest.raises(ValueError, match="must be a whole number"):
            fidelity.windows(tiny_lm, **{"n": 1, "length": 40} | wrong)


def test_llama_cpp_is_asked_again_where_the_next_token_is_not_among_the_likeliest():
    asked = []

    def answer(self, request):
        asked.append((len(request["prompt"]), request["n_probs"]))
        every = [{"id": token, "logprob": -float(token)} for token in range(400)]
        return {"choices": [{"logprobs": {"content": [{"top_logprobs": every[: request["n_probs"]]}]}}]}

    theirs = LlamaCpp.__new__(LlamaCpp)
    theirs.server = type("Server", (), {"handle_completions": answer})()
    assert fidelity.read_llama_cpp(theirs, [7, 3, 300]) == Reading([0, 0], [-3.0, -300.0])
    assert asked == [(1, fidelity.LIKELIEST), (2, fidelity.LIKELIEST), (2, 10**6)]


@pytest.mark.real_model
@pytest.mark.slow
def test_the_recipe_at_a_toy_size(lm):
    done = fidelity.measure(2, 16)
    rows = {row["engine"]: row for row in fidelity.table(done.results)}
    assert rows["q4"]["n"] == 30
    assert rows["q4"]["agreement"].mean > 0.7
    assert rows["q4"]["perplexity"] == pytest.approx(rows["float32"]["perplexity"], rel=0.1)
    assert done.settings["windows"] == 2
