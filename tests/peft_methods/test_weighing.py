"""What a method is said to cost is what it holds, and the file is the one that is written."""

import pytest
import torch

from llmsuite_lab.peft_methods import weighing
from llmsuite_lab.peft_methods.methods import METHODS
from llmsuite_lab.peft_methods.switching import adapters_off


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_is_weighed_and_leaves_a_file_of_what_it_trained(name, tiny, examples):
    model, row = weighing.weigh(name, tiny("llama"), examples, steps=4, batch_size=3, lr=1e-3)
    assert row["gradients"] == 4 * row["trained"]
    assert row["moments"] == 8 * row["trained"]  # float32, two a number
    assert min(row["weights"], row["activations"], row["step_s"]) > 0
    left = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert 4 * left <= row["file"] < 4 * left + 20_000  # and the names of the tensors
    assert left <= row["trained"]
    assert (left < row["trained"]) == (name == "adaptive")  # its terms compete until the end


def test_weighing_does_not_touch_the_base(tiny, examples):
    ids = torch.tensor([[5, 9, 40]])
    model, _ = weighing.weigh("lora", tiny("llama"), examples, steps=2, lr=1e-2)
    with torch.no_grad():
        before = tiny("llama")(ids).logits
        assert not torch.equal(model(ids).logits, before)
        with adapters_off(model):
            assert torch.equal(model(ids).logits, before)


def test_what_cannot_be_weighed_is_refused(tiny, examples):
    with pytest.raises(ValueError, match="lora"):
        weighing.weigh("lorra", tiny("llama"), examples)
    with pytest.raises(ValueError, match="batch_size"):
        weighing.weigh("lora", tiny("llama"), examples[:2], batch_size=3)
    with pytest.raises(ValueError, match="nothing of the model is trained"):
        weighing.file_bytes(tiny("llama").requires_grad_(False))


