"""`llmsuite bench core`: loading the model, generating in batches, training, each beside the usual way to do it."""

from collections.abc import Callable
from contextlib import redirect_stdout
from sys import stderr

from llmsuite_lab.core import zoo
from llmsuite_lab.core.runtime import offline, profile
from llmsuite_lab.course.bench import Row, _training, clock, compare, interleaved, say, seconds_unit
from llmsuite_lab.lm.language_model import LanguageModel

PROMPTS, NEW_TOKENS = 16, 32


def rows() -> list[Row]:
    """All rows; about ten minutes on two free cores. Needs the model in the cache."""
    with redirect_stdout(stderr):  # the references report their progress on stdout
        measured: list[Row] = []
        for title, part in (
            ("model load", load_rows),
            ("generation", generation_rows),
            ("training", _training.speed_rows),
            ("training memory", _training.memory_rows),
        ):
            say(title)
            measured += part()
    return measured


def load_rows(n: int = 3) -> list[Row]:
    """Seconds until the model can be called: from the zoo's safetensors, against transformers reading the GGUF itself."""
    from transformers import AutoModelForCausalLM

    source = zoo.source_file(profile().model)

    def from_gguf() -> object:
        with offline():
            return AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, local_files_only=True)

    zoo.load_model(profile().model)  # imports, and both files into the page cache
    source.read_bytes()
    ours, reference = interleaved(_seconds(lambda: zoo.load_model(profile().model)), _seconds(from_gguf), n=n, warmup=0)
    return [compare("model load against the GGUF", seconds_unit(), ours, reference)]


def generation_rows(n: int = 3) -> list[Row]:
    """Tokens per second of one batched `complete` call over 16 prompts, against a loop of `generate` calls, greedy, same dtype and length."""
    import torch

    lm = LanguageModel.load()
    model = zoo.load_model(profile().model, dtype=profile().dtype, device=profile().device)
    tokenizer = zoo.load_tokenizer(profile().model)
    prompts = [" ".join(tokenizer.decode(e.prompt_ids).split()) for e in _training.bench_examples(PROMPTS)]

    def batched() -> float:
        began = clock()
        tokens = sum(c.completion_tokens for c in lm.complete(prompts, max_new_tokens=NEW_TOKENS))
        return reported("complete()", tokens / (clock() - began))

    def one_by_one() -> float:
        began, tokens = clock(), 0
        with torch.inference_mode():
            for prompt in prompts:
                ids = tokenizer(prompt, return_tensors="pt").to(model.device)
                out = model.generate(**ids, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=tokenizer.eos_token_id)
                tokens += out.shape[1] - ids["input_ids"].shape[1]
        return reported("generate()", tokens / (clock() - began))

    def reported(name: str, value: float) -> float:
        say(f"  {name}: {value:,.0f} tokens/{seconds_unit()}")
        return value

    ours, reference = interleaved(batched, one_by_one, n=n)
    return [compare(f"complete() of {PROMPTS} against single generate() calls", f"tokens/{seconds_unit()}", ours, reference)]


def _seconds(call: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        began = clock()
        call()
        took = clock() - began
        say(f"  {took:.2f} {seconds_unit()}")
        return took

    return timed
