"""PAL's orchestrator in a few lines: program out, value in, final completion; and what to do when the program fails."""

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong, expect


def pal_loop(question: str, complete, run) -> str | None:
    """The solution: the interpreter's value, not the model's, goes back into the prompt behind the program; a failed program ends the loop."""
    prompt = f"Q: {question}\n# solution in Python:\n"
    program = complete(prompt)
    value = run(program)
    if value is None:
        return None
    return complete(f"{prompt}{program}\n# output: {value}\nA:")


def _forgets_the_program(question, complete, run):
    prompt = f"Q: {question}\n# solution in Python:\n"
    value = run(complete(prompt))
    return None if value is None else complete(f"{prompt}# output: {value}\nA:")


def _forgets_the_question(question, complete, run):
    program = complete(f"Q: {question}\n# solution in Python:\n")
    value = run(program)
    return None if value is None else complete(f"{program}\n# output: {value}\nA:")


def _forgets_the_value(question, complete, run):
    prompt = f"Q: {question}\n# solution in Python:\n"
    program = complete(prompt)
    return None if run(program) is None else complete(f"{prompt}{program}\nA:")


def _returns_the_value(question, complete, run):
    return run(complete(f"Q: {question}\n# solution in Python:\n"))


def _ignores_failure(question, complete, run):
    prompt = f"Q: {question}\n# solution in Python:\n"
    program = complete(prompt)
    return complete(f"{prompt}{program}\n# output: {run(program)}\nA:")


def _writes_twice(question, complete, run):
    prompt = f"Q: {question}\n# solution in Python:\n"
    value = run(complete(prompt))
    return None if value is None else complete(f"{prompt}{complete(prompt)}\n# output: {value}\nA:")


def _check(answer) -> None:
    asked: list[str] = []
    ran: list[str] = []

    def complete(prompt: str) -> str:
        asked.append(prompt)
        return "There are 57 pears left." if "# output:" in prompt or prompt.rstrip().endswith("A:") else "pears = 83 - 26\nanswer = pears"

    def run(program: str) -> int | None:
        ran.append(program)
        return None if "nonsense" in program else 57

    result = answer("Ben has 83 pears and sells 26. How many are left?", complete, run)
    expect(ran == ["pears = 83 - 26\nanswer = pears"], "run(...) must be called once, with exactly what the model wrote.")
    if result == 57:
        raise Mistake(
            "You return the interpreter's value. In PAL it goes back into the prompt, and the model's final completion is returned."
        )
    expect(
        len(asked) == 2, "The model is called twice: once for the program, once for the final completion. Keep the program in a variable."
    )
    expect("57" in asked[1], "The second prompt does not hold the value the interpreter computed: the model would have to guess it.")
    expect("83 pears" in asked[1], "The second prompt has lost the question: the model no longer knows what is asked.")
    expect("83 - 26" in asked[1], "The second prompt has lost the program: it is question, then program, then its output.")
    expect(result == "There are 57 pears left.", "Return the model's final completion, just as it came.")
    calls = len(asked)
    failed = answer("Which?", lambda prompt: asked.append(prompt) or "nonsense(", run)
    expect(
        failed is None and len(asked) == calls + 1,
        "When the program fails, run gives None. Return None then, and do not ask the model to put a failure into words.",
    )


EXERCISE = Exercise(
    id="reasoning.pal_loop",
    notebook="03_program_aided_language_models",
    title="close the loop",
    statement=(
        "Write `pal_loop(question, complete, run)`. `complete(prompt)` is the model and returns text; `run(program)` is the interpreter and returns a number, "
        "or `None` when the program fails. Ask for a program with the prompt `Q: {question}\\n# solution in Python:\\n`, run it, and ask again with the same "
        "prompt, then the program, then `\\n# output: {value}\\nA:`. Return that last completion, or `None` when the program failed."
    ),
    name="pal_loop",
    starter="def pal_loop(question, complete, run):\n    ...",
    check=_check,
    hints=(
        "Four lines: prompt, program, value, final completion.",
        "The second prompt starts with the whole first one; the program follows as the model wrote it.",
        'f"{prompt}{program}\\n# output: {value}\\nA:"',
    ),
    solution=pal_loop,
    wrong=(
        Wrong(_forgets_the_program, "has lost the program"),
        Wrong(_forgets_the_question, "has lost the question"),
        Wrong(_forgets_the_value, "does not hold the value"),
        Wrong(_returns_the_value, "You return the interpreter's value"),
        Wrong(_ignores_failure, "When the program fails"),
        Wrong(_writes_twice, "The model is called twice"),
    ),
)
