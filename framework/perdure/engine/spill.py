"""Histories of runs that wait for long, in a file: a cache of what the log says, gone with its owner (DESIGN: B11)."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from typing import IO

_LENGTH = struct.Struct(">I")


class Spill:
    """One unnamed temporary file. What is no longer wanted is not reused; the file ends with the claim."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._end = 0

    def put(self, items: list[bytes]) -> SpilledHistory:
        """Writes a history and returns what stands for it in memory."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="perdure-")  # noqa: SIM115 - it lives as long as the claim
        data = b"".join(part for item in items for part in (_LENGTH.pack(len(item)), item))
        self._file.seek(self._end)
        self._file.write(data)
        place = self._end
        self._end += len(data)
        return SpilledHistory(self, place, len(data), len(items))

    def get(self, place: int, size: int) -> list[bytes]:
        if self._file is None:
            raise ValueError("the spill file is closed")
        self._file.seek(place)
        data = self._file.read(size)
        items: list[bytes] = []
        at = 0
        while at < len(data):
            (length,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size
            items.append(data[at : at + length])
            at += length
        return items

    @property
    def bytes(self) -> int:
        return self._end

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class SpilledHistory:
    """A run's history: its older part lies in the spill file, what is appended stays in memory until the next."""

    __slots__ = ("_count", "_place", "_size", "_spill", "_tail")

    def __init__(self, spill: Spill, place: int, size: int, count: int) -> None:
        self._spill = spill
        self._place = place
        self._size = size
        self._count = count
        self._tail: list[bytes] = []

    def append(self, item: bytes, /) -> None:
        self._tail.append(item)

    def copy(self) -> list[bytes]:
        return [*self._spill.get(self._place, self._size), *self._tail] if self._count else self._tail.copy()

    def clear(self) -> None:
        self._count = 0
        self._tail.clear()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.copy())

    def __len__(self) -> int:
        return self._count + len(self._tail)

    def __getitem__(self, index: int, /) -> bytes:
        return self.copy()[index]
