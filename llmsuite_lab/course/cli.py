"""The `llmsuite` command. Each subcommand imports what it needs only when it runs, so that `llmsuite --help` is instant.

Exit status: 0 done, 1 an error (one sentence on standard error, never a traceback), 2 a wrong call, 130 stopped by Ctrl-C. `LLMSUITE_TRACEBACK=1`
shows where an unexpected error came from. On a terminal that is not UTF-8 a character that it does not have becomes "?".
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__.splitlines()[0])
models_app = typer.Typer(no_args_is_help=True, help="List, fetch and verify the models and adapters.")
app.add_typer(models_app, name="models")
STOPPED = 130  # what shells report for a command that Ctrl-C ended
AsJson = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON.")]


def _folder(named: str | Path) -> Path:
    if not str(named).strip():
        raise typer.BadParameter("the name is empty: name a folder, or leave the option out")
    return Path(named)


A_FOLDER: Any = {"parser": _folder, "metavar": "FOLDER"}


def _name(named: str | None) -> str | None:
    if named is not None and not named.strip():
        raise typer.BadParameter("the name is empty: give one, or leave the option out")
    return named


A_NAME: Any = {"callback": _name}


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


@app.command()
def claims(as_json: AsJson = False) -> None:
    """Every claim of the paper: verdict and figures from the notebooks' stored outputs, and what is not measured yet."""
    from llmsuite_lab.course import ledger
    from llmsuite_lab.course.notebooks import folder

    book = ledger.collect(folder())
    _print_json(book.entries) if as_json else typer.echo(ledger.table(book.entries))
    for problem in book.problems:
        typer.secho(f"llmsuite: {problem}", fg="red", err=True)


@app.command()
def exercises(as_json: AsJson = False) -> None:
    """Every exercise: its notebook, how many wrong answers its check is tested against, its difficulty (1 to 5) and the minutes it takes."""
    from llmsuite_lab.course.exercises import exercises as all_exercises

    rows = [{"id": e.id, "section": e.section, "notebook": e.notebook, "wrong_answers": len(e.wrong)} for e in all_exercises()]
    rows = [{**row, "difficulty": e.difficulty, "minutes": e.minutes} for row, e in zip(rows, all_exercises(), strict=True)]
    lines = [
        f"{row['id']:<36} {row['notebook']:<40} {row['wrong_answers']:>2} wrong answers, difficulty {row['difficulty']}, {row['minutes']} min"
        for row in rows
    ]
    _print_json(rows) if as_json else typer.echo("\n".join(lines))


@app.command()
def notebooks(
    names: Annotated[list[str] | None, typer.Argument(help="notebooks by name or its beginning, such as 03")] = None,
    every: Annotated[bool, typer.Option("--all", help="All notebooks.")] = False,
    out: Annotated[Path | None, typer.Option(**A_FOLDER, help="Write executed copies and HTML here and leave the sources as they are.")] = None,
    cell_timeout: Annotated[int, typer.Option(min=1, help="Seconds a single cell may take.")] = 300,
) -> None:
    """Run notebooks in place (outputs, timings, headers, README table); with --out, rehearse them on copies. Without names: list them."""
    from llmsuite_lab.course import headers
    from llmsuite_lab.course import notebooks as runner

    if not names and not every:
        stored = headers.timings()
        for name in runner.names():
            took = f"{headers.duration(stored[name]['wall_s']):>12} {stored[name]['peak_bytes'] / 1e9:>5.1f} GB" if name in stored else "not measured"
            typer.echo(f"{name:<40} {took}")
        return
    wanted = runner.names() if every else names or []
    if out is None:
        runner.refresh(wanted, cell_timeout_s=cell_timeout)
        return
    rows, failures = runner.rehearse(wanted, out, cell_timeout_s=cell_timeout)
    typer.echo(runner.summary(rows))
    for story in failures:
        typer.secho(story, fg="red", err=True)
    if failures:
        raise typer.Exit(1)


@app.command()
def bench(name: Annotated[str, typer.Argument(help="core, transformer, retrieval, peft, bitnet, ppo or generation")], as_json: AsJson = False) -> None:
    """Measure ours against the library in one run; print the ratios with n and spread."""
    from llmsuite_lab.course import bench as benchmarks

    rows = benchmarks.run(name)
    _print_json([row.as_dict() for row in rows]) if as_json else typer.echo(benchmarks.table(rows))


@app.command()
def train(
    name: Annotated[str | None, typer.Argument(help="a recipe by name; --list shows them")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path | None, typer.Option(**A_FOLDER, help="Folder for the record and the adapter; default data/runs and data/adapters.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="What there is: section, what it makes, minutes, recorded seeds, shipped or not.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a recorded run again, and the adapter where it trains one. A stopped training goes on where it was."""
    from llmsuite_lab.core.runs import make
    from llmsuite_lab.course import train as training

    if listed or name is None:
        rows = training.listing()
        _print_json(rows) if as_json else typer.echo(training.table(rows))
        return
    try:
        recipe = training.recipe(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    file = make(recipe, seed, out)
    _print_json({"record": str(file)}) if as_json else typer.echo(f"record:  {file}")


@app.command()
def tune(
    file: Annotated[Path, typer.Argument(help='JSON Lines: {"prompt", "completion"}, {"messages"} or {"instruction", "input", "output"} rows')],
    out: Annotated[Path, typer.Option(**A_FOLDER, help="New folder for the result.")] = Path("tuned"),
    method: Annotated[str, typer.Option(help="lora, adaptive, prompt or full")] = "lora",
    model: Annotated[str | None, typer.Option(**A_NAME, help="A model of the zoo, or a folder in transformers' format; default the profile's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Updates; default three epochs.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the rows, in place of steps.")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate; default the method's.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Of a LoRA (8), or its mean where ranks adapt.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Of a LoRA: its update is scaled by alpha / rank (16).")] = None,
    dropout: Annotated[float | None, typer.Option(help="Of a LoRA: share of its input dropped in training (0).")] = None,
    rslora: Annotated[bool, typer.Option("--rslora", help="Scale a LoRA's update by alpha over the root of the rank.")] = False,
    length: Annotated[int | None, typer.Option(min=1, help="Vectors of a soft prompt (20).")] = None,
    text: Annotated[str | None, typer.Option(help="What a soft prompt begins as: an instruction in words.")] = None,
    hold_out: Annotated[float, typer.Option(help="Share of the rows that is held out for the score.")] = 0.1,
    longest: Annotated[int, typer.Option(min=2, help="Most tokens of a row; a longer prompt loses its beginning.")] = 1024,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that cannot be used, and count them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tune on your own file: held-out score before and after, a model card, and a folder that peft or transformers loads."""
    from llmsuite_lab.peft_methods import tune as tuning

    given = {"rank": rank, "alpha": alpha, "dropout": dropout, "rslora": rslora or None, "length": length, "text": text}
    options = {name: value for name, value in given.items() if value is not None}
    found = tuning.tune(
        file, out, method_name=method, model=model, steps=steps, epochs=epochs, batch_size=batch_size, lr=lr, hold_out=hold_out, seed=seed,
        skip_bad=skip_bad, longest=longest, progress=not as_json, say=lambda text: typer.echo(text, err=True), **options,
    )  # fmt: skip
    if as_json:
        _print_json(tuning.as_data(found))
        return
    typer.echo(f"loss on {found.rows['held out']} held-out rows: {found.loss_before:.3f} before, {found.loss_after:.3f} after")
    if found.exact_after is not None:
        typer.echo(f"exact match of short completions: {found.exact_before:.2f} before, {found.exact_after:.2f} after")
    typer.echo(f"written: {found.folder} ({found.trainable:,} trainable numbers; {tuning.CARD} tells the rest)")


@app.command()
def align(
    file: Annotated[Path, typer.Argument(help='JSON Lines: {"prompt", "chosen", "rejected"} rows, texts or chat messages, or HH-RLHF\'s two dialogues')],
    out: Annotated[Path, typer.Option(**A_FOLDER, help="New folder for the result.")] = Path("aligned"),
    method: Annotated[str, typer.Option(help="dpo (from the pairs), ppo or rest (against a reward model learnt from them)")] = "dpo",
    model: Annotated[str | None, typer.Option(**A_NAME, help="A model of the zoo, or a folder in transformers' format; default the profile's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="dpo: updates (default one epoch). ppo: iterations (20). rest: Grow steps (2).")] = None,
    epochs: Annotated[float | None, typer.Option(help="dpo: passes over the pairs, in place of steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="dpo: pairs an update (8). ppo, rest: replies an iteration or update (16).")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate (0.0005); dpo's and rest's rise and fall.")] = None,
    beta: Annotated[float | None, typer.Option(help="dpo: how dear distance from the start is (0.1). ppo: price of a nat of KL (0.05).")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="dpo: share of labels believed to be wrong (0).")] = None,
    replies: Annotated[int | None, typer.Option(min=1, help="rest: replies to each prompt (4).")] = None,
    reward_epochs: Annotated[float | None, typer.Option(help="ppo, rest: passes of the reward model over the pairs (1).")] = None,
    rank: Annotated[int, typer.Option(min=1, help="Of the LoRA.")] = 8,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a reply that is written.")] = 64,
    hold_out: Annotated[float, typer.Option(help="Share of the pairs, by prompt, that is held out for the scores.")] = 0.2,
    longest: Annotated[int, typer.Option(min=2, help="Most tokens of a prompt with a reply; a longer prompt loses its beginning.")] = 1024,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that cannot be used, and count them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Align to your own preferences: held-out scores before and after, a live table and plot, and an adapter that peft loads."""
    from llmsuite_lab.alignment import align as aligning
    from llmsuite_lab.alignment import align_card

    options = {
        "epochs": epochs, "batch_size": batch_size, "lr": lr, "beta": beta, "label_smoothing": label_smoothing, "replies": replies,
        "reward_epochs": reward_epochs,
    }  # fmt: skip
    found = aligning.align(
        file, out, method_name=method, model=model, steps=steps, rank=rank, max_tokens=max_tokens, hold_out=hold_out, seed=seed, skip_bad=skip_bad,
        longest=longest, progress=not as_json, say=lambda text: typer.echo(text, err=True),
        **{name: value for name, value in options.items() if value is not None},
    )  # fmt: skip
    if as_json:
        _print_json(aligning.as_data(found))
    else:
        for score in found.scores.values():
            typer.echo(f"{score.what}: {align_card.cell(score.before)} before, {align_card.cell(score.after)} after ({score.after.n} {score.per})")
        if found.gain is not None:
            typer.echo(f"reward gained, prompt by prompt: {align_card.cell(found.gain)}; it is what was optimised, so look at the pairs too")
        typer.echo(f"written: {found.folder} ({found.trainable:,} trainable numbers; {aligning.CARD} tells the rest)")
    if found.stopped:
        typer.secho(f"llmsuite: ended early, the last good weights are kept: {found.stopped}", fg="red", err=True)
        raise typer.Exit(1)


@app.command()
def chat(
    model: Annotated[str | None, typer.Option(**A_NAME, help="A model of the zoo, a folder, or a GGUF file; default the profile's.")] = None,
    adapter: Annotated[str | None, typer.Option(**A_NAME, help="An adapter of the course, or a folder in PEFT format.")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 200,
) -> None:
    """Talk to the model: a line is a message, the end of the input or Ctrl-C ends it. Written from the 4-bit codes where that can run."""
    from llmsuite_lab.lm.chatting import converse, described
    from llmsuite_lab.lm.language_model import LanguageModel

    lm = LanguageModel.load(model, adapter, quantize="auto")
    typer.secho(described(lm), dim=True, err=True)
    converse(lm, sys.stdin, lambda piece: typer.echo(piece, nl=False), tokens)


@app.command()
def slides(
    names: Annotated[list[str] | None, typer.Argument(help="decks by name or number (03); default all")] = None,
    out: Annotated[Path | None, typer.Option(**A_FOLDER, help="Folder for the pages; default build/slides of the clone.")] = None,
    pdf: Annotated[bool, typer.Option(help="Also print each deck to PDF (needs a Chromium-family browser).")] = False,
) -> None:
    """Build the decks, one self-contained HTML page each (press s for the speaker view). Replaces nothing but decks it made before."""
    from llmsuite_lab.course.browser import print_pdf
    from llmsuite_lab.course.slides import build

    for deck, path in build(names or (), out):
        if pdf:
            print_pdf(path, path.with_suffix(".pdf"), pages=len(deck.slides))
        typer.echo(
            f"{path.name:45} {len(deck.slides):3} slides  {deck.minutes:3.0f} min  {path.stat().st_size / 1e6:.1f} MB{'  + PDF' if pdf else ''}"
        )


@app.command()
def doctor() -> None:
    """Look at this machine and this installation; print a table with the remedy beside each problem. Exit status 0 when all is well."""
    from llmsuite_lab.course.doctor import examine, table

    findings = examine()
    typer.echo(table(findings))
    raise typer.Exit(int(any(finding.remedy and finding.fatal for finding in findings)))


@models_app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """The models and adapters: state, size, where they come from."""
    from llmsuite_lab.core import zoo
    from llmsuite_lab.lm import adapters

    rows = zoo.listing() + adapters.listing()
    lines = [f"{row['name']:<28} {row['kind']:<8} {row['mb']:>7.1f} MB  {row['licence']:<11} {row['source']:<38} {row['state']}" for row in rows]
    _print_json(rows) if as_json else typer.echo("\n".join(lines))


@models_app.command()
def fetch(names: Annotated[list[str] | None, typer.Argument(help="model names; default: the two that the course needs")] = None) -> None:
    """Download, check and convert models, so that everything works offline afterwards. What is already there costs nothing."""
    from llmsuite_lab.core import zoo

    try:
        wanted = [zoo.entry(name).name for name in names or zoo.OFFLINE_NAMES]  # all names are checked before anything is downloaded
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    for name in wanted:
        zoo.fetch_model(name)
        typer.echo(f"{name} is ready")


@models_app.command()
def verify(as_json: AsJson = False) -> None:
    """Hash every file of the models, adapters and policies. Exit status 0 when all is well, 1 otherwise."""
    from llmsuite_lab.alignment import small_policy
    from llmsuite_lab.core import zoo
    from llmsuite_lab.lm import adapters

    rows = zoo.verify() + adapters.verify() + small_policy.verify()
    _print_json(rows) if as_json else typer.echo("\n".join(f"{row['name']:<28} {row['problem'] or 'ok'}" for row in rows))
    raise typer.Exit(0 if all(row["ok"] for row in rows) else 1)


def main() -> None:
    """Run the command line: an error is one sentence and exit status 1, Ctrl-C one line and 130."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # absent where a program has put something else in its place
            stream.reconfigure(errors="replace")
    try:
        app()
    except KeyboardInterrupt:
        _stopped()
    except SystemExit as ended:
        if ended.code == STOPPED:  # typer has taken the interrupt
            _stopped()
        raise
    except BrokenPipeError:  # the reader of our output has gone: nothing is left to be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:  # the user reads a sentence, whatever it was
        if os.environ.get("LLMSUITE_TRACEBACK"):
            traceback.print_exc()
        typer.secho(f"llmsuite: {_sentence(error)}", fg="red", err=True)
        raise SystemExit(1) from None


def _stopped() -> None:
    typer.secho("llmsuite: stopped; what was finished is kept", fg="red", err=True)
    raise SystemExit(STOPPED) from None


def _sentence(error: Exception) -> str:
    from llmsuite_lab.core.errors import LabError

    words = str(error).strip() or type(error).__name__
    if isinstance(error, LabError | ValueError | TypeError):
        return words
    if isinstance(error, ImportError) and error.name and not error.name.startswith("llmsuite_lab"):
        return f"the package {error.name} is missing: python3 tools/bootstrap.py, or pip install -e '.[all]'"
    if isinstance(error, OSError):
        return f"the system refused ({words})"
    return f"this should not have happened ({type(error).__name__}: {words}); with LLMSUITE_TRACEBACK=1 in the environment you see where"


if __name__ == "__main__":
    main()
