"""Which gradients travel together: buckets in the order in which backward makes gradients."""

import numpy as np

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def buckets(sizes: list[int], limit: int) -> list[list[int]]:
    """The solution: from the last parameter to the first; a bucket is closed when the next one would not fit."""
    found: list[list[int]] = []
    for i in reversed(range(len(sizes))):
        if not found or sum(sizes[j] for j in found[-1]) + sizes[i] > limit:
            found.append([])
        found[-1].append(i)
    return found


def _greedy(sizes, limit, order, fits=lambda held, size, limit: held + size <= limit, begun=()):
    found, held = [list(bucket) for bucket in begun], 0
    for i in order:
        if not found or not fits(held, sizes[i], limit):
            found.append([])
            held = 0
        found[-1].append(i)
        held += sizes[i]
    return found


def _forward(sizes, limit):
    return _greedy(sizes, limit, range(len(sizes)))


def _forward_then_turned(sizes, limit):
    return [bucket[::-1] for bucket in _forward(sizes, limit)][::-1]


def _inside_forward(sizes, limit):
    return [sorted(bucket) for bucket in buckets(sizes, limit)]


def _strictly_below(sizes, limit):
    return _greedy(sizes, limit, reversed(range(len(sizes))), lambda held, size, limit: held + size < limit)


def _closed_when_over(sizes, limit):
    return _greedy(sizes, limit, reversed(range(len(sizes))), lambda held, size, limit: held < limit)


def _one_each(sizes, limit):
    return [[i] for i in reversed(range(len(sizes)))]


def _all_in_one(sizes, limit):
    return [list(range(len(sizes)))[::-1]] if sizes else []


def _too_large_left_out(sizes, limit):
    return [kept for bucket in buckets(sizes, limit) if (kept := [i for i in bucket if sizes[i] <= limit])]


def _empty_first(sizes, limit):
    return _greedy(sizes, limit, reversed(range(len(sizes))), begun=[[]])


def _filled_later(sizes, limit):
    found = []
    for i in reversed(range(len(sizes))):
        for bucket in found:
            if sum(sizes[j] for j in bucket) + sizes[i] <= limit:
                bucket.append(i)
                break
        else:
            found.append([i])
    return found


def _by_size(sizes, limit):
    return _greedy(sizes, limit, sorted(range(len(sizes)), key=lambda i: -sizes[i]))


def _sizes_given(sizes, limit):
    return [[sizes[i] for i in bucket] for bucket in buckets(sizes, limit)]


def _counted(sizes, limit):
    order = list(reversed(range(len(sizes))))
    return [order[i : i + limit] for i in range(0, len(order), max(1, limit))]


def _last_missing(sizes, limit):
    return buckets(sizes, limit)[:-1]


def _numbers_from_the_end(sizes, limit):
    return [[len(sizes) - 1 - i for i in bucket] for bucket in buckets(sizes, limit)]


def _bytes_never_reset(sizes, limit):
    found, held = [], 0
    for i in reversed(range(len(sizes))):
        if not found or held + sizes[i] > limit:
            found.append([])
        found[-1].append(i)
        held += sizes[i]
    return found


def _first_not_counted(sizes, limit):
    found, held = [], 0
    for i in reversed(range(len(sizes))):
        if not found or held + sizes[i] > limit:
            found.append([i])
            held = 0
        else:
            found[-1].append(i)
            held += sizes[i]
    return found


def _too_large_joins(sizes, limit):
    return _greedy(sizes, limit, reversed(range(len(sizes))), lambda held, size, limit: size > limit or held + size <= limit)


def _by_greedy(sizes, limit):
    return _greedy(sizes, limit, reversed(range(len(sizes))))


def _recursive(sizes, limit, end=None):
    end = len(sizes) if end is None else end
    if not end:
        return []
    begin = end - 1
    while begin and sum(sizes[begin - 1 : end]) <= limit:
        begin -= 1
    return [list(range(end - 1, begin - 1, -1)), *_recursive(sizes, limit, begin)]


def _as_tuples(sizes, limit):
    return tuple(tuple(bucket) for bucket in buckets(sizes, limit))


def _in_numpy(sizes, limit):
    turned, found, start = np.asarray(sizes, dtype=float)[::-1], [], 0
    while start < len(turned):
        taken = max(1, int(np.searchsorted(np.cumsum(turned[start:]), limit, side="right")))
        found.append([len(turned) - 1 - np.int64(i) for i in range(start, min(start + taken, len(turned)))])
        start += taken
    return found


def _in_place(sizes, limit):
    found = []
    while sizes:
        i = len(sizes) - 1
        size = sizes.pop()
        if found and found[-1][1] + size <= limit:
            found[-1][0].append(i)
            found[-1][1] += size
        else:
            found.append([[i], size])
    return [bucket for bucket, _ in found]


def _by_numbering(sizes, limit):
    numbers, number, held = [], 0, None
    for size in sizes[::-1]:
        if held is not None and held + size > limit:
            number, held = number + 1, 0
        held = size + (held or 0)
        numbers.append(number)
    order = range(len(sizes) - 1, -1, -1)
    return [[i for i, n in zip(order, numbers) if n == k] for k in sorted(set(numbers))]


def _cases() -> list[Case]:
    order = "Backward reaches the last parameter first: buckets, and what is in them, go from the last to the first."
    full = "A bucket holds at most `limit` bytes, and just `limit` is allowed."
    large = "A parameter above the limit has a bucket of its own."
    return [
        Case(([4, 3, 5, 2], 7), [[3, 2], [1, 0]], "This is the statement's example."),
        Case(([4, 3, 5, 2], 6), [[3], [2], [1], [0]], full),
        Case(([4, 3, 5, 2], 8), [[3, 2], [1, 0]], full),
        Case(([1, 2, 3, 4, 5], 9), [[4, 3], [2, 1, 0]], full),
        Case(([3, 3, 1, 3], 6), [[3, 2], [1, 0]], order),
        Case(([1, 5, 1, 5, 1], 6), [[4, 3], [2, 1], [0]], order),
        Case(([2, 9, 2, 2], 5), [[3, 2], [1], [0]], large),
        Case(([9, 2, 9], 5), [[2], [1], [0]], large),
        Case(([2, 2, 9], 5), [[2], [1, 0]], large),
        Case(([1, 1, 1], 100), [[2, 1, 0]], "All fit into one."),
        Case(([6], 6), [[0]], full),
        Case(([1, 1, 1, 1, 1], 3), [[4, 3, 2], [1, 0]], full),
        Case(([], 6), [], "Without parameters there is no bucket."),
        Case(([2, 4, 3, 1, 4], 5), [[4, 3], [2], [1], [0]], "A closed bucket is not opened again: it may be on its way."),
    ]


_MISTAKES = (
    Wrong(_forward, "Yours begin with the first parameter, whose gradient comes last: nothing could leave before backward ends."),
    Wrong(_forward_then_turned, "You fill from the first parameter and turn the result round. Fill from the last: the sums differ."),
    Wrong(_inside_forward, "Inside a bucket, too, the order is from the last to the first."),
    Wrong(_strictly_below, "A bucket may hold just `limit` bytes."),
    Wrong(_closed_when_over, "You close a bucket when it is over the limit already. Close it before."),
    Wrong(_one_each, "Each parameter has a bucket of its own in yours: each would pay a collective's start-up."),
    Wrong(_all_in_one, "All are in one bucket, whatever the limit: nothing could leave before backward ends."),
    Wrong(_too_large_left_out, "A parameter above the limit is missing. It has a bucket of its own."),
    Wrong(_empty_first, "An empty bucket is in your list. Nothing would ever fill it."),
    Wrong(_filled_later, "You put a parameter into a bucket that was closed before. It may be on its way."),
    Wrong(_by_size, "You sort by size. Gradients come in backward's order."),
    Wrong(_sizes_given, "Give the parameters' numbers, not their sizes."),
    Wrong(_counted, "You count parameters against the limit. It is in bytes."),
    Wrong(_last_missing, "The last bucket is missing."),
    Wrong(_numbers_from_the_end, "You number the parameters from the end. Their numbers are those of the model's order."),
    Wrong(_bytes_never_reset, "You go on adding up after a bucket is closed. The next one begins with nothing in it."),
    Wrong(_first_not_counted, "The gradient that opens a bucket is missing in its bytes."),
    Wrong(_too_large_joins, "A gradient above the limit joins the open bucket in yours. It has a bucket of its own."),
)

EXERCISE = Exercise(
    id="scaling.buckets",
    notebook="06_distributed_training",
    title="which gradients travel together",
    difficulty=3,
    minutes=20,
    statement=(
        "`sizes` holds the bytes of each parameter's gradient, in the model's order. Backward makes them from the last to the first. Write "
        "`buckets(sizes, limit)`: lists of parameter numbers, in the order in which they leave. A bucket takes gradients as they come and is closed when the "
        "next would bring it above `limit`; one gradient above `limit` has a bucket of its own. `buckets([4, 3, 5, 2], 7)` is `[[3, 2], [1, 0]]`."
    ),
    name="buckets",
    starter="def buckets(sizes, limit):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Go through `reversed(range(len(sizes)))`, and keep the bytes of the open bucket.",
        "Before you add one: is a bucket open, and would it still fit? If not, open a new one.",
        "`if not found or held + sizes[i] > limit: found.append([]); held = 0`, then append and add.",
    ),
    solution=buckets,
    wrong=_MISTAKES,
    right=(_by_greedy, _recursive, _as_tuples, _in_numpy, _in_place, _by_numbering),
)
