"""`perdure schemas`: event classes and the Schema Registry."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import typer

from perdure.cli.commands import Command, Group
from perdure.cli.options import AppArgument, JsonOption, LogOption

if TYPE_CHECKING:
    from perdure.client.subjects import Verdict

app = typer.Typer(
    cls=Group,
    help="Hold an app's event classes against the Schema Registry that PERDURE_SCHEMA_REGISTRY_URL names.",
    no_args_is_help=True,
)
_SAID = {
    "registered": "is registered, version {0}",
    "new": "is not registered yet",
    "changed": "has changed, and fits what was sent by version {0}",
}


@app.command(cls=Command)
def check(place: AppArgument, log: LogOption = None, json: JsonOption = False) -> None:
    """Check that each event class may follow what was registered for it. Exit code 1 when one may not.

    [dim]Example:[/]  perdure schemas check shop.py:app --log kafka://host:9092/shop
    """
    verdicts = asyncio.run(_judged(place, log, make=False))
    _show(verdicts, _SAID, json=json)
    raise typer.Exit(1 if any(verdict.state == "refused" for verdict in verdicts) else 0)


@app.command(cls=Command)
def register(place: AppArgument, log: LogOption = None, json: JsonOption = False) -> None:
    """Register each event class that is new or has changed; none when one of them is refused.

    [dim]Example:[/]  perdure schemas register shop.py:app --log kafka://host:9092/shop
    """
    said = {
        "registered": "was registered, version {0}",
        "new": "registered, version {0}",
        "changed": "registered, version {0}",
    }
    _show(asyncio.run(_judged(place, log, make=True)), said, json=json)


async def _judged(place: str, log: str | None, *, make: bool) -> list[Verdict]:
    from perdure.authoring.subjects import event_models
    from perdure.cli.loading import load, place_of
    from perdure.cli.places import url_of
    from perdure.client import subjects
    from perdure.config import schema_registry
    from perdure.errors import UsageError
    from perdure.logs import events_topic

    loaded = load(place_of(place))
    url = url_of(log) if log is not None else loaded.log
    topic = events_topic(url)
    if topic is None:
        raise UsageError(
            f"{url} has no topic to name subjects after: name a log on Kafka with --log or PERDURE_LOG"
        )
    registry = schema_registry()
    if registry is None:
        raise UsageError("no Schema Registry is configured: set PERDURE_SCHEMA_REGISTRY_URL")
    try:
        models = event_models(loaded.functions)
        return await (subjects.register if make else subjects.judge)(registry, topic, models)
    finally:
        registry.close()


def _show(verdicts: list[Verdict], said: dict[str, str], *, json: bool) -> None:
    from perdure.cli.shapes import dumped

    if json:
        typer.echo(dumped([_json(verdict) for verdict in verdicts]))
        return
    for verdict in verdicts:
        if verdict.state == "refused":
            typer.echo(f"refused: {verdict} ({verdict.subject})")
        else:
            typer.echo(
                f"ok: {verdict.event} {said[verdict.state].format(verdict.version)} ({verdict.subject})"
            )
    if not verdicts:
        typer.echo("no function of the app is started by an event class")


def _json(verdict: Verdict) -> dict[str, Any]:
    return {
        "event": verdict.event,
        "subject": verdict.subject,
        "state": verdict.state,
        "version": verdict.version or None,
        "faults": list(verdict.faults),
    }
