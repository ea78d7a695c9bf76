"""Which prompts are written together: similar lengths, so that padding costs less than it saves.

A batch reads rows × longest prompt, padding included, and then takes one step per new token whatever its size. So another batch is worth its steps
as soon as the padding it saves would cost more: (room + 1) steps, each as long as reading `STEP_TOKENS` tokens of prompt.
"""

from collections.abc import Sequence

STEP_TOKENS = 24  # measured on two cores: 20–35 ms a step, 0.9–1.2 ms a token of prompt; more on an accelerator, where a batch of any shape is cheap


def batches(lengths: Sequence[int], rows: int, tokens: int, room: int) -> list[list[int]]:
    """Indices in batches of similar lengths, longest first: at most `rows` a batch, at most `tokens` with padding and `room` each, and no more
    padding than another batch would cost.

    One sequence longer than `tokens` runs alone.
    """
    out: list[list[int]] = []
    padding = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[out[-1][0]] if out else 0
        padding += longest - lengths[i]
        if out and len(out[-1]) < rows and (len(out[-1]) + 1) * (longest + room) <= tokens and padding <= STEP_TOKENS * (room + 1):
            out[-1].append(i)
        else:
            out.append([i])
            padding = 0
    return out
