"""Three ways to ask for an answer, and the few-shot prompts that show a model the form.

    direct            Q: … A:                                      → 74
    chain of thought  Q: … A: Let's think step by step.            → at first: 200 / then fewer: 200 - 93 = 107 / … The answer is 74.
    program-aided     Q: … # solution in Python:                   → # at first / loaves = 200 / … answer = loaves

Sources: Wei et al. 2022 (chain of thought), Kojima et al. 2022 (its zero-shot sentence), Gao et al. 2023 (PAL: Fig. 3 of the course's paper).
Raw text, no chat template: the form is the same for the untuned model and for the adapters tuned on it, so that they can be compared.
"""

from collections.abc import Sequence

from llmsuite_lab.world.word_problems import Problem

DIRECT, COT, PAL = "direct", "cot", "pal"
METHODS = (DIRECT, COT, PAL)
_FORM = {
    DIRECT: "Q: {question}\nA: The answer is",
    COT: "Q: {question}\nA: Let's think step by step.\n",
    PAL: "Q: {question}\n# solution in Python:\n",
}
STOP = ("\nQ:",)  # a few-shot completion that runs on into the next question ends here


def prompt(method: str, question: str, examples: Sequence[Problem] = ()) -> str:
    """The text a model is to continue. `examples` are put in front, solved, one after another (few-shot); none of them is zero-shot.

    Raises ValueError for an unknown method and for an empty question.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r}, but the methods are {', '.join(METHODS)}")
    if not question.strip():
        raise ValueError("the question is empty: give the text of a problem")
    shots = "".join(f"{_FORM[method].format(question=e.text)}{completion(method, e)}\n" for e in examples)
    return shots + _FORM[method].format(question=question.strip())


def completion(method: str, problem: Problem) -> str:
    """The true completion of `prompt(method, problem.text)`: what a few-shot example shows and what an adapter is trained on."""
    if method == PAL:
        return problem.program
    return problem.chain_of_thought if method == COT else f" {problem.answer}.\n"


def final_prompt(question: str, program: str, value: str) -> str:
    """The prompt of PAL's last call: question, program, what running it gave, and the start of the sentence to be completed."""
    return f"{_FORM[PAL].format(question=question.strip())}{program.rstrip()}\n# output: {value}\nA: The answer is"
