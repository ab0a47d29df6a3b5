"""`perdure runs pause | resume`: one run, or all that fit."""

from __future__ import annotations

import typer

from perdure.cli import many, steering
from perdure.cli.choosing import FunctionOption, SinceOption, TagOption
from perdure.cli.commands import Command
from perdure.cli.many import LiveOption, ReasonOption, SomeRunArgument, Which, Wish, YesOption
from perdure.cli.options import JsonOption, LogOption

HELD = ("paused", "parked")


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (pause, resume):
        app.command(cls=Command)(command)


def pause(
    run: SomeRunArgument = None,
    log: LogOption = None,
    function: FunctionOption = None,
    status: LiveOption = None,
    since: SinceOption = None,
    tag: TagOption = None,
    reason: ReasonOption = "",
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Pause a run, or all live runs that fit: no further step of them starts until they are resumed.

    [dim]Examples:[/]  perdure runs pause 3-k3x9ab --reason "the bank is away"   ·   … pause --tag tenant=acme
    """
    wish = Wish(
        verb="pauses",
        past="paused",
        command="PauseAsk",
        body={"reason": reason},
        fits=lambda run: run.status not in HELD,
        which="live",
        done=lambda run: run.status in HELD or not run.live,
        is_done="paused",
        told="told to pause",
    )

    def one(run: str) -> None:
        steering.steer(
            run,
            log,
            "pause",
            lambda handle: handle.pause(reason=reason),
            refuses=lambda run: f"it is {run.status} already" if run.status in HELD else "",
            done=lambda run: run.status == "paused",
            json=json,
        )

    many.steer(Which(run, function, status, since, tag), log, one, wish, yes=yes, json=json)


def resume(
    run: SomeRunArgument = None,
    log: LogOption = None,
    function: FunctionOption = None,
    status: LiveOption = None,
    since: SinceOption = None,
    tag: TagOption = None,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Let a paused or parked run go on, or all that fit, over their recorded steps, with the code that is deployed now.

    [dim]Examples:[/]  perdure runs resume 3-k3x9ab   ·   … resume --function bill --status parked
    """
    wish = Wish(
        verb="resumes",
        past="resumed",
        command="ResumeAsk",
        body={"reason": ""},
        fits=lambda run: run.status in HELD,
        which="paused or parked",
        done=lambda run: run.status not in HELD,
        is_done="resumed",
        told="told to go on",
    )

    def one(run: str) -> None:
        steering.steer(
            run,
            log,
            "resume",
            lambda handle: handle.resume(),
            refuses=lambda run: "" if run.status in HELD else f"it is {run.status}, not paused or parked",
            done=lambda run: run.status not in HELD,
            json=json,
        )

    many.steer(Which(run, function, status, since, tag), log, one, wish, yes=yes, json=json)
