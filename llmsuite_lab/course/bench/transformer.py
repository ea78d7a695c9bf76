"""`llmsuite bench transformer`: our engine beside `transformers.generate`, our training step beside Llama's and GPT-2's of the same shape.

Generation is greedy from the same prompts with the same weights and counts new tokens per second, prefill included. It is compared twice: with
`generate` in the same dtype, and our best dtype with theirs. A training step is forward, loss, backward and torch's AdamW on the same batch, same
starting weights; the first losses must agree, or the comparison is refused. Peak memory is that of a whole process that only trains.
`python -m llmsuite_lab.course.bench.transformer FAMILY ours|theirs` is such a process.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.runtime import profile
from llmsuite_lab.core.seeding import seeded
from llmsuite_lab.course.bench import Row, child_peak_bytes, compare, interleaved, peak_resident_bytes, say
from llmsuite_lab.transformer import weights
from llmsuite_lab.transformer.generation import generate

NEW_TOKENS, ROUNDS = 32, 3
BATCHES = (1, 16)
FAMILIES = ("llama", "gpt2")
VOCABULARY, D_MODEL, LAYERS, HEADS, BATCH, SEQ = 4096, 256, 4, 8, 8, 128  # a decoder that a notebook could pre-train
LOSS_TOLERANCE = 1e-4  # nats; both compute in float32, in another order

TEXTS = (
    "The capital of France is", "Water boils at a temperature of", "Once upon a time there was a", "The three primary colours are",
    "A list of animals: cat, dog,", "To make a cup of tea, first", "The largest planet is", "My favourite book is about",
    "def add(a, b):\n    return", "The opposite of hot is", "In 1969, the first man", "A good friend is someone who",
    "The sun rises in the", "Two plus two equals", "The best way to learn is", "Photosynthesis is the process by which",
)  # fmt: skip


def rows() -> list[Row]:
    """All rows; about ten minutes on two free cores. Needs the profile's model in the cache."""
    measured: list[Row] = []
    for title, part in (("generation", generation_rows), ("training", training_rows), ("training memory", memory_rows)):
        say(title)
        measured += part()
    return measured


def generation_rows(n: int = ROUNDS) -> list[Row]:
    """New tokens per second at batch 1 and 16: float32 against float32, bfloat16 against bfloat16, and the faster of each side against the other."""
    tokenizer = zoo.load_tokenizer(profile().model)
    tokenizer.padding_side = "left"
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    models = {name: zoo.load_model(profile().model, dtype, profile().device) for name, dtype in dtypes.items()}
    measured = []
    for batch in BATCHES:
        calls = [_ours(models[name], tokenizer, batch) for name in dtypes] + [_theirs(models[name], tokenizer, batch) for name in dtypes]
        values = dict(zip([(who, name) for who in ("ours", "theirs") for name in dtypes], interleaved(*calls, n=n)))
        for name in dtypes:
            measured.append(compare(f"generate, batch {batch}, {name}", "tokens/s", values["ours", name], values["theirs", name]))
        best = {who: max((sum(values[who, name]), name) for name in dtypes)[1] for who in ("ours", "theirs")}
        title = f"generate, batch {batch}, best dtypes ({best['ours']} against {best['theirs']})"
        measured.append(compare(title, "tokens/s", values["ours", best["ours"]], values["theirs", best["theirs"]]))
    return measured


def _ours(model: Any, tokenizer: Any, batch: int) -> Callable[[], float]:
    prompts = tokenizer(list(TEXTS[:batch])).input_ids

    def call() -> float:
        start = time.perf_counter()
        new = sum(len(row.ids) for row in generate(model, prompts, NEW_TOKENS))
        return new / (time.perf_counter() - start)

    return call


def _theirs(model: Any, tokenizer: Any, batch: int) -> Callable[[], float]:
    inputs = tokenizer(list(TEXTS[:batch]), return_tensors="pt", padding=True).to(model.device)
    options = {"do_sample": False, "max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "pad_token_id": 0}

    def call() -> float:
        start = time.perf_counter()
        out = model.generate(**inputs, **options)
        return out[:, inputs.input_ids.shape[1] :].numel() / (time.perf_counter() - start)

    return call


@seeded(0)
def reference_model(family: str) -> Any:
    """A `transformers` Llama or GPT-2 of the benchmark's shape with seeded weights and no dropout. Raises ValueError for another family."""
    import transformers

    if family == "llama":
        sizes = {"hidden_size": D_MODEL, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": 688}
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=2 * SEQ, **sizes))
    if family == "gpt2":
        sizes = {"n_embd": D_MODEL, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 2 * SEQ, "bos_token_id": 1, "eos_token_id": 1}
        drop = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        config = transformers.GPT2Config(vocab_size=VOCABULARY, **sizes, **drop)
        config.loss_type = "ForCausalLM"
        return transformers.GPT2LMHeadModel(config)
    raise ValueError(f"family={family!r}: choose one of {', '.join(FAMILIES)}")


def training_step(family: str, who: str) -> Callable[[], tuple[float, float]]:
    """A call that trains one step of `family` ("llama", "gpt2"), ours or theirs, and returns (loss in nats per token, seconds)."""
    theirs = reference_model(family)
    model = weights.from_transformers(theirs, share=True).train() if who == "ours" else theirs.train()
    ids = torch.randint(0, VOCABULARY, (BATCH, SEQ + 1), generator=torch.Generator().manual_seed(1))
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> tuple[float, float]:
        start = time.perf_counter()
        optimizer.zero_grad()
        if who == "ours":
            loss = model.loss(inputs, targets)
        else:  # shift_labels: labels that stand where ours do, so both predict the same tokens from the same positions
            loss = model(input_ids=inputs, labels=targets, shift_labels=targets, use_cache=False).loss
        loss.backward()
        optimizer.step()
        return loss.item(), time.perf_counter() - start

    return step


def training_rows(n: int = 4 * ROUNDS) -> list[Row]:
    """Trained tokens per second against a Llama and a GPT-2 of the same shape, one step each in turn. Raises LabError when the losses differ."""
    measured = []
    for family in FAMILIES:
        steps = {who: training_step(family, who) for who in ("ours", "theirs")}
        first = {who: step()[0] for who, step in steps.items()}
        if abs(first["ours"] - first["theirs"]) > LOSS_TOLERANCE:
            raise LabError(
                f"{family}: the first loss is {first['ours']:.5f} in ours and {first['theirs']:.5f} in theirs: they do not train the same model"
            )
        values = interleaved(*(lambda step=step: BATCH * SEQ / step()[1] for step in steps.values()), n=n)
        measured.append(compare(f"training step against {family}", "tokens/s", *values))
    return measured


def memory_rows(n: int = 2) -> list[Row]:
    """Peak resident memory of a process that trains a few steps, against a Llama and a GPT-2 of the same shape."""
    measured = []
    for family in FAMILIES:
        values = interleaved(*(lambda family=family, who=who: child_peak_bytes(__name__, family, who) for who in ("ours", "theirs")), n=n, warmup=0)
        measured.append(compare(f"training step against {family}, peak memory", "bytes", *values))
    return measured


if __name__ == "__main__":
    one_step = training_step(*sys.argv[1:3])
    for _ in range(4):
        one_step()
    print(json.dumps({"peak_bytes": peak_resident_bytes()}))
