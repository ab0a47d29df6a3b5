"""The commands and how they fail: one sentence that says what to do, and an exit code.

0: done. 1: it could not be done, or something is wrong with the log. 2: the command was not written right.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from perdure.cli import doctor, events, functions, letters, running, runs, schedules, schemas, topics
from perdure.cli.commands import Group
from perdure.errors import PerdureError


class Root(Group):
    """Turns errors of perdure into sentences."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PerdureError as error:
            if ctx.params.get("debug"):
                raise
            from perdure.cli.printing import exit_code, tell_error

            tell_error(error)
            ctx.exit(exit_code(error))


HELP = """Durable functions on a log: run an app, and look at what its runs do.

[dim]Start here:[/]  perdure dev shop.py:app
[dim]Then, from another terminal:[/]  perdure events send user/created '{"user_id": "1"}'
[dim]And look:[/]  perdure runs list   ·   perdure runs show RUN   ·   perdure doctor
"""

app = typer.Typer(
    cls=Root,
    name="perdure",
    help=HELP,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            known = version("perdure")
        except PackageNotFoundError:  # a checkout on PYTHONPATH
            known = "(not installed)"
        typer.echo(f"perdure {known}, Python {sys.version.split()[0]}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


running.add_to(app)
app.add_typer(runs.app, name="runs")
app.add_typer(events.app, name="events")
app.add_typer(functions.app, name="functions")
app.add_typer(schedules.app, name="schedules")
app.add_typer(letters.app, name="dead-letters")
doctor.add_to(app)
topics.add_to(app)
app.add_typer(schemas.app, name="schemas")
