"""`perdure runs …`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from perdure.cli import steering
from perdure.cli.commands import Command, Group
from perdure.cli.options import JsonOption, LogOption, RunArgument

if TYPE_CHECKING:
    from perdure.core.state import Run

app = typer.Typer(cls=Group, help="Look at runs, and steer them.", no_args_is_help=True)

SHOWN_MAX = 20


def _now() -> int:
    from time import time_ns

    return time_ns() // 1_000


@app.command("list", cls=Command)
def list_(
    log: LogOption = None,
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            show_default=False,
            help="queued, scheduled, running, paused, parked, completed, failed, cancelled, skipped; or live, ended.",
        ),
    ] = None,
    function: Annotated[
        str | None,
        typer.Option("--function", metavar="ID", show_default=False, help="Runs of this function only."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="DURATION", show_default=False, help="Created within this time: 30m, 2d."
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="How many, the newest first.")
    ] = 50,
    json: JsonOption = False,
) -> None:
    """List runs, the newest first, with what each is at or how it ended.

    [dim]Example:[/]  perdure runs list --status failed --since 1h
    """
    from perdure.cli.places import read_log
    from perdure.cli.shapes import dumped, run_json
    from perdure.cli.times import duration_us

    after = 0 if since is None else _now() - duration_us("--since", since)
    fits = _status_filter(status)

    async def read() -> list[Run]:
        async with read_log(log) as reader:
            return reader.runs()

    known = asyncio.run(read())
    found = [run for run in known if fits(run) and run.created >= after and function in (None, run.function)]
    if json:
        typer.echo(dumped([run_json(run) for run in found[:limit]]))
    elif found:
        from perdure.cli.showing import show_runs

        show_runs(found[:limit], len(found), _now())
    else:
        typer.echo(_none_fits(known, function))


def _none_fits(known: Sequence[Run], function: str | None) -> str:
    """Why the list is empty."""
    from perdure.cli.wording import listed

    functions = sorted({run.function for run in known})
    if not known:
        return "no run yet: send an event, or start one with `perdure runs start`"
    if function is not None and function not in functions:
        more = f" and {len(functions) - SHOWN_MAX} more" if len(functions) > SHOWN_MAX else ""
        names = ", ".join(functions[:SHOWN_MAX]) + more if more else listed(functions)
        return f"no run of {function}: there are runs of {names}"
    return "no run fits"


def _status_filter(status: str | None) -> Callable[[Run], bool]:
    from typing import get_args

    from perdure.core.state import Status
    from perdure.errors import UsageError

    if status is None:
        return lambda _run: True
    if status in ("live", "ended"):
        return lambda run: run.live == (status == "live")
    known = get_args(Status)
    if status not in known:
        raise UsageError(f"--status {status}: use {', '.join(known)}, or live, or ended")
    return lambda run: run.status == status


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


steering.add_to(app)
