"""How ways of answering are compared: the same questions, strict scores, and what each answer cost.

no tool:          few-shot examples of question and answer; the model knows nothing of the almanac
chain of thought: the same with the reasoning written out, still without a tool
few-shot ReAct:   worked trajectories in the prompt of the untuned model
tuned ReAct:      no example in the prompt; the adapter has learned the loop

Scores are exact match after `core.values.normalise_answer`; a yes/no question takes nothing but "yes" or "no". (A substring match once counted
"not yes" as a hit.)
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from llmsuite_lab.agents.demonstrations import demonstrate, opening_text, render_observation, render_turn
from llmsuite_lab.agents.react import Trajectory, Writer, react
from llmsuite_lab.agents.tools import Tool, almanac_tools
from llmsuite_lab.core.metrics import Interval, exact_match, mean_interval
from llmsuite_lab.core.records import paired_differences
from llmsuite_lab.core.text import fold
from llmsuite_lab.world.almanac import Almanac, build
from llmsuite_lab.world.almanac_claims import Claim
from llmsuite_lab.world.almanac_questions import Question, draw_question

SHOT_KINDS = ("compare_magazines", "founder_birthplace", "headquarters_mayor", "same_birthplace")
INSTRUCTION = (
    "Answer the question by thinking and acting in turns. Actions: Search[title] opens a page, Lookup[keyword] finds a sentence on the open page, "
    "Finish[answer] ends.\n\n"
)


@dataclass(frozen=True)
class Answer:
    """One scored answer. Tokens are the model's own count, `prompt_tokens` with the growing context read again in every turn; `wall_s` is the
    batch's time divided by its questions; `refusals` counts steps that were answered without running a tool."""

    kind: str
    question: str
    reference: str
    answer: str
    correct: bool
    prompt_tokens: int
    completion_tokens: int
    turns: int
    tool_calls: int
    refusals: int
    wall_s: float


def is_correct(reference: str, answer: str | None) -> bool:
    """Strict score of one answer; None (no answer) is wrong."""
    if reference in ("yes", "no"):
        return fold(answer or "") == reference
    return exact_match(answer or "", reference)


def shots(n: int | None = None, seed: int = 0) -> list[tuple[Question, Almanac]]:
    """Worked examples for prompts: one question of each of SHOT_KINDS (the first `n`) about a training almanac. Raises ValueError for n < 1."""
    if n is not None and not 1 <= n <= len(SHOT_KINDS):
        raise ValueError(f"n={n} examples, but there are 1 to {len(SHOT_KINDS)}")
    world = build("train", 900 + seed)
    rng = Random(f"shots-{seed}")
    return [(draw_question(world, kind, rng), world) for kind in SHOT_KINDS[:n]]


def direct(model: Writer, questions: Sequence[Question], examples: Sequence[tuple[Question, Almanac]] | None = None) -> list[Answer]:
    """No tool, no reasoning: few-shot "Question: … Answer: …", one line of at most 16 tokens."""
    examples = shots() if examples is None else examples
    prefix = "".join(f"Question: {q.text}\nAnswer: {q.answer}\n\n" for q, _ in examples)
    return _complete(model, questions, [f"{prefix}Question: {q.text}\nAnswer:" for q in questions], 16, ("\n",), lambda text: text)


def chain_of_thought(
    model: Writer, questions: Sequence[Question], examples: Sequence[tuple[Question, Almanac]] | None = None
) -> list[Answer]:
    """No tool, reasoning first: few-shot "Thought: The founder of … is …. Answer: …"; what counts is the line after "Answer:"."""
    examples = shots() if examples is None else examples
    prefix = "".join(f"Question: {q.text}\nThought: {reasoning(q)}\nAnswer: {q.answer}\n\n" for q, _ in examples)
    return in_one_turn(model, questions, [f"{prefix}Question: {q.text}\nThought:" for q in questions])


def in_one_turn(model: Writer, questions: Sequence[Question], prompts: list[str]) -> list[Answer]:
    """One completion a question, after prompts that end in "Thought:"; what counts is the line after "Answer:"."""

    def read(text: str) -> str:
        _, found, rest = text.partition("Answer:")
        return rest.split("\n")[0] if found else ""

    return _complete(model, questions, prompts, 110, ("\n\n", "\nQuestion:"), read)


def reasoning(item: Question | Claim) -> str:
    """The facts on the way to the answer in words, as far as there are any, and what follows from them."""
    facts = " ".join(f"The {name} of {subject} is {value}." for subject, name, value in item.hops if value is not None)
    return f"{facts} {item.reason if isinstance(item, Question) else ''}".strip()


def _complete(
    model: Writer, questions: Sequence[Question], prompts: list[str], tokens: int, stop: tuple[str, ...], read: Callable[[str], str]
) -> list[Answer]:
    start = time.perf_counter()
    done = model.complete(prompts, max_new_tokens=tokens, stop=stop)
    each = (time.perf_counter() - start) / max(1, len(questions))
    answers = [read(c.text).strip() for c in done]
    return [
        Answer(q.kind, q.text, q.answer, a, is_correct(q.answer, a), c.prompt_tokens, c.completion_tokens, 1, 0, 0, each)
        for q, a, c in zip(questions, answers, done, strict=True)
    ]


def react_shots(examples: Sequence[tuple[Question, Almanac]] | None = None) -> str:
    """The few-shot prompt of ReAct: the instruction, then worked trajectories with what the tools really said."""
    text = INSTRUCTION
    for question, world in shots() if examples is None else examples:
        text += opening_text(question)
        for turn in demonstrate(question, world):
            text += render_turn(turn) + (render_observation(turn.observation) if turn.observation else "\n")
    return text


def react_answers(
    model: Writer, questions: Sequence[Question], almanac: Almanac, *, examples: str = "", **limits: int
) -> tuple[list[Answer], list[Trajectory]]:
    """ReAct over an almanac: scored answers and the trajectories behind them. `examples`: few-shot text; `limits` as for `react`."""
    start = time.perf_counter()

    def make_tools() -> list[Tool]:
        return almanac_tools(almanac)

    trajectories = react(model, [opening_text(q) for q in questions], make_tools, examples=examples, **limits)
    each = (time.perf_counter() - start) / max(1, len(questions))
    return [_scored(q, t, each) for q, t in zip(questions, trajectories, strict=True)], trajectories


def _scored(question: Question, trajectory: Trajectory, wall_s: float) -> Answer:
    refusals = sum(not step.ran and step.kind != "finish" for step in trajectory.steps)
    return Answer(
        question.kind, question.text, question.answer, trajectory.answer or "", is_correct(question.answer, trajectory.answer),
        trajectory.prompt_tokens, trajectory.completion_tokens, len(trajectory.steps), trajectory.tool_calls, refusals, wall_s,
    )  # fmt: skip


def by_kind(answers: Sequence[Answer]) -> dict[str, Interval]:
    """Exact match of each kind of question, with its 95 % interval, in order of appearance."""
    kinds = dict.fromkeys(a.kind for a in answers)
    return {kind: mean_interval([a.correct for a in answers if a.kind == kind]) for kind in kinds}


def accuracy(answers: Sequence[Answer], kinds: Sequence[str] | None = None) -> Interval:
    """Exact match over `kinds` (None: all). Raises ValueError when no answer is of these kinds."""
    chosen = [a.correct for a in answers if kinds is None or a.kind in kinds]
    if not chosen:
        raise ValueError(f"none of the {len(answers)} answers is of the kinds {kinds}")
    return mean_interval(chosen)


def paired_gain(ours: Sequence[Answer], theirs: Sequence[Answer]) -> Interval:
    """Mean difference of correctness on the same questions. Raises ValueError when the two lists are not about the same ones."""
    by_question = [{(i, a.question): float(a.correct) for i, a in enumerate(answers)} for answers in (ours, theirs)]
    return mean_interval(paired_differences(*by_question), differences=True)


def cost(answers: Sequence[Answer]) -> dict[str, float]:
    """What one answer costs on average: tokens read, tokens written, turns, tool calls, seconds. Raises ValueError for no answers."""
    if not answers:
        raise ValueError("there are no answers to average over")
    fields = ("prompt_tokens", "completion_tokens", "turns", "tool_calls", "wall_s")
    return {name: sum(getattr(a, name) for a in answers) / len(answers) for name in fields}


def problems(trajectories: Sequence[Trajectory]) -> Counter[str]:
    """How many steps of each kind there were in all."""
    return sum((t.counts() for t in trajectories), Counter())
