"""A conversation, line by line: what a person writes, what the model answers while it is written, and how much of it the model sees.

    prompt_t = template(u_1, a_1, …, u_t),   of which the last `KEPT` messages are given

A person waits for one answer at a time here, and nothing is measured: load the model with `quantize="auto"`, which writes from the 4-bit codes where that can
run (`transformer.q4_engine`). `llmsuite chat` does. In production: `transformers chat`, llama.cpp's `llama-cli`.
"""

from collections.abc import Callable, Iterable

from llmsuite_lab.core.errors import whole
from llmsuite_lab.lm.language_model import LanguageModel

KEPT = 5  # messages that the model sees: the last question, and two exchanges before it


def converse(lm: LanguageModel, lines: Iterable[str], say: Callable[[str], None], max_new_tokens: int = 200) -> list[dict[str, str]]:
    """Answer each line, piece by piece through `say`; returns the messages, {"role", "content"}. Blank lines are passed over.

    Raises ValueError for max_new_tokens below 1, and for a line that leaves no room in the model's context.
    """
    whole("max_new_tokens", max_new_tokens, 1, 100_000)
    turns: list[dict[str, str]] = []
    for line in lines:
        if not line.strip():
            continue
        turns.append({"role": "user", "content": line.strip()})
        written = []
        for piece in lm.stream(lm.chat_prompt(turns[-KEPT:]), max_new_tokens):
            say(piece)
            written.append(piece)
        say("\n")
        turns.append({"role": "assistant", "content": "".join(written)})
    return turns


def described(lm: LanguageModel) -> str:
    """The model, and what writes its tokens, as a line."""
    how = "its 4-bit codes" if lm.quantize else str(getattr(lm.model, "dtype", "its weights")).removeprefix("torch.")
    return f"{lm.name}{f' with the adapter {lm.adapter}' if lm.adapter else ''}, written from {how}"
