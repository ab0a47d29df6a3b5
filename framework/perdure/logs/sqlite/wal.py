"""Keeps the write-ahead log small. It can be begun anew only when nobody reads in it."""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path
from typing import Final

from perdure.logs.sqlite import file as files
from perdure.logs.sqlite.trials import Trials

_log = logging.getLogger("perdure.logs")
_EVERY_NS: Final = 1_000_000_000
_TELL_NS: Final = 60_000_000_000
_PATIENCE: Final = 3
"""Tries in vain until it is said that somebody reads on."""
_MB: Final = 1024 * 1024


class WalKeeper:
    """Belongs to the thread."""

    def __init__(self, connection: sqlite3.Connection, file: Path) -> None:
        self.over = False
        """It is so long that nothing may be appended until it was begun anew."""
        self._connection = connection
        self._file = file
        self._checkpoint = Trials(f"the write-ahead log of {file} cannot be moved into the file", file)
        self._in_vain = 0
        self._again_ns = 0
        self._told_ns = 0

    def look(self) -> None:
        """How long it is, and what is to be done about it."""
        size = files.wal_bytes(self._file)
        if size <= files.WAL_BYTES_MAX:
            self.over, self._in_vain = False, 0
            return
        self.over = size > files.WAL_BYTES_LIMIT
        now = time.monotonic_ns()
        if now < self._again_ns or not self._checkpoint.due:
            return
        self._again_ns = now + _EVERY_NS
        done = True
        with self._checkpoint.tried():
            done = files.restart_wal(self._connection, files.BUSY_MS if self.over else files.CHECKPOINT_MS)
            if done:
                self.over = False
        self._in_vain = 0 if done else self._in_vain + 1
        if self._in_vain >= _PATIENCE and now - self._told_ns > _TELL_NS:
            self._told_ns = now
            self._tell(size)

    def _tell(self, size: int) -> None:
        _log.warning(
            "another program keeps a read transaction open on %s: its write-ahead log has %d MB and cannot be emptied."
            " End that program's transaction (a backup, a database browser). %s",
            self._file,
            size // _MB,
            "Nothing is appended until then"
            if self.over
            else f"At {files.WAL_BYTES_LIMIT // _MB} MB nothing more is appended",
        )
