"""`perdure schedules …`."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from perdure.cli.commands import Command, Group
from perdure.cli.options import JsonOption, LogOption

if TYPE_CHECKING:
    from perdure.authoring.cron import Cron
    from perdure.errors import UsageError
    from perdure.steering.schedules import Schedules, ScheduleView

app = typer.Typer(
    cls=Group,
    help="See what starts functions by the clock, and make, pause or trigger it.",
    no_args_is_help=True,
)

REASON_WIDTH = 40

IdArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", show_default=False, help="The schedule's id, as `perdure schedules list` has it."
    ),
]
FunctionOption = Annotated[
    str | None,
    typer.Option("--function", metavar="ID", show_default=False, help="Schedules of this function only."),
]


@app.command("list", cls=Command)
def list_(log: LogOption = None, function: FunctionOption = None, json: JsonOption = False) -> None:
    """List the schedules, those that code declares and those that were made, with when each ticks next.

    [dim]Example:[/]  perdure schedules list --function remind
    """
    from perdure.cli.shapes import dumped

    async def read() -> list[ScheduleView]:
        async with _schedules(log) as schedules:
            return [view for view in await schedules.list() if function in (None, view.function)]

    found = asyncio.run(read())
    if json:
        typer.echo(dumped([_json(view) for view in found]))
    elif found:
        _show(found)
    else:
        typer.echo(
            "no schedule yet: perdure schedules create makes one, and on=Cron(…) declares one"
            if function is None
            else f"no schedule of {function}; perdure schedules list shows all"
        )


@app.command(cls=Command)
def create(
    id: Annotated[  # noqa: A002
        str, typer.Argument(metavar="ID", show_default=False, help="Your name for it, such as user-7.")
    ],
    function: Annotated[
        str,
        typer.Argument(metavar="FUNCTION", show_default=False, help="The id of the function that it starts."),
    ],
    cron: Annotated[
        str,
        typer.Argument(
            metavar="CRON",
            show_default=False,
            help="In quotes: minute hour day month weekday, or six fields with seconds first, or @daily.",
        ),
    ],
    log: LogOption = None,
    tz: Annotated[
        str, typer.Option("--tz", metavar="ZONE", help="On whose clocks, such as Europe/Berlin.")
    ] = "UTC",
    jitter: Annotated[
        str, typer.Option("--jitter", metavar="DURATION", help="Each run starts by up to so much later.")
    ] = "0",
    catch_up: Annotated[
        str,
        typer.Option(
            "--catch-up", metavar="RULE", help="For ticks that no worker was there for: last, all, skip."
        ),
    ] = "last",
    overlap: Annotated[
        str,
        typer.Option(
            "--overlap", metavar="RULE", help="While the run before goes on: allow, skip, buffer, cancel."
        ),
    ] = "allow",
    json: JsonOption = False,
) -> None:
    """Make a schedule, or replace the one of that id. It begins now; the same again changes nothing.

    [dim]Example:[/]  perdure schedules create user-7 remind '0 9 * * mon-fri' --tz Europe/Berlin
    """
    from perdure.authoring.cron import CatchUp, Cron, Overlap
    from perdure.cli.times import seconds

    made = Cron(
        cron,
        tz=tz,
        jitter=seconds("--jitter", jitter),
        catch_up=cast("CatchUp", catch_up),
        overlap=cast("Overlap", overlap),
    )

    def as_wished(view: ScheduleView | None) -> bool:
        return view is not None and (view.function, view.cron) == (function, made)

    _change(
        id,
        log,
        lambda schedules: schedules.create(id, function, made),
        done=as_wished,
        said=lambda view: f"schedule {id} starts {function} {_next(view)}",
        json=json,
    )


@app.command(cls=Command)
def pause(
    id: IdArgument,  # noqa: A002
    log: LogOption = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", show_default=False, help="Kept with the schedule.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Let a schedule tick no more until it is resumed; also one that code declares. Its runs go on.

    [dim]Example:[/]  perdure schedules pause user-7 --reason "on holiday"
    """
    _change(
        id,
        log,
        lambda schedules: schedules.pause(id, reason=reason),
        done=lambda view: view is not None and view.paused,
        said=lambda _view: f"schedule {id} is paused",
        json=json,
    )


@app.command(cls=Command)
def resume(id: IdArgument, log: LogOption = None, json: JsonOption = False) -> None:  # noqa: A002
    """Let a paused schedule tick again, from now on. What it left out is not made up for.

    [dim]Example:[/]  perdure schedules resume user-7
    """
    _change(
        id,
        log,
        lambda schedules: schedules.resume(id),
        done=lambda view: view is not None and not view.paused,
        said=lambda view: f"schedule {id} ticks again, {_next(view)}",
        json=json,
    )


@app.command(cls=Command)
def trigger(id: IdArgument, log: LogOption = None, json: JsonOption = False) -> None:  # noqa: A002
    """Start a run of the schedule's function now, beside its ticks; also while it is paused.

    [dim]Example:[/]  perdure schedules trigger user-7
    """
    from perdure.cli.shapes import dumped
    from perdure.cli.wording import short_id

    async def triggered() -> str:
        async with _schedules(log) as schedules:
            run = await _of(schedules, id, schedules.trigger(id))
            if not await _is_there(log, run):
                raise _no_such_schedule(id, [view.id for view in await schedules.list()])
            return run

    run = asyncio.run(triggered())
    if json:
        typer.echo(dumped({"id": id, "run": run}))
    else:
        typer.echo(f"started run {run}; perdure runs show {short_id(run)}")


@app.command(cls=Command)
def delete(id: IdArgument, log: LogOption = None, json: JsonOption = False) -> None:  # noqa: A002
    """End a schedule that was made by `create`. Its runs go on. One that code declares ends with its code.

    [dim]Example:[/]  perdure schedules delete user-7
    """
    before: set[str] = set()

    async def act(schedules: Schedules) -> None:
        before.update(view.id for view in await schedules.list())
        await schedules.delete(id)

    def said(_view: ScheduleView | None) -> str:
        if id in before:
            return f"schedule {id} is deleted"
        near = difflib.get_close_matches(id, before, n=1)
        return f"there was no schedule {id}" + (f"; did you mean {near[0]!r}?" if near else "")

    _change(id, log, act, done=lambda view: view is None, said=said, json=json)


# --- a wish, and what becomes of it -----------------------------------------------------------------------------------


def _change(
    id: str,  # noqa: A002
    log: str | None,
    act: Callable[[Schedules], Awaitable[None]],
    *,
    done: Callable[[ScheduleView | None], bool],
    said: Callable[[ScheduleView | None], str],
    json: bool,
) -> None:
    """Appends a wish, and says what the log has of the schedule then, whether or not a worker runs."""
    from perdure.cli.shapes import dumped

    async def changed() -> ScheduleView | None:
        async with _schedules(log) as schedules:
            await _of(schedules, id, act(schedules))
            known = {view.id: view for view in await schedules.list()}
            if id not in known and not done(None):
                raise _no_such_schedule(id, known)
            return known.get(id)

    view = asyncio.run(changed())
    if json:
        typer.echo(dumped(({"id": id} if view is None else _json(view)) | {"taken_up": done(view)}))
    elif done(view):
        typer.echo(said(view))
    else:
        typer.echo(f"schedule {id} is otherwise: code declares it, or somebody has changed it since")


async def _of(schedules: Schedules, id: str, act: Awaitable[Any]) -> Any:  # noqa: A002
    """What a wish leads to; of a schedule that is not there, the error says which is meant perhaps."""
    from perdure.core.fold.schedules import NONE
    from perdure.errors import UsageError

    try:
        return await act
    except UsageError as error:
        if NONE not in str(error):
            raise
        raise _no_such_schedule(id, [view.id for view in await schedules.list()]) from None


def _no_such_schedule(id: str, ids: Iterable[str]) -> UsageError:  # noqa: A002
    from perdure.errors import UsageError

    near = difflib.get_close_matches(id, list(ids), n=1)
    there = f"did you mean {near[0]!r}?" if near else "perdure schedules list shows those that there are"
    return UsageError(f"there is no schedule {id!r}; {there}")


async def _is_there(log: str | None, run_id: str) -> bool:
    from perdure.cli.places import read_log

    async with read_log(log) as reader:
        return reader.run(run_id) is not None


@asynccontextmanager
async def _schedules(log: str | None) -> AsyncGenerator[Schedules]:
    """`app.schedules` of the app that the log is of, whose functions are those that are deployed."""
    from perdure.cli.deployed import deployed_ids, no_such_function
    from perdure.cli.places import connected
    from perdure.client.deployed import deployed
    from perdure.engine.clock import SystemClock
    from perdure.steering.schedules import Schedules

    async with connected(log) as connections:
        ids = deployed_ids(await deployed((await connections.get()).log))

        def id_of(function: Any) -> str:
            if function not in ids:
                raise no_such_function(function, ids)
            return function

        yield Schedules(lambda: connections, id_of, SystemClock().now)


# --- for people and for programs --------------------------------------------------------------------------------------


def _json(view: ScheduleView) -> dict[str, Any]:
    cron: Cron = view.cron
    return {
        "id": view.id,
        "function": view.function,
        "cron": cron.expression,
        "tz": cron.tz,
        "jitter_s": cron.jitter_us / 1_000_000,
        "catch_up": cron.catch_up,
        "overlap": cron.overlap,
        "declared": view.declared,
        "paused": view.paused,
        "next": None if view.next is None else view.next.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "run": view.run or None,
        "waiting": view.waiting,
        "reason": view.reason or None,
    }


def _next(view: ScheduleView | None) -> str:
    from time import time_ns

    from perdure.cli.wording import moment

    if view is None or view.next is None:
        return "when it is resumed"
    return f"next at {moment(int(view.next.timestamp() * 1_000_000), time_ns() // 1_000)}"


def _show(found: list[ScheduleView]) -> None:
    from time import time_ns

    from perdure.cli.showing import console, printed, table
    from perdure.cli.wording import cut, moment, short_id

    made = table("SCHEDULE", "FUNCTION", "CRON", "NEXT", "LAST RUN", "MADE BY")
    now = time_ns() // 1_000
    for view in found:
        paused = f"paused: {cut(view.reason, REASON_WIDTH)}" if view.reason else "paused"
        due = paused if view.next is None else moment(int(view.next.timestamp() * 1_000_000), now)
        run = short_id(view.run) if view.run else ""
        made.add_row(view.id, view.function, str(view.cron), due, run, "code" if view.declared else "create")
    printed(console(), made)
