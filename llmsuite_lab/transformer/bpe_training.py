"""Learning the merges: again and again, join the most frequent neighbouring pair of tokens into a new token.

    pair* = argmax over (a, b) of  Σ over words w of  count(w) · occurrences of a b in w

Written naïvely (`learn_merges_naively`) every merge recounts all the text. In `train_bpe` the text is first reduced to its distinct pre-tokens with
counts, and after a merge only the words that hold the pair are recounted (incremental pair counts): 1,000 merges on 5 MB take seconds in plain Python.

Ties: of two equally frequent pairs the one with the smaller ids wins, as in `tokenizers` (ids: special tokens, then the 256 bytes
in the order of their printable characters, then merges as learned), so training is deterministic and gives the same merges.

Source: Sennrich et al. 2016, algorithm 1. In production: `tokenizers.trainers.BpeTrainer`.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeVar

import regex

from llmsuite_lab.core.errors import whole
from llmsuite_lab.transformer.tokenizer import BPETokenizer, byte_alphabet, pre_tokens

Token = TypeVar("Token", str, bytes)


def train_bpe(
    texts: Iterable[str],
    vocab_size: int,
    special_tokens: Sequence[str] = (),
    min_count: int = 2,
    split_digits: bool = False,
) -> BPETokenizer:
    """Learn a byte-level BPE tokenizer with at most `vocab_size` tokens (special tokens and the 256 bytes included).

    Stops early when no pair occurs `min_count` times. Special tokens are cut out of the texts, so no merge ever holds a part of one.
    Raises ValueError when `vocab_size` is below 256 + the special tokens, or `texts` is one string (a list is meant).
    """
    smallest = 256 + len(special_tokens)
    if vocab_size < smallest:
        raise ValueError(f"vocab_size={vocab_size}, but 256 bytes and {len(special_tokens)} special tokens need at least {smallest}")
    if isinstance(texts, str):
        raise ValueError("texts is one string: pass a list of texts, e.g. [text]")
    if len(set(special_tokens)) != len(special_tokens):
        raise ValueError(f"special_tokens holds a token twice: {list(special_tokens)}")
    specials = {special: n for n, special in enumerate(special_tokens)}
    by_character = sorted(byte_alphabet().items(), key=lambda item: item[1])
    vocabulary = {bytes([byte]): len(specials) + n for n, (byte, _) in enumerate(by_character)}

    words = count_words(texts, special_tokens, split_digits)
    byte_ids = [vocabulary[bytes([b])] for b in range(256)]
    symbols = [[byte_ids[b] for b in word.encode("utf-8", errors="replace")] for word in words]
    merges = _learn_merges(symbols, list(words.values()), vocabulary, vocab_size - len(specials), min_count)
    return BPETokenizer(vocabulary, merges, specials, split_digits)


def learn_merges_naively(text: str, n_merges: int) -> list[tuple[bytes, bytes]]:
    """The first merges of `text` as the definition says: count every pair, join the most frequent one everywhere, count all over again.

    O(merges · length of the text), where `train_bpe` recounts only what a merge has changed. Stops when no pair occurs twice. Of equally frequent pairs
    the one whose tokens came first wins. Raises ValueError for a negative number of merges.
    """
    whole("n_merges", n_merges, 0, 2**31)
    tokens = [bytes([byte]) for byte, _ in sorted(byte_alphabet().items(), key=lambda item: item[1])]
    words = [[bytes([byte]) for byte in word.encode()] for word in pre_tokens(text)]
    merges: list[tuple[bytes, bytes]] = []
    for _ in range(n_merges):
        counts = Counter(pair for word in words for pair in zip(word, word[1:]))
        pair = min(counts, key=lambda pair: (-counts[pair], tokens.index(pair[0]), tokens.index(pair[1])), default=None)
        if pair is None or counts[pair] < 2:
            break
        merges.append(pair)
        tokens += [pair[0] + pair[1]] if pair[0] + pair[1] not in tokens else []
        words = [join_pair(word, pair) for word in words]
    return merges


def join_pair(word: Sequence[Token], pair: tuple[Token, Token]) -> list[Token]:
    """`word` with every occurrence of the neighbours `pair` joined to one token, from the left."""
    joined: list[Token] = []
    i = 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == tuple(pair):
            joined.append(word[i] + word[i + 1])
            i += 2
        else:
            joined.append(word[i])
            i += 1
    return joined


def count_words(texts: Iterable[str], special_tokens: Sequence[str] = (), split_digits: bool = False) -> Counter[str]:
    """How often each pre-token occurs in `texts`, special tokens cut out. All that training needs to know about the text."""
    cut = regex.compile("|".join(regex.escape(s) for s in sorted(special_tokens, key=len, reverse=True))) if special_tokens else None
    words: Counter[str] = Counter()
    for text in texts:
        for piece in cut.split(text) if cut else (text,):
            words.update(pre_tokens(piece, split_digits))
    return words


def _learn_merges(
    symbols: list[list[int]], counts: list[int], vocabulary: dict[bytes, int], size: int, min_count: int
) -> list[tuple[bytes, bytes]]:
    """Grow `vocabulary` to `size` tokens and return the merges. `symbols[w]` are word w's ids (changed in place), `counts[w]` its count."""
    pair_counts: Counter[tuple[int, int]] = Counter()
    words_with: dict[tuple[int, int], set[int]] = defaultdict(set)
    for w, word in enumerate(symbols):
        for pair in zip(word, word[1:]):
            pair_counts[pair] += counts[w]
            words_with[pair].add(w)

    token_of = {id_: token for token, id_ in vocabulary.items()}
    next_id = max(token_of) + 1
    queue = [(-count, pair) for pair, count in pair_counts.items()]
    heapq.heapify(queue)
    merges: list[tuple[bytes, bytes]] = []
    while queue and len(vocabulary) < size:
        negative, pair = heapq.heappop(queue)
        count = pair_counts[pair]
        if -negative != count:  # counted before an earlier merge changed it: put it back where it now belongs
            if count > 0:
                heapq.heappush(queue, (-count, pair))
            continue
        if count < max(1, min_count):
            break
        left, right = token_of[pair[0]], token_of[pair[1]]
        new = vocabulary.setdefault(left + right, next_id)  # two rules can make the same token ("a"+"bc", "ab"+"c"): one id
        next_id += new == next_id
        token_of[new] = left + right
        merges.append((left, right))
        _merge_everywhere(pair, new, symbols, counts, pair_counts, words_with, queue)
    return merges


def _merge_everywhere(
    pair: tuple[int, int],
    new: int,
    symbols: list[list[int]],
    counts: list[int],
    pair_counts: Counter[tuple[int, int]],
    words_with: dict[tuple[int, int], set[int]],
    queue: list[tuple[int, tuple[int, int]]],
) -> None:
    """Replace `pair` by `new` in the words that hold it and bring the counts up to date: old pairs out, new pairs in."""
    grown: set[tuple[int, int]] = set()
    for w in words_with.pop(pair):
        old, word, i = symbols[w], [], 0
        while i < len(old):
            if i + 1 < len(old) and old[i] == pair[0] and old[i + 1] == pair[1]:
                word.append(new)
                i += 2
            else:
                word.append(old[i])
                i += 1
        symbols[w] = word
        for gone in zip(old, old[1:]):
            pair_counts[gone] -= counts[w]
        for fresh in zip(word, word[1:]):
            pair_counts[fresh] += counts[w]
            if new in fresh:
                words_with[fresh].add(w)
                grown.add(fresh)
    for fresh in grown:
        heapq.heappush(queue, (-pair_counts[fresh], fresh))
