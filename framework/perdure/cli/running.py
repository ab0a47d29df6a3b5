"""`perdure dev` and `perdure worker`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from perdure.cli.commands import Command
from perdure.cli.options import AppArgument, DrainOption, LogOption, SlotsOption


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("dev", cls=Command)(dev)
    app.command("worker", cls=Command)(worker)


def dev(
    app: AppArgument,
    log: LogOption = None,
    slots: SlotsOption = 100,
    watch: Annotated[
        list[Path] | None,
        typer.Option(
            "--watch",
            metavar="FOLDER",
            show_default=False,
            help="A folder to watch instead of the app's own; repeatable.",
        ),
    ] = None,
    drain: DrainOption = "10s",
) -> None:
    """Run an app while you write it: a worker that loads your code again when it changes.

    Every step, retry, sleep and failure is one line in the terminal.
    New code takes over once running steps have ended, or after --drain.
    Code that cannot be loaded is reported, and the worker goes on with what it has.
    Ctrl-C lets running steps end; a second Ctrl-C does not.

    [dim]Example:[/]  perdure dev shop.py:app
    """
    from perdure.cli.dev import Dev, run_dev
    from perdure.cli.loading import place_of
    from perdure.cli.times import seconds
    from perdure.errors import UsageError

    place = place_of(app)
    for folder in watch or ():
        if not folder.is_dir():
            raise UsageError(f"--watch {folder}: there is no such folder")
    watched = [folder.resolve() for folder in watch] if watch else [place.root]
    raise typer.Exit(run_dev(Dev(place, watched, log, slots, seconds("--drain", drain))))


def worker(
    app: AppArgument,
    log: LogOption = None,
    slots: SlotsOption = 100,
    drain: DrainOption = "30s",
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Print every step; else only what fails and what bodies log."),
    ] = False,
) -> None:
    """Run a worker of an app until SIGTERM or Ctrl-C; then running steps may end.

    Start as many as you like on one log: they share the work, and each takes over from one that dies.

    [dim]Example:[/]  perdure worker shop.py:app --slots 200
    """
    from perdure.cli.loading import load, place_of
    from perdure.cli.places import shown_log
    from perdure.cli.printing import Printer, stamp
    from perdure.cli.serving import Serving, functions_of, serving
    from perdure.cli.times import seconds
    from perdure.worker.process import calm_collector, run_until_signalled

    drain_s = seconds("--drain", drain)
    loaded = load(place_of(app))
    how = Serving(log, slots, drain_s, brief=not verbose)
    printer = Printer(sys.stdout)
    printer.say(f"{printer.style('perdure worker', 'bold')} {app}")
    printer.say(f"  log    {shown_log(log or loaded.log)}")
    for line in functions_of(loaded) or [f"{loaded!r} has no function yet"]:
        printer.say(f"  on     {line}")
    printer.say("")
    calm_collector()
    try:
        code = run_until_signalled(
            lambda: serving(loaded, how, printer, lambda: None),
            drain_timeout_s=how.drain_s,
            until=lambda engine: engine.failed(),
            say=lambda line: printer.say(f"{stamp(printer, loaded.clock.now())}  {line}"),
        )
        if code == 0:
            printer.say(f"{stamp(printer, loaded.clock.now())}  {printer.style('drained', 'green')}")
    finally:
        printer.close()
    raise typer.Exit(code)
