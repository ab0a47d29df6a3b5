"""One process of `perdure worker --processes`: a worker as any other, that also drains when its supervisor has died.

    python -m perdure.cli.worker_child FD JSON

FD is one end of a socket pair. The child writes `loaded` when it has imported the app, and `ready` when it leads. The
supervisor writes nothing: its end closes when it is gone, whichever way it went.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from contextlib import suppress
from typing import Any

from perdure.cli.loading import NOT_LOADED, NotLoaded, load, place_of
from perdure.cli.printing import Printer, exit_code, tell_error, whole_lines
from perdure.cli.serving import Serving
from perdure.cli.working import introduce, work
from perdure.engine.engine import Engine
from perdure.errors import PerdureError, UsageError


def main(fd: int, given: dict[str, Any]) -> int:
    """Runs one worker; the exit code."""
    supervisor = socket.socket(fileno=fd)
    supervisor.setblocking(False)
    sys.stdout = whole_lines(sys.stdout)
    printer = Printer(os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace"))
    try:
        app = load(place_of(given["app"]))
        app.functions.check()
        if (given["log"] or app.log).startswith("memory:"):
            raise UsageError("a log in memory is one process's: leave --processes out, or name another log")
    except (NotLoaded, UsageError) as error:
        tell_error(error)
        return NOT_LOADED
    _tell(supervisor, b"loaded\n")
    how = Serving(given["log"], given["slots"], given["drain_s"], brief=not given["verbose"], exits_held=True)

    async def until(engine: Engine) -> None:
        """The log has failed, or the supervisor is gone."""
        gone = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(supervisor, 1))
        failed = asyncio.ensure_future(engine.failed())
        done, pending = await asyncio.wait({gone, failed}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done - {gone}:
            task.result()

    try:
        if given["introduce"]:
            introduce(app, how, printer)
        return work(app, how, printer, ready=lambda: _tell(supervisor, b"ready\n"), until=until)
    except PerdureError as error:
        printer.close()
        tell_error(error)
        return exit_code(error)
    finally:
        printer.close()


def _tell(supervisor: socket.socket, word: bytes) -> None:
    with suppress(OSError):  # one that is gone is about to be noticed
        supervisor.send(word)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), json.loads(sys.argv[2])))
