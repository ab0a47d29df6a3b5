"""Packed runs and cells, in a file: a cache of what the log says, gone with its owner (B11)."""

from __future__ import annotations

import os
import tempfile
import zlib
from array import array
from collections.abc import Sequence
from typing import IO

UNIT = 32
"""Everything begins at a multiple of so many bytes."""
CRC_BYTES = 4
_SIZE_BITS = 24
_SIZE_MAX = 2**_SIZE_BITS - 1


class FileShelf:
    """One unnamed temporary file, without a buffer. Room that is free again is taken by what needs as much.

    What is read is held against its checksum: a run that came back as another would be worse than one that does not.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._units = 0
        self._free: dict[int, array[int]] = {}
        """By size, in units: where there is room."""

    @property
    def bytes(self) -> int:
        """The size of the file."""
        return self._units * UNIT

    def put(self, items: Sequence[bytes], /) -> list[int]:
        """Keeps each and says where. Raises OSError; nothing is kept then."""
        if not items:
            return []
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="perdure-", buffering=0)  # noqa: SIM115 - until `close`
        places: list[int] = []
        fresh: list[bytes] = []
        begin = end = self._units
        taken: list[tuple[int, int]] = []
        try:
            for item in items:
                if len(item) > _SIZE_MAX:
                    raise OSError(f"{len(item)} bytes are too many for one thing on a shelf")
                units = _units(len(item))
                data = item + zlib.crc32(item).to_bytes(CRC_BYTES, "big")
                free = self._free.get(units)
                if free:
                    at = free.pop()
                    taken.append((units, at))
                    _write(self._file.fileno(), data, at * UNIT)
                else:
                    at, end = end, end + units
                    fresh.append(data.ljust(units * UNIT, b"\0"))
                places.append(at << _SIZE_BITS | len(item))
            if fresh:
                _write(self._file.fileno(), b"".join(fresh), begin * UNIT)
        except OSError:
            for units, at in taken:
                self._free[units].append(at)
            raise
        self._units = end
        return places

    def get(self, place: int, /) -> bytes:
        """What lies there. Raises OSError, also when it is not what was put there."""
        if self._file is None:
            raise ValueError("the shelf is closed")
        at, size = place >> _SIZE_BITS, place & _SIZE_MAX
        data = os.pread(self._file.fileno(), size + CRC_BYTES, at * UNIT)
        item = data[:size]
        if zlib.crc32(item).to_bytes(CRC_BYTES, "big") != data[size:]:
            raise OSError("what was put there has changed")
        return item

    def drop(self, place: int, /) -> None:
        self._free.setdefault(_units(place & _SIZE_MAX), array("Q")).append(place >> _SIZE_BITS)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _units(size: int) -> int:
    return -(-(size + CRC_BYTES) // UNIT)


def _write(number: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(number, data, at)
        data, at = data[written:], at + written
