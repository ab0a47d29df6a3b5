"""What the processes on one log file share beside it, in the directory `<file>.shared`.

Nothing in there is data: it may be deleted when no process has the log open.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from pathlib import Path

from perdure.errors import LogError

_U64 = struct.Struct("<Q")


class SharedDirectory:
    """The directory, made when it is missing."""

    def __init__(self, file: Path) -> None:
        self.root = file.with_name(file.name + ".shared")
        self.bells = self.root / "bells"
        self.members = self.root / "members"
        try:
            self.bells.mkdir(parents=True, exist_ok=True)
            self.members.mkdir(exist_ok=True)
        except OSError as error:
            raise LogError(
                f"cannot make the directory {self.root} beside the log: {error.strerror}."
                " Processes meet there; make its parent writable, or put the log elsewhere"
            ) from error

    def open(self, name: str) -> int:
        """A file of the directory, made when it is missing, as a descriptor for reading and writing."""
        try:
            return os.open(self.root / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise LogError(
                f"cannot open {self.root / name}: {error.strerror}. Make it writable for this user"
            ) from error


class WriterQueue:
    """Who may write: one at a time, the others wait in the kernel's queue, and a death frees it.

    SQLite's own lock has no queue: its busy handler sleeps and tries again, which starves writers. `with`
    takes it. A process that is stopped (SIGSTOP) just while it writes holds up every writer until it goes on
    or dies, as it would with SQLite's lock alone.
    """

    def __init__(self, shared: SharedDirectory) -> None:
        self._fd = shared.open("writers.lock")

    def __enter__(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *exc: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._fd)


class SharedClock:
    """The wall clock in µs, made never to go back for all processes on this file: they share the last time
    stamped.
    """

    def __init__(self, shared: SharedDirectory) -> None:
        fd = shared.open("clock")
        try:
            if os.fstat(fd).st_size < _U64.size:
                os.ftruncate(fd, _U64.size)
            self._last = mmap.mmap(fd, _U64.size)
        finally:
            os.close(fd)

    def now(self) -> int:
        return max(_U64.unpack_from(self._last)[0], time.time_ns() // 1_000)

    def stamp(self) -> int:
        """The time for entries that are about to be written. Only for whom the writers' queue has let in."""
        ts = self.now()
        _U64.pack_into(self._last, 0, ts)
        return ts

    def at_least(self, ts: int) -> None:
        """An entry of this time was found in the file."""
        if ts > _U64.unpack_from(self._last)[0]:
            _U64.pack_into(self._last, 0, ts)

    def close(self) -> None:
        self._last.close()
