"""`perdure events …`."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator
from heapq import nlargest
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from perdure.cli.commands import Command, Group
from perdure.cli.options import JsonOption, LogOption

if TYPE_CHECKING:
    from perdure.app import App
    from perdure.authoring.events import Event
    from perdure.core.ops import EventData
    from perdure.engine.schemas import Schemas
    from perdure.logs import Log
    from perdure.payloads.vault import Vault

app = typer.Typer(cls=Group, help="Send events, and see those that were sent.", no_args_is_help=True)

READ_ENTRIES = 1_000
SHOWN_WIDTH = 80


@app.command(cls=Command)
def send(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[FILE:APP] NAME [JSON]",
            show_default=False,
            help="The event's name and its data (- reads it from stdin). With an app, its event class checks the data.",
        ),
    ],
    log: LogOption = None,
    id: Annotated[  # noqa: A002
        str | None,
        typer.Option(
            "--id", metavar="ID", show_default=False, help="Sent again within 24 h, it counts once."
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY", show_default=False, help="Events of one key keep their order."),
    ] = None,
    ts: Annotated[
        str | None,
        typer.Option(
            "--ts",
            metavar="TIME",
            show_default=False,
            help="When it is delivered: +10m from now, or ISO 8601 with a zone.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Send an event. It is in the log when this returns, whether or not a worker runs.

    [dim]Examples:[/]  perdure events send user/created '{"user_id": "1"}'   ·   perdure events send reminder --ts +10m
    """
    from time import time_ns

    from perdure.cli.times import time_s

    place, name, data = _words(words)
    given = parsed_object(data, "the event's data")
    at = None if ts is None else time_s("--ts", ts, time_ns() // 1_000)
    url, event, unheard = asyncio.run(_sent(place, name, given, log, {"id": id, "key": key, "ts": at}))
    if unheard:
        typer.echo(f"perdure: {unheard}", err=True)
    if json:
        from perdure.cli.shapes import dumped, event_json

        typer.echo(dumped(event_json(event)))
        return
    from perdure.cli.places import shown_log

    typer.echo(f"sent {event['name']} as {event['id']} to {shown_log(url)}")


def _words(words: list[str]) -> tuple[str | None, str, str]:
    """The app, the name and the data among the arguments."""
    from perdure.errors import UsageError

    place = words.pop(0) if len(words) > 1 and _names_app(words[0]) else None
    if not 1 <= len(words) <= 2:
        raise UsageError(
            "an event has a name and JSON data, in one pair of quotes: perdure events send user/created "
            '\'{"user_id": "1"}\''
        )
    return place, words[0], words[1] if len(words) == 2 else "{}"


def _names_app(word: str) -> bool:
    path, colon, name = word.rpartition(":")
    return (
        word.endswith(".py")
        or path.endswith(".py")
        or bool(colon and name.isidentifier() and "/" not in word)
    )


def parsed(text: str, what: str) -> Any:
    """JSON from the command line, or from standard input for `-`."""
    import json

    from perdure.cli.wording import cut
    from perdure.errors import UsageError

    given, source = (sys.stdin.read(), " from stdin") if text == "-" else (text, "")
    try:
        return json.loads(given)
    except ValueError as error:
        shown = cut(given, SHOWN_WIDTH) or "there is nothing"
        raise UsageError(f"{what}{source} is not JSON ({error}): {shown}") from None


def parsed_object(text: str, what: str) -> dict[str, Any]:
    """The same for what must be an object; null stands for an empty one."""
    from perdure.cli.wording import cut
    from perdure.errors import UsageError

    value = parsed(text, what)
    if value is None:
        return {}
    if not isinstance(value, dict):
        shown = cut(text, SHOWN_WIDTH) if text != "-" else _KINDS[type(value)]
        raise UsageError(f'{what} must be a JSON object, such as {{"value": ...}}, not {shown}')
    return cast("dict[str, Any]", value)


_KINDS: dict[type, str] = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
}


async def _sent(
    place: str | None, name: str, data: Any, log: str | None, envelope: dict[str, Any]
) -> tuple[str, EventData, str]:
    """The log's URL, the event, and what should be said when nobody listens to it."""
    from perdure.authoring.sending import to_event
    from perdure.cli.listening import unheard
    from perdure.cli.loading import load, place_of
    from perdure.cli.places import client_of, opened, url_of, vault_at
    from perdure.client.deployed import refuse_clear_text
    from perdure.engine.clock import SystemClock

    loaded = None if place is None else load(place_of(place))
    url = url_of(log) if log is not None or loaded is None else loaded.log
    event = name if loaded is None else _typed(loaded, name, data)
    vault = vault_at(url) if loaded is None else loaded.connections(url).vault
    async with opened(url, make=True) as known, client_of(known, vault) as client:
        await refuse_clear_text(known, vault)
        made = to_event(
            event,
            data if event is name else None,
            **envelope,
            now_us=SystemClock().now(),
            make_id=client.make_id,
        )
        await client.send([made])
        said = "" if loaded is None or place is None else unheard(loaded, place, made["name"])
        return url, made, said


def _typed(app: App, name: str, data: Any) -> Any:
    """An instance of the app's event class of this name; the name itself when there is none."""
    models = [function.event_types.get(name) for function in app.functions]
    model = next((found for found in models if found is not None), None)
    return name if model is None else fitted(model, data, f"event {name!r}")


def fitted(model: type[Event], data: Any, what: str) -> Event:
    """The data as an event of a class."""
    from pydantic import ValidationError

    from perdure.errors import InvalidEvent

    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'data'}: {fault['msg']}" for fault in error.errors()
        )
        raise InvalidEvent(f"the data of {what} does not fit {model.__name__}: {faults}") from None


@app.command("list", cls=Command)
def list_(
    log: LogOption = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", show_default=False, help="Events of this name; order/* is a pattern."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="DURATION", show_default=False, help="Sent within this time: 30m, 2d."
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="How many, the newest first.")
    ] = 50,
    skipped: Annotated[
        bool,
        typer.Option("--skipped", help="Instead: the starts that did not happen, and why."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """List the events in the log, the newest first; or what they did not start.

    [dim]Examples:[/]  perdure events list --name 'order/*' --since 1h   ·   perdure events list --skipped
    """
    from time import time_ns

    from perdure.cli.shapes import dumped, event_json, iso
    from perdure.cli.times import duration_us

    now = time_ns() // 1_000
    after = 0 if since is None else now - duration_us("--since", since)
    if skipped:
        from perdure.errors import UsageError

        if name:
            raise UsageError("--skipped lists starts by the ids of their events; it does not go with --name")
        _list_skipped(log, after, limit, now, json=json)
        return
    found = asyncio.run(_read(log, name, after, limit))
    if json:
        typer.echo(dumped([{"sent": iso(ts), **event_json(event)} for ts, event in found]))
    elif found:
        from perdure.cli.showing import show_events

        show_events(found, now)
    else:
        typer.echo("no event fits" if name or since else "no event yet")


def _list_skipped(log: str | None, after: int, limit: int, now: int, *, json: bool) -> None:
    from perdure.cli.places import read_log
    from perdure.cli.shapes import dumped, iso
    from perdure.index.reader import Skip

    async def read() -> list[Skip]:
        async with read_log(log) as reader:
            return [skip for skip in reader.skips() if skip.time >= after][:limit]

    found = asyncio.run(read())
    if json:
        shown = [
            {"time": iso(s.time), "event": s.event, "function": s.function, "reason": s.reason} for s in found
        ]
        typer.echo(dumped(shown))
    elif found:
        from perdure.cli.showing import show_skipped

        show_skipped(found, now)
    else:
        typer.echo("no start was skipped" + (" in that time" if after else ""))


async def _read(log: str | None, name: str | None, after: int, limit: int) -> list[tuple[int, EventData]]:
    """The newest that fit, those of producers that know nothing of perdure included."""
    from perdure.cli.places import opened, vault_at
    from perdure.config import schema_registry
    from perdure.core.routing import matches
    from perdure.engine.schemas import Schemas
    from perdure.index.opening import Reading

    vault, registry = vault_at(log), schema_registry()
    reading, schemas = Reading(vault), Schemas(registry)
    newest: list[tuple[int, EventData]] = []
    try:
        async with opened(log) as known:
            for partition in range(known.generations[0]):
                mine: deque[tuple[int, EventData]] = deque(maxlen=limit)
                async for ts, event in _of_partition(known, partition, after, schemas, vault):
                    if name is None or matches(name, event["name"]):
                        mine.append((ts, event))
                newest = nlargest(limit, [*newest, *mine], key=lambda entry: entry[0])
    finally:
        if registry is not None:
            registry.close()
    return [(ts, reading.event(event)) for ts, event in newest]


async def _of_partition(
    log: Log, partition: int, after: int, schemas: Schemas, vault: Vault
) -> AsyncGenerator[tuple[int, EventData]]:
    """Those that can be read; the others are dead letters."""
    from perdure.core import codec
    from perdure.core.limits import DEFAULT_LIMITS
    from perdure.engine.arriving import incoming
    from perdure.errors import EncodingError
    from perdure.logs import Topic

    position = await log.offset_at(Topic.EVENTS, partition, after)
    while batch := await log.read(Topic.EVENTS, partition, position, READ_ENTRIES):
        position = batch[-1].offset + 1
        for entry in batch:
            if entry.value[:2] == codec.MARKER:
                try:
                    kind, body = codec.decode(entry.value)
                except EncodingError:
                    continue
                event: Any = body if kind == "Event" else None
            else:
                if (schema_id := schemas.unknown(entry.value)) is not None:
                    await schemas.learn(schema_id)
                event = incoming(entry, partition, DEFAULT_LIMITS, "", schemas, vault).event
            if event is not None:
                yield entry.ts, event
