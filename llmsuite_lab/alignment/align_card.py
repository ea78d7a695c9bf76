"""The model card of an aligned adapter: scores before and after, the reward model, the run's metrics, and whom to take for larger work."""

from collections.abc import Mapping, Sequence
from typing import Any

from llmsuite_lab.alignment.run_log import PICTURE, TABLE
from llmsuite_lab.core.metrics import Interval
from llmsuite_lab.peft_methods import own_run

SHARES = ("accuracy", "likelier", "ended")
MEANINGS = {
    "loss": "DPO loss, nats a pair",
    "accuracy": "pairs whose chosen reply has the higher implicit reward (a tie is half right)",
    "reward_margin": "implicit reward of the chosen reply minus that of the rejected, β × nats",
    "likelier": "pairs whose chosen reply is the likelier one as a whole",
    "reward": "reward of the replies written, by the reward model",
    "KL": "exact KL to the start, nats a reply written",
    "length": "tokens of a reply written",
    "ended": "replies that end by themselves",
}
AT_SCALE = {
    "dpo": "`trl.DPOTrainer` with a `peft_config` takes the same pairs: several GPUs, longer replies, other losses of the family.",
    "ppo": "`trl.RewardTrainer` for the reward, then `trl.RLOOTrainer` or `trl.GRPOTrainer` (vLLM writes the replies): trl has no PPO any more, and a group of "
    "replies to one prompt takes the place of the value head.",
    "rest": "No trainer of trl: vLLM writes the replies, `trl.RewardTrainer`'s model scores them, `trl.SFTTrainer` learns what is kept; `trl.GRPOTrainer` "
    "where replies may be written anew at every update.",
}
NAMES = {"dpo": "direct preference optimisation", "ppo": "proximal policy optimisation against a reward model", "rest": "reinforced self-training (ReST)"}
PROXY = (
    "The reward is the very figure that was optimised (a proxy, learnt from the pairs to train on), here on prompts that nothing was tuned on: that it rises "
    "shows that the optimiser works, not that people would prefer the replies. The held-out pairs are the second look: they were used for nothing."
)


def text(found: Any, model: str, made: Mapping[str, Any], metrics: Sequence[str]) -> str:
    """The card of `align.Aligned`; metrics: the table of `run_log.RunLog.table`."""
    name = made["settings"]["method"]
    pairs, prompts = (next(score.after.n for score in found.scores.values() if score.per == per) for per in ("pairs", "prompts"))
    sections: dict[str, list[str]] = {f"Scores on {pairs} held-out pairs and {prompts} of their prompts": scores(found)}
    if found.reward is not None:
        sections["The reward model"] = _reward(found.reward)
    sections["The run"] = [*([f"Ended early, with its last good weights: {found.stopped}", ""] if found.stopped else []), *metrics, ""]
    sections["The run"] += [f"Every step stands in `{TABLE}`, a picture of it in `{PICTURE}`."]
    sections["For larger work"] = [AT_SCALE[name]]
    return own_run.card(
        found.folder, model, "peft", f"{own_run.hub_name(model)}, aligned by {NAMES[name]}: a LoRA of {found.trainable:,} trainable numbers.",
        ["Held out by prompt: no prompt stands on both sides (case, marks and spaces aside). A margin in the file is not read."],
        sections, made, f"{found.steps} steps in {found.wall_s:.0f} s", own_run.peft_loading("AutoModelForCausalLM", model, found.folder),
    )  # fmt: skip


def scores(found: Any) -> list[str]:
    """Markdown: each score before and after with its 95 % interval over pairs or prompts."""
    lines = ["| | over | before | after |", "|---|---|---|---|"]
    lines += [f"| {score.what} | {score.per} | {cell(score.before)} | {cell(score.after)} |" for score in found.scores.values()]
    if found.gain is not None:
        lines += ["", f"Reward after minus before, prompt by prompt: {cell(found.gain)}.", "", PROXY]
    return [*lines, "", "In brackets: 95 % intervals over pairs or prompts. Before is the base, where every implicit reward is 0."]


def cell(value: Interval) -> str:
    """0.612 [0.500, 0.720]; without brackets where they would show no spread. What rounds to 0 has no sign."""
    mean, low, high = (f"{number:z.3f}" for number in (value.mean, value.low, value.high))
    return mean if low == high else f"{mean} [{low}, {high}]"


def _reward(reward: Mapping[str, Any]) -> list[str]:
    accuracy = Interval(**reward["accuracy"])
    chance = " Its interval holds 0.5: it may know nothing, and then what was optimised means nothing." if accuracy.low <= 0.5 else ""
    lines = [
        f"A head and a second LoRA on the same base, {reward['steps']} updates on the pairs to train on; not in this folder, the command makes it again.",
        f"It ranks {cell(accuracy)} of the {accuracy.n} held-out pairs right.{chance}", "",
        f"Is it right as often as it says? Expected calibration error {reward['calibration_error']:.3f}:", "",
        "| pairs | says | is right |", "|---|---|---|",
    ]  # fmt: skip
    return lines + [f"| {row['n']} | {row['confidence']:.2f} | {row['right']:.2f} |" for row in reward["bins"]]
