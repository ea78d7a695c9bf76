"""`llmsuite bench peft`: our written-out LoRA beside peft's in one training loop, merged inference beside the base, `fit()` beside `trl.SFTTrainer`.

Both LoRAs have the same targets, rank, scale and starting values of A, train the same examples in `fit()`, and their first losses must agree, or the
comparison is refused. Peak memory is that of a whole process that loads and trains: `python -m llmsuite_lab.course.bench.peft ours|peft`.
"""

import json
import sys
from contextlib import redirect_stdout
from typing import Any

import torch

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.runtime import profile
from llmsuite_lab.core.seeding import seeded
from llmsuite_lab.course.bench import Row, _training, child_peak_bytes, clock, compare, interleaved, peak_resident_bytes, say, seconds_unit
from llmsuite_lab.lm.adapters import add_lora as add_pefts
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.peft_methods.lora import add_lora
from llmsuite_lab.peft_methods.merging import merge

RANK, ALPHA, ROUNDS, PROMPTS, NEW_TOKENS = 8, 16, 5, 16, 32


def rows() -> list[Row]:
    """All rows; about ten minutes on two free cores. Needs the profile's model in the cache."""
    with redirect_stdout(sys.stderr):  # the references report their progress on stdout
        measured: list[Row] = []
        for title, part in (("step", step_rows), ("memory", memory_rows), ("merged", merged_rows), ("fit() against trl", trl_rows)):
            say(title)
            measured += part()
    return measured


def lora_model(whose: str) -> Any:
    """SmolLM2 in the profile's training dtype with a fresh LoRA, "ours" or "peft"; both begin with B = 0."""
    model = zoo.load_model(profile().model, dtype=profile().train_dtype, device=profile().device)
    return add_lora(model, rank=RANK, alpha=ALPHA) if whose == "ours" else add_pefts(model, 0, rank=RANK, alpha=ALPHA)


def step_rows(n: int = ROUNDS) -> list[Row]:
    """Real tokens per second of training with our LoRA and with peft's, `_training.STEPS` updates each in turn.

    Raises LabError where the two do not start from the same loss.
    """
    examples = _training.bench_examples(_training.BATCH * _training.STEPS)
    tokens = sum(len(e) for e in examples)
    models = {whose: lora_model(whose) for whose in ("ours", "peft")}
    first: dict[str, float] = {}

    def segment(whose: str) -> float:
        losses, seconds = _training.train("fit", models[whose], examples)
        first.setdefault(whose, losses[0])
        say(f"  {whose}: {tokens / sum(seconds):,.0f} tokens/{seconds_unit()}, first loss {losses[0]:.4f}")
        return tokens / sum(seconds)

    values = interleaved(*(lambda w=whose: segment(w) for whose in models), n=n)
    if abs(first["ours"] - first["peft"]) > _training.LOSS_TOLERANCE * first["peft"]:
        raise LabError(f"the first loss is {first['ours']:.4f} with our LoRA and {first['peft']:.4f} with peft's: they do not train the same thing")
    return [compare("LoRA step, ours against peft", f"tokens/{seconds_unit()}", *values)]


def memory_rows(n: int = ROUNDS) -> list[Row]:
    """Peak resident memory of a process that loads the model, puts a LoRA in and trains."""
    values = interleaved(*(lambda w=whose: child_peak_bytes(__name__, w) for whose in ("ours", "peft")), n=n, warmup=0)
    return [compare("LoRA training, ours against peft, peak memory", "bytes", *values)]


def merged_rows(n: int = ROUNDS) -> list[Row]:
    """Tokens per second of generating with a merged LoRA, against the base: a ratio of 1 is no cost at inference."""
    tokenizer = zoo.load_tokenizer(profile().model)
    prompts = [" ".join(tokenizer.decode(e.prompt_ids).split()) for e in _training.bench_examples(PROMPTS)]
    base, merged = LanguageModel.load(), LanguageModel.load()
    tuned = add_lora(merged.model, rank=RANK, alpha=ALPHA)
    with seeded(0), torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if parameter.requires_grad and ".B." in name:
                parameter.normal_(std=1e-3)
    merge(tuned)

    def written(lm: LanguageModel) -> float:
        began = clock()
        tokens = sum(c.completion_tokens for c in lm.complete(prompts, max_new_tokens=NEW_TOKENS))
        return tokens / (clock() - began)

    values = interleaved(lambda: written(merged), lambda: written(base), n=n)
    return [compare(f"complete() of {PROMPTS}, merged LoRA against the base", f"tokens/{seconds_unit()}", *values)]


def trl_rows() -> list[Row]:
    """`fit()` against `trl.SFTTrainer`, the same LoRA of peft in both (`_training`)."""
    return [row for row in _training.speed_rows() if "SFTTrainer" in row.name]


if __name__ == "__main__":
    _training.train("fit", lora_model(sys.argv[1]), _training.bench_examples(_training.BATCH * _training.STEPS))
    print(json.dumps({"peak_bytes": peak_resident_bytes()}))
