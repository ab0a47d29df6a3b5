"""The process in which `perdure dev` runs an app: imports it, says so, waits for its turn, works, leaves.

    python -m perdure.cli.dev_child FD JSON

FD is one end of a socket pair. The child writes `loaded`, then `ready` or `refused CODE`; the parent writes `go` and
`drain`. Closing the parent's end means `drain` too: a child never outlives its parent.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import time_ns
from typing import Any

from perdure.app import App
from perdure.authoring.lint import advice_for
from perdure.cli.loading import NOT_LOADED, NotLoaded, Place, load
from perdure.cli.places import shown_log
from perdure.cli.printing import Printer, exit_code, stamp, tell_error, whole_lines
from perdure.cli.serving import Serving, functions_of, serving
from perdure.engine.engine import Engine
from perdure.errors import PerdureError, UsageError
from perdure.worker.process import run_until_signalled


def main(fd: int, given: dict[str, Any]) -> int:
    """Runs one generation of the app's code; the exit code."""
    parent = socket.socket(fileno=fd)
    sys.stdout = whole_lines(sys.stdout)
    printer = Printer(os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace"))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, _frame: os._exit(128 + caught))
    place = Place(
        Path(given["root"]), given["module"], given["attribute"], _path(given["file"]), given["shown"]
    )
    try:
        app = load(place)
        app.functions.check()
    except (NotLoaded, UsageError) as error:
        printer.say(f"{stamp(printer, time_ns() // 1_000)}  {printer.style('not loaded', 'red')}: {error}")
        printer.close()
        return NOT_LOADED
    parent.sendall(b"loaded\n")
    if _next_word(parent) != b"go":
        return 0
    how = Serving(given["log"], given["slots"], given["drain_s"], strict=True, blocked_s=2.0)
    if given["first"]:
        _introduce(app, how, printer)
    for function in app.functions:
        for advice in advice_for(function.body):
            printer.say(f"  {printer.style('look', 'yellow')}   {advice}")
    try:
        return _work(app, how, printer, parent)
    except PerdureError as error:
        return _refused(error, printer, parent, first=given["first"])
    finally:
        printer.close()


def _work(app: App, how: Serving, printer: Printer, parent: socket.socket) -> int:
    @asynccontextmanager
    async def worker() -> AsyncGenerator[Engine]:
        parent.setblocking(False)
        async with serving(app, how, printer, ready) as engine:
            yield engine

    def ready() -> None:
        with suppress(OSError):  # a parent that is gone is about to be noticed
            parent.send(b"ready\n")

    async def told(engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        word = loop.create_task(loop.sock_recv(parent, 64))
        failed = loop.create_task(engine.failed())
        done, pending = await asyncio.wait({word, failed}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            task.result()

    # The parent says what signals mean; here they only do it.
    return run_until_signalled(worker, drain_timeout_s=how.drain_s, until=told, say=lambda _line: None)


def _refused(error: PerdureError, printer: Printer, parent: socket.socket, *, first: bool) -> int:
    """Says why it cannot work: at the very start as every command does, later as a line among lines."""
    code = exit_code(error)
    if first:
        printer.close()
        tell_error(error)
    else:
        printer.say(f"{stamp(printer, time_ns() // 1_000)}  {printer.style('not started', 'red')}: {error}")
    with suppress(OSError):
        parent.send(f"refused {code}\n".encode())
    return code


def _introduce(app: App, how: Serving, printer: Printer) -> None:
    printer.say(f"  log    {shown_log(how.log or app.log)}")
    for line in functions_of(app) or [f"{app!r} has no function yet"]:
        printer.say(f"  on     {line}")
    printer.say("")


def _next_word(parent: socket.socket) -> bytes:
    word = b""
    while not word.endswith(b"\n"):
        piece = parent.recv(1)
        if not piece:
            return b""
        word += piece
    return word.strip()


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), json.loads(sys.argv[2])))
