"""`perdure runs cancel`: one run, or all that fit."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perdure.cli import steering
from perdure.cli.choosing import Choice, FunctionOption, SinceOption, TagOption
from perdure.cli.commands import Command
from perdure.cli.options import JsonOption, LogOption

if TYPE_CHECKING:
    from perdure.core.state import Run

AT_ONCE = 200
SHOWN = 5


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(cls=Command)(cancel)


def cancel(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            show_default=False,
            help="The run's id, or the beginning of it; without it, all that fit.",
        ),
    ] = None,
    log: LogOption = None,
    function: FunctionOption = None,
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            show_default=False,
            help="queued, scheduled, running, paused or parked; live for all of them.",
        ),
    ] = None,
    since: SinceOption = None,
    tag: TagOption = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", show_default=False, help="Kept with the run.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Without letting its code clean up.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Cancel several without asking first.")] = False,
    json: JsonOption = False,
) -> None:
    """Cancel a run, or all live runs that fit. Code sees asyncio.CancelledError, and may clean up in further steps.

    Code that catches it and goes on is not stopped by it: --force is for that.
    Runs that are made after the list was read are none of those that fit.

    [dim]Examples:[/]  perdure runs cancel 3-k3x9ab --reason "ordered twice"   ·   … cancel --function ship --since 2d
    """
    from time import time_ns

    from perdure.errors import UsageError

    choice = Choice(status, function, since, tag, time_ns() // 1_000)
    if (run is not None) == choice.any:
        raise UsageError(
            "name one run, or say which with --function, --status, --since and --tag; --status live is all of them"
            if run is None
            else "name one run, or say which with --function, --status, --since and --tag, not both"
        )
    if run is None:
        _cancel_all(choice, status, log, reason, force=force, yes=yes, json=json)
        return
    steering.steer(
        run,
        log,
        "cancel",
        lambda handle: handle.cancel(reason=reason, force=force),
        done=lambda run: not run.live,
        else_=(
            ""
            if force
            else "its code was told, and cleans up or goes on all the same; --force cancels without asking it"
        ),
        json=json,
    )


def _cancel_all(
    choice: Choice, status: str | None, log: str | None, reason: str, *, force: bool, yes: bool, json: bool
) -> None:
    from perdure.cli.places import read_log
    from perdure.cli.shapes import dumped
    from perdure.core.state import ENDED
    from perdure.errors import UsageError

    if status == "ended" or status in ENDED:
        raise UsageError(f"--status {status}: what has ended cannot be cancelled; perdure runs list shows it")

    async def read() -> list[Run]:
        async with read_log(log) as reader:
            return reader.runs()

    known = asyncio.run(read())
    found = [run for run in known if run.live and choice.fits(run)]
    if not found:
        typer.echo("[]" if json else choice.none_fits(known).replace("no run fits", "no live run fits"))
        return
    if len(found) > 1 and not yes:
        _ask(found, json=json)
    after = asyncio.run(_cancelled([run.id for run in found], log, {"reason": reason, "force": force}))
    if json:
        shown = [{"id": run.id, "status": run.status, "taken_up": not run.live} for run in after]
        typer.echo(dumped(shown))
    else:
        typer.echo(_said(after, force=force))


def _ask(found: Sequence[Run], *, json: bool) -> None:
    """Raises UsageError where nobody can be asked, and Abort when the answer is no."""
    from collections import Counter

    from perdure.cli.wording import counted, listed, short_id
    from perdure.errors import UsageError

    functions = Counter(run.function for run in found).most_common(SHOWN)
    of = listed([f"{count:,} of {function}" for function, count in functions])
    more = len({run.function for run in found}) - len(functions)
    others = f" and of {counted(more, 'other function')}" if more else ""
    some = ", ".join(short_id(run.id) for run in found[:SHOWN]) + (", …" if len(found) > SHOWN else "")
    text = f"this cancels {counted(len(found), 'run')}: {of}{others} ({some})"
    if json or not _at_terminal():
        raise UsageError(f"{text}; say --yes to do it without being asked")
    typer.confirm(f"{text}. Go on?", abort=True)


def _at_terminal() -> bool:
    return sys.stdin.isatty()


async def _cancelled(run_ids: Sequence[str], log: str | None, body: dict[str, Any]) -> list[Run]:
    """Cancels these, and waits a little for workers to act on it; what has become of them."""
    from perdure.cli.places import client_of, opened, vault_at
    from perdure.client.handle import checked_reason
    from perdure.index.reader import JournalReader

    body = body | {"reason": checked_reason(body["reason"])}
    loop = asyncio.get_running_loop()
    async with opened(log) as known, client_of(known, vault_at(log)) as client:
        for at in range(0, len(run_ids), AT_ONCE):
            await asyncio.gather(*(client.command(r, "CancelAsk", body) for r in run_ids[at : at + AT_ONCE]))
        reader = JournalReader(known)
        deadline = loop.time() + steering.TAKEN_UP_S
        while True:
            await reader.read()
            after = [run for run_id in run_ids if (run := reader.run(run_id)) is not None]
            if not any(run.live for run in after) or loop.time() >= deadline:
                return after
            await asyncio.sleep(steering.POLL_S)


def _said(after: Sequence[Run], *, force: bool) -> str:
    from perdure.cli.wording import counted

    live = sum(run.live for run in after)
    ended = f"{counted(len(after) - live, 'run')} ended" if live < len(after) else "none has ended yet"
    if not live:
        return ended
    why = "it is in the log; a worker acts on it" + ("" if force else ", and their code may clean up first")
    return f"{counted(live, 'run')} told to end: {why}; {ended}"
