"""FLAN-T5 on DialogSum, the paper's own example: an encoder–decoder tuned before on 473 data sets, then on everyday dialogues and their summaries.

    source  template(dialogue)  →  encoder,      target  the human summary  →  decoder;      L = −Σ_t log P(y_t | source, y_<t)

The same rows, templates, `fit()` and ROUGE as for a decoder; only the writing is T5's own `generate`. ROUGE is taken before and after on the same held-out
dialogues, against all human summaries there are. It needs the t4 or gpu profile and the hub (`desk_flan` of `llmsuite train`): on the cpu profile the
test of this file, and notebook 08, run every line of it but the hub's with a tiny random T5. Source: paper 5.2; Chung et al. 2022; Chen et al. 2021.
In production: `transformers.Seq2SeqTrainer`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.history import History
from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.core.runtime import profile
from llmsuite_lab.finetuning import evaluation, templates
from llmsuite_lab.lm.batching import collate
from llmsuite_lab.lm.supervised import is_encoder_decoder
from llmsuite_lab.lm.training import fit
from llmsuite_lab.transformer.evaluating import evaluating
from llmsuite_lab.world import readers
from llmsuite_lab.world.rows import Dialogue, read_dialogue


@dataclass(frozen=True)
class Settings:
    """The model; `dialogues` to train on in `steps` updates of `batch_size`; `items` test dialogues, each summarised in at most `tokens`."""

    model: str = "flan-t5-base"
    dialogues: int = 4_000
    steps: int = 500
    batch_size: int = 8
    lr: float = 3e-4
    items: int = 200
    tokens: int = 96


def measure(seed: int = 0, settings: Settings | None = None) -> Outcome:
    """The whole run with the hub's model and rows. Raises LabError on the cpu profile, and where the hub cannot be reached."""
    settings, dial = settings or Settings(), profile()
    if dial.name == "cpu":
        raise LabError(f"{settings.model} on DialogSum is for the t4 and gpu profiles, and this is cpu: run it on a GPU (LLMSUITE_PROFILE=t4)")
    model, tokenizer = zoo.load_model(settings.model, torch.float32, dial.device, source="hub"), zoo.load_tokenizer(settings.model, source="hub")
    found, history = tune(model, tokenizer, dialogues("train", settings.dialogues), dialogues("test", settings.items), seed, settings)
    return Outcome(asdict(settings), found, history)


def dialogues(split: str, count: int) -> list[Dialogue]:
    """The first rows of a split of DialogSum on the hub. Raises LabError when it cannot be loaded."""
    known = readers.FORMATS["dialogsum"]
    return [read_dialogue(row) for row in islice(readers.from_hub(known.hub, known.configuration, split, known.revision), count)]


def tune(
    model: Any, tokenizer: Any, train: Sequence[Dialogue], held_out: Sequence[Dialogue], seed: int = 0, settings: Settings | None = None
) -> tuple[dict[str, Any], History]:
    """Tune an encoder–decoder in place: ({"before", "after"}: rows as `summaries`', the history).

    Raises ValueError for a model of another kind, no dialogue, and one that stands on both sides.
    """
    settings = settings or Settings()
    if not is_encoder_decoder(model):
        raise ValueError(f"{type(model).__name__} is no encoder–decoder: tune it as the rest of this section does (`instruct.train`)")
    if len(train) == 0 or len(held_out) == 0:
        raise ValueError(f"{len(train)} dialogues to train on and {len(held_out)} held out: at least one of each is needed")
    if both := {templates.item_of(row) for row in train} & {templates.item_of(row) for row in held_out}:
        raise ValueError(f"{len(both)} dialogues are to be trained on and held out: a score on them would say nothing")
    examples = templates.examples(templates.render(train, "summary", seed=seed), tokenizer)
    before = summaries(model, tokenizer, held_out, settings)
    options = {"batch_size": settings.batch_size, "lr": settings.lr, "warmup": 0.05, "seed": seed, "dtype": profile().train_dtype}
    history = fit(model, examples, steps=settings.steps, progress=False, **options)
    return {"before": before, "after": summaries(model, tokenizer, held_out, settings)}, history


def summaries(model: Any, tokenizer: Any, chosen: Sequence[Dialogue], settings: Settings | None = None) -> list[dict[str, Any]]:
    """One row a dialogue: {"item", "said", "score" (ROUGE-L), "rouge1", "rougeL"}; greedy, by the model's own `generate`, in the first phrasing."""
    settings, said = settings or Settings(), []
    pairs = templates.render(chosen, "summary", templates.training("summary")[:1])
    examples = templates.examples(pairs, tokenizer)
    with torch.no_grad(), evaluating(model):
        for start in range(0, len(examples), settings.batch_size):
            batch = collate(examples[start : start + settings.batch_size], separate=True).to(next(model.parameters()).device)  # the source, as it is trained
            ids = model.generate(batch.ids, attention_mask=batch.attention_mask, max_new_tokens=settings.tokens, do_sample=False, num_beams=1)
            said += [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
    scored = evaluation.scores("summary", said, chosen)
    return [{"item": templates.item_of(row), "said": words} | parts for row, words, parts in zip(chosen, said, scored, strict=True)]
