"""What takes long in this section, for `llmsuite train`: the reader, every condition on held-out questions, and search against size."""

from functools import partial

from llmsuite_lab.core.runs import Outcome, Recipe, Run


def _reader(run: Run) -> Outcome:
    from llmsuite_lab.lm.runs import trained
    from llmsuite_lab.retrieval import measuring, reader

    return trained(run, partial(reader.train, settings=reader.Settings()), measuring.read_by)


def _varied(run: Run) -> Outcome:
    from llmsuite_lab.lm.runs import trained
    from llmsuite_lab.retrieval import varied

    return trained(run, partial(varied.train, settings=varied.VariedSettings()), varied.read_by)


def _elsewhere(run: Run) -> Outcome:
    from llmsuite_lab.retrieval import varied

    return varied.shipped()


def _held_out(run: Run) -> Outcome:
    from llmsuite_lab.retrieval import measuring

    return measuring.held_out()


def _attacks(run: Run) -> Outcome:
    from llmsuite_lab.retrieval import measuring

    return measuring.attacks()


def _formats(run: Run) -> Outcome:
    from llmsuite_lab.retrieval import measuring

    return measuring.formats()


def _own_gate(run: Run) -> Outcome:
    from llmsuite_lab.retrieval import own_gate_measuring

    return own_gate_measuring.measure()


def _scale(run: Run) -> Outcome:
    from llmsuite_lab.retrieval import scale

    return scale.measure()


RECIPES = (
    Recipe("reader", "adapter: answer from the passages, or say that they do not", _reader, seeds=(0, 1, 2), ships=True),
    Recipe("reader_varied", "adapter: the reader on corpora of many forms, with a gate fitted on them", _varied, seeds=(0, 1, 2)),
    Recipe("reader_elsewhere", "the shipped reader and gate on corpora of another author", _elsewhere),
    Recipe("retrieval", "the gate, and the untuned reader under every condition on held-out questions", _held_out),
    Recipe("retrieval_attacks", "the untuned reader on passages that give orders, and on the same without, under each defence", _attacks),
    Recipe("retrieval_formats", "one passage against three, the answer in them, in two forms of prompt", _formats),
    Recipe(
        "retrieval_own_gate",
        "the gate that takes its threshold from a corpus, on others' corpora (LLMSUITE_REAL_DATA names the folder of squad.jsonl and hotpotqa.jsonl)",
        _own_gate,
    ),
    Recipe("retrieval_scale", "exact, IVF, HNSW and BM25 search from a thousand to a hundred thousand passages", _scale),
)
