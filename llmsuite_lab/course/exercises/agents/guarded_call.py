"""The closed action set: an action is looked up among the allowed ones before anything runs."""

from contextlib import suppress

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong, expect


def guarded_call(tools: dict, name: str, argument: str, taken: set) -> str:
    """The solution: refuse what is unknown or repeated, run the rest once, and put every failure into words."""
    if name not in tools:
        return f"There is no action {name}. Use one of {', '.join(tools)}."
    if (name, argument) in taken:
        return f"{name}[{argument}] was done before."
    taken.add((name, argument))
    try:
        return tools[name](argument) or f"{name} found nothing."
    except Exception as error:
        return f"{name} failed: {error}"


def _reply(tools, name, argument, errors=Exception):
    try:
        return tools[name](argument) or f"{name} found nothing."
    except errors as error:
        return f"{name} failed: {error}"


def _no_guard(tools, name, argument, taken):
    taken.add((name, argument))
    return _reply(tools, name, argument, errors=OSError)


def _name_only(tools, name, argument, taken):
    if name not in tools or any(name == done for done, _ in taken):
        return "Not that one."
    return guarded_call(tools, name, argument, taken)


def _argument_only(tools, name, argument, taken):
    if name not in tools or any(argument == done for _, done in taken):
        return "Not that one."
    return guarded_call(tools, name, argument, taken)


def _lets_it_raise(tools, name, argument, taken):
    if name not in tools or (name, argument) in taken:
        return "Not that one."
    taken.add((name, argument))
    return tools[name](argument) or f"{name} found nothing."


def _some_errors(tools, name, argument, taken):
    if name not in tools or (name, argument) in taken:
        return "Not that one."
    taken.add((name, argument))
    return _reply(tools, name, argument, errors=(ValueError, OSError))


def _but(change):
    """The solution, whose reply and `taken` are changed afterwards."""
    return lambda tools, name, argument, taken: change(guarded_call(tools, name, argument, taken), (name, argument), taken)


_empty_stays_empty = _but(lambda reply, action, taken: "" if reply.endswith(" found nothing.") else reply)
_error_alone = _but(lambda reply, action, taken: reply.partition(" failed: ")[2] if " failed: " in reply else reply)
_failure_is_not_done = _but(lambda reply, action, taken: (" failed: " in reply and taken.discard(action)) or reply)
_nothing_is_not_done = _but(lambda reply, action, taken: (reply.endswith(" found nothing.") and taken.discard(action)) or reply)
_unknown_is_done = _but(lambda reply, action, taken: taken.add(action) or reply)
_strips = _but(lambda reply, action, taken: reply.strip())


def _runs_before_it_looks(tools, name, argument, taken):
    reply = _reply(tools, name, argument) if name in tools else "There is no such action."
    return "That was done before." if (name, argument) in taken else (taken.add((name, argument)) if name in tools else None) or reply


def _remembers_for_all(tools, name, argument, taken, done={}):  # noqa: B006
    if (name, argument) not in done:
        done[name, argument] = guarded_call(tools, name, argument, taken)
    return done[name, argument]


def _by_get(tools, name, argument, taken):
    tool = tools.get(name)
    if tool is None or (name, argument) in taken:
        return "done before" if tool else "unknown"
    taken |= {(name, argument)}
    try:
        said = tool(argument)
    except BaseException:
        said = None
    return said if said else "nothing came of it"


def _by_length(tools, name, argument, taken):
    before = len(taken)
    taken.update({(name, argument)} if name in tools else ())
    if len(taken) == before:
        return "It is unknown or was done before."
    result = ""
    with suppress(Exception):
        result = tools[name](argument)
    return result if len(result) > 0 else "It failed, or found nothing."


def _all_in_try(tools, name, argument, taken):
    try:
        if (name, argument) in taken:
            raise ValueError("done before")
        tool = tools[name]
        taken.add((name, argument))
        reply = tool(argument)
        if reply == "":
            raise ValueError("nothing found")
    except Exception as error:
        reply = repr(error)
    return reply


def _with_finally(tools, name, argument, taken):
    action = (name, argument)
    if action in taken or name not in list(tools):
        return f"Not again, or not at all: {action}"
    try:
        return str(tools[name](argument)) or "(empty)"
    except Exception as error:
        return type(error).__name__
    finally:
        taken.add(action)


def _by_rules(tools, name, argument, taken):
    rules = {"unknown action": lambda: name not in tools, "done before": lambda: (name, argument) in taken}
    for sentence, broken in rules.items():
        if broken():
            return sentence
    taken.add((name, argument))
    return _reply(tools, name, argument, errors=BaseException)


def _nested(tools, name, argument, taken):
    if name in tools:
        if not taken.issuperset({(name, argument)}):
            taken.update([(name, argument)])
            return _reply(tools, name, argument)
        return "Again?"
    return "?"


_SAYS = {"Search": " about {}\n", "Lookup": "0"}


class _World:
    """Tools that note what ran, and the plan of a conversation with them."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []
        self.errors = {"Boom": OSError("the disk is gone"), "Mute": RuntimeError(), "Key": KeyError("Search")}
        self.tools = {name: self._tool(name) for name in ("Search", "Lookup", "Void", "Boom", "Mute", "Key")}

    def _tool(self, name: str):
        def tool(argument: str, /) -> str:
            self.ran.append((name, argument))
            if name in self.errors:
                raise self.errors[name]
            return _SAYS.get(name, "").format(argument)

        return tool


_PLAN = (
    ("Search", "Ada"), ("Delete", "everything"), ("Search", "Bob"), ("Search", "Ada"), ("Lookup", "Ada"), ("Boom", "x"), ("Boom", "x"), ("Boom", "y"),
    ("Void", "x"), ("Void", "x"), ("Mute", "x"), ("Mute", "x"), ("Key", "Ada"), ("Search", ""), ("Search", ""), ("", "Ada"), ("search", "Zoe"),
    ("Search", " Ada"), ("Delete", "everything"), ("Lookup", "Bob] and [more"),
)  # fmt: skip


def _check(answer) -> None:
    for done in (set(), {("Search", "Bob"), ("Lookup", "x")}, set()):  # the third is a new conversation: nothing is left of the first
        world, taken = _World(), set(done)
        for name, argument in _PLAN:
            _step(answer, world, name, argument, taken)
    lone = answer({}, "Search", "Ada", set())
    expect(isinstance(lone, str) and lone.strip(), f"Without any tool every name is unknown: say so in a sentence. Yours gives {lone!r}.")


def _step(answer, world: _World, name: str, argument: str, taken: set) -> None:
    action, before, ran_before = f"{name}[{argument}]", set(taken), len(world.ran)
    known, again = name in world.tools, (name, argument) in taken
    try:
        reply = answer(dict(world.tools), name, argument, taken)
    except Exception as error:
        if error is world.errors.get(name):
            raise Mistake(f"The tool of {action} raised {error!r}, and it came out of your function: the agent would die of it.") from error
        if not known and repr(error) == repr(KeyError(name)):
            raise Mistake(f"The unknown action {action} ended in {error!r}. Look the name up first, and answer with a sentence.") from error
        raise
    ran = world.ran[ran_before:]
    if not known:
        expect(
            taken == before,
            f"There is no action {action}, so nothing was done, and `taken` stays as it was. Yours holds {sorted(taken, key=str)}.",
        )
    elif again:
        expect(not ran, f"{action} is in `taken`, and its tool ran again.")
    else:
        expect(
            ran == [(name, argument)], f"{action} is allowed and was not done before: its tool is to run, with {argument!r}. Ran: {ran}."
        )
        wanted = before | {(name, argument)}
        expect(
            taken == wanted,
            f"After {action}, whatever came of it, `taken` is to hold {sorted(wanted)}. Yours holds {sorted(taken, key=str)}.",
        )
    said = _SAYS.get(name, "").format(argument)
    if known and not again and said:
        expect(reply == said, f"{action} is to return what the tool says, {said!r}. Yours gives {reply!r}.")
    why = "there is no such action" if not known else "it was done before" if again else "the tool found nothing or failed"
    expect(isinstance(reply, str) and reply.strip(), f"The model needs a sentence to read after {action} ({why}). Yours gives {reply!r}.")
    if again:
        expect(reply != said, f"{action} was done before: say so, instead of giving the same result again.")


EXERCISE = Exercise(
    id="agents.guarded_call",
    notebook="04_react_agents",
    title="refuse, run, and never die",
    difficulty=3,
    minutes=20,
    statement=(
        "Write `guarded_call(tools, name, argument, taken)`. `tools` is a dictionary from names to functions of one string, `taken` the set of the actions "
        "done so far, pairs `(name, argument)`. Keep it up to date: an action is done when its tool has been called, whatever came of it. Return what the "
        "model shall read, always a non-empty string: the tool's answer as it is, or a sentence when the name is not allowed, the same action was done "
        "before (do not run it again), the tool raises, or the tool returns an empty string."
    ),
    name="guarded_call",
    starter="def guarded_call(tools, name, argument, taken):\n    ...",
    check=_check,
    hints=(
        "Four things can go wrong. Two are known before the tool runs, two afterwards.",
        "Test `name in tools`, then `(name, argument) in taken`, add it, then run inside `try`.",
        "`return tools[name](argument) or f\"{name} found nothing.\"` inside `try`, and `except Exception as error` returns a sentence.",
    ),
    solution=guarded_call,
    wrong=(
        Wrong(_no_guard, "Look the name up first"),
        Wrong(lambda tools, name, argument, taken: guarded_call(tools, name, argument, set(taken)), "`taken` is to hold"),
        Wrong(_name_only, "its tool is to run"),
        Wrong(_argument_only, "its tool is to run"),
        Wrong(_lets_it_raise, "the agent would die of it", shares_hint=True),
        Wrong(_some_errors, "the agent would die of it"),
        Wrong(_empty_stays_empty, "a sentence to read"),
        Wrong(_error_alone, "a sentence to read"),
        Wrong(_failure_is_not_done, "`taken` is to hold"),
        Wrong(_nothing_is_not_done, "`taken` is to hold"),
        Wrong(_unknown_is_done, "nothing was done"),
        Wrong(_runs_before_it_looks, "its tool ran again"),
        Wrong(_remembers_for_all, "instead of giving the same result"),
        Wrong(_strips, "what the tool says"),
        Wrong(lambda tools, name, argument, taken: guarded_call(tools, name, argument.strip(), taken), "its tool is to run"),
        Wrong(lambda tools, name, argument, taken: guarded_call(tools, name.capitalize(), argument, taken), "nothing was done"),
    ),
    equivalent=dict.fromkeys(
        (
            """return f"{name}. Use one of {', '.join(tools)}.\"""",
            """return f"There is no action {name}{', '.join(tools)}.\"""",
            """return f"There is no action {name}. Use one of {', '}.\"""",
            """return f'There is no action {name}. Use one of {tools}.'""",
            """return f"There is no action {name}. Use one of {''.join(tools)}.\"""",
            """return f"There is no action {name}. Use one of {', '.join(tools)}\"""",
            """return f'{name}{argument}] was done before.'""",
            """return f'{name}[{argument}'""",
            """return tools[name](argument) or f'{name}'""",
            """return f'{name}{error}'""",
        ),
        "the wording of the sentence is free",
    ),
    right=(_by_get, _by_length, _all_in_try, _with_finally, _by_rules, _nested),
)  # fmt: skip
