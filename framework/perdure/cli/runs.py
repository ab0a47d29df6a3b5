"""`perdure runs …`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from perdure.cli import cancelling, pausing, repeating, steering
from perdure.cli.choosing import Choice, FunctionOption, SinceOption, StatusOption, TagOption
from perdure.cli.commands import Command, Group
from perdure.cli.options import JsonOption, LogOption, RunArgument

if TYPE_CHECKING:
    from perdure.core.state import Run

app = typer.Typer(cls=Group, help="Look at runs, and steer them.", no_args_is_help=True)


def _now() -> int:
    from time import time_ns

    return time_ns() // 1_000


@app.command("list", cls=Command)
def list_(
    log: LogOption = None,
    status: StatusOption = None,
    function: FunctionOption = None,
    since: SinceOption = None,
    tag: TagOption = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="How many, the newest first.")
    ] = 50,
    json: JsonOption = False,
) -> None:
    """List runs, the newest first, with what each is at or how it ended.

    [dim]Example:[/]  perdure runs list --status failed --since 1h --tag tenant=acme
    """
    from perdure.cli.places import read_log
    from perdure.cli.shapes import dumped, run_json

    choice = Choice(status, function, since, tag, _now())

    async def read() -> list[Run]:
        async with read_log(log) as reader:
            return reader.runs()

    known = asyncio.run(read())
    found = [run for run in known if choice.fits(run)]
    if json:
        typer.echo(dumped([run_json(run) for run in found[:limit]]))
    elif found:
        from perdure.cli.showing import show_runs

        show_runs(found[:limit], len(found), _now())
    else:
        typer.echo(choice.none_fits(known))


@app.command(cls=Command)
def show(
    run: RunArgument,
    log: LogOption = None,
    at: Annotated[
        int | None,
        typer.Option("--at", min=0, metavar="N", show_default=False, help="As it was after its first N ops."),
    ] = None,
    ops: Annotated[
        bool, typer.Option("--ops", help="Its ops one by one, numbered, instead of its steps.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show one run: its event, its steps, how it ended.

    [dim]Examples:[/]  perdure runs show 3-k3x9ab   ·   perdure runs show 3-k3x9ab --ops   ·   … --at 12
    """
    from perdure.cli import history
    from perdure.cli.places import read_log
    from perdure.cli.shapes import dumped, op_json, view_json
    from perdure.errors import UsageError
    from perdure.index.views import RunView

    async def read() -> RunView:
        async with read_log(log) as reader:
            found = reader.view(history.find_run(reader, run).id)
            assert found is not None
            return found

    view = asyncio.run(read())
    total = len(view.ops)
    if at is not None:
        if at > total:
            raise UsageError(f"--at {at}: the run has {total} ops")
        view = history.at(view, at)
    if json:
        typer.echo(
            dumped([op_json(n, op) for n, op in enumerate(view.ops, 1)] if ops else view_json(view, total))
        )
        return
    from perdure.cli.showing import show_ops, show_run

    if ops:
        show_ops(view.ops, _now())
    else:
        show_run(view, total, _now())


for _commands in (steering, pausing, cancelling, repeating):
    _commands.add_to(app)
