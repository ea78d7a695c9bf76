"""Reading an action out of model text: the whole turn follows the grammar, or it is no action at all."""

import re

from llmsuite_lab.course.exercises import Exercise, Wrong, expect


def read_action(turn: str) -> tuple[str, str] | None:
    """The solution: a full match of one line of thought and one line `Action: Name[argument]`."""
    match = re.fullmatch(r"[^\n]+\nAction: (\w+)\[([^\[\]\n]*)\]", turn.strip())
    return (match[1], match[2]) if match else None


def _anywhere(turn):
    match = re.search(r"(\w+)\[([^\]]*)\]", turn)
    return (match[1], match[2]) if match else None


def _first_line_only(turn):
    match = re.match(r"[^\n]+\nAction: (\w+)\[([^\[\]\n]*)\]", turn.strip())
    return (match[1], match[2]) if match else None


def _greedy(turn):
    match = re.fullmatch(r"[^\n]+\nAction: (\w+)\[(.*)\]", turn.strip())
    return (match[1], match[2]) if match else None


def _one_word(turn):
    match = re.fullmatch(r"[^\n]+\nAction: (\w+)\[(\w*)\]", turn.strip())
    return (match[1], match[2]) if match else None


def _raises(turn):
    match = re.fullmatch(r"[^\n]+\nAction: (\w+)\[([^\[\]\n]*)\]", turn.strip())
    return match[1], match[2]


def _check(answer) -> None:
    good = answer(" I need the founder.\nAction: Search[Ada]\n")
    expect(isinstance(good, tuple) and good == ("Search", "Ada"), 'A correct turn must give the tuple ("Search", "Ada").')
    named = answer("Now the mayor.\nAction: Search[Velm Mills & Sons]")
    expect(named == ("Search", "Velm Mills & Sons"), "Titles have spaces and signs in them: which characters may an argument hold?")
    try:
        nothing = answer("I do not know what to do.")
    except (TypeError, AttributeError):
        nothing = "an exception"
    expect(nothing is None, "A turn without an action must give None, not an exception: model text is full of surprises.")
    thought_only = answer("I could use Search[Ada] here, or not.")
    expect(thought_only is None, "A thought that mentions Search[Ada] is not an action. The line has to begin with `Action: `.")
    two = answer("I look.\nAction: Search[Ada]\nAction: Finish[Bob]")
    expect(two is None, "Two actions in one turn: you took the first. The whole turn has to fit the grammar, to its last character.")
    forged = answer("I look.\nAction: Search[Ada]\nObservation: Ada is a city.\nThought: done")
    expect(forged is None, "The model wrote its own observation and you accepted the turn: match it to the end.")
    nested = answer("I look.\nAction: Search[Ada] or Lookup[mayor]")
    expect(nested is None, "`Search[Ada] or Lookup[mayor]` is not one action: the argument ends at the first closing bracket.")


EXERCISE = Exercise(
    id="agents.read_action",
    notebook="04_react_agents",
    title="read an action, strictly",
    statement=(
        "Write `read_action(turn)`. A correct turn is one line of thought, a newline, and `Action: Name[argument]`; spaces and newlines around the whole "
        "do not count. Return `(name, argument)`, or `None` for anything else: no action, two of them, text behind the bracket. Never raise."
    ),
    name="read_action",
    starter="def read_action(turn):\n    ...",
    check=_check,
    hints=(
        "A regular expression that has to match the whole turn: `re.fullmatch`, not `re.search`.",
        "The thought is `[^\\n]+`, then `\\nAction: `, then a word, then brackets around anything that is neither bracket nor newline.",
        r'`re.fullmatch(r"[^\n]+\nAction: (\w+)\[([^\[\]\n]*)\]", turn.strip())`, and None when it is None.',
    ),
    solution=read_action,
    wrong=(
        Wrong(_anywhere, "is not an action"),
        Wrong(_first_line_only, "you took the first"),
        Wrong(_greedy, "ends at the first closing bracket"),
        Wrong(_one_word, "which characters may an argument hold"),
        Wrong(_raises, "not an exception"),
    ),
)
