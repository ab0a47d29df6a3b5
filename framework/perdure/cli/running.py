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
    processes: Annotated[
        int,
        typer.Option(
            "--processes",
            min=1,
            max=256,
            metavar="N",
            help="Worker processes, about one per core; one that dies is started again.",
        ),
    ] = 1,
) -> None:
    """Run a worker of an app until SIGTERM or Ctrl-C; then running steps may end.

    Start as many as you like on one log: they share the work, and each takes over from one that dies.
    With --processes there are several in one command: a signal goes to all of them.

    [dim]Example:[/]  perdure worker shop.py:app --processes 4 --slots 200
    """
    from perdure.cli.loading import load, place_of
    from perdure.cli.printing import Printer
    from perdure.cli.serving import Serving
    from perdure.cli.times import seconds
    from perdure.cli.working import introduce, work

    drain_s = seconds("--drain", drain)
    place = place_of(app)
    if processes > 1:
        from perdure.cli.supervising import Workers, run_workers

        raise typer.Exit(run_workers(Workers(app, log, slots, drain_s, verbose, processes)))
    loaded = load(place)
    how = Serving(log, slots, drain_s, brief=not verbose, exits_held=True)
    printer = Printer(sys.stdout)
    printer.say(f"{printer.style('perdure worker', 'bold')} {app}")
    try:
        introduce(loaded, how, printer)
        code = work(loaded, how, printer)
    finally:
        printer.close()
    raise typer.Exit(code)
