"""Greedy decoding in its smallest form: score every token, append the best, stop at the stop token or the limit."""

from collections.abc import Callable

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, check_cases, expect


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


def _skips_stop(scores, prompt, stop, max_new_tokens):
    return [token for token in greedy(scores, prompt, None, max_new_tokens) if token != stop]


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


def _prompt_only(scores, prompt, stop, max_new_tokens):
    return greedy(lambda tokens: scores(list(prompt)), prompt, stop, max_new_tokens)


def _lowest(scores, prompt, stop, max_new_tokens):
    return greedy(lambda tokens: [-score for score in scores(tokens)], prompt, stop, max_new_tokens)


def _above_zero(scores, prompt, stop, max_new_tokens):
    def clipped(tokens):
        return [max(score, 0) for score in scores(tokens)]

    return greedy(clipped, prompt, stop, max_new_tokens)


def _never_stops(scores, prompt, stop, max_new_tokens):
    return greedy(scores, prompt, None, max_new_tokens)


def _limit_with_prompt(scores, prompt, stop, max_new_tokens):
    return greedy(scores, prompt, stop, max(max_new_tokens - len(prompt), 0))


def _no_limit(scores, prompt, stop, max_new_tokens):
    return greedy(scores, prompt, stop, 12)


def _asks_on(scores, prompt, stop, max_new_tokens):
    new = greedy(scores, prompt, stop, max_new_tokens)
    for _ in range(len(new), max_new_tokens):
        scores([*prompt, *new])
    return new


def _at_least_one(scores, prompt, stop, max_new_tokens):
    return greedy(scores, prompt, stop, max(max_new_tokens, 1))


def _stops_at_the_prompts_stop(scores, prompt, stop, max_new_tokens):
    return [] if stop in prompt else greedy(scores, prompt, stop, max_new_tokens)


def _by_while(scores, prompt, stop, max_new_tokens):
    new = []
    while len(new) < max_new_tokens:
        row = scores(prompt + new)
        token = row.index(max(row))
        if token == stop:
            return new
        new += [token]
    return new


def _by_numpy(scores, prompt, stop, max_new_tokens):
    tokens = np.array(prompt, dtype=np.int64)
    for _ in range(max_new_tokens):
        best = np.argmax(scores(tokens.tolist()))
        if best == stop:
            break
        tokens = np.append(tokens, best)
    return tokens[len(prompt) :]


def _by_torch(scores, prompt, stop, max_new_tokens):
    new = []
    for _ in range(max_new_tokens):
        best = torch.tensor(scores([*prompt, *new])).argmax()
        if best == stop:
            break
        new.append(best.item())
    return torch.tensor(new)


def _recursive(scores, prompt, stop, max_new_tokens):
    if max_new_tokens == 0 or (best := sorted(enumerate(scores(prompt)), key=lambda pair: pair[1])[-1][0]) == stop:
        return []
    return [best, *_recursive(scores, [*prompt, best], stop, max_new_tokens - 1)]


def _in_one_expression(scores, prompt, stop, max_new_tokens):
    new = []
    while len(new) < max_new_tokens and (best := np.argmax(scores([*prompt, *new]))) != stop:
        new.append(best)
    return tuple(new)


def _asks_twice(scores, prompt, stop, max_new_tokens):
    tokens, new = list(prompt), []
    for _ in range(max_new_tokens):
        best = next(i for i, score in enumerate(scores(tokens)) if score == max(scores(tokens)))
        if best == stop:
            break
        tokens.append(best)
        new.append(best)
    return new


def _toy(vocabulary: int, highest: float) -> Callable[[list[int]], list[float]]:
    """Scores whose best token is (sum of all tokens + their number) mod vocabulary, so that the whole context counts; no ties with the best."""

    def scores(tokens: list[int]) -> list[float]:
        best = (sum(tokens) + len(tokens)) % vocabulary
        return [highest - abs(token - best) / 3 for token in range(vocabulary)]

    return scores


def _by_hand(prompt: list[int], vocabulary: int, count: int) -> list[int]:
    """The first `count` tokens that greedy decoding of `_toy` appends, never stopping."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append((sum(tokens) + len(tokens)) % vocabulary)
    return tokens[len(prompt) :]


def _cases() -> list[Case]:
    def case(prompt: list[int], stop: int, limit: int, rule: str, vocabulary: int = 11, highest: float = 2.0) -> Case:
        new = _by_hand(prompt, vocabulary, limit)
        return Case((_toy(vocabulary, highest), prompt, stop, limit), new[: new.index(stop)] if stop in new else new, rule)

    whole = "The token with the highest score is appended; scores() is given all tokens so far, prompt and new ones."
    stops = "Decoding ends at the stop token, which is left out of the result."
    return [
        case([2, 5, 1], -1, 5, whole),  # 0, 1, 3, 7, 4
        case([2, 5, 1], 7, 5, stops),
        case([2, 5, 1], 0, 5, stops),  # at once
        case([2, 5, 1], 5, 6, "A stop token inside the prompt ends nothing; only a new one does."),
        case([4], -1, 6, whole, vocabulary=7),
        case([], -1, 4, "An empty prompt is a sequence without tokens so far.", vocabulary=5),
        case([3, 3], -1, 0, "With max_new_tokens = 0 the result is empty."),
        case([3, 3], -1, 1, "max_new_tokens counts the new tokens alone."),
        case([1, 6, 2], 9, 8, "Scores may all be negative: the highest counts, not its sign.", vocabulary=10, highest=-5.0),
    ]


def _check(answer) -> None:
    check_cases(answer, _cases(), _MISTAKES)
    prompt, calls = [2, 5, 1], []
    answer(_toy(11, 2.0), prompt, -1, 5)
    expect(prompt == [2, 5, 1], "The caller's prompt was changed: work on a copy.")

    def scores(tokens: list[int]) -> list[float]:
        calls.append(len(tokens))
        expect(len(calls) < 100, "The stop token was chosen, and scores() is asked on and on. Decoding ends there.")
        return _toy(11, 2.0)(tokens)

    expect(list(answer(scores, [2, 5, 1], 7, 1000)) == [0, 1, 3], "Decoding should end at the stop token and leave it out of the result.")


_MISTAKES = (
    Wrong(_keeps_stop, "The stop token is part of the result. Decoding should end at it and leave it out of the result."),
    Wrong(_skips_stop, "The stop token is skipped, and decoding goes on behind it. It should end there."),
    Wrong(_never_stops, "The stop token is a token like the others in your loop. Decoding should end at it."),
    Wrong(_with_prompt, "The prompt is part of the result: return the new tokens only."),
    Wrong(_last_token_only, "You hand only the last token to scores(); hand all of it to scores(), prompt and new tokens."),
    Wrong(_prompt_only, "You hand only the prompt to scores(), again and again. The choice must look at the new tokens as well."),
    Wrong(_one_too_many, "One token too many: max_new_tokens is how many there may be."),
    Wrong(_limit_with_prompt, "The prompt's tokens count against your limit. max_new_tokens counts the new ones alone."),
    Wrong(_score_itself, "The list must hold token numbers: the position of the highest score, not the score."),
    Wrong(_lowest, "You append the token with the LOWEST score."),
)

EXERCISE = Exercise(
    id="course.greedy_choice",
    notebook="00_start_here",
    title="pick the next token, again and again",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `greedy(scores, prompt, stop, max_new_tokens)`. `scores(tokens)` returns one score per token of the vocabulary, given all tokens so far (a list "
        "of ints). Append the token with the highest score, again and again, until it is `stop` or `max_new_tokens` are there. Return the list of new tokens, "
        "without the prompt and without `stop`; `prompt` itself stays as it was."
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
        *_MISTAKES,
        Wrong(_appends_to_prompt, "work on a copy"),
        Wrong(_above_zero, "Scores may all be negative"),
        Wrong(_no_limit, "expected [0, 1, 3, 7, 4], got"),
        Wrong(_at_least_one, "With max_new_tokens = 0 the result is empty"),
        Wrong(_stops_at_the_prompts_stop, "A stop token inside the prompt ends nothing"),
        Wrong(_asks_on, "asked on and on"),
    ),
    right=(_by_while, _by_numpy, _by_torch, _in_one_expression, _recursive, _asks_twice),
)
