"""`perdure functions …`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perdure.cli import limiting
from perdure.cli.commands import Command, Group
from perdure.cli.deployed import check_deployed
from perdure.cli.options import FunctionArgument, JsonOption, LogOption

if TYPE_CHECKING:
    from perdure.core.deploys import Deploys

app = typer.Typer(
    cls=Group,
    help="Look at the deployed functions, pause them, and change their limits.",
    no_args_is_help=True,
)


@app.command("list", cls=Command)
def list_(log: LogOption = None, json: JsonOption = False) -> None:
    """List the functions that are deployed, with what starts them, and those that are paused.

    [dim]Example:[/]  perdure functions list
    """
    from perdure.cli.places import opened
    from perdure.cli.shapes import dumped
    from perdure.client.deployed import deployed

    async def read() -> Deploys:
        async with opened(log) as known:
            return await deployed(known)

    found = asyncio.run(read())
    shown = [_shown(function, found.paused) for function in found.functions]
    if json:
        typer.echo(dumped(shown))
    elif shown:
        from perdure.cli.showing import console, printed, table

        made = table("FUNCTION", "STARTED BY", "PAUSED")
        for one in shown:
            paused = "" if one["paused"] is None else one["paused"] or "yes"
            made.add_row(one["id"], ", ".join([*one["triggers"], *one["schedules"]]), paused)
        printed(console(), made)
    else:
        typer.echo("no function is deployed: no worker has run on this log yet")


def _shown(function: dict[str, Any], paused: dict[str, str]) -> dict[str, Any]:
    schedules = [schedule["cron"] for schedule in function["schedules"]]
    shown = {"id": function["id"], "triggers": list(function["triggers"]), "schedules": schedules}
    return shown | {"paused": paused.get(function["id"])}


@app.command(cls=Command)
def pause(
    function: FunctionArgument,
    log: LogOption = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", show_default=False, help="Kept with what is skipped.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Start nothing more of a function until it is resumed. Its runs go on.

    [dim]Example:[/]  perdure functions pause bill --reason "the bank is away"
    """
    asyncio.run(_set(log, function, reason))
    _tell(
        function,
        reason,
        f"{function} is paused; perdure events list --skipped shows what it does not start",
        json=json,
    )


@app.command(cls=Command)
def resume(function: FunctionArgument, log: LogOption = None, json: JsonOption = False) -> None:
    """Let a paused function start again. What was skipped meanwhile is not made up for.

    [dim]Example:[/]  perdure functions resume bill
    """
    asyncio.run(_set(log, function, None))
    _tell(function, None, f"{function} starts again", json=json)


def _tell(function: str, paused: str | None, said: str, *, json: bool) -> None:
    from perdure.cli.shapes import dumped

    typer.echo(dumped({"id": function, "paused": paused}) if json else said)


async def _set(log: str | None, function: str, reason: str | None) -> None:
    from perdure.cli.places import client_of, opened, vault_at
    from perdure.client.deployed import app_of, deployed
    from perdure.client.handle import checked_reason
    from perdure.steering.pausing import set_paused

    async with opened(log) as known, client_of(known, vault_at(log)) as client:
        check_deployed(await deployed(known), function)
        given = None if reason is None else checked_reason(reason)
        await set_paused(client, await app_of(known), function, given)


limiting.add_to(app)
