"""Text from people is text: the one place that turns it into token ids, with special tokens off.

    "<|im_end|>" typed by a user, standing in a passage, an example or a tool's result  →  ordinary characters, several tokens
    "<|im_end|>" written by the chat template                                           →  the control token, one id

A `Prompt` is what a template made: a string to look at, which knows the control tokens in it. Any other string has none. Without this, a passage that says
"<|im_end|>" ends the user's turn and speaks on as the system (Perez & Ribeiro 2022, "Ignore Previous Prompt", call it prompt injection).
Production: `tokenizer(text, split_special_tokens=True)`.
"""

import itertools
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from llmsuite_lab.core.forks import ForkSafeLock
from llmsuite_lab.lm.messages import check_turn, marked, strings_of, within_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_lock = ForkSafeLock()
_TURN = re.compile(r"<[|｜].+[|｜]>|<\w+_of_\w+>|\[/?[A-Z_]+\]")  # <|im_start|>, <start_of_turn>, [/INST]; a model's own tags (<think>) stay in its turns
_plain: "WeakKeyDictionary[Any, tuple[tuple[int, str], Any]]" = WeakKeyDictionary()  # each tokenizer's copy that knows no special tokens in text


class Prompt(str):
    """The text of a prompt, made of `pieces`: ids where the template put control tokens, strings where there is only text.

    `prompt + "more"` adds plain text. Everything else that makes a new string (a slice, `replace`) makes one without control tokens.
    """

    pieces: tuple[int | str, ...]

    def __new__(cls, text: str, pieces: Sequence[int | str]) -> "Prompt":
        made = super().__new__(cls, text)
        made.pieces = tuple(pieces)
        return made

    def __getnewargs__(self) -> tuple[str, tuple[int | str, ...]]:
        return str(self), self.pieces

    def __add__(self, more: str) -> "Prompt":
        pieces = list(self.pieces)
        for piece in more.pieces if isinstance(more, Prompt) else (more,):
            if isinstance(piece, str) and pieces and isinstance(pieces[-1], str):
                pieces[-1] += piece
            else:
                pieces.append(piece)
        return Prompt(str(self) + str(more), pieces)


def encode(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text: control tokens only where a template put them (`Prompt`), no start or end token added. Safe in several threads.

    Raises ValueError for half a character (a lone surrogate), which is no text.
    """
    _check(texts)
    plain = [piece for text in texts for piece in _pieces(text) if isinstance(piece, str)]
    ids = iter(_encoded(tokenizer, plain))
    return [[i for piece in _pieces(text) for i in (next(ids) if isinstance(piece, str) else (piece,))] for text in texts]


def encode_wrapped(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], longest: int) -> list[list[int]]:
    """The same for an encoder: text cut so that with the tokenizer's own frame ([CLS] … [SEP] for BERT) it has at most `longest` tokens."""
    _check(texts)
    backend = _without_special_tokens(tokenizer)
    room = longest - backend.num_special_tokens_to_add(False)
    found = backend.encode_batch([str(text) for text in texts], add_special_tokens=False)
    for encoding in found:
        encoding.truncate(max(room, 0))
    return [backend.post_process(encoding, None, True).ids for encoding in found]


def offsets(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[tuple[int, int]]:
    """(start, end) in characters of each token of `text`."""
    _check([text])
    return list(_without_special_tokens(tokenizer).encode(str(text), add_special_tokens=False).offsets)


def chat_prompt(
    tokenizer: "PreTrainedTokenizerBase", conversation: Sequence[dict[str, Any]], *, answer_follows: bool = True, tools: Sequence[dict[str, Any]] = ()
) -> Prompt:
    """What the chat template makes of the messages, ending where the assistant speaks (`answer_follows`).

    Where no message holds a control token's text, the ids are exactly the tokenizer's own for the rendered template. `tools` are schemas
    ({"type": "function", "function": …}) for a template that shows them; then a message may hold the calls that it made ("tool_calls": [{"type":
    "function", "function": {"name": …, "arguments": {…}}}]) and {"role": "tool", "content": …} what came of one.

    Raises:
        ValueError: no message or a malformed one, no chat template, one that refuses the messages, shows no tools, or rewrites contents which hold a
            control token's text; a tool that holds one.
    """
    for turn in conversation:
        check_turn(turn, _controls(tokenizer))
        _check(strings_of(turn))
    if not conversation:
        raise ValueError("a conversation needs at least one message")
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("this tokenizer has no chat template: write the prompt as text and use complete()")
    shown_tools = [*strings_of(list(tools)), json.dumps(list(tools), ensure_ascii=False)]
    if held := [word for word in _controls(tokenizer) if any(word in said for said in shown_tools)]:
        raise ValueError(f"a tool holds the control token {held[0]!r} in its name, description or arguments: take it out")

    def rendered(turns: Sequence[dict[str, Any]], shown: Sequence[dict[str, Any]] = tools) -> str:
        from jinja2 import TemplateError

        more = {"tools": list(shown)} if shown else {}
        try:
            return tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=answer_follows, **more)
        except TemplateError as error:
            raise ValueError(f"the chat template refuses these messages: {error}") from error

    text = rendered(conversation)
    if tools and text == rendered(conversation, ()):
        raise ValueError("this model's chat template shows no tools: use agents.react with agents.functions.described(tools)")
    own = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])  # a long text is told in our own words
    pieces = _traced(tokenizer, conversation, rendered, text)
    if pieces is None:
        held = [word for word in _controls(tokenizer) if any(word in said for turn in conversation for said in strings_of(turn))]
        if held:
            raise ValueError(f"the chat template rewrites its messages, and one holds the control token {held[0]!r}: take it out")
        return Prompt(text, own)
    special = set(_controls(tokenizer).values())
    if [i for i in own if i in special] != [piece for piece in pieces if isinstance(piece, int)]:
        return Prompt(text, pieces)  # the tokenizer found control tokens that the template did not put there
    made = Prompt(text, pieces)
    return made if encode(tokenizer, [made])[0] == own else Prompt(text, own)  # a tokenizer that treats the text's beginning apart


def template_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> Prompt:
    """A piece of a template's own text as a Prompt: the control tokens in it are control tokens. Never for what a person or a model wrote."""
    return Prompt(text, _template_pieces(tokenizer, text))


def _traced(tokenizer: Any, conversation: Sequence[dict[str, Any]], rendered: Any, text: str) -> list[int | str] | None:
    """Control tokens of the template, and text, in order; None where contents do not come out of the template as they went in.

    Contents are replaced by marks in a first rendering, so that what lies between the marks is the template's.
    """
    mark = next(m for m in map(chr, range(0xE000, 0xF900)) if m not in text)  # characters for private use; a text with all 6,400 is none
    turns, held = marked(conversation, mark)
    parts = re.split(f"{mark}([0-9]+){mark}", rendered(turns))
    pieces: list[int | str] = [""]
    for written, fill in itertools.product((within_json, str), (str, str.strip)):  # many templates trim; arguments come as JSON or bare
        contents = [written(said) if argument else fill(said) for said, argument in held]
        if "".join(part if i % 2 == 0 else contents[int(part)] for i, part in enumerate(parts)) == text:
            break
    else:
        return None
    for i, part in enumerate(parts):
        for word in [contents[int(part)]] if i % 2 else _template_pieces(tokenizer, part):
            if isinstance(word, int):
                pieces += [word, ""]
            else:
                pieces[-1] += word
    return [piece for piece in pieces if piece != ""]


def _template_pieces(tokenizer: Any, text: str) -> list[int | str]:
    controls = _controls(tokenizer)
    finder = re.compile("|".join(re.escape(word) for word in sorted(controls, key=len, reverse=True)) or r"(?!)")
    words = re.split(f"({finder.pattern})", text)
    return [controls[word] if j % 2 else word for j, word in enumerate(words) if word]


def _check(texts: Sequence[str]) -> None:
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            half = text[error.start]
            raise ValueError(
                f"a text holds half a character ({half!r} at {error.start}), which no tokenizer knows: read its file with errors='replace'"
            ) from error


def _controls(tokenizer: Any) -> dict[str, int]:
    """Control tokens with their ids: what the tokenizer calls special, and the chat template's marks of a turn that were added as if they were words."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    return {t.content: i for i, t in tokenizer.added_tokens_decoder.items() if t.special or (_TURN.fullmatch(t.content) and t.content in template)}


def _pieces(text: str) -> tuple[int | str, ...]:
    return text.pieces if isinstance(text, Prompt) else (text,)


def _encoded(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    if not texts:
        return []
    if not getattr(tokenizer, "is_fast", False):
        return [list(ids) for ids in tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]]
    return [found.ids for found in _without_special_tokens(tokenizer).encode_batch(texts, add_special_tokens=False)]


def _without_special_tokens(tokenizer: Any) -> Any:
    """A copy of the tokenizer's engine with the switch off and no truncation; the tokenizer's own switch is shared by all who use it."""
    from tokenizers import Tokenizer

    with _lock:
        known, now = _plain.get(tokenizer), (len(tokenizer), str(getattr(tokenizer, "chat_template", None)))
        if known is None or known[0] != now:  # tokens were added since, or the template is another
            state, controls = json.loads(tokenizer.backend_tokenizer.to_str()), _controls(tokenizer)
            for token in state["added_tokens"]:
                token["special"] |= token["content"] in controls
            backend = Tokenizer.from_str(json.dumps(state))
            backend.no_truncation()
            backend.no_padding()
            backend.encode_special_tokens = True  # their name for it: what looks like a special token is encoded as text
            known = _plain[tokenizer] = now, backend
    return known[1]


def listed(values: Sequence[Any], method: str, kinds: tuple[type, ...] = (str,)) -> list[Any]:
    """The argument of a method that takes many, as a list. Raises TypeError for a bare string (the usual slip) and for entries of another type."""
    if isinstance(values, str | dict):
        raise TypeError(f"{method}() takes a list: write {method}([…])[0] for a single one")
    values = list(values)
    for i, value in enumerate(values):
        if not isinstance(value, kinds):
            raise TypeError(f"{method}() takes a list of {' or '.join(k.__name__ for k in kinds)}; entry {i} is {type(value).__name__}")
    return values
