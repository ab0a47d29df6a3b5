"""`perdure runs cancel`: one run, or all that fit."""

from __future__ import annotations

from typing import Annotated

import typer

from perdure.cli import many, steering
from perdure.cli.choosing import FunctionOption, SinceOption, TagOption
from perdure.cli.commands import Command
from perdure.cli.many import LiveOption, ReasonOption, SomeRunArgument, Which, Wish, YesOption
from perdure.cli.options import JsonOption, LogOption


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(cls=Command)(cancel)


def cancel(
    run: SomeRunArgument = None,
    log: LogOption = None,
    function: FunctionOption = None,
    status: LiveOption = None,
    since: SinceOption = None,
    tag: TagOption = None,
    reason: ReasonOption = "",
    force: Annotated[bool, typer.Option("--force", help="Without letting its code clean up.")] = False,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Cancel a run, or all live runs that fit. Code sees asyncio.CancelledError, and may clean up in further steps.

    Code that catches it and goes on is not stopped by it: --force is for that.
    Runs that are made after the list was read are none of those that fit.

    [dim]Examples:[/]  perdure runs cancel 3-k3x9ab --reason "ordered twice"   ·   … cancel --function ship --since 2d
    """
    wish = Wish(
        verb="cancels",
        past="cancelled",
        command="CancelAsk",
        body={"reason": reason, "force": force},
        fits=lambda _run: True,
        which="live",
        done=lambda run: not run.live,
        is_done="ended",
        told="told to end",
        why="" if force else ", and their code may clean up first",
    )

    def one(run: str) -> None:
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

    many.steer(Which(run, function, status, since, tag), log, one, wish, yes=yes, json=json)
