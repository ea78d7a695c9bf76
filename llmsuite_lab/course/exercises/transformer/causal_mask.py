"""Who may look at whom: a token sees itself and everything before it, nothing after."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


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


def _too_short_a_past(queries, keys):
    return torch.arange(keys)[None, :] <= torch.arange(queries)[:, None] + (keys - queries - 1 if keys > queries else 0)


def _square(queries, keys):
    return torch.ones(queries, queries).tril().bool()


def _keys_by_queries(queries, keys):
    return causal_mask(queries, keys).T


def _all_but_future_of_last(queries, keys):
    return torch.ones(queries, keys).bool()


def _only_itself(queries, keys):
    return torch.arange(keys)[None, :] == torch.arange(keys - queries, keys)[:, None]


def _minus_infinity(queries, keys):
    return torch.zeros(queries, keys).masked_fill(~causal_mask(queries, keys), -torch.inf)


def _triangle(queries, keys):
    return torch.ones(queries, keys, dtype=torch.bool).tril(diagonal=keys - queries)


def _not_above(queries, keys):
    return ~torch.ones(queries, keys).triu_(keys - queries + 1).to(torch.bool)


def _last_rows_of_the_square(queries, keys):
    mask = torch.zeros(keys, keys, dtype=torch.bool)
    for i in range(keys):
        mask[i, : i + 1] = True
    return mask[keys - queries :]


def _in_numpy(queries, keys):
    return np.tri(queries, keys, keys - queries, dtype=bool)


def _nested_lists(queries, keys):
    return [[j <= i + keys - queries for j in range(keys)] for i in range(queries)]


def _from_floats(queries, keys):
    return torch.arange(keys, dtype=torch.float64).sub(torch.linspace(keys - queries, keys - 1, queries).unsqueeze(1)) < 0.5


def _cases() -> list[Case]:
    last = "The queries are the LAST positions: with fewer queries than keys the earlier keys come from the cache."
    square = "With as many queries as keys, row i is True in columns 0 to i."
    sizes = ((2, 3, last), (3, 3, square), (5, 5, square), (2, 7, last), (1, 4, last), (1, 1, square))
    return [
        Case((queries, keys), [[True] * (keys - queries + i + 1) + [False] * (queries - i - 1) for i in range(queries)], rule)
        for queries, keys, rule in sizes
    ]


_MISTAKES = (
    Wrong(_without_itself, "Off by one: no token sees itself, so the first row allows nothing at all. Is it < or <=?"),
    Wrong(
        _one_too_many,
        "Off by one: every token sees its successor, which is the very token it has to predict. Training would look wonderful.",
    ),
    Wrong(_forbidden, "The mask is turned round: True must mean 'may look', and yours is True where looking is forbidden."),
    Wrong(_future, "Your tokens look into the future: rows are queries, columns are keys. Which side of the diagonal is the past?"),
    Wrong(
        _queries_first,
        "Right for a square, but with fewer queries than keys the queries are the LAST positions (the earlier keys come from the cache).",
    ),
    Wrong(_floats, "The mask must be boolean: True where the query may look. A comparison gives that by itself."),
    Wrong(_minus_infinity, "That is what is added to the scores. The mask itself is boolean: True where the query may look."),
)

EXERCISE = Exercise(
    id="transformer.causal_mask",
    notebook="01_transformers_from_scratch",
    title="the causal mask",
    difficulty=2,
    minutes=10,
    statement=(
        "Write `causal_mask(queries, keys)`. It returns a boolean tensor of shape `(queries, keys)`, True where the query may look: at its own "
        "position and at earlier ones. The queries are the last `queries` of the `keys` positions, so `causal_mask(2, 3)` is "
        "`[[True, True, False], [True, True, True]]`."
    ),
    name="causal_mask",
    starter="def causal_mask(queries, keys):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Write down the position of every query and of every key as numbers first.",
        "`torch.arange(keys)[None, :]` is a row of key positions; a column of query positions compares with it by broadcasting.",
        "The queries' positions are `keys - queries` to `keys - 1`. Allowed is: key position <= query position.",
    ),
    solution=causal_mask,
    wrong=(
        *_MISTAKES,
        Wrong(_too_short_a_past, "LAST positions"),
        Wrong(_square, "expected the shape (2, 3), got (2, 2)"),
        Wrong(_keys_by_queries, "expected the shape (2, 3), got (3, 2)"),
        Wrong(_all_but_future_of_last, "got [[True, True, True], [True, True, True]]"),
        Wrong(_only_itself, "got [[False, True, False], [False, False, True]]"),
    ),
    right=(_triangle, _not_above, _last_rows_of_the_square, _in_numpy, _nested_lists, _from_floats),
)
