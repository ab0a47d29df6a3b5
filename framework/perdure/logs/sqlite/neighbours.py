"""What the processes on one log file share beside it, in the directory `<file>.shared`.

Nothing in there is data: it may be deleted when no process has the log open.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import time
import weakref
from pathlib import Path
from typing import Final

from perdure.errors import LogError
from perdure.logs.steady import KEPT, TICKS, steady_us

_U64 = struct.Struct("<Q")
_base_of = _U64.unpack_from
_BOOT_BYTES: Final = 36


def boot_id() -> bytes:
    """One value from a start of the machine to the next; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()[:_BOOT_BYTES]
    except OSError:
        return b""


class Lock:
    """An open file, and `flock` on it.

    The lock is that of the open file, which a forked child has too: alone, it would keep what this process held when
    it was killed. So a child closes its side at once. What is executed in the child instead never had it (O_CLOEXEC).
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        _locks.add(self)

    def take(self) -> None:
        """Waits for as long as it takes."""
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def take_now(self) -> bool:
        """Whether it was free."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def free(self) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)


_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def _close_in_child() -> None:
    for lock in list(_locks):
        lock.close()


os.register_at_fork(after_in_child=_close_in_child)


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

    def lock(self, name: str) -> Lock:
        """The lock of this name."""
        return Lock(self.open(name))

    def open(self, name: str) -> int:
        """A file of the directory, made when it is missing, as a descriptor for reading and writing."""
        try:
            return os.open(self.root / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise LogError(
                f"cannot open {self.root / name}: {error.strerror}. Make it writable for this user"
            ) from error

    def map(self, name: str, size: int) -> mmap.mmap:
        """So much of a file of the directory as memory, zero at first, that processes share. Raises `OSError`."""
        fd = self.open(name)
        try:
            there = os.fstat(fd).st_size
            if there < size:
                # Not by making it longer: a disk that turns out to be full when memory is written to ends the process.
                os.pwrite(fd, bytes(size - there), there)
            return mmap.mmap(fd, size)
        finally:
            os.close(fd)


class WriterQueue:
    """Who may write: one at a time, the others wait in the kernel's queue, and a death frees it.

    SQLite's own lock has no queue: its busy handler sleeps and tries again, which starves writers. `with`
    takes it. A process that is stopped (SIGSTOP) just while it writes holds up every writer until it goes on
    or dies, as it would with SQLite's lock alone.
    """

    def __init__(self, shared: SharedDirectory) -> None:
        self._lock = shared.lock("writers.lock")

    def __enter__(self) -> None:
        self._lock.take()

    def __exit__(self, *exc: object) -> None:
        self._lock.free()

    def close(self) -> None:
        self._lock.close()


class SharedClock:
    """The clock of all processes on this file, in µs: the wall clock, made never to go back.

    When the wall clock is set back, this one goes on from where it was, a little more slowly, until the other has
    caught up. So it is never early by its own time, and stands still never: what was to happen in a second does. The
    file holds one number: what the clock that goes slowly showed when the machine was started, by the last stamp.
    """

    def __init__(self, shared: SharedDirectory) -> None:
        boot = boot_id()
        self._ticks = bool(boot)  # else the number may be of an earlier start, whose ticks are not comparable
        name = f"clock-{boot.decode()}" if boot else "clock"
        for other in shared.root.glob("clock*"):
            if other.name != name:
                with contextlib.suppress(OSError):
                    other.unlink()  # of an earlier start
        self._last = shared.map(name, _U64.size)
        self._shown = 0
        """The same number, by what this process has been shown without a stamp."""

    def _slow(self) -> int:
        return steady_us(time.monotonic_ns()) if self._ticks else 0

    def now(self) -> int:
        # Asked ten times for each run, so that calls are saved here.
        wall = time.time_ns() // 1_000
        slow = time.monotonic_ns() * KEPT // TICKS if self._ticks else 0
        now = max(wall, max(_base_of(self._last)[0], self._shown) + slow)
        self._shown = now - slow
        return now

    def stamp(self) -> int:
        """The time for entries that are about to be written. Only for whom the writers' queue has let in."""
        slow = self._slow()
        ts = max(max(_U64.unpack_from(self._last)[0], self._shown) + slow, time.time_ns() // 1_000)
        _U64.pack_into(self._last, 0, ts - slow)
        return ts

    def at_least(self, ts: int) -> None:
        """An entry of this time was found in the file. Only for whom the writers' queue has let in."""
        slow = self._slow()
        if ts > _U64.unpack_from(self._last)[0] + slow:
            _U64.pack_into(self._last, 0, ts - slow)
