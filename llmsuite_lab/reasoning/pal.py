"""Program-aided language models: the model reasons, the interpreter computes, the model puts the result into words.

    question → prompt → model: program → interpreter: value → prompt + program + value → model: final sentence

The orchestrator of the paper's Fig. 3 is `solve`: it moves text between the two and keeps every step in a `Trace`. A program that does not
parse, fails, hits a limit or sets no `answer` is an outcome with a name, never an exception.
Source: Gao et al. 2023, "PAL: Program-aided Language Models". In production: LangChain's or smolagents' code-running tools, in a sandbox too.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.reasoning.chain_of_thought import read
from llmsuite_lab.reasoning.interpreter import Interpreter, Outcome
from llmsuite_lab.reasoning.prompting import DIRECT, PAL, STOP, final_prompt, prompt
from llmsuite_lab.world.word_problems import Problem

MAX_NEW_TOKENS = 200
BAKERY = (
    "The bakers at the Beverly Hills Bakery baked 200 loaves of bread on Monday morning. They sold 93 loaves in the morning and 39 loaves in the "
    "afternoon. A grocery store returned 6 unsold loaves. How many loaves of bread did they have left?"
)  # the example of PAL's paper and of the course's Fig. 3


@dataclass(frozen=True)
class Trace:
    """Every step for one question: the prompt, the program the model wrote, what running it gave, and the final prompt and completion
    (empty when the program gave no value, or when no final call was asked for)."""

    question: str
    prompt: str
    program: str
    outcome: Outcome
    final_prompt: str = ""
    completion: str = ""
    tokens: int = 0  # generated in both calls

    @property
    def value(self) -> str | None:
        """What the interpreter computed, as text; None when it computed nothing."""
        return self.outcome.text if self.outcome.ok else None

    @property
    def final_value(self) -> str | None:
        """The number in the final completion."""
        return read(DIRECT, self.completion).value if self.completion else None

    def __str__(self) -> str:
        """The trace as a reader follows it, step by step."""
        ran = self.outcome.text if self.outcome.ok else f"{self.outcome.text} ({self.outcome.message})"
        parts = [
            ("1 question, in the prompt's form", self.prompt),
            ("2 the model writes a program", self.program),
            ("3 the interpreter runs it", ran),
        ]
        if self.completion:
            parts += [("4 back into the prompt", self.final_prompt[len(self.prompt) + len(self.program.rstrip()) :].strip("\n"))]
            parts += [("5 the model's final completion", self.completion.strip())]
        return "\n".join(f"[{name}]\n{text.rstrip()}" for name, text in parts)


def solve(
    lm: LanguageModel,
    questions: Sequence[str],
    interpreter: Interpreter | None = None,
    *,
    examples: Sequence[Problem] = (),
    final: bool = True,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> list[Trace]:
    """Send every question through the whole loop: two batched calls of the model with the interpreter between them.

    `examples` are shown solved in front (few-shot); `final=False` leaves the second call out. Without `interpreter` one with the usual
    limits is started and closed again. Raises ValueError for an empty question.
    """
    if interpreter is None:
        with Interpreter() as own:
            return solve(lm, questions, own, examples=examples, final=final, max_new_tokens=max_new_tokens)
    prompts = [prompt(PAL, question, examples) for question in questions]
    written = lm.complete(prompts, max_new_tokens=max_new_tokens, stop=STOP)
    outcomes = interpreter.run_all([c.text for c in written])
    traces = [Trace(q, p, c.text, o, tokens=c.completion_tokens) for q, p, c, o in zip(questions, prompts, written, outcomes, strict=True)]
    return _finished(lm, traces) if final else traces


def _finished(lm: LanguageModel, traces: list[Trace]) -> list[Trace]:
    """The second call, for the traces that have a value to put into words."""
    having = [t for t in traces if t.outcome.ok]
    prompts = [final_prompt(t.question, t.program, t.outcome.text) for t in having]
    sentences = iter(zip(prompts, lm.complete(prompts, max_new_tokens=24, stop=("\n",)), strict=True)) if having else iter(())
    done = []
    for trace in traces:
        if not trace.outcome.ok:
            done.append(trace)
            continue
        text, c = next(sentences)
        done.append(Trace(trace.question, trace.prompt, trace.program, trace.outcome, text, c.text, trace.tokens + c.completion_tokens))
    return done


def outcomes(traces: Sequence[Trace]) -> dict[str, int]:
    """How many programs ended how: "value", or the error's kind; most frequent first."""
    return dict(Counter(t.outcome.error or "value" for t in traces).most_common())
