"""PAL's orchestrator in a few lines: program out, value in, final completion; and what to do when the program fails."""

from functools import partial

from llmsuite_lab.course.exercises import Exercise, Wrong, expect

ASK = "# solution in Python:\n"


def pal_loop(question: str, complete, run) -> str | None:
    """The solution: the interpreter's value, not the model's, goes back into the prompt behind the program; a failed program ends the loop."""
    prompt = f"Q: {question}\n# solution in Python:\n"
    program = complete(prompt)
    value = run(program)
    if value is None:
        return None
    return complete(f"{prompt}{program}\n# output: {value}\nA:")


def _second_prompt(question, complete, run, write):
    prompt = f"Q: {question}\n{ASK}"
    program = complete(prompt)
    value = run(program)
    return None if value is None else complete(write(prompt, program, value))


_forgets_the_program = partial(_second_prompt, write=lambda prompt, program, value: f"{prompt}# output: {value}\nA:")
_forgets_the_question = partial(_second_prompt, write=lambda prompt, program, value: f"{program}\n# output: {value}\nA:")
_forgets_the_value = partial(_second_prompt, write=lambda prompt, program, value: f"{prompt}{program}\nA:")
_forgets_the_line = partial(_second_prompt, write=lambda prompt, program, value: f"{prompt}{program}\n# output: {value}\n")
_strips_the_program = partial(_second_prompt, write=lambda prompt, program, value: f"{prompt}{program.strip()}\n# output: {value}\nA:")
_space_behind = partial(_second_prompt, write=lambda prompt, program, value: f"{prompt}{program}\n# output: {value}\nA: ")
_whole_numbers = partial(_second_prompt, write=lambda prompt, program, value: f"{prompt}{program}\n# output: {int(value)}\nA:")
_value_first = partial(_second_prompt, write=lambda prompt, program, value: f"{prompt}# output: {value}\n{program}\nA:")


def _ignores_failure(question, complete, run):
    program = complete(f"Q: {question}\n{ASK}")
    return complete(f"Q: {question}\n{ASK}{program}\n# output: {run(program)}\nA:")


def _writes_twice(question, complete, run):
    prompt = f"Q: {question}\n{ASK}"
    value = run(complete(prompt))
    return None if value is None else complete(f"{prompt}{complete(prompt)}\n# output: {value}\nA:")


def _runs_twice(question, complete, run):
    prompt = f"Q: {question}\n{ASK}"
    program = complete(prompt)
    return None if run(program) is None else complete(f"{prompt}{program}\n# output: {run(program)}\nA:")


def _strips_the_answer(question, complete, run):
    answer = pal_loop(question, complete, run)
    return None if answer is None else answer.strip()


def _returns_the_last_prompt_too(question, complete, run):
    prompts = []
    answer = pal_loop(question, lambda prompt: prompts.append(prompt) or complete(prompt), run)
    return None if answer is None else prompts[-1] + answer


def _remembers_the_program(question, complete, run, programs={}):  # noqa: B006
    prompt = f"Q: {question}\n{ASK}"
    program = programs.setdefault("program", complete(prompt))
    value = run(program)
    return None if value is None else complete(f"{prompt}{program}\n# output: {value}\nA:")


def _parts(question, complete, run):
    parts = ["Q: ", question, "\n", "# solution in Python:", "\n"]
    parts.append(complete("".join(parts)))
    parts.append("\n# output: " + str(run(parts[-1])) + "\nA:")
    return complete("".join(parts)) if not parts[-1].startswith("\n# output: None\n") else None


def _with_format(question, complete, run):
    first = "Q: {}\n# solution in Python:\n".format(question)  # noqa: UP032
    value = run(program := complete(first))
    if value is not None:
        return complete(first + program + "\n# output: " + str(value) + "\nA:")


def _in_a_loop(question, complete, run):
    text = "Q: " + question + "\n# solution in Python:\n"
    for step in ("program", "answer"):
        new = complete(text)
        if step == "answer":
            return new
        value = run(new)
        if value is None:
            break
        text += f"{new}\n# output: {value!s}\nA:"
    return None


def _with_lambda(question, complete, run):
    prompt = f"Q: {question}\n{ASK}"
    closed = lambda program, value: None if value is None else complete("\n".join([prompt + program, f"# output: {value}", "A:"]))  # noqa: E731
    return (lambda program: closed(program, run(program)))(complete(prompt))


class _Loop:
    def __call__(self, question, complete, run):
        self.text = f"Q: {question}\n{ASK}"
        for words in (self.program(complete, run), "A:"):
            if words is None:
                return None
            self.text += words
        return complete(self.text)

    def program(self, complete, run):
        program = complete(self.text)
        value = run(program)
        return None if value is None else f"{program}\n# output: {value}\n"


def _as_text(question, complete, run):
    text = f"Q: {question}\n{ASK}"
    text += (program := complete(text))
    shown = f"{run(program)}"
    return complete(text + f"\n# output: {shown}\nA:") if shown != "None" else None


def _check(answer) -> None:
    pears = "Ben has 83 pears and sells 26. How many are left?"
    played = [  # question, program, value, final completion
        (pears, "pears = 83 - 26\nanswer = pears", 57, "There are 57 pears left."),
        ("What is left of\nnothing {at all}? ", "  x = 3\nanswer = x - x\n\n", 0, " Nothing is left.\n"),
        ("", "answer = -1 / 3", -1 / 3, ""),
        ("Which?", "nonsense(", None, "It is 12."),
        ("A: or # output: ?", "", 10**12, "None"),
        (pears, "answer = 1 / 0", None, "There are 57 pears left."),
        (pears, "answer = 83 - 26.0", 57.0, "57"),
    ]
    for question, program, value, final in played:
        _play(answer, question, program, value, final)


def _play(answer, question: str, program: str, value: float | None, final: str) -> None:
    asked: list[str] = []
    ran: list[str] = []

    def complete(prompt: str) -> str:
        asked.append(prompt)
        return program if len(asked) == 1 else final

    def run(given: str) -> float | None:
        ran.append(given)
        return value

    result = answer(question, complete, run)
    first = f"Q: {question}\n{ASK}"
    second = f"{first}{program}\n# output: {value}\nA:"
    expect(asked, "The model was never asked: call `complete(prompt)`.")
    expect(asked[0] == first, f"The first prompt should be {first!r}, yours is {asked[0]!r}.")
    keep = " Keep its value in a variable." if len(ran) > 1 else ""
    expect(len(ran) == 1, f"`run` is to be called once, it was called {len(ran)} times.{keep}")
    expect(ran[0] == program, f"The model wrote {program!r}, and `run` got {ran[0]!r}. It gets exactly what the model wrote.")
    if value is None:
        expect(
            len(asked) == 1, "The program failed (`run` gave None), and the model was asked again. Do not let it put a failure into words."
        )
        expect(result is None, f"The program failed (`run` gave None): return None. Yours gives {result!r}.")
        return
    if len(asked) == 1 and isinstance(result, type(value)) and result == value:
        expect(
            False, "You return the interpreter's value. In PAL it goes back into the prompt, and the model's final completion is returned."
        )
    expect(
        len(asked) == 2,
        f"The program gave {value!r}: the model is asked twice, for the program and for the final completion. Yours asked this often: {len(asked)}.",
    )
    expect(asked[1] == second, f"The second prompt should be {second!r}, yours is {asked[1]!r}.")
    expect(result == final, f"Return the model's final completion just as it came: {final!r}. Yours gives {result!r}.")


EXERCISE = Exercise(
    id="reasoning.pal_loop",
    notebook="03_program_aided_language_models",
    title="close the loop",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `pal_loop(question, complete, run)`. `complete(prompt)` is the model and returns text; `run(program)` is the interpreter and returns a number, "
        "or `None` when the program fails. Ask for a program with the prompt `Q: {question}\\n# solution in Python:\\n`, run it once, just as it came, and ask "
        "again with the same prompt, then the program, then `\\n# output: {value}\\nA:`. Return that last completion just as it came, or `None`, without "
        "asking again, when the program failed."
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
        *(
            Wrong(answer, "The second prompt should be")
            for answer in (
                _forgets_the_program,
                _forgets_the_question,
                _forgets_the_value,
                _forgets_the_line,
                _strips_the_program,
                _space_behind,
                _whole_numbers,
                _value_first,
            )  # fmt: skip
        ),
        Wrong(lambda question, complete, run: pal_loop(question.strip(), complete, run), "The first prompt should be"),
        Wrong(lambda question, complete, run: run(complete(f"Q: {question}\n{ASK}")), "You return the interpreter's value"),
        Wrong(_ignores_failure, "put a failure into words"),
        Wrong(lambda *given: pal_loop(*given) or pal_loop(*given), "is to be called once", shares_hint=True),
        Wrong(
            lambda question, complete, run: pal_loop(question, complete, lambda program: run(program) or None), "the model is asked twice"
        ),
        Wrong(lambda *given: str(pal_loop(*given)), "return None. Yours gives 'None'"),
        Wrong(_writes_twice, "Yours asked this often: 3"),
        Wrong(_runs_twice, "is to be called once", shares_hint=True),
        Wrong(
            lambda question, complete, run: pal_loop(question, complete, lambda program: run(program.strip())),
            "exactly what the model wrote",
        ),
        Wrong(_strips_the_answer, "just as it came"),
        Wrong(_returns_the_last_prompt_too, "just as it came"),
        Wrong(_remembers_the_program, "exactly what the model wrote"),
    ),
    right=(_parts, _with_format, _in_a_loop, _with_lambda, _as_text, _Loop()),
)
