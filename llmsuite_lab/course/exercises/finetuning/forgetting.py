"""What a tuning made the model forget: a matrix of tunings and tasks, and one number for each tuning."""

import math
import warnings

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def forgetting(before: torch.Tensor, after: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The solution: the loss of each question, its mean over a task's questions, then the mean over the other tasks."""
    matrix = (before - after).nanmean(dim=-1)  # (tunings, tasks): nan in either score leaves the question out
    own = torch.eye(len(after), dtype=torch.bool)
    return matrix, matrix.masked_fill(own, torch.nan).nanmean(dim=1)


def _others(matrix):
    return matrix.masked_fill(torch.eye(len(matrix)).bool(), torch.nan).nanmean(1)


def _turned_round(before, after):
    return tuple(-part for part in forgetting(before, after))


def _gains_cut(before, after):
    matrix = forgetting(before, after)[0]
    return matrix, _others(matrix.clamp(min=0))


def _gains_cut_everywhere(before, after):
    matrix = forgetting(before, after)[0].clamp(min=0)
    return matrix, _others(matrix)


def _magnitudes(before, after):
    matrix = forgetting(before, after)[0].abs()
    return matrix, _others(matrix)


def _own_task_too(before, after):
    matrix = forgetting(before, after)[0]
    return matrix, matrix.nanmean(1)


def _own_task_alone(before, after):
    matrix = forgetting(before, after)[0]
    return matrix, matrix.diagonal()


def _over_questions(before, after):
    lost = (before - after).masked_fill(torch.eye(len(after)).bool()[..., None], torch.nan)
    return (before - after).nanmean(-1), lost.flatten(1).nanmean(1)


def _task_forgotten(before, after):
    matrix = forgetting(before, after)[0]
    return matrix, _others(matrix.T)


def _transposed(before, after):
    matrix, lost = forgetting(before, after)
    return matrix.T, lost


def _nan_is_wrong(before, after):
    matrix = (before.nan_to_num() - after.nan_to_num()).mean(-1)
    return matrix, _others(matrix)


def _nan_is_no_loss(before, after):
    matrix = (before - after).nan_to_num().mean(-1)
    return matrix, _others(matrix)


def _each_score_alone(before, after):
    matrix = before.nanmean(-1) - after.nanmean(-1)
    return matrix, _others(matrix)


def _nan_spreads(before, after):
    matrix = (before - after).mean(-1)
    return matrix, _others(matrix)


def _task_of_nan_is_zero(before, after):
    matrix, _ = forgetting(before, after)
    return matrix, _others(matrix.nan_to_num())


def _divided_by_all(before, after):
    matrix = forgetting(before, after)[0]
    return matrix, matrix.masked_fill(torch.eye(len(after)).bool(), torch.nan).nansum(1) / len(after)


def _relative(before, after):
    matrix = forgetting(before, after)[0] / before.nanmean(-1)
    return matrix, _others(matrix)


def _worst_task(before, after):
    matrix = forgetting(before, after)[0]
    worst = matrix.masked_fill(torch.eye(len(after)).bool(), torch.nan).nan_to_num(-torch.inf).amax(1)
    return matrix, worst.masked_fill(worst == -torch.inf, torch.nan)


def _mean_of_all(before, after):
    matrix, lost = forgetting(before, after)
    return matrix, lost.nanmean()


def _matrix_alone(before, after):
    return forgetting(before, after)[0]


def _in_numpy(before, after):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns of a mean over nothing, which is nan, as it should be
        matrix = np.nanmean(before.numpy() - after.numpy(), axis=2)
        off = matrix + np.where(np.eye(len(matrix)), np.nan, 0)
        return matrix, np.nanmean(off, axis=1)


def _mean(values):
    kept = [value for value in values if not math.isnan(value)]
    return sum(kept) / len(kept) if kept else math.nan


def _by_loops(before, after):
    matrix = [[_mean((b - a).item() for b, a in zip(*pair)) for pair in zip(before, scores)] for scores in after]
    return matrix, [_mean(row[:i] + row[i + 1 :]) for i, row in enumerate(matrix)]


def _in_place(before, after):
    after.neg_().add_(before)
    matrix = after.nanmean(2)
    off = matrix.clone()
    off.fill_diagonal_(math.nan)
    return matrix, torch.nanmean(off, 1)


def _by_counts(before, after):
    lost = before.double()[None] - after
    known = ~lost.isnan()
    matrix = torch.where(known, lost, 0).sum(-1) / known.sum(-1)
    seen = ~matrix.isnan() & ~torch.eye(len(matrix), dtype=torch.bool)
    return [matrix, torch.where(seen, matrix, 0).sum(1) / seen.sum(1)]


def _with_einsum(before, after):
    lost = before - after
    weights = 1 - torch.isnan(lost).float()
    matrix = torch.einsum("ijq,ijq->ij", torch.nan_to_num(lost), weights) / weights.sum(-1)
    n = len(matrix)
    rows = [torch.nanmean(matrix[i, [j for j in range(n) if j != i]]) for i in range(n)]
    return matrix, torch.stack(rows)


def _without_the_diagonal(before, after):
    matrix = (before.unsqueeze(0) - after).nanmean(-1)
    n = matrix.shape[0]
    off = matrix.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1) if n > 1 else torch.zeros(1, 0)
    return matrix.tolist(), off.nanmean(1).tolist()


def _cases() -> list[Case]:
    generator, nan = torch.Generator().manual_seed(5), math.nan

    def case(before: torch.Tensor, after: torch.Tensor, rule: str) -> Case:
        matrix = [[_mean((before[j] - after[i, j]).tolist()) for j in range(len(before))] for i in range(len(after))]
        lost = [_mean(value for j, value in enumerate(row) if j != i) for i, row in enumerate(matrix)]
        return Case((before, after), (torch.tensor(matrix), torch.tensor(lost)), rule)

    def scores(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    two = torch.tensor([[1.0, 0.5], [0.8, 0.6]]), torch.tensor([[[1.0, 0.9], [0.1, 0.3]], [[0.4, 0.7], [0.8, 1.0]]])
    ragged, later = scores(4, 6), scores(4, 4, 6)
    ragged[1, 2:], ragged[2, 5:], ragged[3, 1:] = nan, nan, nan
    later[:, 1, 2:], later[:, 2, 5:], later[:, 3, 1:] = nan, nan, nan
    holes, gaps = scores(3, 5), scores(3, 3, 5)
    holes[0, 1], holes[2, 4], gaps[1, 0, 3], gaps[0, 2, 0], gaps[2, 1, 1:4], gaps[0, 0, 2] = (nan,) * 6
    gone = scores(3, 3, 2)
    gone[0, 1], gone[2, 0] = nan, nan
    none = scores(2, 2, 3)
    none[0, 1] = nan
    task = "Every other task counts the same, however many questions it has."
    both = "A question whose score is nan before or after is left out of both."
    return [
        Case(two, ([[-0.2, 0.5], [0.2, -0.2]], [0.5, 0.2]), "Two tasks of two questions: tuning on the first loses 0.5 of the second."),
        case(scores(3, 4), scores(3, 3, 4), "Entry [i, j] is the mean over task j's questions of before minus after tuning i."),
        case(ragged, later, task),
        case(holes, gaps, both),
        case(scores(3, 2), gone, "A task with no question left is nan in the matrix and left out of the mean."),
        case(scores(2, 3), none, "With no other task left the tuning's number is nan."),
        case(scores(1, 3), scores(1, 1, 3), "With no other task left the tuning's number is nan."),
        case(scores(5, 1) * 40, scores(5, 5, 1) * 40, "Scores are of any size, and a gain counts as a negative loss."),
    ]


_MISTAKES = (
    Wrong(_turned_round, "The sign is turned round: what was lost is before minus after, above 0 when the model forgot."),
    Wrong(_gains_cut, "You count a gain as 0 in the mean. It counts as it is, a negative loss: cut it, and noise alone looks like forgetting."),
    Wrong(_gains_cut_everywhere, "You replace gains by 0. They stand as they are, negative losses: cut them, and noise alone looks like forgetting."),
    Wrong(_magnitudes, "You take magnitudes: a gain is no loss."),
    Wrong(_own_task_too, "The tuning's own task is in your mean: what it learnt there hides what it forgot elsewhere."),
    Wrong(_own_task_alone, "You return what the own task lost. The other tasks are asked for."),
    Wrong(_over_questions, "You take the mean over all questions: a task with many of them drowns the others. Take each task's mean first."),
    Wrong(_task_forgotten, "You take the mean over tunings: how a task fared. A tuning's number goes over the tasks."),
    Wrong(_transposed, "Your matrix is transposed: rows are tunings, columns are tasks."),
    Wrong(_nan_is_wrong, "You take nan for a score of 0. It says that there is no score: leave the question out."),
    Wrong(_nan_is_no_loss, "You take a question without a score for one that lost nothing. Leave it out."),
    Wrong(_each_score_alone, "Your means before and after go over different questions. Leave a question out of both when one score is nan."),
    Wrong(_nan_spreads, "One nan makes a whole task nan in yours. Leave that question out."),
    Wrong(_task_of_nan_is_zero, "A task without a score counts as 0 in your mean. Leave it out."),
    Wrong(_divided_by_all, "You divide by the number of all tasks. The own one, and those without a score, are not among those you added."),
    Wrong(_relative, "You divide by the score before. The difference itself is asked for."),
    Wrong(_worst_task, "You return the worst task. The mean over the other tasks is asked for."),
)

EXERCISE = Exercise(
    id="finetuning.forgetting",
    notebook="08_fine_tuning",
    title="the forgetting matrix",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `forgetting(before, after)`. `before` is `(tasks, questions)`: the score of each question; nan where there is none, for tasks differ "
        "in length. `after` is `(tasks, tasks, questions)`: `after[i, j]` are the scores on task j after tuning on task i. Return the pair of "
        "`matrix`, `(tasks, tasks)`, where `matrix[i, j]` is the mean over task j's questions of before minus after tuning i, and `lost`, "
        "`(tasks,)`, the mean of row i over the **other** tasks, each counting the same. Gains stay negative. A question that is nan before or after "
        "is left out of both; a mean over nothing is nan and is left out of the next."
    ),
    name="forgetting",
    starter="def forgetting(before, after):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Subtract question by question first: nan in either score makes the difference nan, and `nanmean` leaves it out.",
        "`(before - after).nanmean(-1)` is the matrix. Where does a tuning's own task stand in it?",
        "On the diagonal: `matrix.masked_fill(torch.eye(len(matrix)).bool(), torch.nan).nanmean(1)`.",
    ),
    solution=forgetting,
    wrong=(*_MISTAKES, Wrong(_mean_of_all, "Two tasks of two questions"), Wrong(_matrix_alone, "Two tasks of two questions")),
    right=(_in_numpy, _by_loops, _in_place, _by_counts, _with_einsum, _without_the_diagonal),
    equivalent={"own = torch.eye(len(before), dtype=torch.bool)": "there are as many tunings as tasks"},
)  # fmt: skip
