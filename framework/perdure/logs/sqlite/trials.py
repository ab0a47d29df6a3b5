"""What may fail for a while, and is tried again: a full disk, an error of the device, somebody's lock."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from perdure.logs.sqlite import file as files

_log = logging.getLogger("perdure.logs")
_FIRST_NS: Final = 100_000_000
_LONGEST_NS: Final = 5_000_000_000
_TELL_NS: Final = 60_000_000_000
_HOPELESS: Final = ("SQLITE_NOTADB", "SQLITE_READONLY")
_DAMAGE_SEEN: Final = 3
"""SQLite says of a page that the device does not give that it is malformed: it is damage when it stays so."""


class Trials:
    """One thing that is done again and again. Belongs to the thread."""

    def __init__(self, what: str, file: Path) -> None:
        self._what = what
        self._file = file
        self._damages = 0
        self._failures = 0
        self._again_ns = 0
        self._told_ns = 0

    @property
    def due(self) -> bool:
        """Whether the pause after the last failure is over."""
        return not self._failures or time.monotonic_ns() >= self._again_ns

    @contextmanager
    def tried(self) -> Generator[None]:
        """What goes wrong in it is told, once a minute at most, and swallowed; but damage to the file is raised."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if self._hopeless(getattr(error, "sqlite_errorname", "")):
                raise
            self._failed(error)
        else:
            self._damages = 0
            if self._failures:
                self._failures = 0
                if self._told_ns:
                    self._told_ns = 0
                    _log.warning("%s: that is over", self._what)

    def _hopeless(self, name: str) -> bool:
        if name.startswith("SQLITE_CORRUPT"):
            self._damages += 1
            return self._damages >= _DAMAGE_SEEN and not files.unreadable(self._file)
        return name.startswith(_HOPELESS)

    def _failed(self, error: sqlite3.Error | OSError) -> None:
        now = time.monotonic_ns()
        self._again_ns = now + min(_FIRST_NS << min(self._failures, 10), _LONGEST_NS)
        self._failures += 1
        busy = isinstance(error, sqlite3.Error) and files.is_busy(error)
        if not busy and (not self._told_ns or now - self._told_ns > _TELL_NS):
            self._told_ns = now
            why = files.translated(error, self._file) if isinstance(error, sqlite3.Error) else error
            _log.error("%s, and that is tried again: %s", self._what, why)
