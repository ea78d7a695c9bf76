"""The same methods one size up: SmolLM2, which has read much English and no desk, tuned to the desk by one LoRA and aligned by another.

    SmolLM2 → LoRA on replies of all agents, merged: the start → pairs of its own replies, labelled → reward model: a LoRA and a head
    PPO, DPO, ReST: a fresh LoRA on the start each; with it off the start is the reference

Nothing here is another method: `comparing.run` is told of a start that is tuned by a LoRA. Sizes are what one thread does in under an hour. No setting
was chosen on this model; β is what the small policy's sweep chose. So it says whether these methods move a model of 135 million weights in the right
direction, not how far they could.

Source: paper 6, 6.1; Hu et al. 2022 for what is trained. In production: `trl`'s trainers with a `peft_config`.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from llmsuite_lab.alignment import benches, comparing, controls, small_policy
from llmsuite_lab.alignment.benches import Bench, Budget, Row, Start
from llmsuite_lab.core.runs import Outcome, Run
from llmsuite_lab.lm.batching import encode
from llmsuite_lab.lm.training import fit
from llmsuite_lab.peft_methods.merging import merge_and_unload
from llmsuite_lab.peft_methods.methods import method
from llmsuite_lab.peft_methods.own_model import load_base

MODEL = "smollm2-135m-instruct"
BUDGET = Budget(pairs=480, iterations=8, rollouts=32, items=200, along=200, held_out=0, max_new_tokens=64)
TAUGHT = {"replies": 320, "batch_size": 16, "lr": 2e-3}  # what makes the start
REWARD = {"epochs": 1, "batch_size": 16, "lr": 1e-3}
KNOBS: dict[str, Row] = {
    "ppo": {"epochs": 2, "lr": 5e-4, "beta": 0.2},
    "dpo": {"batch_size": 8, "lr": 5e-4, "beta": 0.1},
    "rest": {"batch_size": 16, "lr": 5e-4},
}


def taught(base: nn.Module, words: Any, *, replies: int = 320, batch_size: int = 16, lr: float = 2e-3, seed: int = 0) -> Start:
    """A start that answers at the desk: `base` tuned by a LoRA on replies of the agents that the small policy learnt from, merged into it, in place.

    Raises as `lm.training.fit`, and ValueError for fewer replies than one update takes.
    """
    steps = replies // batch_size
    texts = small_policy.tuning_texts(small_policy.Settings(tuning_steps=steps, batch_size=batch_size), seed)
    policy = method("lora").prepare(base, seed, words)
    fit(policy, [encode(words, *text) for text in texts], epochs=1, batch_size=batch_size, lr=lr, seed=seed, progress=False)
    return Start.with_lora(merge_and_unload(policy), words)


def compared(made: Bench, knobs: dict[str, Row]) -> list[Row]:
    """A row of the start and one at the end of each method of `knobs`; PPO once more against numbers drawn by chance. Raises as `comparing.run`."""
    rows = [comparing.at_start(made, made.asked)]
    for name, chosen in knobs.items():
        rows += comparing.run(made, name, chosen)
    return rows + comparing.run(made, "ppo", knobs["ppo"], name="ppo, random reward", reward=controls.by_chance(made.seed))


def measure(run: Run, budget: Budget = BUDGET, knobs: dict[str, Row] = KNOBS, loaded: Sequence[Any] = ()) -> Outcome:
    """The recipe. loaded: (model, tokenizer) in place of SmolLM2's."""
    start = taught(*(loaded or load_base(MODEL)), **TAUGHT, seed=run.seed)
    made = benches.bench(start, run.seed, budget, **REWARD)
    told = {"model": MODEL, "taught": TAUGHT, "reward": REWARD, "chosen": knobs, "bench": made.made}
    return Outcome(benches.as_data(budget) | told, compared(made, knobs))
