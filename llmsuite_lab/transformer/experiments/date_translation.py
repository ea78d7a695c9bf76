"""A sequence-to-sequence task whose every answer can be checked: a date in one of many written forms → ISO form.

    "Friday, 5th of March 2021"  →  "2021-03-05"              p(y | x) = Π_t p(y_t | y_<t, x)

The encoder reads the characters of the source in both directions; the decoder writes the target left to right and looks across. The model
must find day, month and year wherever the form puts them, translate month names, and pad with zeros. Held-out dates never occur in training,
in any form.

Source of the architecture: Vaswani et al. 2017. In production: a regular expression, or `dateutil`; here the point is that nobody writes one.
"""

import datetime
import random
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from llmsuite_lab.core.history import History
from llmsuite_lab.transformer.config import original_config
from llmsuite_lab.transformer.encoder_decoder import EncoderDecoder
from llmsuite_lab.transformer.training_loop import train

MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
FIRST, LAST = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)
PAD, START, END = 0, 1, 2
CHARACTERS = " ,./-" + "0123456789" + "abcdefghijklmnopqrstuvwxyz" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
VOCAB_SIZE = 3 + len(CHARACTERS)
ID_OF = {character: 3 + n for n, character in enumerate(CHARACTERS)}
TARGET_LENGTH = len("2021-03-05")


def ordinal(n: int) -> str:
    """1 → "1st", 2 → "2nd", 11 → "11th"."""
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


FORMS = (
    lambda d: f"{MONTHS[d.month - 1]} {d.day}, {d.year}",
    lambda d: f"{d.day} {MONTHS[d.month - 1]} {d.year}",
    lambda d: f"{d.day} {MONTHS[d.month - 1][:3]} {d.year}",
    lambda d: f"{MONTHS[d.month - 1][:3]} {ordinal(d.day)} {d.year}",
    lambda d: f"{DAYS[d.weekday()]}, {ordinal(d.day)} of {MONTHS[d.month - 1]} {d.year}",
    lambda d: f"{DAYS[d.weekday()][:3]} {MONTHS[d.month - 1]} {d.day} {d.year}",
    lambda d: f"{d.month}/{d.day}/{d.year}",  # slashes: month first, as in the United States
    lambda d: f"{d.day}.{d.month}.{d.year}",  # dots: day first, as in much of Europe
    lambda d: f"{d.day:02d}-{MONTHS[d.month - 1][:3].upper()}-{d.year}",
    lambda d: f"{d.year}/{d.month}/{d.day}",
)
"""Ways to write a date; each names one day without doubt."""


def is_held_out(date: datetime.date) -> bool:
    """Whether a date belongs to the held-out tenth: fixed by the date itself, the same on every machine."""
    return date.toordinal() * 2_654_435_761 % 2**32 < 2**32 // 10


def draw_pairs(n: int, rng: random.Random, held_out: bool = False) -> list[tuple[str, str]]:
    """n (written form, ISO form) pairs of dates from 1950 to 2049, all held out or all not, forms drawn evenly."""
    pairs = []
    while len(pairs) < n:
        date = FIRST + datetime.timedelta(days=rng.randrange((LAST - FIRST).days + 1))
        if is_held_out(date) == held_out:
            pairs.append((rng.choice(FORMS)(date), date.isoformat()))
    return pairs


def encode(text: str) -> list[int]:
    """Character ids. Raises ValueError for a character that no written form uses."""
    try:
        return [ID_OF[character] for character in text]
    except KeyError as error:
        raise ValueError(f"{text!r} holds {error.args[0]!r}; dates are written with {CHARACTERS!r}") from None


def decode(ids: list[int]) -> str:
    """Characters of ids; padding, start and end are left out."""
    return "".join(CHARACTERS[i - 3] for i in ids if i > END)


def source_tensor(texts: list[str]) -> tuple[Int[Tensor, "batch source"], Bool[Tensor, "batch source"]]:
    """Ids padded on the right, and the mask of real characters."""
    rows = [encode(text) for text in texts]
    ids = torch.full((len(rows), max(map(len, rows))), PAD)
    for row, target in zip(rows, ids):
        target[: len(row)] = torch.tensor(row)
    return ids, ids != PAD


def date_model(d_model: int = 64, n_layers: int = 1, n_heads: int = 4, d_ff: int = 128) -> EncoderDecoder:
    """The 2017 architecture in miniature, over characters; the norm in front, so that it learns without a long warm-up."""
    sizes = {"d_model": d_model, "n_layers": n_layers, "n_heads": n_heads, "d_ff": d_ff}
    return EncoderDecoder(original_config(VOCAB_SIZE, max_length=48, pre_norm=True, tie_embeddings=False, **sizes))


@dataclass(frozen=True)
class Evaluation:
    """Exact matches over held-out dates, and the pairs that went wrong as (source, right, written)."""

    correct: int
    n: int
    errors: list[tuple[str, str, str]]

    @property
    def exact_match(self) -> float:
        """Share of dates written without any mistake."""
        return self.correct / self.n


def learn_dates(
    model: EncoderDecoder, *, steps: int = 800, batch_size: int = 32, lr: float = 6e-3, seed: int = 0, progress: bool = False
) -> History:
    """Train on freshly drawn pairs (never a held-out date); the decoder sees the right prefix and predicts the next character."""
    rng = random.Random(seed)
    device = next(model.parameters()).device

    tokens = batch_size * (TARGET_LENGTH + 1)

    def loss(model: EncoderDecoder, pairs: list[tuple[str, str]]) -> tuple[Tensor, int]:
        source, mask = source_tensor([written for written, _ in pairs])
        target = torch.tensor([[START, *encode(iso), END] for _, iso in pairs])
        return model.loss(source.to(device), target[:, :-1].to(device), target[:, 1:].to(device), mask.to(device)) * tokens, tokens

    draw = lambda step: [draw_pairs(batch_size, rng)]  # noqa: E731
    return train(model, draw, loss, steps=steps, lr=lr, floor=lr / 10, warmup=0.1, progress=progress)


def evaluate(model: EncoderDecoder, n: int = 500, seed: int = 1) -> Evaluation:
    """Exact match of greedy decoding on n held-out pairs."""
    pairs = draw_pairs(n, random.Random(seed), held_out=True)
    written = translate(model, [source for source, _ in pairs])
    errors = [(source, iso, got) for (source, iso), got in zip(pairs, written) if got != iso]
    return Evaluation(n - len(errors), n, errors)


def translate(model: EncoderDecoder, texts: list[str]) -> list[str]:
    """What the model writes for each date, greedily."""
    device = next(model.parameters()).device
    source, mask = source_tensor(texts)
    rows = model.greedy(source.to(device), mask.to(device), start_id=START, eos_id=END, max_new_tokens=TARGET_LENGTH + 2)
    return [decode(row) for row in rows]
