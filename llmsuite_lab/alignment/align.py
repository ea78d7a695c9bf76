"""Alignment on one's own preferences, start to end: read pairs, divide by prompt, score, tune a LoRA, score again, write a folder that others can load.

    llmsuite align pairs.jsonl --method dpo --out my_adapter          or ppo, rest: these learn a reward model from the pairs first

    out/            PEFT's files (`peft.PeftModel.from_pretrained`, `LanguageModel.load(adapter=…)`), provenance.json
                    README.md, a model card of what was measured; metrics.jsonl and metrics.png, the run
    out_training/   while it runs: the table and the picture as they grow, and the state from which a stopped run goes on

Policy, reference and reward model share one base: the reference is the base with its adapters off, the reward a second LoRA that is worn to judge. What PPO
and ReST raise is that reward, so that it going up is no proof of anything but the optimiser: the held-out pairs, which no policy was tuned on, are the second
figure. Source: paper 6. In production: `trl.DPOTrainer`, `trl.RewardTrainer` with `trl.RLOOTrainer` or `trl.GRPOTrainer`.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from llmsuite_lab.alignment import align_card, dpo, own_pairs, own_reward
from llmsuite_lab.alignment.measuring import kl_and_entropy
from llmsuite_lab.alignment.own_methods import DEFAULTS, RUNS, Run, Work, micro
from llmsuite_lab.alignment.rollouts import Reference, write
from llmsuite_lab.alignment.run_log import PICTURE, TABLE, RunLog
from llmsuite_lab.core.errors import LabError, no_empty_name, unknown, whole, within
from llmsuite_lab.core.files import check_folder, check_output, remove_folder, write_output
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.runtime import profile
from llmsuite_lab.lm.adapters import KIND
from llmsuite_lab.lm.supervised import is_encoder_decoder
from llmsuite_lab.lm.training import MOST
from llmsuite_lab.peft_methods import files, memory, own_run
from llmsuite_lab.peft_methods.methods import method
from llmsuite_lab.peft_methods.own_model import load_base
from llmsuite_lab.peft_methods.own_run import CARD
from llmsuite_lab.world.preferences_files import read_file

LONGEST, WRITTEN = 1024, 64  # tokens of a prompt with a reply; held-out prompts that are written to


@dataclass(frozen=True)
class Score:
    """One figure before and after, each with its interval over the `per` ("pairs" or "prompts") that were held out."""

    what: str
    per: str
    before: Interval
    after: Interval


@dataclass(frozen=True)
class Aligned:
    """What it came to: the `folder`; rows by use; `scores` by name; `gain`, the held-out reward after minus before, prompt by prompt, and `reward`, the reward
    model's held-out accuracy and calibration error (both None for DPO, which has none); trainable numbers; steps; `stopped`: why it ended early."""

    folder: Path
    rows: dict[str, int]
    scores: dict[str, Score]
    gain: Interval | None
    reward: dict[str, Any] | None
    trainable: int
    steps: int
    wall_s: float
    stopped: str | None


def align(
    file: Path | str,
    out: Path | str,
    *,
    method_name: str = "dpo",
    model: str | None = None,
    steps: int | None = None,
    rank: int = 8,
    max_tokens: int = 64,
    hold_out: float = 0.2,
    seed: int = 0,
    skip_bad: bool = False,
    longest: int = LONGEST,
    progress: bool = True,
    say: Callable[[str], None] = print,
    **options: Any,
) -> Aligned:
    """Tune a LoRA on `model` (a zoo name, or a folder in transformers' format; None: the profile's) on pairs of one's own, and write `out`.

    steps: updates (dpo; None: by epochs), iterations (ppo), Grow steps (rest). max_tokens: of a reply that is written. options: the method's own, `DEFAULTS`
    without its steps. A stopped run goes on where it was when it is called again; one that diverged is written with its last good weights, `stopped`.
    Raises LabError for a file or folder that cannot be used, ValueError for options that cannot work.
    """
    out = Path(out)
    settings = _settings(method_name, steps, rank, max_tokens, hold_out, options)
    whole("longest", longest, 2, MOST)
    state = out.with_name(f"{out.name}_training")
    check_folder(out, KIND)
    for name in (TABLE, PICTURE):
        check_output(state / name)
    own = read_file(file, skip_bad=skip_bad)
    no_empty_name("model", model)
    name = model or profile().model
    base, tokenizer = load_base(name)
    if is_encoder_decoder(base):
        raise ValueError(f"{name} is an encoder–decoder, and what is aligned here is a causal model: choose one of these")
    context = getattr(base.config, "max_position_embeddings", None) or MOST
    whole("max_tokens", max_tokens, 1, context - 1)
    pairs, bad = own_pairs.ready(own, tokenizer, min(longest, context), skip_bad=skip_bad)
    own_run.tell_bad(bad, say)
    train, held = own_run.divide(pairs, hold_out, seed, file)
    rows = {"train": len(train), "held out": len(held), "left out": len(bad), "cut": sum(pair.cut for pair in pairs)} | own_pairs.overlaps(train, held)
    say(f"{len(train)} pairs to train on, {len(held)} held out, by prompt")
    log, (own_train, own_held) = RunLog(state, method_name, say), ([own.pair for own in side] for side in (train, held))
    judge = None
    if method_name != "dpo":
        judge = own_reward.learn(
            base, own_train, own_held, rank=rank, epochs=settings["reward_epochs"], batch_size=settings["batch_size"], micro=micro(own_train), seed=seed,
            state=state / "reward", progress=progress,
        )  # fmt: skip
        say(f"the reward model ranks {judge.accuracy} of the held-out pairs right; calibration error {judge.ece:.2f}")
        if judge.accuracy.low <= 0.5:
            say("that may be chance: what is optimised next may mean nothing; more pairs, or more reward epochs")
    policy = method("lora").prepare(base, seed, tokenizer, rank=rank)
    room = context - max_tokens
    work = Work(
        policy, Reference.without_adapters(policy), tokenizer.eos_token_id, own_train, own_held, own_pairs.prompts(train, room), settings, seed, state, log,
        progress,
    )  # fmt: skip
    asked = own_pairs.prompts(held, room)[:WRITTEN]
    before = _look(work, asked, judge)
    run = RUNS[method_name](work, *([] if judge is None else [judge.rewards]))
    if run.stopped:
        say(f"ended early, and the last good weights are kept: {run.stopped}")
    after = _look(work, asked, judge)
    found = _found(out, rows, method_name, before, after, judge, run, memory.count(policy).trained)
    made = own_run.made_by("align", file, own.sha256, rows, {"method": method_name, "seed": seed, "longest": longest} | settings, seed, run.wall_s)
    files.save(out, policy, made, base=name, name="default")
    write_output(out / CARD, align_card.text(found, name, made, log.table()))
    log.write(out)
    _clear(state)
    return found


def _settings(method_name: str, steps: int | None, rank: int, max_tokens: int, hold_out: float, options: dict[str, Any]) -> dict[str, Any]:
    """`DEFAULTS` with what was asked for. Raises ValueError before anything runs."""
    if method_name not in DEFAULTS:
        raise ValueError(unknown("method", method_name, list(DEFAULTS)))
    known = DEFAULTS[method_name]
    own_run.refuse_foreign(method_name, list(options), [name for name in known if name != "steps"])
    asked = {name: value for name, value in options.items() if value is not None}
    amounts = {name: asked[name] for name in ("epochs", "batch_size", "lr") if name in asked}
    own_run.check_amounts(hold_out=hold_out, steps=steps, otherwise="one epoch", **amounts)
    for name, (low, high) in {"beta": (1e-6, 1e3), "label_smoothing": (0, 0.499), "reward_epochs": (1e-3, 1e6)}.items():
        if name in asked:
            within(name, asked[name], low, high)
    for name, value in {"rank": rank, "max_tokens": max_tokens, "replies": asked.get("replies", 1)}.items():
        whole(name, value, 1, MOST)
    return known | asked | ({} if steps is None else {"steps": steps}) | {"rank": rank, "max_tokens": max_tokens, "hold_out": hold_out}


@dataclass(frozen=True)
class _Look:
    """One policy on what was held out: figures a pair, figures a prompt."""

    pairs: dict[str, list[float]]
    prompts: dict[str, list[float]]


@torch.no_grad()
def _look(work: Work, asked: Sequence[Sequence[int]], judge: own_reward.Judge | None) -> _Look:
    """The same prompts with the same random numbers, whoever writes."""
    beta = work.settings["beta"] if judge is None else 1.0
    pairs = dpo.each(work.policy, work.reference, work.held, beta, 2 * micro(work.held))
    likelier = (pairs["logprob_chosen"] > pairs["logprob_rejected"]).float()
    tokens = work.settings["max_tokens"]
    replies, ended = write(work.policy, asked, end_id=work.end_id, max_new_tokens=tokens, seed=work.seed, batch_size=profile().batch_size)
    kl, _ = kl_and_entropy(work.policy, work.reference, replies)
    prompts = {"KL": kl, "length": [float(len(reply.completion_ids)) for reply in replies], "ended": [float(did) for did in ended]}
    if judge is not None:
        prompts["reward"] = judge.rewards(replies).tolist()
    chosen = ("loss", "accuracy", "reward_margin") if judge is None else ("accuracy", "reward_margin")
    return _Look({name: pairs[name].tolist() for name in chosen} | {"likelier": likelier.tolist()}, prompts)


def _found(
    out: Path, rows: dict[str, int], method_name: str, before: _Look, after: _Look, judge: own_reward.Judge | None, run: Run, trainable: int
) -> Aligned:
    sides = {name: ("prompts", before.prompts[name], after.prompts[name]) for name in ("reward", "KL", "length", "ended") if name in before.prompts}
    sides = {name: ("pairs", values, after.pairs[name]) for name, values in before.pairs.items()} | sides
    scores = {name: Score(align_card.MEANINGS[name], per, _interval(name, then), _interval(name, now)) for name, (per, then, now) in sides.items()}
    gain = reward = None
    if judge is not None:
        gain = _interval("gain", [b - a for a, b in zip(before.prompts["reward"], after.prompts["reward"], strict=True)])
        reward = {"accuracy": asdict(judge.accuracy), "calibration_error": judge.ece, "bins": [asdict(row) for row in judge.bins], "steps": judge.history.steps}
    return Aligned(out, rows, scores, gain, reward, trainable, run.steps, run.wall_s, run.stopped)


def _interval(name: str, values: Sequence[float]) -> Interval:
    """Over pairs or prompts; figures that are all the same, and no shares, have no spread to show."""
    if name not in align_card.SHARES and len(set(values)) == 1:
        return Interval(values[0], values[0], values[0], len(values), "all alike")
    return mean_interval(values)


def _clear(state: Path) -> None:
    """Remove what the run left on its way; what is not ours, or was changed, stays."""
    for folder in (*(state / name for name in ("reward", *RUNS)), state):
        if folder.is_dir():
            with contextlib.suppress(LabError):
                remove_folder(folder)
    if state.is_dir() and not os.listdir(state):
        state.rmdir()


def as_data(found: Aligned) -> dict[str, Any]:
    """For JSON."""
    return asdict(found) | {"folder": str(found.folder)}
