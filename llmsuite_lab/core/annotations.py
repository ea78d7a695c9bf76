"""Whether a value is what an annotation allows, and how to say so: `mismatch` for `core.arguments`, which explains wrong arguments with it.

    mismatch([1, "a"], list[int])   →   ("[1]", "a")

Lenient where Python is: an object that behaves as it must needs no particular class, a number or a text in the place of an object is none. Of lists the
first `ELEMENTS` are looked at; an iterator is not used up by looking. In production: `isinstance` by pydantic's or beartype's reading of the hint.
"""

import builtins
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any

PLAIN = (type(None), bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, Path)
ELEMENTS = 100  # of a list are looked at


def mismatch(value: Any, hint: Any) -> tuple[str, Any] | None:
    """Where `value` is not what `hint` allows: ("", value), or ("[3]", its element 3); None where it may be."""
    if hint is Any:
        return None
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return mismatch(value, parts[0])
    if origin in (typing.Union, types.UnionType):
        found = [mismatch(value, part) for part in parts]
        return None if None in found else max(found, key=lambda wrong: len(wrong[0]))
    if origin is typing.Literal:
        return None if value in parts else ("", value)
    if origin is Callable or hint is Callable:
        return None if callable(value) else ("", value)
    kind = origin or hint
    if kind is None:
        return None if value is None else ("", value)
    if not isinstance(kind, type):
        return None
    holds_others = kind.__module__ in ("builtins", "collections.abc") and kind not in (str, bytes, type) and issubclass(kind, Iterable)
    return _wrong_container(value, kind, parts) if holds_others else _wrong_scalar(value, kind)


def _wrong_scalar(value: Any, kind: type) -> tuple[str, Any] | None:
    array = getattr(kind, "array_type", None)  # jaxtyping's Float[Tensor, "batch seq"]
    if array is not None:
        fits = not isinstance(array, type) or isinstance(value, array)
    elif kind is bool or kind is object:
        fits = True
    elif kind is int:
        fits = isinstance(value, Integral) or (hasattr(value, "__index__") and not isinstance(value, PLAIN))
    elif kind is float:
        fits = isinstance(value, Real) or (hasattr(value, "__float__") and not isinstance(value, PLAIN))
    elif kind is Path:
        fits = isinstance(value, PathLike)
    elif kind in PLAIN:
        fits = isinstance(value, kind)
    else:  # a class of ours or of a library: an object that behaves like one will do, a number or a text will not
        fits = not isinstance(value, PLAIN) or (not getattr(kind, "_is_protocol", False) and isinstance(value, kind))
    return None if fits else ("", value)


def _wrong_container(value: Any, kind: type, parts: tuple) -> tuple[str, Any] | None:
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__") or (issubclass(kind, Mapping) and not hasattr(value, "items")):
        return "", value
    if isinstance(value, Mapping) and issubclass(kind, Sequence):
        return "", value
    if isinstance(value, Mapping):
        whole = len(parts) == 2 and issubclass(kind, Mapping)
        inner, pairs = (parts[1], value.items()) if whole else (parts[0] if len(parts) == 1 else Any, enumerate(value))
    elif isinstance(value, list | tuple | set | frozenset):
        one = parts[0] if parts and (kind is not tuple or Ellipsis in parts) else Any
        inner, pairs = one, enumerate(value)
    else:  # an iterator must not be used up by looking
        return None
    for (at, element), _ in zip(pairs, range(ELEMENTS), strict=False):
        if (wrong := mismatch(element, inner)) is not None:
            return f"[{at!r}]{wrong[0]}", wrong[1]
    return None


class _Unknown(type):
    """A class that only the type checker imports: nothing is known of it but that it is no number, text or list."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("_"):
            raise AttributeError(name)
        return _Unknown(name, (), {})


class _Names(dict):
    """The names an annotation may use: the module's, Python's, and `_Unknown` ones."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, None) or _Unknown(name, (), {})


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function by name, read as far as they can be: what only the type checker imports stands for an object of some class."""
    try:
        return typing.get_type_hints(function, localns=_Names(getattr(function, "__globals__", {})))
    except Exception:  # an annotation beyond that: take the ones that need no reading
        return {name: hint for name, hint in getattr(function, "__annotations__", {}).items() if not isinstance(hint, str)}


def words(hint: Any) -> str:
    """An annotation as a sentence holds it: "Sequence[str]"."""
    text = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    for module in ("collections.abc.", "typing.", "pathlib.", "llmsuite_lab."):
        text = text.replace(module, "")
    return text


def kind_of(value: Any) -> str:
    """ " is an int", to stand behind the value; nothing for None, which says so by itself."""
    name = type(value).__name__
    return "" if value is None else f" is {'an' if name[0] in 'aeiou' else 'a'} {name}"


def shown(value: Any) -> str:
    """The value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
