"""The closed action set: an action is looked up among the allowed ones before anything runs."""

from llmsuite_lab.course.exercises import Exercise, Wrong, expect


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


def _no_guard(tools, name, argument, taken):
    taken.add((name, argument))
    try:
        return tools[name](argument) or f"{name} found nothing."
    except ZeroDivisionError as error:
        return f"{name} failed: {error}"


def _runs_again(tools, name, argument, taken):
    if name not in tools:
        return "There is no such action."
    try:
        return tools[name](argument) or f"{name} found nothing."
    except Exception as error:
        return f"{name} failed: {error}"


def _name_only(tools, name, argument, taken):
    if name not in tools:
        return "There is no such action."
    if name in taken:
        return "That was done before."
    taken.add(name)
    try:
        return tools[name](argument) or f"{name} found nothing."
    except Exception as error:
        return f"{name} failed: {error}"


def _lets_it_raise(tools, name, argument, taken):
    if name not in tools:
        return "There is no such action."
    if (name, argument) in taken:
        return "That was done before."
    taken.add((name, argument))
    return tools[name](argument) or f"{name} found nothing."


def _says_nothing(tools, name, argument, taken):
    if name not in tools or (name, argument) in taken:
        return "Not that one."
    taken.add((name, argument))
    try:
        return tools[name](argument)
    except Exception as error:
        return f"{name} failed: {error}"


def _check(answer) -> None:
    ran: list[tuple[str, str]] = []

    def search(argument: str) -> str:
        ran.append(("Search", argument))
        return f"about {argument}"

    def boom(argument: str) -> str:
        ran.append(("Boom", argument))
        raise OSError("the disk is gone")

    tools, taken = {"Search": search, "Void": lambda argument: "", "Boom": boom}, set()
    expect(answer(tools, "Search", "Ada", taken) == "about Ada", "An allowed action must return what the tool says.")
    try:
        refused = answer(tools, "Delete", "everything", taken)
    except (KeyError, AttributeError):
        refused = None
    expect(
        isinstance(refused, str) and refused, "An unknown action ended in an exception. Look the name up first, and answer with a sentence."
    )
    expect(answer(tools, "Search", "Bob", taken) == "about Bob", "The same tool with another argument is another action, and must run.")
    before = len(ran)
    again = answer(tools, "Search", "Ada", taken)
    expect(
        len(ran) == before and isinstance(again, str) and again,
        "The second Search[Ada] ran again. `taken` remembers what was done: who fills it?",
    )
    try:
        failed = answer(tools, "Boom", "x", taken)
    except OSError:
        failed = None
    expect(isinstance(failed, str) and failed, "A tool raised, and its exception came out of your function: the agent would die of it.")
    empty = answer(tools, "Void", "x", taken)
    expect(isinstance(empty, str) and empty.strip(), "A tool that finds nothing must still give the model a sentence to read.")


EXERCISE = Exercise(
    id="agents.guarded_call",
    notebook="04_react_agents",
    title="refuse, run, and never die",
    statement=(
        "Write `guarded_call(tools, name, argument, taken)`. `tools` is a dictionary from names to functions of one string, `taken` a set that you keep "
        "up to date with the actions done. Return what the model shall read, always a non-empty string: the tool's answer, or a sentence when the name "
        "is not allowed, the same action was done before (do not run it again), the tool raises, or the tool returns an empty string."
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
        Wrong(_runs_again, "who fills it?"),
        Wrong(_name_only, "another argument is another action"),
        Wrong(_lets_it_raise, "the agent would die of it"),
        Wrong(_says_nothing, "a sentence to read"),
    ),
)  # fmt: skip
