"""Greedy decoding in its smallest form: score every token, append the best, stop at the stop token or the limit."""

from collections.abc import Callable

from llmsuite_lab.course.exercises import Exercise, Wrong, expect


def greedy(scores: Callable[[list[int]], list[float]], prompt: list[int], stop: int, max_new_tokens: int) -> list[int]:
    """The solution: the new tokens only, without the stop token."""
    tokens = list(prompt)
    for _ in range(max_new_tokens):
        row = scores(tokens)
        best = max(range(len(row)), key=row.__getitem__)
        if best == stop:
            break
        tokens.append(best)
    return tokens[len(prompt) :]


def _keeps_stop(scores, prompt, stop, max_new_tokens):
    new = greedy(scores, prompt, stop, max_new_tokens)
    return new + [stop] if len(new) < max_new_tokens else new


def _with_prompt(scores, prompt, stop, max_new_tokens):
    return list(prompt) + greedy(scores, prompt, stop, max_new_tokens)


def _last_token_only(scores, prompt, stop, max_new_tokens):
    return greedy(lambda tokens: scores(tokens[-1:]), prompt, stop, max_new_tokens)


def _one_too_many(scores, prompt, stop, max_new_tokens):
    return greedy(scores, prompt, stop, max_new_tokens + 1)


def _score_itself(scores, prompt, stop, max_new_tokens):
    return [max(scores(list(prompt))) for _ in range(max_new_tokens)]


def _appends_to_prompt(scores, prompt, stop, max_new_tokens):
    new = greedy(scores, prompt, stop, max_new_tokens)
    prompt += new
    return new


def _toy(tokens: list[int]) -> list[float]:
    """Scores over 7 tokens: the best is (sum of all tokens + their number) mod 7, so that the whole context counts."""
    best = (sum(tokens) + len(tokens)) % 7
    return [-abs(token - best) / 3 for token in range(7)]


def _by_hand(prompt: list[int], count: int) -> list[int]:
    """The first `count` tokens that greedy decoding of `_toy` appends, never stopping."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append((sum(tokens) + len(tokens)) % 7)
    return tokens[len(prompt) :]


def _check(answer) -> None:
    prompt = [2, 5, 1]
    wanted = _by_hand(prompt, 5)
    new = answer(_toy, list(prompt), -1, 5)
    expect(isinstance(new, list), "Return a list of token numbers.")
    expect(
        all(isinstance(token, int) for token in new), "The list must hold token numbers: the position of the highest score, not the score."
    )
    expect(new[:3] != prompt or len(new) <= 5, "The prompt is part of the result: return the new tokens only.")
    expect(len(new) <= 5, f"max_new_tokens=5, but {len(new)} tokens came back.")
    expect(new == wanted, "The choice must look at the whole sequence so far, prompt and new tokens: hand all of it to scores().")
    stop = wanted[3]
    before = wanted[: wanted.index(stop)]
    expect(answer(_toy, list(prompt), stop, 5) == before, "Decoding should end at the stop token and leave it out of the result.")
    given = list(prompt)
    answer(_toy, given, -1, 5)
    expect(given == prompt, "The caller's prompt was changed: work on a copy.")


EXERCISE = Exercise(
    id="course.greedy_choice",
    notebook="00_start_here",
    title="pick the next token, again and again",
    statement=(
        "Write `greedy(scores, prompt, stop, max_new_tokens)`. `scores(tokens)` returns one score per token of the vocabulary, given all tokens so far (a list "
        "of ints). Append the token with the highest score, again and again, until it is `stop` or `max_new_tokens` are there. Return the list of new tokens, "
        "without the prompt and without `stop`."
    ),
    name="greedy",
    starter="def greedy(scores, prompt, stop, max_new_tokens):\n    tokens = list(prompt)\n    ...",
    check=_check,
    hints=(
        "A `for` loop over `range(max_new_tokens)`; inside it ask for scores of all tokens so far.",
        "The position of the highest score: `max(range(len(row)), key=lambda i: row[i])`.",
        "Test for `stop` before you append. At the end cut the prompt off: `tokens[len(prompt):]`.",
    ),
    solution=greedy,
    wrong=(
        Wrong(_keeps_stop, "leave it out of the result"),
        Wrong(_with_prompt, "return the new tokens only"),
        Wrong(_last_token_only, "hand all of it to scores()"),
        Wrong(_one_too_many, "max_new_tokens=5, but 6"),
        Wrong(_score_itself, "not the score"),
        Wrong(_appends_to_prompt, "work on a copy"),
    ),
)
