"""ReAct: reason and act in turns (Yao et al., 2022; the paper's section 2.3).

context_0 = "Question: …";  (thought_t, action_t) ~ P(· | context_t);  observation_t = tool(action_t);  context_{t+1} = context_t + all three

The model only ever writes text. What may happen is decided here: a strict parser, a closed set of actions, a limit on steps and on tokens. Whatever
else the model writes (no action, an unknown one, one it has taken already, a bad argument) is counted, answered with an observation, and never run.
Many trajectories advance together, one batch of turns per round. In production: `langchain.agents.create_agent`, or a model's native tool calls.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from llmsuite_lab.agents.tools import Tool, ToolResult, call, tools_in
from llmsuite_lab.core.text import fold
from llmsuite_lab.lm.tool_calls import read_json

FINISH = "Finish"
# A turn ends with its action's bracket. An observation is never the model's to write.
STOPS = ("]\n", "\nObservation:", "\nQuestion:", "\nClaim:")
_TURN = re.compile(r"(?P<thought>[^\n]+)\nAction: ?(?P<name>[^\n\[\]]+)\[(?P<argument>[^\n\[\]]*|[{\[][^\n]*)\]")
FAILURES = ("unparsable", "unknown action", "repeated", "bad argument", "empty", "raised", "timed out")
_MAX_ECHO = 200  # characters of an unparsable turn that go back into the context


class Writer(Protocol):
    """What the loop needs of a language model: `LanguageModel` has it."""

    context_length: int

    def complete(self, prompts: list[str], max_new_tokens: int = 64, stop: Sequence[str] = ()) -> list[Any]:
        """One completion per prompt, in order."""

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`."""


@dataclass(frozen=True)
class Step:
    """One turn and its answer. `kind`: "ok", "finish" or one of FAILURES; `raw` is the model's text as it came; `ran`: whether a tool was run."""

    thought: str
    action: str
    argument: str
    observation: str
    kind: str
    raw: str
    ran: bool
    prompt_tokens: int
    completion_tokens: int


@dataclass
class Trajectory:
    """All that happened for one question. `ended`: "finished", "step limit", "token limit" or "context full"; `answer` is None unless finished.

    `wall_s`: seconds from the start of the whole batch to this trajectory's end.
    """

    opening: str
    steps: list[Step] = field(default_factory=list)
    answer: str | None = None
    ended: str = ""
    wall_s: float = 0.0

    @property
    def completion_tokens(self) -> int:
        """Tokens that the model wrote."""
        return sum(step.completion_tokens for step in self.steps)

    @property
    def prompt_tokens(self) -> int:
        """Tokens that the model read, the growing context counted again in every turn."""
        return sum(step.prompt_tokens for step in self.steps)

    @property
    def tool_calls(self) -> int:
        """How often a tool really ran."""
        return sum(step.ran for step in self.steps)

    def counts(self) -> Counter[str]:
        """How many steps were of each kind."""
        return Counter(step.kind for step in self.steps)

    def text(self) -> str:
        """The context as the model sees it before its next turn."""
        return self.opening + "".join(
            _written(step) + (f"Observation: {step.observation}\nThought:" if step.observation else "") for step in self.steps
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ParsedTurn:
    """A turn that follows the grammar: one line of thought, then `Action: name[argument]` and nothing else."""

    thought: str
    name: str
    argument: str


def parse_turn(text: str) -> ParsedTurn | None:
    """The parts of a turn, or None when it departs from the grammar in any way (strict: no search for an action somewhere in the text).

    An argument holds brackets only where it is a JSON object or list.
    """
    match = _TURN.fullmatch(text.strip())
    if match and {"[", "]"} & set(match["argument"]) and not _is_json(match["argument"]):
        return None
    return ParsedTurn(match["thought"].strip(), match["name"].strip(), match["argument"].strip()) if match else None


def react(
    model: Writer,
    openings: Sequence[str],
    make_tools: Callable[[], Sequence[Tool]],
    *,
    examples: str = "",
    max_steps: int = 10,
    max_tokens: int = 500,
    turn_tokens: int = 64,
    on_round: Callable[[list[Trajectory]], None] | None = None,
) -> list[Trajectory]:
    """Run the thought–action–observation loop on all `openings` ("Question: …\\nThought:") together; one Trajectory each, in order.

    make_tools: called once per trajectory, since tools may keep state (the page that is open). examples: few-shot text put in front.
    max_steps turns and max_tokens written tokens per trajectory, turn_tokens per turn: nothing runs for ever. on_round sees the running ones.
    Raises ValueError for limits below one, a tool named Finish, two tools of one name, or an opening that alone overfills the context.
    """
    if min(max_steps, max_tokens, turn_tokens) < 1:
        raise ValueError(f"max_steps={max_steps}, max_tokens={max_tokens}, turn_tokens={turn_tokens}: each must be at least 1")
    start = time.perf_counter()
    trajectories = [Trajectory(opening) for opening in openings]
    tools = [_by_name(tools_in(make_tools())) for _ in trajectories]
    for trajectory in trajectories:
        needed = model.count_tokens(examples + trajectory.opening) + turn_tokens
        if needed > model.context_length:
            raise ValueError(
                f"opening and examples need {needed} tokens with one turn, the context holds {model.context_length}; shorten them"
            )
    while running := [i for i, trajectory in enumerate(trajectories) if not trajectory.ended]:
        prompts = [examples + trajectories[i].text() for i in running]
        for i, turn in zip(running, model.complete(prompts, max_new_tokens=turn_tokens, stop=STOPS), strict=True):
            _advance(trajectories[i], close_bracket(turn.text, turn.finish_reason), turn.prompt_tokens, turn.completion_tokens, tools[i])
            _check_limits(trajectories[i], model, examples, max_steps, max_tokens, turn_tokens)
            trajectories[i].wall_s = time.perf_counter() - start
        if on_round is not None:
            on_round([trajectories[i] for i in running])
    return trajectories


def take_turn(tools: dict[str, Tool], turn: ParsedTurn | None, before: Sequence[Step] = ()) -> tuple[ToolResult, bool]:
    """What the loop answers to a turn that does not end it, given the steps before it, and whether a tool was run for it. Never raises."""
    allowed = ", ".join(f"{tool.name}[{tool.argument.name}]" for tool in tools.values()) + f" or {FINISH}[answer]"
    if turn is None:
        return ToolResult(f"That is not one thought and one action. Write Action: {allowed}.", "unparsable"), False
    if turn.name == FINISH:
        return ToolResult("The answer is empty. Finish with an answer.", "bad argument"), False
    if turn.name not in tools:
        return ToolResult(f"There is no action {turn.name}. Use {allowed}.", "unknown action"), False
    if done_before(turn.name, turn.argument, before, tools):
        return ToolResult(f"{turn.name}[{turn.argument}] was done before. Take another step.", "repeated"), False
    result = call(tools[turn.name], turn.argument)
    return result, result.kind != "bad argument"


def done_before(name: str, argument: str, before: Sequence[Step], tools: dict[str, Tool]) -> bool:
    """Whether a tool already ran for this very action in the steps `before`: no loop runs it twice. False for a name that no tool has.

    An argument counts as its tool reads it ("3" is "03"), and an action with what it refers to: the same Lookup on another page is another action.
    """
    taken = {_key(step.action, step.argument, before[:i], tools) for i, step in enumerate(before) if step.ran and step.action in tools}
    return name in tools and _key(name, argument, before, tools) in taken


def _advance(trajectory: Trajectory, raw: str, prompt_tokens: int, completion_tokens: int, tools: dict[str, Tool]) -> None:
    turn = parse_turn(raw)
    thought, name, argument = (turn.thought, turn.name, turn.argument) if turn else ("", "", "")
    if turn and turn.name == FINISH and argument:
        trajectory.answer, trajectory.ended = argument, "finished"
        trajectory.steps.append(Step(thought, name, argument, "", "finish", raw, False, prompt_tokens, completion_tokens))
        return
    result, ran = take_turn(tools, turn, trajectory.steps)
    observation = " ".join(result.text.split())
    trajectory.steps.append(Step(thought, name, argument, observation, result.kind, raw, ran, prompt_tokens, completion_tokens))


def _key(name: str, argument: str, before: Sequence[Step], tools: dict[str, Tool]) -> tuple[str, str, str]:
    refers_to = tools[name].refers_to
    place = next((step.argument for step in reversed(before) if step.ran and step.action == refers_to), "")
    return name, _meant(tools[name], argument), fold(place)


def _meant(tool: Tool, argument: str) -> str:
    """An argument as the tool reads it: "3" and "03" are one whole number, "Ann" and "ANN" one name; of a function only equal values are the same."""
    try:
        value = tool.argument.parse(argument)
        return fold(str(value)) if isinstance(value, str | int) else str(value)  # to a function "a.txt" and "A.txt" may be two files
    except ValueError:  # it will not run: the text as it is
        return fold(argument)


def _check_limits(trajectory: Trajectory, model: Writer, examples: str, max_steps: int, max_tokens: int, turn_tokens: int) -> None:
    if trajectory.ended:
        return
    if len(trajectory.steps) >= max_steps:
        trajectory.ended = "step limit"
    elif trajectory.completion_tokens >= max_tokens:
        trajectory.ended = "token limit"
    elif model.count_tokens(examples + trajectory.text()) + turn_tokens > model.context_length:
        trajectory.ended = "context full"


def close_bracket(text: str, finish_reason: str) -> str:
    """A turn's text with the bracket that the stop string `]` + newline took with it."""
    if finish_reason != "stop" or text.endswith("\n"):
        return text
    lists = parse_turn(text) is None and parse_turn(text + "]") is not None  # its last bracket is that of a list, or stands in a text
    return text + "]" if lists or text.rfind("[") > text.rfind("]") else text


def _is_json(text: str) -> bool:
    try:
        read_json(text)
    except ValueError:
        return False
    return True


def _written(step: Step) -> str:
    if step.action:
        return f" {step.thought}\nAction: {step.action}[{step.argument}]\n"
    return " " + " ".join(step.raw.split())[:_MAX_ECHO] + "\n"


def _by_name(tools: Sequence[Tool]) -> dict[str, Tool]:
    names = [tool.name for tool in tools]
    if FINISH in names or len(set(names)) < len(names):
        raise ValueError(f"tools {', '.join(names)}: each needs a name of its own, and {FINISH} is the loop's")
    return dict(zip(names, tools, strict=True))
