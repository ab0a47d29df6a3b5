"""`perdure topics`: what a log on Kafka is made of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from perdure.cli.commands import Command
from perdure.cli.options import JsonOption, LogOption

if TYPE_CHECKING:
    from perdure.logs.kafka import KafkaLog

topics = typer.Typer(help="Make, grow and check the topics of a log on Kafka.", no_args_is_help=True)

AppOption = Annotated[
    str,
    typer.Option(
        "--app", metavar="NAME", help="The app's name, as in App(NAME): its topics are named after it."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(topics, name="topics")


@topics.command("create", cls=Command)
def create(
    app: AppOption,
    log: LogOption = None,
    partitions: Annotated[
        int,
        typer.Option(
            min=1,
            max=1_024,
            metavar="N",
            help="Of the journal and of events; about 4 per core that will ever work on it.",
        ),
    ] = 8,
    replication: Annotated[
        int,
        typer.Option(
            min=1,
            max=9,
            metavar="N",
            help="Copies of each entry. With 3, one broker may be lost at any time.",
        ),
    ] = 3,
) -> None:
    """Make the topics of an app, with the settings that it needs. Those that are there stay as they are.

    [dim]Example:[/]  perdure topics create --log kafka://host:9092/shop --app orders --partitions 16
    """
    made = asyncio.run(_kafka(log, app).make_topics(partitions, replication=replication))
    for spec in made:
        typer.echo(f"made: {spec.name} ({spec.partitions} partition{'s' if spec.partitions > 1 else ''})")
    if not made:
        typer.echo("all topics are there already: `perdure topics check` looks at their settings")


@topics.command("grow", cls=Command)
def grow(
    partitions: Annotated[
        int,
        typer.Option(min=2, max=1_024, metavar="N", help="How many the journal is to have, in all."),
    ],
    app: AppOption = "",
    log: LogOption = None,
) -> None:
    """Give the journal more partitions, while workers run; they take them up within seconds.

    New runs are spread over all partitions. What has a name stays where it is: runs with an id of yours, waits.
    Events keep their partitions, so that events of one key keep their order. It never shrinks again.

    [dim]Example:[/]  perdure topics grow --log kafka://host:9092/shop --app orders --partitions 32
    """
    asyncio.run(_kafka(log, app).grow_topics(partitions))
    typer.echo(f"the journal has {partitions} partitions now")


@topics.command("check", cls=Command)
def check(app: AppOption = "", log: LogOption = None, json: JsonOption = False) -> None:
    """Hold the settings of an app's topics against what it needs. Exit code 1 when something could be lost.

    [dim]Example:[/]  perdure topics check --log kafka://host:9092/shop --app orders
    """
    from perdure.cli.shapes import dumped

    faults = asyncio.run(_kafka(log, app).check_topics())
    if json:
        typer.echo(dumped([fault._asdict() for fault in faults]))
    else:
        for fault in faults:
            typer.echo(f"{'unsafe' if fault.fatal else 'look'}: {fault}")
        if not faults:
            typer.echo("ok: all topics are there, and safe to run on")
    raise typer.Exit(1 if any(fault.fatal for fault in faults) else 0)


def _kafka(given: str | None, app: str) -> KafkaLog:
    from perdure.cli.places import url_of
    from perdure.errors import UsageError
    from perdure.logs import open_log

    url = url_of(given)
    if not url.startswith("kafka:"):
        raise UsageError(
            f"{url} has no topics: name a log on Kafka with --log or PERDURE_LOG, kafka://host:9092/shop"
        )
    log = open_log(url, app)
    from perdure.logs.kafka import KafkaLog

    assert isinstance(log, KafkaLog)
    return log
