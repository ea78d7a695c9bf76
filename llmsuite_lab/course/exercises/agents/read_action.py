"""Reading an action out of model text: the whole turn follows the grammar, or it is no action at all."""

import re
from functools import partial

from llmsuite_lab.course.exercises import Exercise, Wrong
from llmsuite_lab.course.exercises.cases import Case, by_cases


def read_action(turn: str) -> tuple[str, str] | None:
    """The solution: a full match of one line of thought and one line `Action: Name[argument]`."""
    match = re.fullmatch(r"[^\n]+\nAction: (\w+)\[([^\[\]\n]*)\]", turn.strip())
    return (match[1], match[2]) if match else None


def _by(turn, pattern, how=re.fullmatch, tidy=str.strip):
    match = how(pattern, tidy(turn))
    return (match[1], match[2]) if match else None


_anywhere = partial(_by, pattern=r"(\w+)\[([^\]]*)\]", how=re.search)
_any_action_line = partial(_by, pattern=r"Action: (\w+)\[([^\[\]\n]*)\]", how=re.search)
_begins_well = partial(_by, pattern=r"[^\n]+\nAction: (\w+)\[([^\[\]\n]*)\]", how=re.match)
_greedy = partial(_by, pattern=r"[^\n]+\nAction: (\w+)\[(.*)\]")
_over_lines = partial(_by, pattern=r"[^\n]+\nAction: (\w+)\[([^\[\]]*)\]")
_one_word = partial(_by, pattern=r"[^\n]+\nAction: (\w+)\[(\w*)\]")
_not_empty = partial(_by, pattern=r"[^\n]+\nAction: (\w+)\[([^\[\]\n]+)\]")
_many_lines = partial(_by, pattern=r"(?s).+\nAction: (\w+)\[([^\[\]\n]*)\]")
_no_thought = partial(_by, pattern=r"(?:[^\n]+\n)?Action: (\w+)\[([^\[\]\n]*)\]")
_any_case = partial(_by, pattern=r"(?i)[^\n]+\nAction: (\w+)\[([^\[\]\n]*)\]")
_any_space = partial(_by, pattern=r"[^\n]+\s+Action:\s*(\w+)\s*\[([^\[\]\n]*)\]")
_known_names = partial(_by, pattern=r"[^\n]+\nAction: (Search|Lookup|Finish)\[([^\[\]\n]*)\]")
_outside_counts = partial(_by, pattern=r"[^\n]+\nAction: (\w+)\[([^\[\]\n]*)\]", tidy=str)
_letters_only = partial(_by, pattern=r"[^\n]+\nAction: ([A-Za-z]+)\[([^\[\]\n]*)\]")


def _raises(turn):
    match = re.fullmatch(r"[^\n]+\nAction: (\w+)\[([^\[\]\n]*)\]", turn.strip())
    return match[1], match[2]


def _strips_the_argument(turn):
    found = read_action(turn)
    return found and (found[0], found[1].strip())


def _a_string(turn):
    found = read_action(turn)
    return found and f"{found[0]}[{found[1]}]"


def _empty_for_none(turn):
    return read_action(turn) or ()


def _by_lines(turn):
    lines = turn.strip().split("\n")
    if (
        len(lines) != 2
        or not lines[1].startswith("Action: ")
        or not lines[1].endswith("]")
        or lines[1].count("[") + lines[1].count("]") != 2
    ):
        return None
    name, argument = lines[1][8:-1].split("[")
    return [name, argument] if name.replace("_", "x").isalnum() else None


def _by_partition(turn):
    thought, newline, action = turn.strip().partition("\nAction: ")
    name, bracket, argument = action.partition("[")
    if (
        thought
        and "\n" not in thought
        and bracket
        and argument.endswith("]")
        and not set(argument[:-1]) & set("[]\n")
        and re.fullmatch(r"\w+", name)
    ):
        return name, argument[:-1]


def _compiled(turn, grammar=re.compile(r"^.+\nAction: (?P<name>\w+)\[(?P<argument>[^][\n]*)\]\Z", re.ASCII)):
    match = grammar.match(turn.strip())
    return match.groups() if match else None


def _with_white_space(turn):
    match = re.fullmatch(r"\s*\S[^\n]*\nAction: (\w+)\[([^\[\]\n]*)\]\s*", turn)
    return match.group(1, 2) if match is not None else None


def _by_try(turn):
    try:
        thought, action = turn.strip().splitlines()
        (found,) = re.findall(r"\AAction: (\w+)\[([^\[\]]*)\]\Z", action)
    except ValueError:
        return None
    return found if thought else None


def _from_the_end(turn):
    turn = turn.strip(" \n")
    start, opening = turn.find("\n"), turn.rfind("[")
    name = turn[start + 9 : opening]
    fits = start > 0 and turn[start + 1 : start + 9] == "Action: " and turn[-1] == "]" and opening > start
    fits = fits and "]" not in turn[opening:-1] and "\n" not in turn[opening:] and name.isidentifier()
    return (name, turn[opening + 1 : -1]) if fits else None


def _cases() -> list[Case]:
    outside = "Spaces and newlines around the whole do not count."
    argument = "The argument is any text without brackets and newlines, or empty, and is kept as it is."
    whole = "The whole turn has to fit, to its last character."
    thought = "One line of thought comes first."
    line = "The second line is `Action: `, a name and brackets, nothing else."
    turns = [
        ("I need the founder.\nAction: Search[Ada]", ("Search", "Ada"), "This is the statement's example."),
        (" I need the founder.\nAction: Search[Ada]\n", ("Search", "Ada"), outside),
        ("\n\n  Look it up.\nAction: Lookup[x]  \n \n", ("Lookup", "x"), outside),
        ("Now the mayor.\nAction: Search[Velm Mills & Sons]", ("Search", "Velm Mills & Sons"), argument),
        ('So.\nAction: Finish[12 (or -3.5), "no": Zoë\'s]', ("Finish", '12 (or -3.5), "no": Zoë\'s'), argument),
        ("?\nAction: Search[Ada]", ("Search", "Ada"), "A thought may be short."),
        ("So.  \nAction: Finish[]", ("Finish", ""), argument),
        ("So.\nAction: Say[ two  words ]", ("Say", " two  words "), argument),
        ("So.\nAction: Ask_2[who?]", ("Ask_2", "who?"), "A name is made of letters, digits and underscores."),
        ("Search[Ada] or Lookup[Ada]? The first.\nAction: Search[Ada]", ("Search", "Ada"), "A thought may hold anything."),
        ("I do not know what to do.", None, "No action gives None, and no exception."),
        ("", None, "No text gives None, and no exception."),
        ("I could use Search[Ada] here, or not.", None, "A thought that mentions Search[Ada] is not an action."),
        ("I look.\nSearch[Ada]", None, line),
        ("I look.\naction: Search[Ada]", None, line),
        ("I look.\nAction:Search[Ada]", None, line),
        ("I look.\nAction:  Search[Ada]", None, line),
        ("I look.\n Action: Search[Ada]", None, line),
        ("I look.\nAction: Search [Ada]", None, line),
        ("I look.\nAction: [Ada]", None, line),
        ("I look.\nAction: Search(Ada)", None, line),
        ("I look.\nAction: Search(Ada]", None, line),
        ("I look.\nAction. Search[Ada]", None, line),
        ("I look.\nAction: Search Ada", None, line),
        ("I look.\nAction: Search[Ada", None, line),
        ("I look. Action: Search[Ada]", None, line),
        ("I look.\n\nAction: Search[Ada]", None, "The action stands on the second line."),
        ("I think.\nI think more.\nAction: Search[Ada]", None, "The thought is one line."),
        ("Action: Search[Ada]", None, thought),
        (" \nAction: Search[Ada]", None, f"{thought} Spaces around the whole are no thought."),
        ("I look.\nAction: Search[Ada]\nAction: Finish[Bob]", None, f"Two actions are none. {whole}"),
        ("I look.\nAction: Search[Ada] Finish[Bob]", None, f"Two actions are none. {whole}"),
        ("I look.\nAction: Search[Ada]\nObservation: A city.\nThought: done", None, f"The model wrote its own observation. {whole}"),
        ("I look.\nAction: Search[Ada].", None, whole),
        ("I look.\nAction: Search[Ada] or Lookup[mayor]", None, "The argument ends at the first closing bracket."),
        ("I look.\nAction: Search[Ada [1]]", None, argument),
        ("I look.\nAction: Search[Ada]]", None, argument),
        ("I look.\nAction: Search[Ada [1]", None, argument),
        ("I look.\nAction: Search[Ada\nBob]", None, argument),
    ]
    return [Case((turn,), want, rule) for turn, want, rule in turns]


_MISTAKES = (
    Wrong(_anywhere, "You take the first `Name[argument]` anywhere. A thought that mentions Search[Ada] is not an action."),
    Wrong(_any_action_line, "You look for an action line anywhere. The whole turn has to fit the grammar (`re.fullmatch`)."),
    Wrong(
        _begins_well, "You accept whatever follows the action: a second one, or an observation that the model made up. Match to the end."
    ),
    Wrong(_greedy, "`Search[Ada] or Lookup[mayor]` is not one action: the argument ends at the first closing bracket."),
    Wrong(_over_lines, "Your argument may hold a newline."),
    Wrong(_one_word, "Titles have spaces and signs in them: which characters may an argument hold?"),
    Wrong(_not_empty, "The argument may be empty: `Finish[]`."),
    Wrong(_many_lines, "Your thought may have several lines. It is one."),
    Wrong(_no_thought, "You accept a turn without a thought."),
    Wrong(_any_case, "You accept `action: ` in lower case."),
    Wrong(_any_space, "You accept other white space than the grammar has."),
    Wrong(_known_names, "You know some names only. A name is any word: whether it is allowed is looked up later."),
    Wrong(_letters_only, "Your names hold letters only. Digits and underscores may stand in them."),
    Wrong(_outside_counts, "Spaces and newlines around the whole do not count: `strip()`."),
    Wrong(_strips_the_argument, "You strip the argument. It is kept as it is."),
    Wrong(_a_string, "You return one string. `(name, argument)` is asked for."),
    Wrong(_empty_for_none, "You return an empty tuple where None is asked for."),
    Wrong(_raises, "A turn without an action must give None, not an exception: model text is full of surprises."),
)

EXERCISE = Exercise(
    id="agents.read_action",
    notebook="04_react_agents",
    title="read an action, strictly",
    difficulty=3,
    minutes=20,
    statement=(
        "Write `read_action(turn)`. A correct turn is one line of thought, a newline, and `Action: Name[argument]`; spaces and newlines around the whole do "
        "not count. The name is made of letters, digits and underscores; the argument is any text without brackets and newlines, may be empty and is kept "
        'as it is. Return `(name, argument)`, or `None` for anything else: no action, two of them, text behind the bracket. Never raise. `"I need the '
        'founder.\\nAction: Search[Ada]"` gives `("Search", "Ada")`.'
    ),
    name="read_action",
    starter="def read_action(turn):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "A regular expression that has to match the whole turn: `re.fullmatch`, not `re.search`.",
        "The thought is `[^\\n]+`, then `\\nAction: `, then a word, then brackets around anything that is neither bracket nor newline.",
        r'`re.fullmatch(r"[^\n]+\nAction: (\w+)\[([^\[\]\n]*)\]", turn.strip())`, and None when it is None.',
    ),
    solution=read_action,
    wrong=_MISTAKES,
    right=(_by_lines, _by_partition, _compiled, _with_white_space, _by_try, _from_the_end),
)
