"""`perdure dead-letters …`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perdure.cli.commands import Command, Group
from perdure.cli.options import JsonOption, LogOption

if TYPE_CHECKING:
    from perdure.client.letters import Letter

app = typer.Typer(
    cls=Group, help="See what could not be read or routed, and send it again.", no_args_is_help=True
)

REASON_WIDTH = 300
VALUE_WIDTH = 4_000
NumberArgument = Annotated[
    int, typer.Argument(metavar="NUMBER", min=0, show_default=False, help="As the list has it.")
]


@app.command("list", cls=Command)
def list_(
    log: LogOption = None,
    all_: Annotated[bool, typer.Option("--all", help="Those that were sent again, too.")] = False,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="How many, the newest first.")
    ] = 50,
    json: JsonOption = False,
) -> None:
    """List the dead letters: where each lies, and why it could not be read or routed.

    [dim]Example:[/]  perdure dead-letters list --limit 10
    """
    from time import time_ns

    from perdure.cli.shapes import dumped

    letters = asyncio.run(_read(log))
    waiting = [letter for letter in letters if all_ or letter.redriven is None]
    found = waiting[: -limit - 1 : -1]
    if json:
        typer.echo(dumped([_json(letter) for letter in found]))
    elif found:
        _show(found, time_ns() // 1_000)
    else:
        typer.echo("no dead letter" if not letters else "no dead letter that was not sent again")


@app.command(cls=Command)
def show(number: NumberArgument, log: LogOption = None, json: JsonOption = False) -> None:
    """Show a dead letter with all that is kept of it.

    [dim]Example:[/]  perdure dead-letters show 3
    """
    from perdure.cli.shapes import dumped

    (letter,) = _named(asyncio.run(_read(log)), [number])
    said: dict[str, Any] = {**_json(letter), "value": _text(letter.value)}
    if json:
        typer.echo(dumped(said))
        return
    from perdure.cli.wording import cut

    headers: dict[str, str] = said["headers"]
    said["headers"] = "  ".join(f"{header}={text}" for header, text in headers.items())
    for name, value in said.items():
        if value not in (None, ""):
            typer.echo(f"{name:<10} {cut(str(value), VALUE_WIDTH)}")


@app.command(cls=Command)
def redrive(
    numbers: Annotated[
        list[int] | None,
        typer.Argument(metavar="NUMBER...", min=0, show_default=False, help="As the list has them."),
    ] = None,
    log: LogOption = None,
    all_: Annotated[
        bool, typer.Option("--all", help="All events that were not sent again since they were buried.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent again before.")] = False,
    json: JsonOption = False,
) -> None:
    """Send events again, once their cause is mended: a schema registered, a worker with newer code.

    Each keeps its identity: what was taken in the last 24 h starts nothing twice. What still cannot be read becomes a
    dead letter again.

    [dim]Examples:[/]  perdure dead-letters redrive 3 4   ·   perdure dead-letters redrive --all
    """
    from perdure.cli.shapes import dumped
    from perdure.cli.wording import counted
    from perdure.errors import UsageError

    if bool(numbers) == all_:
        raise UsageError("say which dead letters by their numbers, or --all of them")
    chosen, refused = asyncio.run(_redriven(log, numbers or [], again=again))
    sent = [letter for letter in chosen if letter.number not in refused]
    for reason in refused.values():
        typer.echo(f"perdure: {reason}", err=True)
    if json:
        typer.echo(dumped([_json(letter) for letter in sent]))
    else:
        typer.echo(f"sent {counted(len(sent), 'event')} again" + (": a worker takes them up" if sent else ""))
    raise typer.Exit(1 if refused else 0)


async def _redriven(
    log: str | None, numbers: list[int], *, again: bool
) -> tuple[list[Letter], dict[int, str]]:
    """The letters that are meant, and why some of them could not be sent again."""
    from perdure.cli.places import opened
    from perdure.client.letters import dead_letters
    from perdure.client.letters import redrive as send_again
    from perdure.errors import UsageError

    async with opened(log) as known:
        letters = await dead_letters(known)
        chosen = _named(letters, numbers) if numbers else [letter for letter in letters if letter.is_event]
        before = [letter.number for letter in chosen if letter.redriven is not None]
        if numbers and before and not again:
            raise UsageError(
                f"dead letter {before[0]} was sent again already; --again does it once more, and what was taken in the "
                "last 24 h starts nothing twice"
            )
        if not again:
            chosen = [letter for letter in chosen if letter.redriven is None]
        return chosen, await send_again(known, chosen)


async def _read(log: str | None) -> list[Letter]:
    from perdure.cli.places import opened
    from perdure.client.letters import dead_letters

    async with opened(log) as known:
        return await dead_letters(known)


def _named(letters: list[Letter], numbers: list[int]) -> list[Letter]:
    """Those of these numbers. Raises UsageError."""
    from perdure.errors import UsageError

    known = {letter.number: letter for letter in letters}
    for number in numbers:
        if number not in known:
            raise UsageError(
                f"there is no dead letter {number}: `perdure dead-letters list --all` has their numbers"
            )
    return [known[number] for number in dict.fromkeys(numbers)]


def _json(letter: Letter) -> dict[str, Any]:
    from perdure.cli.shapes import iso

    return {
        "number": letter.number,
        "buried": iso(letter.buried),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "reason": letter.reason,
        "redriven": iso(letter.redriven or 0),
        "key": _text(letter.key),
        "headers": {name: _text(value) for name, value in letter.headers.items()},
        "bytes": letter.size,
    }


def _text(data: bytes) -> str:
    """Text as it is; other bytes as Python writes them."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return repr(data)[2:-1]
    return text if all(letter.isprintable() or letter in "\n\t" for letter in text) else repr(data)[2:-1]


def _show(found: list[Letter], now: int) -> None:
    from perdure.cli.showing import console, printed, table
    from perdure.cli.wording import cut_middle, moment

    made = table("NUMBER", "BURIED", "WHERE", "SENT AGAIN", "REASON")
    for letter in found:
        made.add_row(
            str(letter.number),
            moment(letter.buried, now),
            f"{letter.topic} {letter.partition}:{letter.offset}",
            "" if letter.redriven is None else moment(letter.redriven, now),
            cut_middle(letter.reason, REASON_WIDTH),
        )
    printed(console(), made)
