"""The tokenizer against the `tokenizers` library: same merges learned, same ids, text for text; plus round trips and streams."""

import json
import tracemalloc
import unicodedata
from itertools import islice, repeat
from pydoc_data.topics import topics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, ByteLevelBPETokenizer, Tokenizer, decoders, models, pre_tokenizers

from llmsuite_lab.transformer.bpe_training import count_words, train_bpe
from llmsuite_lab.transformer.tokenizer import BPETokenizer, byte_alphabet, merge_word, pre_tokens

SPECIALS = ("<|endoftext|>", "<|end|>")
TEXTS = [
    "Hello, world! It's what they'll've said; don't we'd I'm you're 'tis 'sup ''ll",
    "Ελληνικά · Русский язык, ещё раз · 中文没有空格 · 日本語のテキスト · العربية · हिन्दी में पाठ · ไทย · 한국어",
    "emoji 👩‍👩‍👧‍👦👍🏽 flags 🇪🇺🇯🇵 zero-width\u200bjoin\u200dhere \ufeff ½ ² Ⅷ ٣٤",
    "   leading, trailing   \n\n\n\ttabs\t\t and   runs  \r\n of\u00a0white\u3000space\u2028here \x1c\x1d\x1e\x1f\x85 \n ",
    "def f(x):\n    return x  ** 2   # 1234567 0x1F 3.14159\n\n\n",
    "a<|endoftext|>b <|endoftext|> <|end|><|end|>  <|endoftext|>\n<|endoftex|> <|endoftext",
    "",
    " ",
    "'",
    "\x00\x01 café cafe\u0301 Å Å",
    "x" * 3000 + " " * 500 + "ab" * 700,
]
text_with_specials = st.lists(
    st.one_of(st.text(max_size=12), st.sampled_from([*SPECIALS, "<|end", " ", "  ", "\n", "'ll", "'v", "the ", "12", "l", "e"])),
    max_size=12,
).map("".join)


@pytest.fixture(scope="module")
def ours():
    return train_bpe(list(topics.values())[:25], vocab_size=700, special_tokens=SPECIALS)


@pytest.fixture(scope="module")
def theirs(ours, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2-files")
    ours.save(folder)
    reference = ByteLevelBPETokenizer.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    reference.add_special_tokens([AddedToken(special, normalized=False) for special in SPECIALS])
    return reference


def test_learns_the_same_merges_as_tokenizers():
    texts = list(topics.values())[:40]
    ours = train_bpe(texts, vocab_size=1100, special_tokens=SPECIALS)
    reference = ByteLevelBPETokenizer()
    reference.train_from_iterator(texts, vocab_size=1100, special_tokens=list(SPECIALS), show_progress=False)
    described = json.loads(reference.to_str())["model"]
    alphabet = byte_alphabet()
    written = [["".join(alphabet[b] for b in part) for part in merge] for merge in ours.merges]
    assert written == [list(merge) for merge in described["merges"]]
    assert ours.vocab_size == 1100
    assert {ours.token(id_): id_ for id_ in range(1100)} == described["vocab"]


def test_ties_go_to_the_pair_with_smaller_ids():
    tokenizer = train_bpe(["ba ba", "ab ab", "cd cd"], vocab_size=258, min_count=2)
    # " b" 1, "ba" 2, "ab" 2, "cd" 2, … : of the pairs seen twice ("a","b") has the smallest ids
    assert tokenizer.merges == [(b"a", b"b"), (b"b", b"a")]


@pytest.mark.parametrize("text", TEXTS)
def test_same_ids_as_tokenizers(ours, theirs, text):
    ids = ours.encode(text)
    assert ids == theirs.encode(text).ids
    assert ours.decode(ids) == text == theirs.decode(ids, skip_special_tokens=False)


@given(text_with_specials)
@settings(max_examples=300, deadline=None)
def test_same_ids_as_tokenizers_and_back_for_any_text(ours, theirs, text):
    ids = ours.encode(text)
    assert ours.decode(ids) == text
    assert ours.decode(ours.encode(text, allow_special=False)) == text
    # letters of the newest Unicode versions are not known to every table yet: unassigned characters are left out of the parity
    if all(unicodedata.category(character) != "Cn" for character in text):
        assert ids == theirs.encode(text).ids


@given(st.lists(st.integers(0, 699), max_size=40))
@settings(max_examples=200, deadline=None)
def test_decodes_any_ids_as_tokenizers_does(ours, theirs, ids):
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)


@given(text_with_specials, st.lists(st.integers(0, 60), max_size=8))
@settings(max_examples=500, deadline=None)
def test_a_stream_gives_the_same_ids_wherever_it_is_cut(ours, text, cuts):
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    chunks = [text[a:b] for a, b in zip(edges, edges[1:])]
    assert list(ours.encode_iterable(chunks)) == ours.encode(text)
    assert list(ours.encode_iterable(iter(text))) == ours.encode(text)
    assert list(ours.encode_iterable(iter(text), allow_special=False)) == ours.encode(text, allow_special=False)


def test_a_special_token_that_begins_another_waits_for_the_longer_one():
    tokenizer = train_bpe(["a"], vocab_size=258, special_tokens=("<a>", "<a>b"))
    for text in ("<a>b", "<a>", "<a>c", "x<a><a>b<a"):
        assert list(tokenizer.encode_iterable(iter(text))) == tokenizer.encode(text)
    assert tokenizer.encode("<a>b") == [1]


def test_an_endless_stream_needs_constant_memory(ours):
    stream = ours.encode_iterable(repeat("some words, 'll <|endoftext|> and\n\n more 日本 "))
    for _ in islice(stream, 20_000):
        pass
    tracemalloc.start()
    count = sum(1 for _ in islice(stream, 300_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 300_000
    assert peak < 100_000  # bytes; the ids alone would be 2.4 MB


def test_special_tokens_are_never_split_nor_merged(ours):
    assert ours.encode("<|endoftext|>") == [0]
    as_text = ours.encode("<|endoftext|>", allow_special=False)
    assert 0 not in as_text
    assert len(as_text) > 1
    trained = train_bpe(["<|endoftext|>" * 50 + "abc abc"], vocab_size=300, special_tokens=["<|endoftext|>"])
    assert not any(b"|" in left + right for left, right in trained.merges)
    assert ours.decode([0, *ours.encode("x")], skip_special=True) == "x"


def test_invalid_utf8_becomes_the_replacement_character(ours):
    cut = ours.encode("👍")[:-1]
    assert "\ufffd" in ours.decode(cut)
    assert ours.decode(ours.encode("lone \ud800 surrogate")) == "lone ? surrogate"


def test_gpt2_files_in_and_out(ours, tmp_path):
    ours.save(tmp_path)
    again = BPETokenizer.load(tmp_path, special_tokens=SPECIALS)
    assert (again.vocabulary, again.merges, again.special_tokens) == (ours.vocabulary, ours.merges, ours.special_tokens)
    extra = BPETokenizer.load(tmp_path, special_tokens=(*SPECIALS, "<new>"))
    assert extra.encode("<new>") == [ours.vocab_size]
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b c\n", encoding="utf-8")
    with pytest.raises(ValueError, match="two tokens"):
        BPETokenizer.load(tmp_path, special_tokens=SPECIALS)


@pytest.mark.parametrize("split_digits", [False, True])
def test_reads_tokenizer_json(ours, tmp_path, split_digits):
    alphabet = byte_alphabet()
    written = lambda token: "".join(alphabet[b] for b in token)  # noqa: E731
    vocabulary = {written(token): id_ for token, id_ in ours.vocabulary.items()} | ours.special_tokens
    reference = Tokenizer(models.BPE(vocab=vocabulary, merges=[(written(a), written(b)) for a, b in ours.merges]))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    reference.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level]) if split_digits else byte_level
    reference.decoder = decoders.ByteLevel()
    reference.add_special_tokens([AddedToken(special, normalized=False) for special in SPECIALS])
    reference.save(str(tmp_path / "tokenizer.json"))
    again = BPETokenizer.load_tokenizer_json(tmp_path / "tokenizer.json")
    assert again.split_digits is split_digits
    for text in TEXTS:
        assert again.encode(text) == reference.encode(text).ids
        assert list(again.encode_iterable(iter(text))) == again.encode(text)


@pytest.mark.real_model
def test_same_ids_as_the_real_models_tokenizer():
    from llmsuite_lab.core import zoo

    ours = BPETokenizer.load_tokenizer_json(zoo.path("smollm2-135m-instruct") / "tokenizer.json")
    theirs = zoo.load_tokenizer("smollm2-135m-instruct")
    assert ours.vocab_size == len(theirs)
    assert len(ours.missing_bytes) == 21
    for text in [*TEXTS, "<|im_start|>user\nWhat is 12 + 345?<|im_end|>\n", "list:\n\n1. x  12", topics["for"]]:
        assert ours.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]


def test_merges_a_long_word_without_quadratic_time():
    ranks = {(1, 1): (0, 2), (2, 2): (1, 3)}
    assert merge_word([1] * 200_001, ranks) == [3] * 50_000 + [1]
    assert merge_word([1, 1, 1], ranks) == [2, 1]


def test_pre_tokens_join_to_the_text():
    for text in TEXTS:
        assert "".join(pre_tokens(text)) == text
        assert "".join(pre_tokens(text, split_digits=True)) == text
    assert list(pre_tokens("a  123 b", split_digits=True)) == ["a", "  ", "1", "2", "3", " b"]
    assert count_words(["a b", "a"], ()) == {"a": 2, " b": 1}


def test_bad_input_is_refused_with_the_reason(ours):
    with pytest.raises(ValueError, match="at least 258"):
        train_bpe(["text"], vocab_size=257, special_tokens=SPECIALS)
    with pytest.raises(ValueError, match="list of texts"):
        train_bpe("one string", vocab_size=300)
    with pytest.raises(ValueError, match="twice"):
        train_bpe(["text"], vocab_size=300, special_tokens=("<a>", "<a>"))
    with pytest.raises(ValueError, match="id 700 is not in the vocabulary"):
        ours.decode([3, 700])
    with pytest.raises(ValueError, match="id 700"):
        ours.token(700)
    with pytest.raises(ValueError, match="256 single bytes"):
        BPETokenizer({b"a": 0}, [])
    with pytest.raises(ValueError, match="needs b'x.*xff'"):
        BPETokenizer(ours.vocabulary, [(b"x", b"\xff")])
    with pytest.raises(ValueError, match="empty string"):
        BPETokenizer(ours.vocabulary, [], {"": 900})
    with pytest.raises(ValueError, match="share one id"):
        BPETokenizer(ours.vocabulary, [], {"<x>": 300})


def test_the_naive_merges_are_those_of_the_fast_training():
    from llmsuite_lab.transformer.bpe_training import join_pair, learn_merges_naively

    for text in ("low lower lowest slow slower", "aaaa aaa aa bab bab", "für füße, 5 5 55 日本 日本"):
        assert learn_merges_naively(text, 12) == train_bpe([text], 256 + 12).merges
    assert learn_merges_naively("abc", 3) == []
    assert join_pair(["a", "a", "a", "b"], ("a", "a")) == ["aa", "a", "b"]
    with pytest.raises(ValueError, match="n_merges"):
        learn_merges_naively("abc", -1)
