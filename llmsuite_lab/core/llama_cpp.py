"""llama.cpp on a GGUF, from the prebuilt wheel `xllamacpp` of the bench extra: what the course's own engines are compared with."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from llmsuite_lab.core.errors import LabError

ALWAYS = 1000  # added to a token's logit: it is written whatever the others are


def wheel() -> ModuleType:
    """The wheel's module. Raises LabError where it is not installed: ask before anything that takes long."""
    try:
        import xllamacpp
    except ImportError as error:
        raise LabError("llama.cpp comes in the wheel xllamacpp: install it with `pip install -e '.[bench]'`") from error
    return xllamacpp


class LlamaCpp:
    """A GGUF in llama.cpp, for `rows` sequences that share a context of `context` tokens, on as many threads as torch has.

    Raises LabError where the wheel is not installed, or llama.cpp does not take the file.
    """

    def __init__(self, file: Path, context: int, rows: int = 1) -> None:
        import torch

        module = wheel()
        params = module.CommonParams()
        params.model.path, params.n_ctx, params.n_parallel, params.kv_unified, params.verbosity = str(file), context, rows, rows > 1, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = torch.get_num_threads()
        try:
            self.server = module.Server(params)
        except RuntimeError as error:
            raise LabError(f"llama.cpp does not take {file} ({error}): get the file again, or write it again") from error

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Its answer, of likeliest tokens. Raises LabError where it has none."""
        answer = self.server.handle_completions({**request, "temperature": 0.0})
        if not answer.get("choices"):
            raise LabError(f"llama.cpp did not answer: {str(answer)[:300]}")
        return answer

    def listed(self, ids: Sequence[int], n: int) -> dict[int, float]:
        """{token: log p} of the n likeliest next tokens, likeliest first. Raises LabError for an answer without a list.

        llama.cpp lists nothing where the token that it writes is a part of a character, and so it is made to write a line break: its list is that of the
        model all the same, before any bias. One token more than last time is one token evaluated: the prompt is kept.
        """
        answer = self.ask({"prompt": list(ids), "n_predict": 1, "cache_prompt": True, "n_probs": n, "logit_bias": [["\n", ALWAYS]]})
        content = (answer["choices"][0]["logprobs"] or {}).get("content")
        if not content:
            raise LabError(f"llama.cpp listed no likely tokens after {len(ids)} tokens: {str(answer)[:300]}")
        return {one["id"]: one["logprob"] for one in content[0]["top_logprobs"]}
