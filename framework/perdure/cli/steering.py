"""`perdure runs start`, and what steers a run that is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from perdure.cli.commands import Command
from perdure.cli.options import AppArgument, JsonOption, LogOption, OnceOption, RunArgument

if TYPE_CHECKING:
    from perdure.client.client import Client
    from perdure.client.handle import Handle
    from perdure.core.state import Run
    from perdure.index.reader import JournalReader

TAKEN_UP_S = 2.0
"""How long a command waits for a worker to act on it; half of that again for one to answer at all."""
POLL_S = 0.05


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (start, signal):
        app.command(cls=Command)(command)


def start(
    app: AppArgument,
    function: Annotated[
        str, typer.Argument(metavar="FUNCTION", show_default=False, help="The function's id.")
    ],
    data: Annotated[
        str, typer.Argument(metavar="JSON", help="Its event's data (- reads it from stdin).")
    ] = "{}",
    log: LogOption = None,
    id: OnceOption = None,  # noqa: A002
    json: JsonOption = False,
) -> None:
    """Start a run of one function, whatever events start it. It is in the log when this returns.

    [dim]Example:[/]  perdure runs start shop.py:app onboard '{"user_id": "1"}'
    """
    from perdure.cli.events import parsed_object

    given = parsed_object(data, "the event's data")
    url, run_id = asyncio.run(_started(app, function, given, log, id))
    if json:
        from perdure.cli.shapes import dumped

        typer.echo(dumped({"id": run_id, "function": function}))
        return
    from perdure.cli.places import shown_log
    from perdure.cli.wording import short_id

    typer.echo(
        f"started run {run_id} of {function} in {shown_log(url)}; perdure runs show {short_id(run_id)}"
    )


async def _started(
    place: str,
    function_id: str,
    data: dict[str, Any],
    log: str | None,
    id: str | None,  # noqa: A002
) -> tuple[str, str]:
    from perdure.authoring.functions import event_model
    from perdure.authoring.names import INVOKED
    from perdure.cli.events import fitted
    from perdure.cli.loading import load, place_of
    from perdure.cli.places import refuse_memory, url_of
    from perdure.client.deployed import refuse_clear_text

    app = load(place_of(place))
    function = app.functions.resolve(function_id)
    url = app.log if log is None else url_of(log)
    refuse_memory(url)
    model = event_model(function, INVOKED)
    event = data if model is None else fitted(model, data, f"function {function_id!r}")
    connections = app.connections(url)
    with app.borrowed(connections, app.clock):
        try:
            connection = await connections.get()
            await refuse_clear_text(connection.log, connection.client.vault)
            return url, (await app.start(function, event, id=id)).run_id
        finally:
            await app.close()


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
    steer(
        run,
        log,
        f"signal {name!r} to",
        lambda handle: handle.signal(name, value, id=id),
        done=None,
        sends=True,
        json=json,
    )


# --- a command, and what becomes of it --------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What a command has led to, as far as could be waited for."""

    run: str
    status: str
    taken_up: bool | None
    """None when nothing is to be seen of it."""
    answered: bool = False
    """A worker owns the run and has read the command."""
    reason: str = ""
    """Why the worker cannot act on it."""


def steer(
    text: str,
    log: str | None,
    verb: str,
    act: Callable[[Handle[Any]], Awaitable[None]],
    *,
    done: Callable[[Run], bool] | None,
    refuses: Callable[[Run], str] = lambda _run: "",
    else_: str = "",
    sends: bool = False,
    json: bool,
) -> None:
    """Appends a command for a live run, and waits a little for a worker to act on it. `else_`: why it may not; `sends`:
    it has a payload."""
    found = asyncio.run(_steered(text, log, verb, act, done, refuses, sends=sends))
    if json:
        from perdure.cli.shapes import dumped

        shown = {"id": found.run, "status": found.status, "taken_up": found.taken_up}
        typer.echo(dumped(shown | {"answered": found.answered, "reason": found.reason or None}))
    elif done is None:
        typer.echo(f"{verb} run {found.run}: sent")
    elif found.taken_up:
        typer.echo(f"run {found.run} is {found.status}")
    else:
        typer.echo(f"run {found.run} is {found.status} still: {_why(found, verb, else_)}")


def _why(found: Outcome, verb: str, else_: str) -> str:
    if found.reason:
        return f"{found.reason}; the run goes on as soon as code that fits is loaded"
    if found.answered:
        return else_ or f"its worker knows of the wish to {verb} it, and has not come to it yet"
    return f"the wish to {verb} it is in the log, and no worker answers; one that starts acts on it"


async def _steered(
    text: str,
    log: str | None,
    verb: str,
    act: Callable[[Handle[Any]], Awaitable[None]],
    done: Callable[[Run], bool] | None,
    refuses: Callable[[Run], str],
    *,
    sends: bool,
) -> Outcome:
    from perdure.authoring.payloads import codec_of
    from perdure.cli.history import find_run
    from perdure.cli.places import client_of, opened, vault_at
    from perdure.client.deployed import refuse_clear_text
    from perdure.client.handle import Handle
    from perdure.core.limits import DEFAULT_LIMITS
    from perdure.errors import PerdureError
    from perdure.index.reader import JournalReader

    async with opened(log) as known, client_of(known, vault_at(log)) as client:
        if sends:
            await refuse_clear_text(known, client.vault)
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
            return Outcome(run.id, run.status, None)
        return await _seen(run, reader, client, done)


async def _seen(run: Run, reader: JournalReader, client: Client, done: Callable[[Run], bool]) -> Outcome:
    """Waits for a worker to act; when none does, finds out whether there is one, and what it says."""
    from perdure.engine.replies import UNFIT

    loop = asyncio.get_running_loop()
    deadline = loop.time() + TAKEN_UP_S
    while True:
        await reader.read()
        run = reader.run(run.id) or run
        if done(run):
            return Outcome(run.id, run.status, True, True)
        if loop.time() >= deadline:
            break
        await asyncio.sleep(POLL_S)
    try:
        reply = await client.ask(run.id, timeout_s=TAKEN_UP_S / 2)
    except TimeoutError:
        return Outcome(run.id, run.status, False)
    reason: str = reply["reason"]
    return Outcome(run.id, run.status, False, True, reason if reason.startswith(UNFIT) else "")
