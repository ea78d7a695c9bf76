"""The mutation engine finds what a lax check lets through, and survives what its mutants do."""

import dataclasses

import pytest

from llmsuite_lab.course.exercises import exercise, expect
from llmsuite_lab.course.exercises.mutants import main, mutants, survivors


def solution(values: list, limit: int = 3) -> int:
    """Count those below the limit."""
    count = 0
    while values:
        if values[0] < limit and count is not None:
            count += 1
        values = values[1:]
    return count


def item(check, **fields):
    """An exercise with `solution` and another check."""
    return dataclasses.replace(exercise("course.exact_match").exercise, solution=solution, check=check, equivalent={}, **fields)


def test_every_kind_of_edit_is_made():
    keys = [mutant.key for mutant in mutants(solution)]
    assert len(keys) > 25
    for edit in ("def solution(values, limit=4):", "count = -1", "while not values:", "if values[0] <= limit and count is not None:", "count -= 1", "count = 1",
                 "if values[0] < limit or count is not None:", "if count is not None:", "if False:", "without count += 1", "without return count",
                 "values = values[:]", "if limit[0] < limit and count is not None:", "if values[1] < limit and count is not None:"):  # fmt: skip
        assert edit in keys
    assert all(mutant.function is not solution for mutant in mutants(solution))


def test_a_lax_check_is_found_out_and_a_loop_without_end_is_ended(monkeypatch):
    monkeypatch.setattr("llmsuite_lab.course.exercises.mutants.LIMIT_S", 0.3)

    def lax(answer):
        expect(answer([1, 2, 5]) == 2, "two are below three")

    def strict(answer):
        lax(answer)
        expect(answer([]) == 0 and answer([3, 4]) == 0 and answer([3, 4], 4) == 1 and answer([2, 5, 1, 0], 2) == 2, "count them")

    count, lived = survivors(item(lax))
    assert {"def solution(values, limit=4):", "if values[0] <= limit and count is not None:"} <= set(lived)
    assert survivors(item(strict)) == (count, ["if values[0] < limit:"])  # the second condition is always true


def starred(values):
    """A call whose only argument is starred, a slice with every part, a break."""
    for value in values[1:-1:2]:
        print(*value, sep="")
        break


def test_every_mutant_is_a_program():
    keys = [mutant.key for mutant in mutants(starred)]
    assert {"print(sep='')", "print(*value)", "continue", "for value in values[1:-1]:"} <= set(keys)


def test_only_functions_have_mutants():
    class Solution:
        pass

    with pytest.raises(TypeError, match="is not a function"):
        list(mutants(Solution))


def test_the_command_prints_a_line_an_exercise(capsys):
    main(["transformer.split_heads"])
    assert capsys.readouterr().out.splitlines()[0].endswith("1 lived    1 of them equivalent")
