"""Whole tokens of `llmsuite bench bitnet`: a few blocks of the shape of BitNet b1.58 2B4T with random ternary weights, ours packed, beside their
full-precision twin in torch's fastest form, and beside the same blocks in llama.cpp as TQ2_0 (`bitnet.gguf_file`), whose likeliest tokens are compared
first. llama.cpp comes in the wheel `xllamacpp`; without it those rows are left out, with a word.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from llmsuite_lab.bitnet.gguf_file import write_gguf
from llmsuite_lab.bitnet.kernels import cpu
from llmsuite_lab.bitnet.model import bit_decoder, packed
from llmsuite_lab.bitnet.packing import FORMS
from llmsuite_lab.core.errors import LabError, whole
from llmsuite_lab.core.llama_cpp import LlamaCpp, wheel
from llmsuite_lab.core.runtime import available_cores
from llmsuite_lab.core.seeding import seeded
from llmsuite_lab.course.bench import Row, compare, interleaved, say
from llmsuite_lab.transformer.config import TransformerConfig, llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.generation import engine_for, steps
from llmsuite_lab.transformer.packing import choose_layout

BLOCKS, VOCABULARY, PROMPT, NEW_TOKENS = 4, 4096, 32, 64  # tokens of the prompt, and tokens timed after the first
ROUNDS = 15
SAME = 0.75  # share of positions at which both must find the same token likeliest: activations are rounded per token here, per 256 features there


def fastest_form() -> tuple[torch.dtype, str]:
    """What torch multiplies a batch fastest in: prepacked BF16 where the processor has its instructions, else float32."""
    device = torch.device("cpu")
    prepacked = choose_layout(torch.bfloat16, device) == "prepacked"
    dtype = torch.bfloat16 if prepacked else torch.float32
    return dtype, choose_layout(dtype, device)


def end_to_end_config(blocks: int = BLOCKS) -> TransformerConfig:
    """Blocks of BitNet b1.58 2B4T's shape, whose rows are multiples of 256; a small vocabulary, for the head is not the point."""
    return llama_config(VOCABULARY, 2560, blocks, 20, 6912, 512, n_kv_heads=5)


@seeded(0)
def twin_rows(
    config: TransformerConfig | None = None, n: int = ROUNDS, new_tokens: int = NEW_TOKENS, threads: Sequence[int] | None = None
) -> list[Row]:
    """Tokens a second after the first at batch 1: the packed model, both forms, against its full-precision twin, the same decoder without ternary layers in
    torch's fastest form, and last the twin against itself, which tells the clock's noise. `threads`: by default one, and all.

    Raises LabError where there is no compiled kernel, ValueError for a shape that it cannot write or fewer threads than one.
    """
    if (reason := cpu.why_not()) is not None:
        raise LabError(f"there is nothing of ours to measure here: {reason}")
    config, (dtype, layout) = config or end_to_end_config(), fastest_form()
    counts = sorted({1, available_cores()}) if threads is None else list(threads)
    if not counts:
        raise ValueError("threads is empty: give at least one number of threads, or leave it out for one and all")
    for count in counts:
        whole("threads", count, 1, 1024)
    model = bit_decoder(config).eval()
    ours = {form: packed(model, form) for form in FORMS}
    del model
    twin = Decoder(config).to(dtype).eval()
    prompt, measured, before = _prompt(config), [], torch.get_num_threads()
    other = f"its twin in {'prepacked BF16' if layout == 'prepacked' else 'float32'}"
    try:
        for count in counts:
            torch.set_num_threads(count)
            full = _decoding(twin, prompt, new_tokens)
            *mine, theirs, again = interleaved(*(_decoding(one, prompt, new_tokens) for one in ours.values()), full, full, n=n)
            name = f"end to end, {config.n_layers} blocks {config.d_model}×{config.d_ff}, {count} thread{'s' * (count > 1)}"
            measured += [compare(f"{name}, {form} against {other}", "tokens/s", values, theirs) for form, values in zip(ours, mine)]
            measured.append(compare(f"{name}, {other} against itself", "tokens/s", again, theirs))
    finally:
        torch.set_num_threads(before)
    return measured


@seeded(0)
def end_to_end_rows(config: TransformerConfig | None = None, n: int = ROUNDS, new_tokens: int = NEW_TOKENS) -> list[Row]:
    """Tokens a second after the first at batch 1, both forms, one thread and all, against llama.cpp; [] where its wheel is not installed.

    Raises LabError where llama.cpp does not compute the same, ValueError for a model that its file cannot hold.
    """
    try:
        wheel()
    except LabError as error:
        say(f"  end to end is left out: {error}")
        return []
    config = config or end_to_end_config()
    prompt = _prompt(config)
    model, measured, before = bit_decoder(config).eval(), [], torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        file = write_gguf(model, Path(folder) / "same.gguf")
        ours = {form: packed(model, form) for form in FORMS}
        del model
        try:
            for threads in sorted({1, available_cores()}):
                torch.set_num_threads(threads)
                theirs = LlamaCpp(file, PROMPT + new_tokens + 9)
                check_same(ours["two_bits"], theirs, prompt)
                for form, one in ours.items():
                    values = interleaved(_decoding(one, prompt, new_tokens), _decoding_there(theirs, prompt, new_tokens), n=n)
                    name = f"end to end, {config.n_layers} blocks {config.d_model}×{config.d_ff}, {threads} thread{'s' * (threads > 1)}, {form}"
                    measured.append(compare(f"{name} against llama.cpp's TQ2_0", "tokens/s", *values))
                    say(f"  {name}: {measured[-1].ratio:.2f}x llama.cpp")
        finally:
            torch.set_num_threads(before)
    return measured


def _prompt(config: TransformerConfig) -> list[int]:
    return torch.randint(4, config.vocab_size, (PROMPT,), generator=torch.Generator().manual_seed(2)).tolist()


def check_same(model: Decoder, theirs: LlamaCpp, ids: Sequence[int], share: float = SAME) -> float:
    """The share of positions at which both find the same token likeliest.

    Raises LabError where it is below `share`, for they would not run the same model, and where llama.cpp does not answer.
    """
    with torch.inference_mode():
        ours = model(torch.tensor([list(ids)]))[0].argmax(-1).tolist()
    same = sum(a == next(iter(theirs.listed(ids[:t], 1))) for t, a in enumerate(ours, 1)) / len(ids)
    if same < share:
        raise LabError(f"llama.cpp finds the same token likeliest at {same:.0%} of {len(ids)} positions only: it does not run the same model")
    return same


def _decoding(model: Decoder, prompt: Sequence[int], new_tokens: int) -> Callable[[], float]:
    def rate() -> float:
        written = steps(engine_for(model), [list(prompt)], new_tokens + 1)
        next(written)
        began = time.perf_counter()
        tokens = sum(1 for _ in written)
        return tokens / (time.perf_counter() - began)

    return rate


def _decoding_there(theirs: LlamaCpp, prompt: Sequence[int], new_tokens: int) -> Callable[[], float]:
    def rate() -> float:
        told = theirs.ask({"prompt": list(prompt), "n_predict": new_tokens + 1, "cache_prompt": False, "ignore_eos": True})["timings"]
        return (told["predicted_n"] - 1) / told["predicted_ms"] * 1000

    return rate
