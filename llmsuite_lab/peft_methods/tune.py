"""Tuning on one's own file, start to end: read, split by item, score, tune, score again, and write a folder that others can load.

    llmsuite tune my.jsonl --method lora --out my_adapter

    out/   LoRA (of equal or adaptive ranks), soft prompt: PEFT's files (`peft.PeftModel.from_pretrained`, `LanguageModel.load(adapter=…)`)
           full: the whole model with its tokenizer (`transformers.AutoModelFor….from_pretrained`), safetensors
           README.md, a model card of what was measured; provenance.json for an adapter

The held-out rows are chosen by their prompt, so that no prompt stands on both sides, and their loss is taken before and after on the same rows.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmsuite_lab.core.errors import no_empty_name, whole
from llmsuite_lab.core.files import check_folder, remove_folder, whole_folder, write_output, write_text
from llmsuite_lab.core.runtime import profile
from llmsuite_lab.finetuning import own_files
from llmsuite_lab.lm.adapters import KIND
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.lm.supervised import is_encoder_decoder
from llmsuite_lab.lm.text import chat_prompt
from llmsuite_lab.lm.training import MOST, fit
from llmsuite_lab.peft_methods import files, memory, own_run
from llmsuite_lab.peft_methods.comparing import mean_loss
from llmsuite_lab.peft_methods.methods import METHODS, method
from llmsuite_lab.peft_methods.own_model import load_base
from llmsuite_lab.peft_methods.own_run import CARD
from llmsuite_lab.peft_methods.prompt_tuning import add_soft_prompt

WHOLE = "a tuned model"
OPTIONS = {"lora": ("rank", "alpha", "dropout", "rslora"), "adaptive": ("rank", "alpha"), "prompt": ("length", "text"), "full": ()}
SAVED = tuple(OPTIONS)  # what others can load: PEFT's formats (what adaptive ranks leave is a LoRA), or the whole model
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
    own_run.refuse_foreign(method_name, list(options), OPTIONS[method_name])
    own_run.check_amounts(hold_out=hold_out, steps=steps, epochs=epochs, batch_size=batch_size, lr=lr, otherwise="three epochs")
    check_folder(out, WHOLE if method_name == "full" else KIND)
    own = own_files.read(file, skip_bad=skip_bad)
    no_empty_name("model", model)
    name = model or profile().model
    base, tokenizer = load_base(name)
    separate = is_encoder_decoder(base)
    context = getattr(base.config, "max_position_embeddings", None) or MOST
    if method_name == "prompt":  # its vectors stand in the context too
        length = options.get("length", inspect.signature(add_soft_prompt).parameters["length"].default)
        whole("length", length, 1, context - 1)
        context -= length
    limit = min(longest, context)
    own = own_files.fitting(own, tokenizer, limit, separate=separate, skip_bad=skip_bad)
    own_run.tell_bad(own.bad, say)
    parts = dict(zip(("train", "held out"), own_run.divide(own.rows, hold_out, seed, file), strict=True))
    data = {part: own_files.examples(rows, tokenizer, limit, separate=separate) for part, rows in parts.items()}
    if talks := sum(bool(row.turns) for row in own.rows):
        say(f"{talks:,} rows are conversations: their last turn is learnt, what comes before it is the prompt")
    if cut := sum(len(found[1]) for found in data.values()):
        say(f"{cut} prompts are longer than {limit:,} tokens with their completion and lose their beginning")
    train, held = data["train"][0], data["held out"][0]
    say(f"{len(train)} rows to train on, {len(held)} held out")
    uncut = [(row, example) for row, example in zip(parts["held out"], held, strict=True) if row not in data["held out"][1]]
    short = [(row, e) for row, e in uncut if len(e.completion_ids) <= SHORT and len(e.prompt_ids) + SHORT <= context][:WRITTEN]
    tuned = chosen.prepare(base, seed, tokenizer, **options)  # first, for it refuses what cannot work; nothing that it adds changes the base's answers
    before, exact_before = mean_loss(base, held), _exact(base, tokenizer, name, short)
    rate, state = lr or chosen.rates[1], out.with_name(f"{out.name}_training")
    updates = steps or max(1, round((epochs or 3.0) * math.ceil(len(train) / batch_size)))
    history = fit(
        tuned, train, steps=updates, batch_size=batch_size, lr=rate, seed=seed, checkpoint=state, resume=True, progress=progress,
        on_step=chosen.on_step(tuned, updates),
    )  # fmt: skip
    if history.interrupted or history.steps < history.planned_steps:
        raise own_run.unfinished(history.steps, history.planned_steps, "steps", state)
    trainable = memory.count(tuned).trained
    tuned = chosen.finish(tuned)
    after, exact_after = mean_loss(tuned, held), _exact(tuned, tokenizer, name, short)
    found = Tuned(
        out, {"train": len(train), "held out": len(held), "left out": len(own.bad), "cut": cut}, before, after, exact_before, exact_after,
        trainable, history.steps, history.wall_s,
    )  # fmt: skip
    settings = {"method": method_name, "steps": history.steps, "batch_size": batch_size, "lr": rate, "seed": seed, "hold_out": hold_out} | options
    made = own_run.made_by("tune", file, own.sha256, found.rows, settings, seed, history.wall_s)
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
    text = _card(method_name, name, found, made, "AutoModelForSeq2SeqLM" if is_encoder_decoder(model) else "AutoModelForCausalLM")
    if method_name != "full":
        files.save(out, model, made, base=name)
        write_output(out / CARD, text)
        return
    with whole_folder(out, WHOLE) as new:
        model.save_pretrained(new)
        tokenizer.save_pretrained(new)
        write_text(new / CARD, text)


def _card(method_name: str, name: str, found: Tuned, made: dict[str, Any], auto: str) -> str:
    scores = [f"| loss, nats per token | {found.loss_before:.4f} | {found.loss_after:.4f} |"]
    scores += [f"| perplexity | {math.exp(min(found.loss_before, 50)):.2f} | {math.exp(min(found.loss_after, 50)):.2f} |"]
    if found.exact_after is not None:
        scores.append(f"| exact match, completions of up to {SHORT} tokens whose prompt fits whole | {found.exact_before:.3f} | {found.exact_after:.3f} |")
    whole_model = method_name == "full"
    loading = f'{auto}.from_pretrained("{found.folder.name}")' if whole_model else own_run.peft_loading(auto, name, found.folder)
    return own_run.card(
        found.folder, name, "transformers" if whole_model else "peft",
        f"{own_run.hub_name(name)}, tuned by {_how(method_name, made['settings'])} ({found.trainable:,} trainable numbers).",
        ["The held-out rows were chosen by their prompt; no prompt stands on both sides.",
         "The loss reads completions alone; of a conversation, its last turn."],
        {f"Scores on the {found.rows['held out']} held-out rows": ["| | before | after |", "|---|---|---|", *scores]},
        made, f"{found.steps} updates in {found.wall_s:.0f} s", loading,
    )  # fmt: skip


def _how(method_name: str, settings: dict[str, Any]) -> str:
    """The method in words: its own line speaks of its defaults, and is not used where another size was asked for."""
    asked = ", ".join(f"{name} {settings[name]}" for name in OPTIONS[method_name] if name in settings)
    return f"{method_name} ({asked})" if asked else METHODS[method_name].says


def as_data(found: Tuned) -> dict[str, Any]:
    """For JSON."""
    return asdict(found) | {"folder": str(found.folder)}
