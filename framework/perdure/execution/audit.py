"""Refuses files, sockets, processes and threads in the turns of an `async def` body, through the audit hook.

It cannot see everything (clocks and randomness raise no audit event): that is for a look at the source. It costs each
audited call of the process a look into a set.
"""

from __future__ import annotations

import asyncio
import sys
import zoneinfo
from typing import Any

from perdure.execution.refused import in_a_step

__all__ = ["watch"]

_REFUSED = {
    "open": "files",
    "os.listdir": "files",
    "os.scandir": "files",
    "os.mkdir": "files",
    "os.remove": "files",
    "os.rename": "files",
    "os.rmdir": "files",
    "os.link": "files",
    "os.symlink": "files",
    "os.truncate": "files",
    "os.chmod": "files",
    "os.chown": "files",
    "os.utime": "files",
    "shutil.copyfile": "files",
    "shutil.move": "files",
    "shutil.rmtree": "files",
    "tempfile.mkstemp": "files",
    "tempfile.mkdtemp": "files",
    "sqlite3.connect": "databases",
    "socket.__new__": "sockets",
    "socket.connect": "sockets",
    "socket.bind": "sockets",
    "socket.getaddrinfo": "sockets",
    "socket.gethostbyname": "sockets",
    "socket.gethostbyaddr": "sockets",
    "socket.sendto": "sockets",
    "socket.sendmsg": "sockets",
    "subprocess.Popen": "processes",
    "os.system": "processes",
    "os.exec": "processes",
    "os.posix_spawn": "processes",
    "os.spawn": "processes",
    "os.fork": "processes",
    "os.forkpty": "processes",
    "pty.spawn": "processes",
    "_thread.start_new_thread": "threads",
    "_thread.start_joinable_thread": "threads",
    "signal.pthread_kill": "processes",
    "os.kill": "processes",
    "time.sleep": "a blocking sleep",
}
"""Threads tell from Python 3.12 on, time.sleep from 3.13 on: before, only the lint names them (authoring/lint.py)."""

_READERS = frozenset(
    {
        "importlib._bootstrap",
        "importlib._bootstrap_external",
        "zipimport",
        "linecache",
        "zoneinfo",
        "zoneinfo._common",
        "zoneinfo._tzpath",
        "tokenize",
    }
)
"""Modules that read the installed program itself, which is the same on replay: imports, tracebacks, time zones."""

_get_running_loop = asyncio._get_running_loop
_loop_type: type[object] | None = None


def watch(loop_type: type[object]) -> None:
    """From now on, and for the life of the process, turns of such loops are watched."""
    global _loop_type
    if _loop_type is None:
        sys.addaudithook(_hook)
    _loop_type = loop_type


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event not in _REFUSED or type(_get_running_loop()) is not _loop_type:
        return
    if event == "open" and (_is_time_zone(args[0]) or _is_pipe_of_a_process(args[0])):
        return
    if not _reads_the_program():
        what = _REFUSED[event]
        shown = f" ({event} {args[0]!r:.80})" if what == "files" and args else f" ({event})"
        raise in_a_step(what + shown)


def _is_time_zone(path: object) -> bool:
    # ZoneInfo is written in C: no frame of it is on the stack.
    return isinstance(path, str) and path.startswith(zoneinfo.TZPATH) and ".." not in path


def _is_pipe_of_a_process(path: object) -> bool:
    # subprocess makes file objects of its pipes before it says that it starts a process, which is then refused.
    if not isinstance(path, int):
        return False
    caller = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    return caller.f_globals.get("__name__") == "subprocess"


def _reads_the_program() -> bool:
    frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if frame.f_globals.get("__name__") in _READERS:
            return True
        if frame.f_code.co_name == "run" and frame.f_globals.get("__name__") == "perdure.execution.loop":
            return False  # what called into the turn is none of the body's doing
        frame = frame.f_back
    return False
