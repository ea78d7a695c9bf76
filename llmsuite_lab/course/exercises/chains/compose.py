"""Composition: a chain is a function of a list, and every step sees the whole batch once."""

from llmsuite_lab.course.exercises import Exercise, Wrong, expect


def compose(*steps):
    """The solution: each step is called once, with the results of the step before it."""

    def chain(batch):
        for step in steps:
            batch = step(batch)
        return batch

    return chain


def _one_by_one(*steps):
    def chain(batch):
        results = []
        for item in batch:
            value = [item]
            for step in steps:
                value = step(value)
            results.append(value[0])
        return results

    return chain


def _backwards(*steps):
    def chain(batch):
        for step in reversed(steps):
            batch = step(batch)
        return batch

    return chain


def _first_only(*steps):
    return lambda batch: steps[0](batch) if steps else batch


def _same_input(*steps):
    def chain(batch):
        result = batch
        for step in steps:
            result = step(batch)
        return result

    return chain


def _check(answer) -> None:
    calls = []

    def add(batch):
        calls.append(len(batch))
        return [x + 3 for x in batch]

    def double(batch):
        return [2 * x for x in batch]

    expect(callable(answer(add, double)), "compose returns a function: the chain is built first and called later.")
    found = answer(add, double)([1, 5, 7])
    expect(found != [5, 13, 17], "The steps run in the wrong order: compose(add, double) adds first, as in `add | double`.")
    expect(found != [4, 8, 10], "Only the first step ran.")
    expect(found != [2, 10, 14], "The last step saw the chain's input, not what the step before it made.")
    expect(list(found) == [8, 16, 20], "compose(add, double)([1, 5, 7]) is not [8, 16, 20].")
    expect(calls == [3], "A step was called once per item. A model wants the whole batch in one call.")
    expect(list(answer()([4, 2])) == [4, 2], "A chain without steps hands its input through.")


EXERCISE = Exercise(
    id="chains.compose",
    notebook="05_langchain_applications",
    title="a chain that keeps the batch together",
    statement=(
        "Write `compose(*steps)`. Every step takes a list and returns a list of the same length. The result is a function: it gives its list to the first "
        "step, what comes out to the second, and so on. Each step is called **once** per batch. `compose(add, double)([1, 5, 7])` is `[8, 16, 20]` when "
        "`add` adds 3. Without steps the list comes back as it is."
    ),
    name="compose",
    starter="def compose(*steps):\n    ...",
    check=_check,
    hints=(
        "Define a function inside and return it.",
        "One loop over the steps is enough; there is no loop over items.",
        "Inside: `for step in steps: batch = step(batch)`, then `return batch`.",
    ),
    solution=compose,
    wrong=(
        Wrong(_one_by_one, "called once per item"),
        Wrong(_backwards, "wrong order"),
        Wrong(_first_only, "Only the first step ran"),
        Wrong(_same_input, "saw the chain's input"),
    ),
)
