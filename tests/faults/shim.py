"""The test's side of `shim.c`: compiles it, and tells a process through its control file which calls fail."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import subprocess
from enum import IntFlag
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")


class Kind(IntFlag):
    """Files of a log."""

    DB = 1
    WAL = 2
    SHM = 4
    SHARED = 8
    DATA = DB | WAL
    ALL = DB | WAL | SHM | SHARED


class Call(IntFlag):
    """Calls on them."""

    OPEN = 1
    READ = 2
    WRITE = 4
    SYNC = 8
    TRUNCATE = 16
    MAP = 32
    UNLINK = 64
    RENAME = 128
    LOCK = 256
    CHANGES = WRITE | SYNC | TRUNCATE | RENAME | UNLINK
    ALL = 511


HALF_AND_FAIL, HALF_AND_SAY_SO, HALF_AND_DIE = 1, 2, 3
"""What a torn write does after its first half."""


class _Control(ctypes.Structure):
    """The same layout is in shim.c."""

    _fields_ = (
        ("file", ctypes.c_char * 1024),
        ("files", ctypes.c_int64),
        ("calls", ctypes.c_int64),
        ("nth", ctypes.c_int64),
        ("times", ctypes.c_int64),
        ("error", ctypes.c_int64),
        ("torn", ctypes.c_int64),
        ("sync_us", ctypes.c_int64),
        ("clock_us", ctypes.c_int64),
        ("frozen_us", ctypes.c_int64),
        ("counted", ctypes.c_int64),
        ("failed", ctypes.c_int64),
        ("last", ctypes.c_int64),
        ("synced", ctypes.c_int64),
    )


def compiled(folder: Path) -> Path:
    """The shim as a library."""
    compiler = shutil.which("cc")
    assert compiler is not None, "cc is not there: apt-get install gcc libc6-dev"
    library = folder / "shim.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), str(SOURCE), "-ldl"],
        check=True,
    )
    return library


class Faults:
    """What one process, or several, meet on the files of a log, and what their wall clock shows. Nothing at first."""

    def __init__(self, path: Path, file: Path) -> None:
        """`path`: of the control file; `file`: of the log."""
        self.path = path
        with path.open("w+b") as made:
            made.truncate(ctypes.sizeof(_Control))
            self._map = mmap.mmap(made.fileno(), ctypes.sizeof(_Control))
        self._control = _Control.from_buffer(self._map)
        self._control.file = os.fsencode(os.path.realpath(file))
        self.count(Kind.ALL, Call.ALL)

    # Calls

    def count(self, files: Kind, calls: Call) -> None:
        """Which calls count from now on."""
        self._control.files, self._control.calls = files, calls

    def fail(self, nth: int, *, times: int = 1, error: int = errno.EIO, torn: int = 0) -> None:
        """From the `nth` call that counts, so many fail; negative: all, until `heal`."""
        self._control.error, self._control.torn, self._control.times = error, torn, times
        self._control.nth = nth

    def fail_now(self, files: Kind, calls: Call, error: int = errno.EIO, *, times: int = -1) -> None:
        """From now on these fail, until `heal`."""
        self.count(files, calls)
        self.fail(self.counted + 1, times=times, error=error)

    def heal(self) -> None:
        """No call fails any more."""
        self._control.nth = 0

    def slow_sync(self, seconds: float) -> None:
        """Each fsync takes so much longer."""
        self._control.sync_us = int(seconds * 1e6)

    @property
    def counted(self) -> int:
        """Calls that counted so far."""
        return self._control.counted

    @property
    def failed(self) -> int:
        """Calls that failed by order."""
        return self._control.failed

    @property
    def last(self) -> Call:
        """The call that failed last."""
        return Call(self._control.last)

    @property
    def synced(self) -> int:
        """Syncs that were made."""
        return self._control.synced

    # The wall clock

    def set_clock(self, ahead_s: float) -> None:
        """The wall clock is so far ahead of the machine's; negative: behind."""
        self._control.clock_us, self._control.frozen_us = int(ahead_s * 1e6), 0

    def freeze_clock(self, at_us: int) -> None:
        """The wall clock stands at this time."""
        self._control.frozen_us = at_us
