"""Byte-level byte-pair encoding: text → ids → text, nothing lost, no unknown token.

    text --special tokens cut out--> pieces --regex--> pre-tokens --UTF-8--> bytes --merges, lowest rank first--> ids

The 256 bytes are the first tokens, so every text has an encoding; each merge rule (left, right) → left+right makes one longer
token. Encoding applies the rules in the order in which training learned them; decoding joins bytes. Pre-tokens (about a word with
its leading space) keep merges from crossing word borders. `bpe_training.train_bpe` learns the rules.

Source: Sennrich, Haddow & Birch, "Neural Machine Translation of Rare Words with Subword Units", 2016; bytes instead of characters:
Radford et al., "Language Models are Unsupervised Multitask Learners" (GPT-2), 2019, section 2.2.
In production: `tokenizers.ByteLevelBPETokenizer`, `transformers.AutoTokenizer` (same ids, tested; written in Rust, so much faster).
"""

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import regex

from llmsuite_lab.core.files import whole_folder, write_json, write_text

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's pre-tokens: contractions, words, numbers, punctuation (each with one leading space), runs of white space."""

# Python's \s counts the separators U+001C…U+001F as white space, Unicode's White_Space (and GPT-2's files) does not: name the property.
_PRE_TOKEN = regex.compile(
    GPT2_PATTERN.replace(r"[^\s", r"[^\p{White_Space}").replace(r"\s", r"\p{White_Space}").replace(r"\S", r"\P{White_Space}")
)
_NUMERAL = regex.compile(r"(\p{N})")
_LOOK_AHEAD = 2  # characters after a pre-token that can still change it: "'l" may become "'ll"
_CACHED_WORDS = 1 << 16


def byte_alphabet() -> dict[int, str]:
    """The 256 printable characters that stand for bytes in GPT-2's files: {byte value: character}, e.g. 32 (space) → "Ġ".

    Printable Latin-1 bytes stand for themselves; the others are moved to U+0100 and up, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [b for b in range(256) if b not in set(printable)]
    return {b: chr(b) for b in printable} | {b: chr(256 + n) for n, b in enumerate(moved)}


def pre_tokens(text: str, split_digits: bool = False) -> Iterator[str]:
    """Cut `text` into GPT-2's pre-tokens, in order; joined they give `text` back.

    With `split_digits` every numeral is a pre-token of its own (SmolLM2, Llama): then a number's tokens do not depend on its length.
    """
    if not split_digits:
        yield from _PRE_TOKEN.findall(text)
        return
    for piece in _NUMERAL.split(text):
        yield from _PRE_TOKEN.findall(piece)


class BPETokenizer:
    """A trained byte-level BPE tokenizer. State: token ↔ id, ranked merges, special tokens, and a bounded cache of encoded words.

    Args:
        vocabulary: token bytes → id; must hold all 256 single bytes. Special tokens do not belong here.
        merges: (left bytes, right bytes) in the order learned; both parts and their concatenation must be in the vocabulary.
        special_tokens: text → id, e.g. {"<|endoftext|>": 0}. Found in the text before anything else, never split, never merged.
        split_digits: see `pre_tokens`.
        drop_missing_bytes: a vocabulary without all 256 bytes (SmolLM2's lacks 21: control characters and bytes that UTF-8 never
            uses) loses such bytes in `encode`, as `tokenizers` does. The default is to refuse it, so that nothing is lost unnoticed.

    Raises ValueError when a byte, a part of a merge or its result is missing, or two tokens share an id.
    """

    def __init__(
        self,
        vocabulary: dict[bytes, int],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: dict[str, int] | None = None,
        split_digits: bool = False,
        drop_missing_bytes: bool = False,
    ):
        self.vocabulary, self.merges, self.split_digits = dict(vocabulary), list(merges), split_digits
        self.special_tokens = dict(special_tokens or {})
        missing = [b for b in range(256) if bytes([b]) not in self.vocabulary]
        if missing and not drop_missing_bytes:
            raise ValueError(f"the vocabulary lacks {len(missing)} of the 256 single bytes (first: {missing[:5]}): it is not byte-level")
        self.missing_bytes = bytes(missing)
        if "" in self.special_tokens:
            raise ValueError("a special token must not be the empty string")
        self._ranks: dict[tuple[int, int], tuple[int, int]] = {}  # (left id, right id) → (rank, id of the concatenation)
        for rank, (left, right) in enumerate(self.merges):
            absent = [part for part in (left, right, left + right) if part not in self.vocabulary]
            if absent:
                raise ValueError(f"merge {rank} ({left!r}, {right!r}) needs {absent[0]!r}, which is not in the vocabulary")
            self._ranks.setdefault((self.vocabulary[left], self.vocabulary[right]), (rank, self.vocabulary[left + right]))
        self._bytes_of = {id_: token for token, id_ in self.vocabulary.items()} | {i: s.encode() for s, i in self.special_tokens.items()}
        if len(self._bytes_of) != len(self.vocabulary) + len(self.special_tokens):
            raise ValueError("two tokens share one id")
        self._byte_ids = [self.vocabulary.get(bytes([b])) for b in range(256)]
        longest_first = sorted(self.special_tokens, key=len, reverse=True)
        self._special = regex.compile("|".join(map(regex.escape, longest_first))) if longest_first else None
        self._cache: dict[str, list[int]] = {}

    @property
    def vocab_size(self) -> int:
        """Rows an embedding needs: the largest id plus one (special tokens included)."""
        return max(self._bytes_of) + 1

    def encode(self, text: str, allow_special: bool = True) -> list[int]:
        """Token ids of `text`. With `allow_special=False` a special token's text is ordinary characters: what untrusted input needs."""
        ids: list[int] = []
        for piece, special_id in self._pieces(text, allow_special):
            if special_id is not None:
                ids.append(special_id)
            else:
                for word in pre_tokens(piece, self.split_digits):
                    ids += self._encode_word(word)
        return ids

    def encode_iterable(self, chunks: Iterable[str], allow_special: bool = True) -> Iterator[int]:
        """Ids of the concatenated chunks, one by one, equal to `encode("".join(chunks))` wherever the cuts fall.

        Memory: one chunk plus the longest pre-token, whatever the stream's length. A pre-token is given out only when no
        continuation can change it: what may still grow into a special token, a longer word or a contraction waits.
        """
        longest = max(map(len, self.special_tokens), default=1) if allow_special else 1
        buffer = ""
        for chunk in chunks:
            buffer += chunk
            known = len(buffer) - longest + 1  # no special token can start before this place without being wholly visible
            done = 0
            for piece, special_id in self._pieces(buffer, allow_special):
                if special_id is not None:
                    if done >= known:  # a longer special token may still appear at the same place
                        break
                    yield special_id
                    done += len(piece)
                    continue
                piece_end = done + len(piece)
                closed = piece_end < min(known, len(buffer))  # followed by a special token that is settled
                for word in pre_tokens(piece, self.split_digits):
                    if not closed and done + len(word) + _LOOK_AHEAD > known:
                        break
                    yield from self._encode_word(word)
                    done += len(word)
                if done < piece_end:
                    break
            buffer = buffer[done:]
        yield from self.encode(buffer, allow_special)

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """Text of `ids`; bytes that are not valid UTF-8 (a cut character, a random sequence) become U+FFFD.

        Raises ValueError for an id that is not in the vocabulary.
        """
        specials = set(self.special_tokens.values()) if skip_special else set()
        try:
            return b"".join(self._bytes_of[int(i)] for i in ids if int(i) not in specials).decode("utf-8", errors="replace")
        except KeyError as error:
            raise ValueError(f"id {error.args[0]} is not in the vocabulary (ids run from 0 to {self.vocab_size - 1})") from None

    def token(self, id_: int) -> str:
        """One token as GPT-2's files write it ("Ġthe" is " the"), special tokens as they are. Raises ValueError for an unknown id."""
        if id_ not in self._bytes_of:
            raise ValueError(f"id {id_} is not in the vocabulary (ids run from 0 to {self.vocab_size - 1})")
        if id_ in self.special_tokens.values():
            return self._bytes_of[id_].decode()
        return _to_file(self._bytes_of[id_])

    def save(self, folder: Path | str) -> None:
        """Write GPT-2's two files, `vocab.json` and `merges.txt`, as `folder` (made if needed; an earlier one of ours is replaced).

        Raises OSError, and LabError for a folder that holds anything else: it stays as it is.
        """
        entries = {_to_file(token): id_ for token, id_ in self.vocabulary.items()} | self.special_tokens
        lines = ["#version: 0.2", *(f"{_to_file(left)} {_to_file(right)}" for left, right in self.merges)]
        with whole_folder(Path(folder), "a tokenizer") as new:
            write_json(new / "vocab.json", dict(sorted(entries.items(), key=lambda entry: entry[1])))
            write_text(new / "merges.txt", "\n".join(lines) + "\n")

    @classmethod
    def load(cls, folder: Path | str, special_tokens: Sequence[str] = (), split_digits: bool = False) -> "BPETokenizer":
        """Read GPT-2's `vocab.json` and `merges.txt`. A special token that the file lacks gets the next free id.

        Raises FileNotFoundError, or ValueError for a file that is not in GPT-2's form.
        """
        entries = json.loads((Path(folder) / "vocab.json").read_text(encoding="utf-8"))
        lines = (Path(folder) / "merges.txt").read_text(encoding="utf-8").split("\n")
        rules = [line.split(" ") for line in lines if line and not line.startswith("#version")]
        if bad := [rule for rule in rules if len(rule) != 2]:
            raise ValueError(f"merges.txt: expected two tokens on a line, found {' '.join(bad[0])!r}")
        return cls._from_entries(entries, rules, special_tokens, split_digits)

    @classmethod
    def load_tokenizer_json(cls, path: Path | str) -> "BPETokenizer":
        """Read a `tokenizer.json` of the `tokenizers` library whose pre-tokenisation is GPT-2's, with or without single digits (SmolLM2).

        Raises FileNotFoundError; ValueError when the file describes another kind of tokenizer (WordPiece, another regex, a normaliser).
        """
        described = json.loads(Path(path).read_text(encoding="utf-8"))
        model, cutter = described["model"], described.get("pre_tokenizer") or {}
        steps = cutter.get("pretokenizers", [cutter])
        kinds = [step.get("type") for step in steps]
        fits = model.get("type", "BPE") == "BPE" and kinds in (["ByteLevel"], ["Digits", "ByteLevel"]) and not described.get("normalizer")
        if (
            not fits
            or steps[-1].get("add_prefix_space")
            or not steps[-1].get("use_regex", True)
            or not steps[0].get("individual_digits", True)
        ):
            raise ValueError(f"{path}: model {model.get('type')!r} with pre-tokenizers {kinds} is not GPT-2's byte-level BPE")
        rules = [rule.split(" ") if isinstance(rule, str) else rule for rule in model["merges"]]
        specials = {added["content"]: added["id"] for added in described.get("added_tokens", [])}
        return cls._from_entries(model["vocab"] | specials, rules, tuple(specials), len(steps) == 2, drop_missing_bytes=True)

    @classmethod
    def _from_entries(
        cls, entries: dict[str, int], rules: list, special_tokens: Sequence[str], split_digits: bool, drop_missing_bytes: bool = False
    ) -> "BPETokenizer":
        free = max(entries.values(), default=-1) + 1
        new = [special for special in special_tokens if special not in entries]
        specials = {special: entries[special] for special in special_tokens if special in entries}
        specials |= {special: free + n for n, special in enumerate(new)}
        vocabulary = {_from_file(token): id_ for token, id_ in entries.items() if token not in specials}
        merges = [(_from_file(left), _from_file(right)) for left, right in rules]
        return cls(vocabulary, merges, specials, split_digits, drop_missing_bytes)

    def _pieces(self, text: str, allow_special: bool) -> Iterator[tuple[str, int | None]]:
        """Ordinary pieces (id None) and special tokens, in order; empty pieces left out."""
        end = 0
        for match in self._special.finditer(text) if self._special and allow_special else ():
            if match.start() > end:
                yield text[end : match.start()], None
            yield match.group(), self.special_tokens[match.group()]
            end = match.end()
        if end < len(text):
            yield text[end:], None

    def _encode_word(self, word: str) -> list[int]:
        if (known := self._cache.get(word)) is not None:
            return known
        # a lone surrogate (half of a UTF-16 pair) has no UTF-8 form: it becomes "?", as in any str.encode with replacement
        ids = [self._byte_ids[b] for b in word.encode("utf-8", errors="replace")]
        ids = merge_word([id_ for id_ in ids if id_ is not None], self._ranks)
        if len(self._cache) < _CACHED_WORDS and len(word) < 64:
            self._cache[word] = ids
        return ids


def merge_word(ids: list[int], ranks: dict[tuple[int, int], tuple[int, int]]) -> list[int]:
    """Apply merge rules to one pre-token: always the lowest rank, leftmost first, until none applies. n symbols: O(n log n).

    `ranks` maps (left id, right id) → (rank, id of the concatenation). The word is a linked list: `after[i]` is i's right neighbour;
    a symbol that was swallowed is None. Pairs wait in a heap; one whose symbols changed in the meantime is skipped when it comes up.
    """
    symbols: list[int | None] = list(ids)
    n = len(symbols)
    before, after = list(range(-1, n - 1)), list(range(1, n + 1))
    heap = [(ranks[pair][0], i) for i, pair in enumerate(zip(ids, ids[1:])) if pair in ranks]
    heapq.heapify(heap)
    while heap:
        rank, i = heapq.heappop(heap)
        j = after[i]
        if j >= n or symbols[i] is None or (rule := ranks.get((symbols[i], symbols[j]))) is None or rule[0] != rank:
            continue
        symbols[i], symbols[j] = rule[1], None
        after[i] = after[j]
        if after[i] < n:
            before[after[i]] = i
        for left in (before[i], i):  # the two pairs that now hold the new symbol
            if left >= 0 and after[left] < n and (pair := (symbols[left], symbols[after[left]])) in ranks:
                heapq.heappush(heap, (ranks[pair][0], left))
    return [symbol for symbol in symbols if symbol is not None]


_BYTE_TO_CHARACTER = byte_alphabet()
_CHARACTER_TO_BYTE = {character: byte for byte, character in _BYTE_TO_CHARACTER.items()}


def _to_file(token: bytes) -> str:
    return "".join(_BYTE_TO_CHARACTER[b] for b in token)


def _from_file(token: str) -> bytes:
    try:
        return bytes(_CHARACTER_TO_BYTE[character] for character in token)
    except KeyError as error:
        raise ValueError(
            f"token {token!r} holds {error.args[0]!r}, which stands for no byte in GPT-2's files; if it is a special token, name it in special_tokens"
        ) from None
