"""GGUF → safetensors, once: w = d · q + m for each block of 32 four-bit weights (Q4_1), stored as the float32 values that gives.

Reading the GGUF takes many seconds each time (all weights are dequantised and the tokenizer is rebuilt); the safetensors file is mapped into
memory. `save_pretrained` refuses a model loaded from GGUF, so the state dict, the config and the tokenizer are written one by one. float32 is
what keeps the logits bit for bit equal: d and m are float16, and their combination needs more bits than bfloat16 or float16 has.
"""

import contextlib
import errno
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsuite_lab.core.errors import LabError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load(file: Path) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """(model, tokenizer) as `transformers` reads them from a GGUF file: float32, eval mode. Seconds, not milliseconds.

    Raises LabError for a file that lacks weights, and whatever `transformers` does for one that it cannot read.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from llmsuite_lab.core.runtime import offline

    with offline(), contextlib.redirect_stderr(io.StringIO()):  # a progress bar that no setting turns off; errors are raised
        where = {"gguf_file": file.name, "local_files_only": True}
        model, told = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **where)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
    refuse_lacking(str(file), model, told)
    _restore_pre_tokens(file, tokenizer)
    return model.eval(), tokenizer


def refuse_lacking(called: str, model: "PreTrainedModel", told: dict[str, Any]) -> None:
    """Raise LabError where `told`, the loading info of `from_pretrained`, names weights that were not found: they would be random."""
    other = [f"{name}, which is there in shape {tuple(there)} instead of {tuple(needed)}" for name, there, needed in told["mismatched_keys"]]
    if lacking := sorted([*told["missing_keys"], *other]):
        raise LabError(f"{called} lacks {len(lacking)} weights of a {type(model).__name__} (first: {lacking[0]}): save the whole model there")


def _restore_pre_tokens(file: Path, tokenizer: Any) -> None:
    """Cut digits singly before GPT-2's regex where the GGUF says so (`tokenizer.ggml.pre` = "smollm"); `transformers` drops that step.

    It matters: white space before a digit ("\n\n1.") is tokenised as in training again, and the log-likelihood of such text rises.
    """
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers

    field = GGUFReader(file).get_field("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)


def convert(file: Path, folder: Path) -> None:
    """Write `model.safetensors`, `config.json`, `generation_config.json` and the tokenizer's files into the existing `folder`.

    A tied output layer is the embedding itself and is stored once. Raises OSError when the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    model, tokenizer = load(file)
    config = model.config
    if hasattr(config, "quantization_config"):  # the weights are plain floats now
        del config.quantization_config
    config.architectures = [type(model).__name__]
    config.dtype = "float32"
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    state = {name: value.contiguous() for name, value in model.state_dict().items() if name not in tied}
    try:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(errno.ENOSPC if "os error 28" in str(error) else errno.EIO, str(error)) from error
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.padding_side = "left"
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # safetensors creates 0600, and a cache may be shared
