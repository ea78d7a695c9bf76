"""Whatever is put in the place of an argument, the section on training at scale answers with a sentence (see tests/bad_input.py)."""

import pytest
import torch.distributed as dist

LEFT_OUT: dict[str, str] = {}
pytestmark = pytest.mark.filterwarnings("ignore:.* ranks share")


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    """A group of one process, which is all that a wrong argument needs."""
    monkeypatch.delenv("RANK", raising=False)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def valid(call):
    """Valid calls, where the signature does not say enough."""
    return {
        "scaling.launch.ranks": call(len, 1, "ab"),
        "scaling.launch.process_group": call(),
    }


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tmp_path, monkeypatch):
    keep = {("scaling.launch.ranks", "show"), ("scaling.launch.ranks", "args")}  # any value is a truth value, or is handed on to fn
    bad_input.check("llmsuite_lab.scaling", tmp_path, monkeypatch, valid=valid(bad_input.call), left_out=LEFT_OUT, keep=keep)


def test_the_same_nonsense_everywhere_is_answered_too(bad_input, tmp_path, monkeypatch):
    bad_input.check_nonsense("llmsuite_lab.scaling", tmp_path, monkeypatch, left_out=LEFT_OUT)
