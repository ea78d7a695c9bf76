"""Every public callable of a package, fed with one wrong argument at a time: it must answer with a sentence, or with a result, and in time.

    check("llmsuite_lab.world", valid={"world.names.names": call("person", "train", rng)}, left_out={"world.x.y": "why"})

A callable is named by its place below `llmsuite_lab`. What its signature says by itself (a text, a number, an optional argument) needs no entry in
`valid`; everything else needs one, or a reason in `left_out`: a new function without either fails the test.
"""

import copy
import dataclasses
import functools
import importlib
import inspect
import math
import pkgutil
import random
import signal
import sys
import threading
import types
import typing
from collections.abc import Callable
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any

LIMIT_S, PATIENCE = 5.0, 12
FAULTS = (AttributeError, LookupError, RuntimeError, ArithmeticError, AssertionError, NameError, MemoryError, StopIteration, NotImplementedError)
NO_VALUE = object()


class Hang(BaseException):
    """The call was still running after LIMIT_S."""


@dataclasses.dataclass
class Call:
    """A valid call: its arguments, and for a method the object to call it on (a function that makes a fresh one)."""

    args: tuple = ()
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    on: Callable[[], Any] | None = None


def call(*args: Any, on: Callable[[], Any] | None = None, **kwargs: Any) -> Call:
    """A valid call for the table. An argument that is a function named `fresh…` is called for a new value each time."""
    return Call(args, kwargs, on)


def bad_values(folder: Path) -> dict[str, Any]:
    """What is put in an argument's place: another type, empty, no number, out of range, unknown, a file of another format."""
    picture, text = folder / "picture.bin", folder / "text.json"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    text.write_text("[1, 2", encoding="utf-8")
    return {
        "None": None, "a number": 3, "a negative": -1, "zero": 0, "huge": 10**30, "nan": math.nan, "infinity": math.inf,
        "an unknown name": "no such name", "an empty text": "", "an empty list": [], "a list of numbers": [1, 2], "a list of texts": ["a", "b"],
        "a dictionary": {"a": 1}, "bytes": b"x", "a picture's path": picture, "a torn file's path": text, "a folder's path": folder,
    }  # fmt: skip


def public(package: str) -> dict[str, tuple[Any, str, Callable[..., Any]]]:
    """{name below llmsuite_lab: (class or None, kind, callable)} of everything a person may call: functions, constructors, methods."""
    found: dict[str, tuple[Any, str, Callable[..., Any]]] = {}
    root = importlib.import_module(package)
    for info in pkgutil.walk_packages(root.__path__, f"{package}."):
        if info.name.rpartition(".")[2].startswith("_"):
            continue
        module = importlib.import_module(info.name)
        place = info.name.removeprefix("llmsuite_lab.")
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(value):
                found[f"{place}.{name}"] = (None, "function", value)
            elif inspect.isclass(value) and not getattr(value, "_is_protocol", False) and not issubclass(value, Enum | BaseException | dict):
                found[f"{place}.{name}"] = (value, "class", value)
                for method, written in vars(value).items():
                    if (method.startswith("_") and method != "__call__") or isinstance(written, property):
                        continue
                    if inspect.isfunction(written) or isinstance(written, classmethod | staticmethod):
                        kind = "method" if inspect.isfunction(written) else "class method"
                        found[f"{place}.{name}.{method}"] = (value, kind, getattr(value, method))
    return found


def fresh_random() -> Random:
    """A generator of random numbers in a known state."""
    return Random(0)


def guessed(parameter: inspect.Parameter, hint: Any) -> Any:
    """A valid value where the annotation says enough; NO_VALUE where it does not."""
    if parameter.default is not parameter.empty:
        return parameter.default
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return parts[0]
    simple = {str: "some words", int: 2, float: 0.5, bool: True, bytes: b"x"}
    if isinstance(hint, type) and hint in simple:
        return simple[hint]
    if hint is Path:
        return Path("made by a test")
    if hint is Random:
        return fresh_random
    if origin in (typing.Union, types.UnionType):
        guesses = [guessed(inspect.Parameter("part", inspect.Parameter.KEYWORD_ONLY), part) for part in parts if part is not type(None)]
        return next((guess for guess in guesses if guess is not NO_VALUE), None if type(None) in parts else NO_VALUE)
    if origin is tuple and parts and parts[0] in (str, int, float):
        return (simple[parts[0]],) * (2 if Ellipsis in parts else len(parts))
    many = origin is list or getattr(origin, "__module__", "") == "collections.abc"
    if many and len(parts) == 1 and isinstance(parts[0], type) and parts[0] in simple:
        return [simple[parts[0]]] * 2
    return NO_VALUE


def is_row(owner: type) -> bool:
    """A dataclass without a check of its own holds what it is given: the package makes these rows itself."""
    return dataclasses.is_dataclass(owner) and not hasattr(owner, "__post_init__")


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except Exception:
        return {}


def arguments(function: Callable[..., Any], entry: Call | None) -> dict[str, Any] | str:
    """The valid arguments by name, or why there are none."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return "it has no signature"
    hints, given = _hints(function), {}
    if entry is not None:
        given = dict(signature.bind_partial(*entry.args, **entry.kwargs).arguments)
    for name, parameter in signature.parameters.items():
        if name in given or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        value = guessed(parameter, hints.get(name, parameter.annotation))
        if value is NO_VALUE:
            return f"no valid value is known for {name}: {parameter.annotation}"
        given[name] = value
    return {name: given[name] for name in signature.parameters if name in given}  # in order: some are passed by their place


def _made(value: Any) -> Any:
    if inspect.isfunction(value) and value.__name__.startswith("fresh"):
        return value()
    try:
        return copy.deepcopy(value) if isinstance(value, list | dict | set) else value
    except Exception:
        return value


def invoke(function: Callable[..., Any], values: dict[str, Any], limit_s: float = LIMIT_S) -> Any:
    """Call it, within the limit; an iterator or a context is entered, so that its body runs."""
    signature = inspect.signature(function)
    args, kwargs = [], {}
    for name, value in values.items():
        kind = signature.parameters[name].kind if name in signature.parameters else inspect.Parameter.KEYWORD_ONLY
        if kind is inspect.Parameter.VAR_POSITIONAL:
            args += list(value) if isinstance(value, tuple) else [value]
        elif kind is inspect.Parameter.VAR_KEYWORD:
            kwargs |= value if isinstance(value, dict) else {}
        elif kind is inspect.Parameter.POSITIONAL_ONLY or (kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and not kwargs):
            args.append(value)
        else:
            kwargs[name] = value
    with limited(limit_s):
        result = function(*args, **kwargs)
        if inspect.isgenerator(result):
            result = [item for item, _ in zip(result, range(3))]
        elif hasattr(result, "__enter__") and type(result).__name__ == "_GeneratorContextManager":
            with result:
                result = None
    return result


@contextmanager
def limited(limit_s: float):
    """Raises Hang in the body after `limit_s` seconds of this process's own CPU time, or `PATIENCE` times as many by the clock (Unix, main thread): on a
    machine that is busy a call takes longer and does no more."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        raise Hang

    timers = {signal.ITIMER_PROF: (signal.SIGPROF, limit_s), signal.ITIMER_REAL: (signal.SIGALRM, PATIENCE * limit_s)}
    before = {number: signal.signal(number, stop) for number, _ in timers.values()}
    for timer, (_, seconds) in timers.items():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def left_as_found(run: Callable[..., Any]) -> Callable[..., Any]:
    """The random states go back to where they were, and figures that a wrong argument left half drawn are closed: other tests follow."""

    @functools.wraps(run)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        import matplotlib.pyplot as plt
        import numpy as np
        import torch

        states, figures = (random.getstate(), np.random.get_state(), torch.get_rng_state()), set(plt.get_fignums())
        try:
            return run(*args, **kwargs)
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])
            for number in set(plt.get_fignums()) - figures:
                plt.close(number)

    return wrapped


def fault(function: Callable[..., Any], values: dict[str, Any], allowed: tuple[type[BaseException], ...]) -> str | None:
    """What is wrong with the way it answers these arguments; None when it answers as it should."""
    from llmsuite_lab.core.errors import LabError

    try:
        result = invoke(function, values)
    except (ValueError, TypeError, LabError, *allowed) as error:
        if isinstance(error, UnicodeError) and len(error.args) == 5:
            return f"{type(error).__name__} without a sentence of ours: {error}"
        return None if len(str(error).split()) >= 3 else f"{type(error).__name__} without a sentence: {error!r}"
    except OSError as error:
        return None if error.strerror or len(str(error).split()) >= 3 else f"OSError without a sentence: {error!r}"
    except Hang:
        return f"still running after {LIMIT_S:g} s"
    except FAULTS as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:
        return f"{type(error).__name__}, which no caller expects: {error}"
    except SystemExit as error:
        return f"it ended the process: {error}"
    if isinstance(result, float) and math.isnan(result) and any(isinstance(v, float) and math.isnan(v) for v in values.values()):
        return "nan came back in silence"
    return None


@left_as_found
def check(package, folder, monkeypatch, *, valid=None, left_out=None, allowed=(), keep=()) -> dict[str, int]:
    """Feed every public callable of `package`; raises AssertionError that lists the faults. Returns how many callables and calls there were.

    `allowed`: exceptions that the package documents beside ValueError, TypeError, LabError and OSError. `keep`: (name, argument) pairs left alone.
    """
    monkeypatch.chdir(folder)
    valid, left_out, values = dict(valid or {}), dict(left_out or {}), bad_values(folder)
    everything, problems, calls = public(package), [], 0
    for name in [*valid, *left_out]:
        if not any(known == name or known.startswith(f"{name}.") for known in everything):
            problems.append(f"{name} is in the table, but there is no such callable")
    for name, (owner, kind, function) in everything.items():
        if any(name == out or name.startswith(f"{out}.") for out in left_out):
            continue
        entry = valid.get(name)
        if kind == "class" and is_row(owner) and entry is None:
            continue
        if kind == "method":
            maker = entry.on if entry is not None and entry.on else (valid.get(f"made {name.rpartition('.')[0]}") or valid.get(name.rpartition(".")[0]))
            if isinstance(maker, Call):
                built = arguments(owner, maker)
                maker = None if isinstance(built, str) else (lambda owner=owner, built=built: invoke(owner, {k: _made(v) for k, v in built.items()}))
            if maker is None:
                built = arguments(owner, None)
                if isinstance(built, str):
                    problems.append(f"{name}: no valid object to call it on ({built})")
                    continue
                maker = lambda owner=owner, built=built: invoke(owner, built)  # noqa: E731
            try:
                function = getattr(maker(), name.rpartition(".")[2])
            except Exception as error:
                problems.append(f"{name}: no object could be made: {type(error).__name__}: {error}")
                continue
        good = arguments(function, entry)
        if isinstance(good, str):
            problems.append(f"{name}: {good}; give it an entry in the table, or a reason")
            continue
        try:
            invoke(function, {k: _made(v) for k, v in good.items()}, limit_s=60.0)  # the first call may import a library
        except (Exception, Hang) as error:
            problems.append(f"{name}: its valid call fails: {type(error).__name__}: {str(error)[:160]}")
            continue
        for parameter in good:
            if parameter in ("self", "cls") or (name, parameter) in keep:
                continue
            for what, bad in values.items():
                calls += 1
                given = {k: _made(v) for k, v in good.items()} | {parameter: bad}
                if kind == "method":
                    function = getattr(maker(), name.rpartition(".")[2])
                if said := fault(function, given, allowed):
                    problems.append(f"{name}({parameter}={what}): {said[:200]}")
    assert not problems, f"{len(problems)} of {calls} calls:\n" + "\n".join(problems)
    return {"callables": len(everything), "left out": len(left_out), "calls": calls}


@left_as_found
def check_nonsense(package, folder, monkeypatch, *, left_out=None, allowed=()) -> dict[str, int]:
    """Feed every public function and constructor of `package` the same wrong value in all its required places: no table is needed.

    Raises AssertionError that lists the faults. Methods, and what takes no argument, are not reached this way.
    """
    monkeypatch.chdir(folder)
    left_out, values = dict(left_out or {}), bad_values(folder)
    everything, problems, calls, fed = public(package), [], 0, 0
    for name in left_out:
        if not any(known == name or known.startswith(f"{name}.") for known in everything):
            problems.append(f"{name} is left out, but there is no such callable")
    for name, (owner, kind, function) in everything.items():
        if kind == "method" or (kind == "class" and is_row(owner)) or any(name == out or name.startswith(f"{out}.") for out in left_out):
            continue
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            continue
        needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        fed += bool(needed)
        for what, bad in values.items() if needed else []:
            calls += 1
            if said := fault(function, dict.fromkeys(needed, bad), allowed):
                problems.append(f"{name}({what}): {said[:200]}")
    assert not problems, f"{len(problems)} of {calls} calls:\n" + "\n".join(problems)
    return {"callables": len(everything), "fed": fed, "left out": len(left_out), "calls": calls}


class Writer:
    """A stand-in for LanguageModel that refuses what it refuses, and writes `text` after every prompt."""

    name, adapter, context_length, tokenizer = "stand-in", None, 4096, None

    def __init__(self, text: str = " 3\nAction: Finish[3]\n") -> None:
        self.text = text

    def count_tokens(self, text: str) -> int:
        """One a word."""
        return len(text.split())

    def chat_prompt(self, conversation: Any, tools: Any = ()) -> str:
        """All that was said."""
        return "".join(turn["content"] for turn in conversation)

    def complete(self, prompts, max_new_tokens=64, stop=(), temperature=0.0, top_k=None, top_p=None, seed=0, **options):
        """The same answer to each."""
        from llmsuite_lab.lm.language_model import Completion
        from llmsuite_lab.lm.stops import first_stop, stop_list
        from llmsuite_lab.transformer.sampling import Sampling

        Sampling(temperature, top_k, top_p, seed)
        if isinstance(prompts, str) or not all(isinstance(prompt, str) for prompt in prompts):
            raise TypeError("complete() takes a list of str, as the real one does")
        if not all(prompts) or not (isinstance(max_new_tokens, int) and 1 <= max_new_tokens < 4000):
            raise ValueError("an empty prompt, or no room for an answer, as the real one says")
        text = self.text[: first_stop(self.text, stop_list(stop))]
        return [Completion(text, len(prompt.split()), 3, "stop", 0.0) for prompt in prompts]

    def stream(self, prompt, max_new_tokens=64, stop=(), **options):
        """In two pieces."""
        (done,) = self.complete([prompt], max_new_tokens, stop, **options)
        yield from (done.text[:2], done.text[2:])
        return done

    def score(self, prompts, continuations, **options):
        """All alike."""
        from llmsuite_lab.lm.language_model import Score

        return [Score(-1.0, 1, 0.0) for _ in prompts]
