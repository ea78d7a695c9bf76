"""Write data/alignment/trl_ppo.json: one iteration of trl's own PPOTrainer (1.12.0, the last release that had one), as numbers to hold ours against.

    python3 -m venv /path/to/oldtrl && /path/to/oldtrl/bin/pip install torch==2.13.0 trl==1.12.0 transformers==5.23.0
    OMP_NUM_THREADS=1 /path/to/oldtrl/bin/python tools/freeze_trl_ppo.py

No formula is typed here. `PPOTrainer.train` runs as it is; a debugger's hook reads its local variables when it is about to run the lines named in `LINES`.
Two things are forced: the replies (torch.multinomial, which generation draws with, gives the next token of the reply), and the value model's trunk is the
policy's own (as in `alignment.rollouts.ActorCritic`). Weights are numbers of a small congruential generator, no draw of torch: `filled`.
"""

import importlib.util
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
from trl.experimental import ppo

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "data" / "alignment" / "trl_ppo.json"
END, PAD = 1, 2
CONFIG = {
    "vocab_size": 23, "hidden_size": 32, "intermediate_size": 44, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": END, "pad_token_id": PAD,
}  # fmt: skip
SEEDS = {"policy": 3, "reference": 9, "score": 4}
REPLIES = [
    ([5, 6, 7, 8], [9, 10, 11, END]),
    ([12], [13, 14, 15, 16, 17, 18]),  # cut: no end token
    ([5, END, 6], [19, END]),  # an end token inside the prompt
    ([20, 21, 22, 3, 4], [END]),  # the end token alone
    ([9, 9, 14], [7, 8, 20, 21, END]),
    ([15, 16, 17, 18, 19, 20, 21], [3, 4, 5, 6, 7, END]),  # ends in the last cell
]
OPTIONS = {
    "num_ppo_epochs": 2, "num_mini_batches": 2, "response_length": 6, "temperature": 1.0, "stop_token": "eos", "missing_eos_penalty": 1.0,
    "kl_coef": 0.2, "cliprange": 0.2, "cliprange_value": 0.2, "vf_coef": 0.5, "gamma": 1.0, "learning_rate": 4e-4, "weight_decay": 0.0, "seed": 0,
}  # fmt: skip
CASES = {"lam 0.95": {"lam": 0.95}, "lam 1": {"lam": 1.0}}
LINES = {  # a line of PPOTrainer.train: (name of the record, the local variables read before the line runs)
    "if self.args.missing_eos_penalty is not None:": ("scored", ("queries", "responses", "sequence_lengths", "scores")),
    "advantages = masked_whiten(advantages, ~padding_mask)": ("judged", ("advantages",)),
    "for ppo_epoch_idx in range(args.num_ppo_epochs):": (
        "batch",
        ("scores", "padding_mask", "padding_mask_p1", "logprobs", "ref_logprobs", "values", "kl", "rewards", "advantages", "returns"),
    ),
    "accelerator.backward(loss)": ("before", ()),
    "optimizer.step()": ("update", ("mini_batch_inds", "logits", "new_logprobs", "vpred", "ratio", "pg_loss", "vf_loss", "loss")),
    "approxkl = 0.5 * (logprobs_diff**2).mean()": ("seen", ("entropy", "pg_clipfrac", "vf_clipfrac")),
    "self.log(metrics)": ("end", ("metrics", "approxkl_stats")),
}
_spec = importlib.util.spec_from_file_location("_old_trl", ROOT / "llmsuite_lab" / "course" / "bench" / "_old_trl.py")
_old_trl = importlib.util.module_from_spec(_spec)  # by its path: the course itself is not installed where this runs
_spec.loader.exec_module(_old_trl)
ENTRIES = ("score.weight", "model.norm.weight", "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight", "lm_head.weight")


def filled(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Weights u − ½ (gains u + ½), u_n = x_n / 2³², x_{n+1} = (1664525 x_n + 1013904223) mod 2³², x_0 = seed, by parameter name."""
    x = seed
    with torch.no_grad():
        for _, parameter in sorted(module.named_parameters()):
            numbers = []
            for _ in range(parameter.numel()):
                x = (1664525 * x + 1013904223) % 2**32
                numbers.append(x / 2**32 - 0.5)
            parameter.copy_(torch.tensor(numbers, dtype=torch.float64).view(parameter.shape) + (parameter.ndim == 1))
    return module


def plain(value: Any) -> Any:
    """A tensor or array as lists of the shortest decimals that are its float32 values."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(x) for x in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return float(str(np.float32(value))) if isinstance(value, float) else value


class Debugger:
    """Keeps copies of local variables of `PPOTrainer.train`; `.records` holds them by name in the order they came."""

    def __init__(self, parameters: dict[str, torch.nn.Parameter]) -> None:
        self.parameters, self.records = parameters, []
        self.code = ppo.PPOTrainer.train.__code__
        source = Path(self.code.co_filename).read_text(encoding="utf-8").splitlines()
        first = self.code.co_firstlineno
        self.at = {}
        for text, wanted in LINES.items():
            found = [n for n, line in enumerate(source, 1) if n > first and line.strip().startswith(text)]
            self.at[found[0]] = wanted

    def __call__(self, frame: Any, event: str, argument: Any) -> Any:
        """The hook that Python calls as each function begins."""
        return self.line if frame.f_code is self.code else None

    def line(self, frame: Any, event: str, argument: Any) -> Any:
        """The hook that Python calls before each line of `train`."""
        if event == "line" and frame.f_lineno in self.at:
            name, wanted = self.at[frame.f_lineno]
            if name == "before":
                for variable in ("new_logprobs", "vpred"):
                    frame.f_locals[variable].retain_grad()
            else:
                record = {key: plain(frame.f_locals[key]) for key in wanted}
                if name == "update":
                    record |= self.gradients(frame.f_locals)
                self.records.append((name, record))
        return self.line

    def gradients(self, local: dict[str, Any]) -> dict[str, Any]:
        """Of the log-probabilities and values, and of the weights: the norm of all, a few entries of some."""
        norms = torch.stack([p.grad.norm() for p in self.parameters.values()])
        entries = {name: plain(self.parameters[name].grad.flatten()[:12]) for name in ENTRIES}
        by = {"logprobs_grad": plain(local["new_logprobs"].grad), "values_grad": plain(local["vpred"].grad)}
        return by | {"gradient_norm": plain(norms.norm().item()), "gradient": entries}


def run(options: dict[str, float], folder: Path) -> dict[str, Any]:
    """One iteration by trl, recorded."""
    models = {name: filled(LlamaForCausalLM(LlamaConfig(**CONFIG)).float(), SEEDS[name]) for name in ("policy", "reference")}
    value = LlamaForSequenceClassification(LlamaConfig(**CONFIG, num_labels=1))
    filled(value.score, SEEDS["score"])
    value.model = models["policy"].model
    prompts = [prompt for prompt, _ in REPLIES]
    trainer = _old_trl.trainer(models["policy"], models["reference"], value, prompts, folder, END, PAD, **OPTIONS, **options)
    parameters = dict(models["policy"].named_parameters()) | {"score.weight": value.score.weight}
    debugger, told = Debugger(parameters), {tuple(p): reply for p, reply in REPLIES}
    rows: list[list[int]] = []
    generation, draw = ppo.ppo_trainer.batch_generation, torch.multinomial

    def batch_generation(model: Any, queries: torch.Tensor, *others: Any) -> Any:
        rows[:] = [list(told[tuple(t for t in query if t != PAD)]) for query in queries.tolist()]
        return generation(model, queries, *others)

    def forced(probabilities: torch.Tensor, num_samples: int, **ignored: Any) -> torch.Tensor:
        return torch.tensor([[row.pop(0) if row else PAD] for row in rows])

    np.random.seed(0)
    ppo.ppo_trainer.batch_generation, torch.multinomial = batch_generation, forced
    sys.settrace(debugger)
    try:
        trainer.train()
    finally:
        sys.settrace(None)
        ppo.ppo_trainer.batch_generation, torch.multinomial = generation, draw
    found = {name: record for name, record in debugger.records if name not in ("update", "seen")}
    updates, seen = ([record for name, record in debugger.records if name == wanted] for wanted in ("update", "seen"))
    after = {name: plain(parameters[name].detach().flatten()[:12]) for name in ENTRIES}
    metrics = {k: v for k, v in found["end"]["metrics"].items() if "/" in k}
    return {
        "options": OPTIONS | options, "end": END, "unpenalised": found["scored"]["scores"], "advantages_unwhitened": found["judged"]["advantages"],
        **{key: found["scored"][key] for key in ("queries", "responses", "sequence_lengths")}, **found["batch"],
        "updates": [a | b for a, b in zip(updates, seen, strict=True)], "approxkl": np.ravel(found["end"]["approxkl_stats"]).tolist(),
        "weights_after": after, "metrics": metrics,
    }  # fmt: skip


def main() -> None:
    """Run the cases and write the file."""
    with tempfile.TemporaryDirectory() as folder:
        cases = {name: run(options, Path(folder)) for name, options in CASES.items()}
    head = {
        "what": "one iteration of trl.experimental.ppo.PPOTrainer, its own local variables", "command": "tools/freeze_trl_ppo.py",
        "versions": {name: version(name) for name in ("trl", "torch", "transformers", "accelerate")}, "dtype": "float32, one thread",
        "weights": filled.__doc__, "seeds": SEEDS, "config": CONFIG, "pad": PAD, "replies": REPLIES,
    }  # fmt: skip
    TARGET.parent.mkdir(exist_ok=True)
    lines = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    lines.append(' "cases": {\n' + ",\n".join(f"  {json.dumps(name)}: {{\n" + body(case) + "\n  }" for name, case in cases.items()) + "\n }")
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size:,} bytes")


def body(case: dict[str, Any]) -> str:
    """One line a quantity: readable, and a difference shows where it is."""
    return ",\n".join(f"   {json.dumps(key)}: {json.dumps(value)}" for key, value in case.items())


if __name__ == "__main__":
    main()
