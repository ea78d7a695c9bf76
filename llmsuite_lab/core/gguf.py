"""GGUF → safetensors, once: w = d · q + m for each block of 32 four-bit weights (Q4_1), stored as the float32 values that gives.

Reading the GGUF takes many seconds each time (all weights are dequantised and the tokenizer is rebuilt); the safetensors file is mapped into
memory. `save_pretrained` refuses a model loaded from GGUF, so the state dict, the config and the tokenizer are written one by one. float32 is
what keeps the logits bit for bit equal: d and m are float16, and their combination needs more bits than bfloat16 or float16 has.
"""

import contextlib
import errno
import io
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsuite_lab.core.errors import LabError

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load(file: Path) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """(model, tokenizer) as `transformers` reads them from a GGUF file: float32, eval mode. Seconds, not milliseconds.

    Raises LabError for a file that lacks weights, and whatever `transformers` does for one that it cannot read.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from llmsuite_lab.core.runtime import offline
    from llmsuite_lab.core.seeding import torch_state_kept

    with offline(), torch_state_kept(), contextlib.redirect_stderr(io.StringIO()):  # a progress bar that no setting turns off; errors are raised
        where = {"gguf_file": file.name, "local_files_only": True}
        model, told = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **where)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
    refuse_lacking(str(file), model, told)
    _restore_pre_tokens(file, tokenizer)
    return _plain(model).eval(), tokenizer


def _plain(model: "PreTrainedModel") -> "PreTrainedModel":
    """Without the marks of a quantised model: the weights are plain floats now, and whoever asks the model must hear so."""
    for holder, names in ((model, ("is_quantized", "hf_quantizer", "quantization_method")), (model.config, ("quantization_config",))):
        for name in names:
            if name in vars(holder):
                delattr(holder, name)
    return model


def refuse_lacking(called: str, model: "PreTrainedModel", told: dict[str, Any]) -> None:
    """Raise LabError where `told`, the loading info of `from_pretrained`, names weights that were not found: they would be random."""
    other = [f"{name}, which is there in shape {tuple(there)} instead of {tuple(needed)}" for name, there, needed in told["mismatched_keys"]]
    if lacking := sorted([*told["missing_keys"], *other]):
        raise LabError(f"{called} lacks {len(lacking)} weights of a {type(model).__name__} (first: {lacking[0]}): save the whole model there")


def stored(file: Path) -> "dict[str, tuple[str, np.ndarray]]":
    """{name: (format, rows)} of every tensor as the file holds it: rows of bytes, (…, bytes a row), mapped into memory and not read.

    Only the table of tensors is looked at: `gguf.GGUFReader` takes seconds for the words of a tokenizer. Raises LabError for a file that is torn or is
    no GGUF.
    """
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        data = np.memmap(file, np.uint8, "r")
        read = _Table(memoryview(data))
        alignment, found = read.header()
        tensors = {}
        for name, sizes, number, offset in found:  # sizes: columns first, as the file has them
            kind, start = GGMLQuantizationType(number), -(-read.at // alignment) * alignment + offset
            columns, taken = GGML_QUANT_SIZES[kind]
            shape = (*reversed(sizes[1:]), sizes[0] // columns * taken)
            tensors[name] = (kind.name, np.asarray(data[start : start + math.prod(shape)]).reshape(shape))
        return tensors
    except (ValueError, OSError, LookupError, OverflowError, struct.error) as error:
        raise LabError(f"{file} cannot be read as GGUF ({str(error).strip() or type(error).__name__}): get it again") from error


class _Table:
    """Reads the head of a GGUF file (version 2 and 3, little-endian): magic, counts, keys with values, and one entry a tensor."""

    SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of a value by its type; 8 is a string, 9 an array

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    def header(self) -> tuple[int, list[tuple[str, list[int], int, int]]]:
        """(alignment, [(name, sizes, format, offset)]); `at` then is where the head ends."""
        magic, version, n_tensors, n_keys = self.take("4sIQQ")
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(f"it begins with {magic!r} and version {version}")
        alignment = 32
        for _ in range(n_keys):
            key, begin = self.text(), self.at + 4
            self.skip(*self.take("I"))
            if key == "general.alignment":
                (alignment,) = struct.unpack_from("<I", self.data, begin)
        tensors = []
        for _ in range(n_tensors):
            name, (n,) = self.text(), self.take("I")
            tensors.append((name, list(self.take(f"{n}Q")), *self.take("IQ")))
        return alignment, tensors

    def take(self, form: str) -> tuple[Any, ...]:
        """The next values."""
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def text(self) -> str:
        """The next string."""
        (length,) = self.take("Q")
        self.at += length
        return bytes(self.data[self.at - length : self.at]).decode()

    def skip(self, kind: int) -> None:
        """Go past a value of this type."""
        if kind == 9:
            inner, count = self.take("IQ")
            if inner in self.SIZES:
                self.at += count * self.SIZES[inner]
                return
            for _ in range(count):
                self.skip(inner)
        elif kind == 8:
            (length,) = self.take("Q")
            self.at += length
        else:
            self.at += self.SIZES[kind]


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
