"""How many entries were ever acknowledged, beside the file: what tells that a log has lost its end.

SQLite goes on from the last transaction that it finds. When the write-ahead log was deleted or cut, or an older copy of
the file was put in its place, that is an older state, and nothing in the file says so.
"""

from __future__ import annotations

import struct
from pathlib import Path

from perdure.errors import LogDamaged
from perdure.logs.sqlite.neighbours import SharedDirectory

_MARKS = struct.Struct("<QQ")
_NAME = "acknowledged"


class Watermark:
    """Shared by all processes on a file. Only for whom the writers' queue has let in.

    `full`: what this process commits is on the disk when that returns; else a loss of power may take it, and only what
    the commits of others have brought there is sure.
    """

    def __init__(self, shared: SharedDirectory, full: bool) -> None:
        self._full = full
        self.path = shared.root / _NAME
        self._marks = shared.map(_NAME, _MARKS.size)

    @property
    def count(self) -> int:
        """How many entries the log has: the number of the next one."""
        return _MARKS.unpack_from(self._marks)[0]

    def begin(self, found: int, numbered: int, file: Path, new: bool) -> None:
        """So many entries are in the file, counted from its first on, by the ends of all partitions and by the number
        of the newest one; `new`: there was no file.

        Raises LogDamaged when more were there.
        """
        if found < numbered:
            raise LogDamaged(
                f"{file} is not whole: it holds {found} entries, and the newest is number {numbered}. It was copied"
                " while it was written to, or its disk has lost some. Bring back the original, or a copy that was made"
                " by sqlite3's .backup or VACUUM INTO"
            )
        _, sure = _MARKS.unpack(self._marks)
        if new:
            sure = 0
        if found < sure:
            raise LogDamaged(
                f"{file} ends {sure - found} entries before what it has acknowledged: its write-ahead log {file}-wal"
                " was lost or cut, or an older copy was put in its place. Bring the files back as they were. If"
                f" there is no newer copy, delete {self.path}: the log goes on from where it ends now, without"
                " these entries"
            )
        _MARKS.pack_into(self._marks, 0, found, sure)

    def add(self, entries: int) -> None:
        """So many were committed just now."""
        count, sure = _MARKS.unpack(self._marks)
        count += entries
        _MARKS.pack_into(self._marks, 0, count, count if self._full else sure)

    def close(self) -> None:
        self._marks.close()
