"""Tuning on one's own file, start to end: read, split by item, score, tune, score again, and write a folder that others can load.

    llmsuite tune my.jsonl --method lora --out my_adapter

    out/   LoRA (of equal or adaptive ranks), soft prompt: PEFT's files (`peft.PeftModel.from_pretrained`, `LanguageModel.load(adapter=…)`)
           full: the whole model with its tokenizer (`transformers.AutoModelFor….from_pretrained`), safetensors
           README.md, a model card of what was measured; provenance.json for an adapter

The held-out rows are chosen by their prompt, so that no prompt stands on both sides, and their loss is taken before and after on the same rows.
"""

import inspect
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError, whole, within
from llmsuite_lab.core.files import check_folder, remove_folder, whole_folder, write_output, write_text
from llmsuite_lab.core.provenance import commit_now, provenance
from llmsuite_lab.core.runtime import profile
from llmsuite_lab.finetuning import own_files, splits
from llmsuite_lab.lm.adapters import KIND
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.lm.supervised import is_encoder_decoder
from llmsuite_lab.lm.text import chat_prompt
from llmsuite_lab.lm.training import MOST, fit
from llmsuite_lab.peft_methods import files
from llmsuite_lab.peft_methods.comparing import mean_loss
from llmsuite_lab.peft_methods.methods import METHODS, method
from llmsuite_lab.peft_methods.own_model import load_base
from llmsuite_lab.peft_methods.prompt_tuning import add_soft_prompt

WHOLE = "a tuned model"
OPTIONS = {"lora": ("rank", "alpha", "dropout", "rslora"), "adaptive": ("rank", "alpha"), "prompt": ("length", "text"), "full": ()}
SAVED = tuple(OPTIONS)  # what others can load: PEFT's formats (what adaptive ranks leave is a LoRA), or the whole model
CARD = "README.md"
LONGEST, SHORT, WRITTEN = 1024, 16, 64  # tokens of a row; of a completion that is scored by exact match; rows that are


@dataclass(frozen=True)
class Tuned:
    """What a tuning came to: the `folder`, rows by use, losses in nats per token before and after on the held-out rows, exact match of short completions
    (None where there are none), trainable numbers, `interrupted` when it was stopped."""

    folder: Path
    rows: dict[str, int]
    loss_before: float
    loss_after: float
    exact_before: float | None
    exact_after: float | None
    trainable: int
    steps: int
    wall_s: float


def tune(
    file: Path | str,
    out: Path | str,
    *,
    method_name: str = "lora",
    model: str | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int = 8,
    lr: float | None = None,
    hold_out: float = 0.1,
    seed: int = 0,
    skip_bad: bool = False,
    longest: int = LONGEST,
    progress: bool = True,
    say: Callable[[str], None] = print,
    **options: Any,
) -> Tuned:
    """Tune `model` (a zoo name, or a folder in transformers' format; None: the profile's) on a file of one's own and write `out`.

    steps or epochs: at most one; None: three epochs. lr: None takes the method's middle rate. options: the method's own (`rank`, `length`). A stopped
    run goes on where it was when it is called again. Raises LabError for a file or folder that cannot be used, ValueError for options that cannot work.
    """
    out, chosen = Path(out), method(method_name)
    if method_name not in SAVED:
        raise ValueError(f"method={method_name!r} has no format that others can load: choose {', '.join(SAVED)}, or use it from Python ({chosen.says})")
    if foreign := [name for name in options if name not in OPTIONS[method_name]]:
        known = f"its options are {', '.join(OPTIONS[method_name])}" if OPTIONS[method_name] else "it has no options of its own"
        raise ValueError(f"{method_name} takes no {foreign[0]}: {known}")
    within("hold_out", hold_out, 0.001, 0.9)
    if steps is not None and epochs is not None:
        raise ValueError(f"steps={steps} and {epochs=}: give one of them, or neither for three epochs")
    if epochs is not None:
        within("epochs", epochs, 1e-3, 1e6)
    for what, value in {"steps": steps, "batch_size": batch_size}.items():
        if value is not None:
            whole(what, value, 1, MOST)
    if lr is not None:
        within("lr", lr, 1e-12, 10)
    check_folder(out, WHOLE if method_name == "full" else KIND)
    own = own_files.read(file, skip_bad=skip_bad)
    if own.bad:
        say(f"{len(own.bad)} bad rows left out, first {own.bad[0][0]}: {own.bad[0][1]}")
    try:
        parts = splits.split(own.rows, {"train": 1 - hold_out, "held out": hold_out}, seed)
    except ValueError as error:
        raise LabError(f"{Path(file).name} cannot be split into rows to train on and rows to hold out ({error}): give more rows or another hold_out") from None
    name = model or profile().model
    base, tokenizer = load_base(name)
    separate = is_encoder_decoder(base)
    context = getattr(base.config, "max_position_embeddings", None) or MOST
    if method_name == "prompt":  # its vectors stand in the context too
        length = options.get("length", inspect.signature(add_soft_prompt).parameters["length"].default)
        whole("length", length, 1, context - 1)
        context -= length
    limit = min(longest, context)
    data = {part: own_files.examples(rows, tokenizer, limit, separate=separate) for part, rows in parts.items()}
    if talks := sum(bool(row.turns) for row in own.rows):
        say(f"{talks:,} rows are conversations: their last turn is learnt, what comes before it is the prompt")
    if cut := sum(len(found[1]) for found in data.values()):
        say(f"{cut} prompts are longer than {limit:,} tokens with their completion and lose their beginning")
    train, held = data["train"][0], data["held out"][0]
    say(f"{len(train)} rows to train on, {len(held)} held out")
    uncut = [(row, example) for row, example in zip(parts["held out"], held, strict=True) if row not in data["held out"][1]]
    short = [(row, e) for row, e in uncut if len(e.completion_ids) <= SHORT and len(e.prompt_ids) + SHORT <= context][:WRITTEN]
    before, exact_before = mean_loss(base, held), _exact(base, tokenizer, name, short)
    tuned = chosen.prepare(base, seed, tokenizer, **options)
    rate, state = lr or chosen.rates[1], out.with_name(f"{out.name}_training")
    updates = steps or max(1, round((epochs or 3.0) * math.ceil(len(train) / batch_size)))
    history = fit(
        tuned, train, steps=updates, batch_size=batch_size, lr=rate, seed=seed, checkpoint=state, resume=True, progress=progress,
        on_step=chosen.on_step(tuned, updates),
    )  # fmt: skip
    if history.interrupted or history.steps < history.planned_steps:
        raise LabError(f"stopped after {history.steps} of {history.planned_steps} steps; the same command goes on from there ({state})")
    trainable = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    tuned = chosen.finish(tuned)
    after, exact_after = mean_loss(tuned, held), _exact(tuned, tokenizer, name, short)
    found = Tuned(
        out, {"train": len(train), "held out": len(held), "left out": len(own.bad), "cut": cut}, before, after, exact_before, exact_after,
        trainable, history.steps, history.wall_s,
    )  # fmt: skip
    settings = {"method": method_name, "steps": history.steps, "batch_size": batch_size, "lr": rate, "seed": seed, "hold_out": hold_out} | options
    made = provenance(f"llmsuite tune {Path(file).name} --method {method_name}", seed, history.wall_s, commit_now())
    made |= {"settings": settings, "data": {"file": Path(file).name, "sha256": own.sha256, "rows": found.rows}}
    _write(out, tuned, tokenizer, method_name, name, found, made)
    remove_folder(state)
    return found


def _exact(model: Any, tokenizer: Any, name: str, short: list[tuple[own_files.OwnRow, Any]]) -> float | None:
    """Share of these rows whose completion the model writes exactly, greedy; None without any, or for an encoder–decoder."""
    if not short or is_encoder_decoder(model):
        return None
    rows = [row for row, _ in short]
    prompts = [chat_prompt(tokenizer, [{"role": r, "content": w} for r, w in row.turns]) if row.turns else row.prompt for row in rows]
    said = LanguageModel(model, tokenizer, name).complete(prompts, max_new_tokens=SHORT)
    return sum(c.text.strip() == row.completion.strip() for c, row in zip(said, rows, strict=True)) / len(rows)


def _write(out: Path, model: Any, tokenizer: Any, method_name: str, name: str, found: Tuned, made: dict[str, Any]) -> None:
    known = zoo.ENTRIES.get(name)
    text = _card(method_name, name, known, found, made, "AutoModelForSeq2SeqLM" if is_encoder_decoder(model) else "AutoModelForCausalLM")
    if method_name != "full":
        files.save(out, model, made, base=name)
        write_output(out / CARD, text)
        return
    with whole_folder(out, WHOLE) as new:
        model.save_pretrained(new)
        tokenizer.save_pretrained(new)
        write_text(new / CARD, text)


def _card(method_name: str, name: str, known: Any, found: Tuned, made: dict[str, Any], auto: str) -> str:
    """The model card: what was done and measured, and nothing else."""
    base = known.hub if known else Path(name).name
    library = "transformers" if method_name == "full" else "peft"
    front = ["---", f"base_model: {base}", *([f"license: {known.licence.lower()}"] if known else []), f"library_name: {library}", "---"]
    scores = [f"| loss, nats per token | {found.loss_before:.4f} | {found.loss_after:.4f} |"]
    scores += [f"| perplexity | {math.exp(min(found.loss_before, 50)):.2f} | {math.exp(min(found.loss_after, 50)):.2f} |"]
    if found.exact_after is not None:
        scores.append(f"| exact match, completions of up to {SHORT} tokens whose prompt fits whole | {found.exact_before:.3f} | {found.exact_after:.3f} |")
    loading = (
        f'{auto}.from_pretrained("{found.folder.name}")' if method_name == "full"
        else f'PeftModel.from_pretrained({auto}.from_pretrained("{base}"), "{found.folder.name}")'
    )  # fmt: skip
    data, settings = made["data"], made["settings"]
    return "\n".join(
        [
            *front, "", f"# {found.folder.name}", "", f"{base}, tuned by {_how(method_name, settings)} ({found.trainable:,} trainable numbers).", "",
            "## Data", "", f"`{data['file']}`, SHA-256 `{data['sha256']}`: " + ", ".join(f"{n} rows {what}" for what, n in data["rows"].items()) + ".",
            "The held-out rows were chosen by their prompt; no prompt stands on both sides.",
            "The loss reads completions alone; of a conversation, its last turn.", "",
            f"## Scores on the {found.rows['held out']} held-out rows", "", "| | before | after |", "|---|---|---|", *scores, "",
            "## Settings", "", "```json", json.dumps(settings, indent=1), "```", "",
            f"{found.steps} updates in {found.wall_s:.0f} s on {made['machine']}, {made['date']}.", "",
            f"Licence of the base: {known.licence if known else 'not recorded here, look at its own card'}.", "",
            "## Use", "", "```python", loading, "```", "",
        ]
    )  # fmt: skip


def _how(method_name: str, settings: dict[str, Any]) -> str:
    """The method in words: its own line speaks of its defaults, and is not used where another size was asked for."""
    asked = ", ".join(f"{name} {settings[name]}" for name in OPTIONS[method_name] if name in settings)
    return f"{method_name} ({asked})" if asked else METHODS[method_name].says


def as_data(found: Tuned) -> dict[str, Any]:
    """For JSON."""
    return asdict(found) | {"folder": str(found.folder)}
