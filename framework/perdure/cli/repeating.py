"""`perdure runs rerun`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from perdure.cli.commands import Command
from perdure.cli.options import JsonOption, LogOption, OnceOption, RunArgument


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(cls=Command)(rerun)


def rerun(
    run: RunArgument,
    log: LogOption = None,
    from_step: Annotated[
        str | None,
        typer.Option(
            "--from-step",
            metavar="STEP",
            show_default=False,
            help="Take over how all ended that came before this step, as `perdure runs show` names it.",
        ),
    ] = None,
    id: OnceOption = None,  # noqa: A002
    json: JsonOption = False,
) -> None:
    """Start a run once more: a new run of its function, with the same event and tags, by the code that is deployed now.

    With --from-step what came before that step is not done again: its outcomes are used. That step, and all that comes
    after it, is done. The other run stays as it is.

    [dim]Examples:[/]  perdure runs rerun 3-k3x9ab   ·   perdure runs rerun 3-k3x9ab --from-step charge
    """
    before, function, new = asyncio.run(_rerun(run, log, from_step, id))
    if json:
        from perdure.cli.shapes import dumped

        typer.echo(dumped({"id": new, "function": function, "repeats": before, "from_step": from_step}))
        return
    from perdure.cli.wording import short_id

    since = "from its beginning" if from_step is None else f"from step {from_step!r}"
    typer.echo(f"started run {new} of {function}: {before} again, {since}; perdure runs show {short_id(new)}")


async def _rerun(text: str, log: str | None, from_step: str | None, id: str | None) -> tuple[str, str, str]:  # noqa: A002
    """The id of the run that is meant, its function, and the id of the new run."""
    from perdure.authoring.registry import Registry
    from perdure.cli.deployed import deployed_ids, no_such_function
    from perdure.cli.history import find_run
    from perdure.cli.places import connected
    from perdure.client.deployed import deployed
    from perdure.core.limits import DEFAULT_LIMITS
    from perdure.engine.clock import SystemClock
    from perdure.errors import PerdureError
    from perdure.index.reader import JournalReader
    from perdure.steering.runs import Runs

    async with connected(log) as connections:
        reader = JournalReader((await connections.get()).log)
        await reader.read()
        run = find_run(reader, text)
        found = await deployed((await connections.get()).log)
        handlers = [function["handler"] for function in found.functions]
        if found.current is not None and run.function not in (*(ids := deployed_ids(found)), *handlers):
            raise no_such_function(run.function, ids)
        paused = found.paused
        if run.function in paused:
            why = f" ({paused[run.function]})" if paused[run.function] else ""
            raise PerdureError(
                f"{run.function} is paused{why}, and a run of it would end at once as cancelled; "
                f"`perdure functions resume {run.function}` first"
            )
        runs = Runs(lambda: connections, Registry(), SystemClock().now, DEFAULT_LIMITS)
        return run.id, run.function, (await runs.rerun(run.id, from_step=from_step, id=id)).run_id
