"""A worker that is a whole process: what `perdure worker` is, and each process of `perdure worker --processes`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from perdure.app import App
from perdure.cli.places import shown_log
from perdure.cli.printing import Printer, stamp
from perdure.cli.serving import Serving, functions_of, serving
from perdure.engine.engine import Engine
from perdure.worker.process import calm_collector, run_until_signalled

__all__ = ["introduce", "work"]


def introduce(app: App, how: Serving, printer: Printer) -> None:
    """Says where the log is and what starts the functions."""
    printer.say(f"  log    {shown_log(how.log or app.log)}")
    for line in functions_of(app) or [f"{app!r} has no function yet"]:
        printer.say(f"  on     {line}")
    printer.say("")


def work(
    app: App,
    how: Serving,
    printer: Printer,
    *,
    ready: Callable[[], None] = lambda: None,
    until: Callable[[Engine], Awaitable[Any]] = Engine.failed,
) -> int:
    """Works until a signal, or until `until` is done; the exit code. Raises LogError when the log has failed for good.

    `ready` is called when it leads what it is given.
    """
    calm_collector()
    code = run_until_signalled(
        lambda: serving(app, how, printer, ready),
        drain_timeout_s=how.drain_s,
        until=until,
        say=lambda line: printer.say(f"{stamp(printer, app.clock.now())}  {line}"),
    )
    if code == 0:
        printer.say(f"{stamp(printer, app.clock.now())}  {printer.style('drained', 'green')}")
    return code
