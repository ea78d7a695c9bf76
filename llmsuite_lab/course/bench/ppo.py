"""`llmsuite bench ppo`: one PPO iteration, rollouts and updates, beside `trl.experimental.ppo.PPOTrainer` of trl 1.12.0, the last release that had one.

Same weights, same prompts of unequal length, replies of one length (no token ends one), as many epochs and minibatches, AdamW, float32. Ours tunes a
Llama of transformers, as trl does, and in the other row the course's decoder with that Llama's weights. Two things are each side's own way: our
value head stands on the policy's trunk, trl's value model is a second trunk; and ours writes with the course's engine, trl with `generate`.
Iterations alternate: trl's run in a process of its own interpreter (`_old_trl.py`), which waits while ours measure.

Before any update the log-probability of a prompt must be the same with all three, and the entropy of what they wrote alike, or the comparison is refused.
"""

import json
import math
import os
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn

from llmsuite_lab.alignment import ppo
from llmsuite_lab.alignment.actions import score
from llmsuite_lab.alignment.rollouts import ActorCritic, Reference
from llmsuite_lab.alignment.settings import Settings
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.seeding import seeded
from llmsuite_lab.course.bench import CHILD_LIMIT_S, Row, clock, compare, interleaved, say, seconds_unit
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.transformer.weights import from_transformers

VARIABLE, RELEASE = "LLMSUITE_OLD_TRL_PYTHON", "1.12.0"
LLAMA, DECODER = "a Llama of transformers", "the course's decoder"
ROUNDS = 5
VOCABULARY, LAYERS, WIDTH, HEADS, FEED = 512, 4, 96, 4, 256
SETTINGS = Settings(iterations=1, prompts=64, max_new_tokens=40, epochs=4, minibatches=2)
SHORTEST, LONGEST = 8, 24  # tokens of a prompt
SAME_LOGPROB = 1e-3  # nats, of a prompt's tokens together, in float32
SAME_ENTROPY = 0.05  # relative: they draw different tokens, 2,560 of them


def rows() -> list[Row]:
    """Both rows; about two minutes on two free cores. Raises LabError without `LLMSUITE_OLD_TRL_PYTHON`, and when the policies are not the same."""
    python = interpreter()
    with tempfile.TemporaryDirectory() as name:
        folder, prompts, models = Path(name), prompts_of(SETTINGS.prompts), policies()
        models[LLAMA].save_pretrained(folder / "model")
        task = {"prompts": prompts, "options": options(SETTINGS), "threads": torch.get_num_threads()}
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        ours = {name: Ours(name, policy, prompts) for name, policy in models.items()}
        with OldTrl(python, folder) as theirs:
            *measured, reference = interleaved(*(each.iteration for each in ours.values()), theirs.iteration, n=ROUNDS)
        for each in ours.values():
            check_same(each, theirs)
        return [compare(f"PPO iteration, {name}, against trl {RELEASE}'s", seconds_unit(), values, reference) for name, values in zip(ours, measured)]


def interpreter() -> str:
    """The Python that has the old trl. Raises LabError when the variable names none."""
    python = os.environ.get(VARIABLE, "")
    if not Path(python).is_file():
        raise LabError(
            f"this benchmark needs {VARIABLE}, the path of a Python that has trl {RELEASE} (it is {python!r}): make one with `python3 -m venv old_trl && "
            f"old_trl/bin/pip install torch==2.13.0 trl=={RELEASE} transformers==5.23.0` and set it to old_trl/bin/python"
        )
    return python


def policies() -> dict[str, nn.Module]:
    """The same weights twice, random: a Llama of transformers, and our decoder."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=FEED, num_hidden_layers=LAYERS, num_attention_heads=HEADS, max_position_embeddings=128,
        bos_token_id=None, eos_token_id=None, pad_token_id=None, initializer_range=0.2,
    )  # fmt: skip
    with seeded(0):
        llama = LlamaForCausalLM(config).float()
    return {LLAMA: llama, DECODER: from_transformers(llama)}


def prompts_of(count: int) -> list[list[int]]:
    """Random ids, of unequal length."""
    draw = Random(0)
    return [[draw.randrange(3, VOCABULARY) for _ in range(draw.randint(SHORTEST, LONGEST))] for _ in range(count)]


def options(settings: Settings) -> dict[str, Any]:
    """Our settings under the names of trl's PPOConfig."""
    return {
        "num_ppo_epochs": settings.epochs, "num_mini_batches": settings.minibatches, "response_length": settings.max_new_tokens,
        "temperature": settings.temperature, "missing_eos_penalty": settings.missing_end, "kl_coef": settings.beta, "cliprange": settings.clip,
        "cliprange_value": settings.value_clip, "vf_coef": settings.value_weight, "gamma": settings.gamma, "lam": settings.lam,
        "learning_rate": settings.lr, "weight_decay": 0.0,
    }  # fmt: skip


def points(replies: list[Example]) -> torch.Tensor:
    """The reward of `_old_trl.Points`, which counts prompt and reply."""
    return torch.tensor([sum(7 * token % 5 for token in (*reply.prompt_ids, *reply.completion_ids)) / 10 for reply in replies])


class Ours:
    """One of our policies with all that an iteration needs; `entropy` and `logprob` as it was before the first."""

    def __init__(self, name: str, policy: nn.Module, prompts: list[list[int]]) -> None:
        self.name, self.prompts, self.rounds, self.entropy = name, prompts, 0, math.nan
        self.model, self.reference = ActorCritic(policy), Reference.frozen(policy)
        with torch.no_grad():
            self.logprob = float(score(policy, [Example(prompts[0][:1], prompts[0][1:])]).logprobs.sum())

    def iteration(self) -> float:
        """Seconds (of the bench's clock) of one iteration."""
        began = clock()
        progress = ppo.train(self.model, self.reference, points, self.prompts, SETTINGS, end_id=VOCABULARY, seed=self.rounds)
        seconds = clock() - began
        row = progress.rows[0]
        if self.rounds == 0:
            self.entropy = row["entropy"]
        self.rounds += 1
        say(f"  {self.name}: {row['tokens']:,} tokens; rollouts {row['rollout_s']:.2f} s, updates {row['update_s']:.2f} s; {seconds:.2f} {seconds_unit()}")
        return seconds


class OldTrl:
    """The old trl in a process of its own interpreter, for the length of a `with` block; `entropy` and `logprob` as it was before its first iteration."""

    def __init__(self, python: str, folder: Path) -> None:
        self.errors, self.entropy, self.logprob = folder / "errors.txt", math.nan, math.nan
        # -P: the script's own folder is not searched for modules, for a `peft.py` lies there
        self.command = [python, "-P", "-W", "ignore", str(Path(__file__).with_name("_old_trl.py")), str(folder)]

    def __enter__(self) -> "OldTrl":
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
        with self.errors.open("w", encoding="utf-8") as told:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": told}
            self.process = subprocess.Popen(self.command, **pipes, encoding="utf-8", env=environment)
        version = self._answer()["version"]
        if version != RELEASE:
            self.__exit__()
            raise LabError(f"{VARIABLE} has trl {version}, but this benchmark compares with {RELEASE}, the last release with PPO")
        return self

    def __exit__(self, *ignored: Any) -> None:
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def iteration(self) -> float:
        """Seconds (of the bench's clock) of one iteration there. Raises LabError when the process does not answer."""
        with suppress(BrokenPipeError):
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        answer = self._answer()
        if math.isnan(self.entropy):
            self.entropy, self.logprob = answer["entropy"], answer["logprob"]
        say(f"  trl {RELEASE}: {answer['seconds']:.2f} {seconds_unit()}")
        return answer["seconds"]

    def _answer(self) -> dict[str, Any]:
        limit = threading.Timer(CHILD_LIMIT_S, self.process.kill)
        limit.start()
        line = self.process.stdout.readline()
        limit.cancel()
        if not line:
            self.__exit__()
            raise LabError(f"the process with the old trl did not answer: {self.errors.read_text(encoding='utf-8', errors='replace')[-800:]}")
        return json.loads(line)


def check_same(ours: Ours, theirs: OldTrl) -> None:
    """Raises LabError unless both began with the same policy, and wrote with it alike."""
    if not abs(ours.logprob - theirs.logprob) < SAME_LOGPROB:
        raise LabError(f"the first prompt has {ours.logprob:.4f} nats with {ours.name} and {theirs.logprob:.4f} with trl: they do not begin with one policy")
    if not abs(ours.entropy - theirs.entropy) < SAME_ENTROPY * theirs.entropy:
        raise LabError(f"an action has {ours.entropy:.3f} nats of entropy with {ours.name} and {theirs.entropy:.3f} with trl: they do not write alike")
