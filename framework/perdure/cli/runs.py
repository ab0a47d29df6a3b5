"""`perdure runs …`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perdure.cli.options import JsonOption, LogOption, RunArgument

if TYPE_CHECKING:
    from perdure.client.handle import Handle
    from perdure.core.state import Run

app = typer.Typer(help="Look at runs, and steer them.", no_args_is_help=True)

TAKEN_UP_S = 2.0
"""How long a command waits for a worker to act on it."""
POLL_S = 0.05


def _now() -> int:
    from time import time_ns

    return time_ns() // 1_000


@app.command("list")
def list_(
    log: LogOption = None,
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            show_default=False,
            help="queued, scheduled, running, paused, parked, completed, failed, cancelled; or live, ended.",
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
    from perdure.core.durations import to_us

    after = 0 if since is None else _now() - to_us(since)
    fits = _status_filter(status)

    async def read() -> list[Run]:
        async with read_log(log) as reader:
            return reader.runs()

    found = [
        run
        for run in asyncio.run(read())
        if fits(run) and run.created >= after and function in (None, run.function)
    ]
    if json:
        typer.echo(dumped([run_json(run) for run in found[:limit]]))
    elif found:
        from perdure.cli.showing import show_runs

        show_runs(found[:limit], len(found), _now())
    else:
        narrowed = status is not None or function is not None or since is not None
        typer.echo("no run fits" if narrowed else "no run yet: send an event, or call app.start(...)")


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


@app.command()
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


# --- steering ---------------------------------------------------------------------------------------------------------


@app.command()
def cancel(
    run: RunArgument,
    log: LogOption = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", show_default=False, help="Kept with the run.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Without letting its code clean up.")] = False,
    json: JsonOption = False,
) -> None:
    """Cancel a run. Its code sees asyncio.CancelledError, and may clean up in further steps.

    [dim]Example:[/]  perdure runs cancel 3-k3x9ab --reason "ordered twice"
    """
    _steer(
        run,
        log,
        "cancel",
        lambda handle: handle.cancel(reason=reason, force=force),
        done=lambda run: not run.live,
        json=json,
    )


@app.command()
def pause(
    run: RunArgument,
    log: LogOption = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", show_default=False, help="Kept with the run.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Pause a run: no further step of it starts until it is resumed.

    [dim]Example:[/]  perdure runs pause 3-k3x9ab --reason "the bank is away"
    """
    _steer(
        run,
        log,
        "pause",
        lambda handle: handle.pause(reason=reason),
        refuses=lambda run: f"it is {run.status} already" if run.status in ("paused", "parked") else "",
        done=lambda run: run.status == "paused",
        json=json,
    )


@app.command()
def resume(run: RunArgument, log: LogOption = None, json: JsonOption = False) -> None:
    """Let a paused or parked run go on, over its recorded steps, with the code of now.

    [dim]Example:[/]  perdure runs resume 3-k3x9ab
    """
    _steer(
        run,
        log,
        "resume",
        lambda handle: handle.resume(),
        refuses=lambda run: (
            "" if run.status in ("paused", "parked") else f"it is {run.status}, not paused or parked"
        ),
        done=lambda run: run.status not in ("paused", "parked"),
        json=json,
    )


@app.command()
def signal(
    run: RunArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="The signal's name.")],
    data: Annotated[str, typer.Argument(metavar="JSON", help="What comes with it.")] = "null",
    log: LogOption = None,
    id: Annotated[  # noqa: A002
        str | None,
        typer.Option(
            "--id", metavar="ID", show_default=False, help="Sent again with one id, it counts once."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Send a signal to a run, also before it waits for one.

    [dim]Example:[/]  perdure runs signal 3-k3x9ab approve '{"by": "ann"}'
    """
    from perdure.cli.events import parsed

    value = parsed(data, "the signal's data")
    _steer(
        run,
        log,
        f"signal {name!r} to",
        lambda handle: handle.signal(name, value, id=id),
        done=None,
        json=json,
    )


def _steer(
    text: str,
    log: str | None,
    verb: str,
    act: Callable[[Handle[Any]], Awaitable[None]],
    *,
    done: Callable[[Run], bool] | None,
    refuses: Callable[[Run], str] = lambda _run: "",
    json: bool,
) -> None:
    """Appends a command for a live run, and waits a little for a worker to act on it."""
    run_id, status, taken_up = asyncio.run(_steered(text, log, verb, act, done, refuses))
    if json:
        from perdure.cli.shapes import dumped

        typer.echo(dumped({"id": run_id, "status": status, "taken_up": taken_up}))
    elif done is None:
        typer.echo(f"{verb} run {run_id}: sent")
    elif taken_up:
        typer.echo(f"run {run_id} is {status}")
    else:
        typer.echo(
            f"run {run_id} is {status} still: the wish to {verb} it is in the log, and no worker has acted on it "
            f"within {TAKEN_UP_S:.0f} s. Its code may be cleaning up, or no worker runs"
        )


async def _steered(
    text: str,
    log: str | None,
    verb: str,
    act: Callable[[Handle[Any]], Awaitable[None]],
    done: Callable[[Run], bool] | None,
    refuses: Callable[[Run], str],
) -> tuple[str, str, bool | None]:
    from perdure.authoring.payloads import codec_of
    from perdure.cli.history import find_run
    from perdure.cli.places import client_of, opened
    from perdure.client.client import Client
    from perdure.client.handle import Handle
    from perdure.core.limits import DEFAULT_LIMITS
    from perdure.errors import PerdureError
    from perdure.index.reader import JournalReader

    async with opened(log) as known, client_of(known) as client:
        reader = JournalReader(known)
        await reader.read()
        run = find_run(reader, text)
        fault = refuses(run) if run.live else f"it is {run.status} already"
        if fault:
            raise PerdureError(f"cannot {verb} run {run.id}: {fault}")

        async def connect() -> Client:
            return client

        await act(Handle(run.id, connect, codec_of(Any, "the result"), DEFAULT_LIMITS))
        if done is None:
            return run.id, run.status, None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + TAKEN_UP_S
        while True:
            await reader.read()
            run = reader.run(run.id) or run
            if done(run) or loop.time() >= deadline:
                return run.id, run.status, done(run)
            await asyncio.sleep(POLL_S)
