"""Which positions of a trajectory the loss may look at: those whose next token the model has to write itself."""

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong, expect


def turn_mask(pieces: list) -> list:
    """The solution: mark the model's tokens, then move the marks one position to the left."""
    written = [role == "model" for role, n_tokens in pieces for _ in range(n_tokens)]
    return written[1:]


def _not_shifted(pieces):
    return [role == "model" for role, n_tokens in pieces for _ in range(n_tokens)]


def _cut_at_the_end(pieces):
    return [role == "model" for role, n_tokens in pieces for _ in range(n_tokens)][:-1]


def _all_after_the_question(pieces):
    return [i > 0 for i, (_, n_tokens) in enumerate(pieces) for _ in range(n_tokens)][1:]


def _last_turn_only(pieces):
    last = max(i for i, (role, _) in enumerate(pieces) if role == "model")
    return [i == last for i, (_, n_tokens) in enumerate(pieces) for _ in range(n_tokens)][1:]


def _per_piece(pieces):
    return [role == "model" for role, _ in pieces]


def _check(answer) -> None:
    pieces = [("question", 4), ("model", 3), ("tool", 5), ("model", 2)]
    mask = list(answer(pieces))
    tokens = sum(n for _, n in pieces)
    expect(len(mask) > len(pieces), "One entry per piece is too coarse: the mask has one per position, and a piece has several tokens.")
    if len(mask) == tokens:
        raise Mistake(
            "The last token has no successor, so there is one prediction fewer than tokens. Which position predicts the first token of a turn?"
        )
    expect(len(mask) == tokens - 1, "A sequence of n tokens makes n - 1 predictions: the mask has n - 1 entries.")
    expect(not any(mask[7:11]), "The tool's words are supervised: the model would learn to invent observations instead of searching.")
    expect(mask[3], "The last token of the question predicts the first token of the turn, so its position counts.")
    expect(sum(mask[:7]) == 3, "The first turn of the model is missing or has the wrong length: every turn is to be learned.")
    expect(mask == [False] * 3 + [True] * 3 + [False] * 5 + [True] * 2, "Nearly: compare your marks with the tokens that come one later.")
    expect(list(answer([("model", 3)])) == [True, True], "A trajectory that begins with the model has no position before its first token.")


EXERCISE = Exercise(
    id="agents.turn_mask",
    notebook="04_react_agents",
    title="a loss on the model's own words",
    statement=(
        'Write `turn_mask(pieces)`. `pieces` is a list like `[("question", 4), ("model", 3), ("tool", 5), ("model", 2)]`: who wrote the piece, and how many '
        "tokens it has. All tokens stand in one sequence of n. Return n - 1 booleans: entry i is True when token i + 1 was written by the model, "
        "for then the prediction made at position i is to be learned."
    ),
    name="turn_mask",
    starter="def turn_mask(pieces):\n    ...",
    check=_check,
    hints=(
        "First mark every token with whether the model wrote it. That list has n entries.",
        "Position i predicts token i + 1: the mask is the list of marks, seen one step later.",
        'Drop the first mark: `[role == "model" for role, n in pieces for _ in range(n)][1:]`.',
    ),
    solution=turn_mask,
    wrong=(
        Wrong(_not_shifted, "one prediction fewer than tokens"),
        Wrong(_cut_at_the_end, "predicts the first token of the turn"),
        Wrong(_all_after_the_question, "invent observations"),
        Wrong(_last_turn_only, "predicts the first token of the turn", shares_hint=True),
        Wrong(_per_piece, "too coarse"),
    ),
)
