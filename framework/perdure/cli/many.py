"""Steering all runs that fit: what `perdure runs cancel`, `pause` and `resume` share."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perdure.cli import steering
from perdure.cli.choosing import Choice

if TYPE_CHECKING:
    from perdure.core.state import Run

AT_ONCE = 200
SHOWN = 5

SomeRunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        show_default=False,
        help="The run's id, or the beginning of it; without it, all that fit.",
    ),
]
LiveOption = Annotated[
    str | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        show_default=False,
        help="queued, scheduled, running, paused or parked; live for all of them.",
    ),
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", show_default=False, help="Kept with the run.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Steer several without asking first.")]


@dataclass(frozen=True)
class Wish:
    """What is to become of runs."""

    verb: str
    """In the present: this *cancels* 3 runs."""
    past: str
    """What cannot be done to runs that have ended: they cannot be *cancelled*."""
    command: str
    body: Mapping[str, Any]
    fits: Callable[[Run], bool]
    """Of the live runs, those that it is for."""
    which: str
    """What these are called."""
    done: Callable[[Run], bool]
    is_done: str
    """What those are that it is done to: 2 runs *ended*."""
    told: str
    """What the others are: 2 runs *told to end*."""
    why: str = ""
    """Why it may take long."""


@dataclass(frozen=True)
class Which:
    """The runs that a command is for: one that is named, or all that fit."""

    run: str | None
    function: str | None
    status: str | None
    since: str | None
    tag: list[str] | None


def steer(
    which: Which, log: str | None, one: Callable[[str], None], wish: Wish, *, yes: bool, json: bool
) -> None:
    """Does `one` to a run that is named, else what is wished to all live ones that fit. Raises UsageError when neither
    is said, or both are."""
    from time import time_ns

    from perdure.errors import UsageError

    choice = Choice(which.status, which.function, which.since, which.tag, time_ns() // 1_000)
    if (which.run is not None) == choice.any:
        raise UsageError(
            "name one run, or say which with --function, --status, --since and --tag; --status live is all of them"
            if which.run is None
            else "name one run, or say which with --function, --status, --since and --tag, not both"
        )
    if which.run is not None:
        one(which.run)
    else:
        _steer_all(choice, which.status, log, wish, yes=yes, json=json)


def _steer_all(
    choice: Choice, status: str | None, log: str | None, wish: Wish, *, yes: bool, json: bool
) -> None:
    """Steers all live runs that fit, and says what has become of them."""
    from perdure.cli.places import read_log
    from perdure.cli.shapes import dumped
    from perdure.core.state import ENDED
    from perdure.errors import UsageError

    if status == "ended" or status in ENDED:
        raise UsageError(
            f"--status {status}: what has ended cannot be {wish.past}; perdure runs list shows it"
        )

    async def read() -> list[Run]:
        async with read_log(log) as reader:
            return reader.runs()

    known = asyncio.run(read())
    found = [run for run in known if run.live and wish.fits(run) and choice.fits(run)]
    if not found:
        typer.echo(
            "[]" if json else choice.none_fits(known).replace("no run fits", f"no {wish.which} run fits")
        )
        return
    if len(found) > 1 and not yes:
        _ask(found, wish, json=json)
    after = asyncio.run(_steered([run.id for run in found], log, wish))
    if json:
        shown = [{"id": run.id, "status": run.status, "taken_up": wish.done(run)} for run in after]
        typer.echo(dumped(shown))
    else:
        typer.echo(_said(after, wish))


def _ask(found: Sequence[Run], wish: Wish, *, json: bool) -> None:
    """Raises UsageError where nobody can be asked, and Abort when the answer is no."""
    from collections import Counter

    from perdure.cli.wording import counted, listed, short_id
    from perdure.errors import UsageError

    functions = Counter(run.function for run in found).most_common(SHOWN)
    of = listed([f"{count:,} of {function}" for function, count in functions])
    more = len({run.function for run in found}) - len(functions)
    others = f" and of {counted(more, 'other function')}" if more else ""
    some = ", ".join(short_id(run.id) for run in found[:SHOWN]) + (", …" if len(found) > SHOWN else "")
    text = f"this {wish.verb} {counted(len(found), 'run')}: {of}{others} ({some})"
    if json or not _at_terminal():
        raise UsageError(f"{text}; say --yes to do it without being asked")
    typer.confirm(f"{text}. Go on?", abort=True)


def _at_terminal() -> bool:
    return sys.stdin.isatty()


async def _steered(run_ids: Sequence[str], log: str | None, wish: Wish) -> list[Run]:
    """Appends the commands, and waits a little for workers to act on them; what has become of the runs."""
    from perdure.cli.places import client_of, opened, vault_at
    from perdure.client.handle import checked_reason
    from perdure.index.reader import JournalReader

    body = {**wish.body, "reason": checked_reason(wish.body["reason"])}
    loop = asyncio.get_running_loop()
    async with opened(log) as known, client_of(known, vault_at(log)) as client:
        for at in range(0, len(run_ids), AT_ONCE):
            some = run_ids[at : at + AT_ONCE]
            await asyncio.gather(*(client.command(run_id, wish.command, body) for run_id in some))
        reader = JournalReader(known)
        deadline = loop.time() + steering.TAKEN_UP_S
        while True:
            await reader.read()
            after = [run for run_id in run_ids if (run := reader.run(run_id)) is not None]
            if all(map(wish.done, after)) or loop.time() >= deadline:
                return after
            await asyncio.sleep(steering.POLL_S)


def _said(after: Sequence[Run], wish: Wish) -> str:
    from perdure.cli.wording import counted

    left = sum(not wish.done(run) for run in after)
    some = counted(len(after) - left, "run")
    ended = f"{some} {wish.is_done}" if left < len(after) else f"none has {wish.is_done} yet"
    if not left:
        return ended
    return f"{counted(left, 'run')} {wish.told}: it is in the log; a worker acts on it{wish.why}; {ended}"
