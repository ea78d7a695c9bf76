"""`trl.experimental.ppo.PPOTrainer`, in trl until 1.12.0: set up, and run one iteration each time a line comes in. It needs trl and nothing of ours.

    PYTHON _old_trl.py FOLDER      FOLDER/model: a causal model of transformers; FOLDER/task.json: {"prompts": ids, "options": of PPOConfig, "threads": n}
    < any line                     > {"seconds": of that iteration, "entropy": nats an action, "logprob": nats, of the first prompt, before it all}

A first line comes by itself: {"version": of trl}. Replies are of full length here, as no token ends one. `tools/freeze_trl_ppo.py` sets its trainer up
with the same function.
"""

import json
import os
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn


class Points(nn.Module):
    """A reward without weights, in the form trl reads: a token is worth (7 · id mod 5) / 10, a text the sum; id 0, which hides padding, nothing."""

    base_model_prefix = "read"

    def read(self, input_ids: Tensor, **ignored: Any) -> SimpleNamespace:
        """The sum up to each token, as hidden states of width 1."""
        return SimpleNamespace(hidden_states=[(((7 * input_ids) % 5).cumsum(1) / 10)[..., None]])

    def score(self, hidden: Tensor) -> Tensor:
        """The sum itself."""
        return hidden


def tokenizer(size: int, end_id: int, pad_id: int) -> Any:
    """One that knows ids alone, and pads on the left."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    names = Tokenizer(models.WordLevel({str(i): i for i in range(size)}, unk_token="0"))
    return PreTrainedTokenizerFast(tokenizer_object=names, eos_token=str(end_id), pad_token=str(pad_id), padding_side="left")


def trainer(policy: Any, reference: Any, value: Any, prompts: list[list[int]], folder: Path, end_id: int, pad_id: int, **options: Any) -> Any:
    """A PPOTrainer whose batch is all of the prompts; float32 on the CPU, a constant rate, no checkpointing, no logging."""
    from datasets import Dataset
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    quiet = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "num_sample_generations": 0}
    plain = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "lr_scheduler_type": "constant"}
    sizes = {"per_device_train_batch_size": len(prompts), "total_episodes": len(prompts), "local_rollout_forward_batch_size": len(prompts)}
    arguments = PPOConfig(output_dir=str(folder), **quiet, **plain, **sizes, **options)
    names = tokenizer(max(policy.config.vocab_size, end_id + 1, pad_id + 1), end_id, pad_id)
    rows = Dataset.from_list([{"input_ids": prompt} for prompt in prompts])
    return PPOTrainer(arguments, names, policy, reference, Points(), rows, value)


def main(folder: Path) -> None:
    """Set up, then an iteration a line."""
    import trl
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    clock = time.process_time if os.environ.get("LLMSUITE_BENCH_CLOCK") == "cpu" else time.perf_counter
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    torch.set_num_threads(task["threads"])
    with redirect_stdout(sys.stderr):  # stdout belongs to the answers
        policy, reference = (AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32) for _ in range(2))
        value = AutoModelForSequenceClassification.from_pretrained(folder / "model", num_labels=1, dtype=torch.float32)
        nn.init.zeros_(value.score.weight)
        outside = policy.config.vocab_size  # as end and padding: a policy that draws padding would be cut there
        policy.generation_config.pad_token_id = outside
        ppo = trainer(policy, reference, value, task["prompts"], folder / "out", outside + 1, outside, **task["options"])
        ids = torch.tensor(task["prompts"][:1])
        with torch.no_grad():
            logprob = float(policy(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None]).sum())
    seen: dict[str, float] = {}
    ppo.log = seen.update
    print(json.dumps({"version": trl.__version__}), flush=True)
    for _ in sys.stdin:
        with redirect_stdout(sys.stderr):
            began = clock()
            ppo.train()
            seconds = clock() - began
        entropy = seen["objective/entropy"] / task["options"]["response_length"]
        print(json.dumps({"seconds": seconds, "entropy": entropy, "logprob": logprob}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
