"""A wrong argument is answered by a sentence: which one, what was given, what is allowed. One place for the whole package.

    recall_at_k(3, gold, 5)   →   TypeError: recall_at_k: rankings=3 is an int, but it must be Sequence[Sequence[str]]

Python stumbles over a wrong argument somewhere inside ('int' object has no attribute 'split'). So every public function and method is called through
`explained`: when it stumbles, the arguments are held against the annotations, and the first that does not fit, is empty or is nan is named. Nothing is
looked at while all goes well, and nothing that works is refused: an object that behaves as it must needs no particular class. A check that a function
makes by itself, and any error that no argument explains, passes through unchanged; so does all that happens in a call which the package makes itself,
where a KeyError may be caught as one. `install` does this for each module as it is imported.
In production: pydantic's `validate_call`, beartype; both look at every call.
"""

import contextlib
import dis
import functools
import importlib.machinery
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from enum import Enum
from numbers import Integral
from os import PathLike
from typing import Any

from llmsuite_lab.core.annotations import PLAIN, hints_of, kind_of, mismatch, shown, words
from llmsuite_lab.core.errors import LabError

STUMBLES = (AttributeError, LookupError, ZeroDivisionError, AssertionError, UnboundLocalError, StopIteration, RecursionError, OverflowError)
TOLD = (TypeError, ValueError, RuntimeError)  # often a sentence of ours: then it stands
RAISING = (dis.opmap["RAISE_VARARGS"], dis.opmap["RERAISE"])


def install(package: str) -> None:
    """From now on, the modules of `package` explain wrong arguments."""
    if not any(isinstance(finder, _Finder) and finder.package == package for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(package))


class _Finder:
    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith(f"{self.package}."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        for name, value in list(vars(module).items()):
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(value):
                setattr(module, name, explained(value))
            elif inspect.isclass(value) and not issubclass(value, Enum | BaseException) and not getattr(value, "_is_protocol", False):
                _explain_methods(value)


def _explain_methods(owner: type) -> None:
    for name, value in list(vars(owner).items()):
        if name.startswith("_") and name not in ("__init__", "__call__"):
            continue
        if inspect.isfunction(value):
            setattr(owner, name, explained(value))
        elif isinstance(value, classmethod | staticmethod) and inspect.isfunction(value.__func__):
            setattr(owner, name, type(value)(explained(value.__func__)))


def explained(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, but where it stumbles over a wrong argument it raises TypeError or ValueError in one sentence (the stumble is its cause)."""

    inner = getattr(function, "__wrapped__", None)
    if inspect.isgeneratorfunction(inner) and function.__code__.co_filename == contextlib.__file__:
        return _explained_context(inner)
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def iterate(*args: Any, **kwargs: Any) -> Any:
            try:
                return (yield from function(*args, **kwargs))
            except (*STUMBLES, *TOLD) as error:
                _explain(function, args, kwargs, error)
                raise

        return iterate

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except (*STUMBLES, *TOLD) as error:
            _explain(function, args, kwargs, error)
            raise
        if result.__class__ is float and result != result:
            _explain(function, args, kwargs, None)
        return result

    return call


def _explained_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `explained`, for the body of a `contextmanager` up to its yield: what happens inside the block is the block's own affair."""

    @contextlib.contextmanager
    @functools.wraps(function)
    def enter(*args: Any, **kwargs: Any) -> Any:
        body = function(*args, **kwargs)
        try:
            value = next(body)
        except (*STUMBLES, *TOLD) as error:
            _explain(function, args, kwargs, error)
            raise
        try:
            yield value
        except BaseException as thrown:
            with contextlib.suppress(StopIteration):
                body.throw(thrown)
        else:
            next(body, None)

    return enter


def _explain(function: Callable[..., Any], args: tuple, kwargs: Mapping[str, Any], error: BaseException | None) -> None:
    if _called_from_within() or (error is not None and _raised_on_purpose(error)):
        return
    if (told := complaint(function, args, kwargs, error)) is not None:
        raise told from error


def _called_from_within() -> bool:
    """Whether the package itself made this call: then the error is its own to catch, as it was raised, and the outermost call explains it."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") in (__name__, "contextlib"):
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__", "").startswith(f"{__name__.partition('.')[0]}.")


def _raised_on_purpose(error: BaseException) -> bool:
    """Whether a `raise` speaks here: its sentence stands. Python's own "'int' object is not iterable" comes from no such statement."""
    if isinstance(error, STUMBLES):
        return False
    if isinstance(error, RuntimeError) and not isinstance(error, LabError) and type(error) is not RuntimeError:
        return True  # out of memory, not implemented, …: not about an argument
    last = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    return last.tb_frame.f_code.co_code[last.tb_lasti] in RAISING


def complaint(function: Callable[..., Any], args: tuple, kwargs: Mapping[str, Any], error: BaseException | None) -> Exception | None:
    """What is wrong with these arguments, as the exception to raise; None when they are as the signature says. `error`: what happened, if anything did."""
    try:
        given = inspect.signature(function).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        return None
    hints = hints_of(function)
    where = function.__qualname__.removesuffix(".__init__")
    named = [(name, value, hints.get(name, Any)) for name, value in given.items() if name not in ("self", "cls")]
    for name, value, hint in named:
        if error is not None and (wrong := mismatch(value, hint)) is not None:
            part, found = wrong
            return TypeError(f"{where}: {name}{part}={shown(found)}{kind_of(found)}, but {name} must be {words(hint)}")
    for name, value, _ in named:
        if isinstance(value, float) and value != value:
            return ValueError(f"{where}: {name} is nan, and a number is needed")
    for name, value, _ in named if isinstance(error, UnicodeDecodeError) else []:
        if isinstance(value, PathLike | str):
            return ValueError(f"{where}: {name}={shown(value)} is no text in UTF-8")
    for name, value, _ in named if isinstance(error, (*STUMBLES, RuntimeError)) else []:
        if name == "device" and isinstance(error, RuntimeError | AssertionError):  # torch asserts that it was built for a GPU
            return ValueError(f"{where}: device={shown(value)} is no device here ({str(error).strip().splitlines()[0]}): use 'cpu'")
        if hasattr(value, "__len__") and not isinstance(value, type) and len(value) == 0:
            return ValueError(f"{where}: {name} is empty, and there is nothing to work on: give at least one")
        if isinstance(error, LookupError) and isinstance(value, str | int) and (value in error.args or f": {value}" in str(error)):
            return ValueError(f"{where}: {name}={shown(value)} is not known here")
        if isinstance(error, AttributeError) and error.obj is value and isinstance(value, PLAIN):
            return TypeError(f"{where}: {name}={shown(value)} has no {error.name!r}: another kind of object is needed")
        if isinstance(error, OverflowError) and isinstance(value, float) and value in (float("inf"), float("-inf")):
            return ValueError(f"{where}: {name} is infinite, and a number is needed")
        if isinstance(error, KeyError) and isinstance(value, Mapping) and error.args and error.args[0] not in value:
            return ValueError(f"{where}: {name} has no {error.args[0]!r}, which is needed")
        if isinstance(value, Integral) and not isinstance(value, bool) and isinstance(error, IndexError | ArithmeticError | RuntimeError):
            if value <= 0 or abs(value) > 2**31:
                return ValueError(f"{where}: {name}={value} is out of range ({error})")
    return None
