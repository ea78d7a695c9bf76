"""The `llmsuite` command. Each subcommand imports what it needs only when it runs, so that `llmsuite --help` is instant."""

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__.splitlines()[0])
models_app = typer.Typer(no_args_is_help=True, help="List, fetch and verify the models and adapters.")
app.add_typer(models_app, name="models")
AsJson = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON.")]


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


@app.command()
def bench(name: Annotated[str, typer.Argument(help="core, transformer or retrieval")], as_json: AsJson = False) -> None:
    """Measure ours against the library in one run; print the ratios with n and spread."""
    from llmsuite_lab.course import bench as benchmarks

    rows = benchmarks.run(name)
    _print_json([row.as_dict() for row in rows]) if as_json else typer.echo(benchmarks.table(rows))


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="pal, cot or react")],
    seed: int = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the adapter; default data/adapters.")] = None,
) -> None:
    """Train one of the shipped adapters again, with its provenance and history."""
    from llmsuite_lab.course import recipes

    recipes.run(name, seed=seed, out=out)


def main() -> None:
    """Run the command line; an expected error is one sentence and exit status 1."""
    from llmsuite_lab.core.errors import LabError

    try:
        app()
    except LabError as error:
        typer.secho(f"llmsuite: {error}", fg="red", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
