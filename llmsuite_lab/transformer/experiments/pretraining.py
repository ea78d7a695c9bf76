"""Pre-training: a small decoder learns to predict the next token of real text, the documentation that comes with Python.

    loss = − (1/n) Σ_t log p(x_t | x_1 … x_{t−1})          nats per token, on text held out of training

Two yardsticks without any network: the unigram model p(x_t) and the bigram model p(x_t | x_{t−1}), counted on the training text. A loss
well below the bigram line comes from looking further back than one token.

    bigram, Witten–Bell:  p(b | a) = (count(a b) + T(a) p(b)) / (count(a) + T(a)),    T(a): how many different tokens follow a

Sources: Radford et al. 2019 (the task); Witten & Bell 1991 (the smoothing). Text: `pydoc_data.topics`, in every CPython.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from llmsuite_lab.core.help_topics import topics
from llmsuite_lab.core.history import History
from llmsuite_lab.transformer.bpe_training import train_bpe
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.evaluating import evaluating
from llmsuite_lab.transformer.tokenizer import BPETokenizer
from llmsuite_lab.transformer.training_loop import train

END = "<|endoftext|>"


@dataclass(frozen=True)
class Corpus:
    """Token ids of the training and of the held-out text (each document starts with END), and the tokenizer learned on the former."""

    tokenizer: BPETokenizer
    train: Int[Tensor, " train_tokens"]
    held_out: Int[Tensor, " held_out_tokens"]
    held_out_bytes: int
    unigram: float  # cross-entropy on the held-out text, nats per token
    bigram: float

    @property
    def bytes_per_token(self) -> float:
        """Mean length of a held-out token in bytes: divides a loss per token into a loss per byte, which does not depend on the tokenizer."""
        return self.held_out_bytes / len(self.held_out)


def documents() -> tuple[list[str], list[str]]:
    """Python's help topics, (training, held out): every tenth topic is held out.

    Topics repeat each other's paragraphs (a fifth of the text): each is kept once, so that nothing held out was seen in training.
    Raises LabError as `help_topics.topics`.
    """
    seen: set[str] = set()
    texts = []
    for text in topics().values():
        kept = [p for p in text.split("\n\n") if p not in seen]
        seen.update(kept)
        texts.append("\n\n".join(kept))
    return [t for n, t in enumerate(texts) if n % 10 != 5], [t for n, t in enumerate(texts) if n % 10 == 5]


def corpus(vocab_size: int = 512) -> Corpus:
    """Learn a tokenizer on the training documents, encode both parts and count the two yardsticks."""
    training, held_out = documents()
    tokenizer = train_bpe(training, vocab_size, [END])

    def encode(texts: list[str]) -> Tensor:
        return torch.tensor(list(tokenizer.encode_iterable(END + text for text in texts)))

    x, y = encode(training), encode(held_out)
    unigram, bigram = ngram_losses(x, y, tokenizer.vocab_size)
    return Corpus(tokenizer, x, y, sum(len(t.encode()) for t in held_out), unigram, bigram)


def ngram_losses(train_ids: Int[Tensor, " n"], held_out: Int[Tensor, " m"], vocab_size: int) -> tuple[float, float]:
    """Cross-entropy of the held-out ids in nats per token under the unigram (add one) and the bigram model (Witten–Bell) of `train_ids`.

    Raises ValueError for fewer than two tokens on either side.
    """
    if min(len(train_ids), len(held_out)) < 2:
        raise ValueError(f"need at least two tokens on each side, got {len(train_ids)} and {len(held_out)}")
    unigram = (torch.bincount(train_ids, minlength=vocab_size) + 1.0).double()
    unigram /= unigram.sum()
    pairs = torch.zeros(vocab_size, vocab_size, dtype=torch.float64)
    pairs.index_put_((train_ids[:-1], train_ids[1:]), torch.ones(len(train_ids) - 1, dtype=torch.float64), accumulate=True)
    followers = (pairs > 0).sum(1, keepdim=True).clamp(min=1)
    bigram = (pairs + followers * unigram) / (pairs.sum(1, keepdim=True) + followers)
    return -unigram[held_out[1:]].log().mean().item(), -bigram[held_out[:-1], held_out[1:]].log().mean().item()


def small_decoder(vocab_size: int, d_model: int = 128, n_layers: int = 2, n_heads: int = 4, max_length: int = 256) -> Decoder:
    """A Llama in miniature with its random start, output matrix and embedding apart (tied, it learns more slowly in so few steps)."""
    sizes = {"d_ff": 352, "max_length": max_length, "tie_embeddings": False, "scale_embedding": True}
    return Decoder(llama_config(vocab_size, d_model, n_layers, n_heads, **sizes))


@dataclass(frozen=True)
class Pretraining:
    """What a run leaves: the per-step history, held-out losses as (tokens seen, nats per token), and whether it is below the bigram line."""

    history: History
    held_out: list[tuple[int, float]]


def pretrain(
    model: Decoder,
    text: Corpus,
    *,
    steps: int = 500,
    batch_size: int = 8,
    seq: int = 64,
    lr: float = 4e-3,
    seed: int = 0,
    evaluate_every: int = 100,
    progress: bool = False,
) -> Pretraining:
    """Train `model` on random windows of `seq` tokens of the training text. Raises ValueError when the text is shorter than a window."""
    if len(text.train) <= seq:
        raise ValueError(f"the training text has {len(text.train)} tokens, a window needs {seq + 1}")
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    windows = text.train.unfold(0, seq + 1, 1)  # a view: window i starts at token i
    measured = [(0, held_out_loss(model, text, seq))]

    tokens = batch_size * seq

    def draw(step: int) -> list[Tensor]:
        return [windows[torch.randint(len(windows), (batch_size,), generator=generator)].to(device)]

    def loss(model: Decoder, chosen: Tensor) -> tuple[Tensor, int]:
        return model.loss(chosen[:, :-1], chosen[:, 1:]) * tokens, tokens

    def after(done: int, history: History) -> None:
        if done % evaluate_every == 0 or done == steps:
            measured.append((done * tokens, held_out_loss(model, text, seq)))

    history = train(model, draw, loss, steps=steps, lr=lr, floor=lr / 10, on_step=after, progress=progress)
    return Pretraining(history, measured)


def held_out_loss(model: Decoder, text: Corpus, seq: int = 64) -> float:
    """Mean cross-entropy on the held-out text, all of it as for the two yardsticks, in nats per token (see `surprise`)."""
    return surprise(model, text.held_out, seq)


@torch.inference_mode()
def surprise(model: Decoder, ids: Int[Tensor, " n"], seq: int = 64) -> float:
    """Mean cross-entropy of ids[1:] in nats per token, read in windows of `seq` tokens that each start without context; the last may be shorter.

    Raises ValueError for fewer than two tokens.
    """
    if len(ids) < 2:
        raise ValueError(f"need at least two tokens, got {len(ids)}")
    ids = ids.to(next(model.parameters()).device)
    whole = (len(ids) - 1) // seq * seq
    total = 0.0
    with evaluating(model):
        for read, asked in ((ids[:whole].view(-1, seq), ids[1 : whole + 1].view(-1, seq)), (ids[None, whole:-1], ids[None, whole + 1 :])):
            if asked.numel():
                total += model.loss(read, asked).item() * asked.numel()
    return total / (len(ids) - 1)


def sample(
    model: Decoder, tokenizer: BPETokenizer, prompt: str, *, max_new_tokens: int = 60, temperature: float = 0.8, seed: int = 0
) -> str:
    """`prompt` and what the model writes after it, drawn at `temperature` from a seeded generator; ends at END or the limit."""
    from llmsuite_lab.transformer.generation import generate
    from llmsuite_lab.transformer.sampling import Sampling

    end = tokenizer.special_tokens[END]
    prompt_ids = [end, *tokenizer.encode(prompt, allow_special=False)]
    row = generate(model, [prompt_ids], max_new_tokens, eos_ids=end, sampling=Sampling(temperature, seed=seed))[0]
    return prompt + tokenizer.decode(row.ids, skip_special=True)
