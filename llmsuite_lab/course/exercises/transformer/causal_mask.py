"""Who may look at whom: a token sees itself and everything before it, nothing after."""

import torch

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong, expect


def causal_mask(queries: int, keys: int) -> torch.Tensor:
    """The solution: the queries are the last `queries` of `keys` positions; key j is allowed when it is not after the query's position."""
    query_position = torch.arange(keys - queries, keys)[:, None]  # (queries, 1)
    key_position = torch.arange(keys)[None, :]  # (1, keys)
    return key_position <= query_position


def _without_itself(queries, keys):
    return torch.arange(keys)[None, :] < torch.arange(keys - queries, keys)[:, None]


def _one_too_many(queries, keys):
    return torch.arange(keys)[None, :] <= torch.arange(keys - queries, keys)[:, None] + 1


def _forbidden(queries, keys):
    return ~causal_mask(queries, keys)


def _future(queries, keys):
    return torch.arange(keys)[None, :] >= torch.arange(keys - queries, keys)[:, None]


def _queries_first(queries, keys):
    return torch.arange(keys)[None, :] <= torch.arange(queries)[:, None]


def _floats(queries, keys):
    return causal_mask(queries, keys).float()


def _check(answer) -> None:
    square, cached = answer(5, 5), answer(2, 7)
    expect(isinstance(square, torch.Tensor), "Return a torch tensor.")
    expect(tuple(square.shape) == (5, 5) and tuple(cached.shape) == (2, 7), "The shape must be (queries, keys): one row per query.")
    expect(square.dtype == torch.bool, "The mask must be boolean: True where the query may look. A comparison gives that by itself.")
    right = torch.ones(5, 5).tril().bool()
    if torch.equal(square, right & ~torch.eye(5).bool()):
        raise Mistake("Off by one: no token sees itself, so the first row allows nothing at all. Is it < or <=?")
    if torch.equal(square, torch.ones(5, 5).tril(1).bool()):
        raise Mistake(
            "Off by one: every token sees its successor, which is the very token it has to predict. Training would look wonderful."
        )
    if torch.equal(square, ~right):
        raise Mistake("The mask is turned round: True must mean 'may look', and yours is True where looking is forbidden.")
    if torch.equal(square, right.T):
        raise Mistake("Your tokens look into the future: rows are queries, columns are keys. Which side of the diagonal is the past?")
    expect(torch.equal(square, right), "With 5 queries and 5 keys, row i must be True in columns 0 to i.")
    expect(
        torch.equal(cached, torch.ones(7, 7).tril().bool()[-2:]),
        "Right for a square, but with fewer queries than keys the queries are the LAST positions (the earlier keys come from the cache).",
    )


EXERCISE = Exercise(
    id="transformer.causal_mask",
    notebook="01_transformers_from_scratch",
    title="the causal mask",
    statement=(
        "Write `causal_mask(queries, keys)`. It returns a boolean tensor of shape `(queries, keys)`, True where the query may look: at its own "
        "position and at earlier ones. The queries are the last `queries` of the `keys` positions, so `causal_mask(2, 3)` is "
        "`[[True, True, False], [True, True, True]]`."
    ),
    name="causal_mask",
    starter="def causal_mask(queries, keys):\n    ...",
    check=_check,
    hints=(
        "Write down the position of every query and of every key as numbers first.",
        "`torch.arange(keys)[None, :]` is a row of key positions; a column of query positions compares with it by broadcasting.",
        "The queries' positions are `keys - queries` to `keys - 1`. Allowed is: key position <= query position.",
    ),
    solution=causal_mask,
    wrong=(
        Wrong(_without_itself, "no token sees itself"),
        Wrong(_one_too_many, "sees its successor"),
        Wrong(_forbidden, "turned round"),
        Wrong(_future, "look into the future"),
        Wrong(_queries_first, "LAST positions"),
        Wrong(_floats, "must be boolean"),
    ),
)
