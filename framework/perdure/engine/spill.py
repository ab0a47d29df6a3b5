"""Histories of runs that wait for long, in a file: a cache of what the log says, gone with its owner (B11)."""

from __future__ import annotations

import struct
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import IO

from perdure.core.state import History

PAGE = 512
_LENGTH = struct.Struct(">I")


class Spill:
    """One unnamed temporary file of pages. One that is no longer wanted is used again; the file ends with the claim."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._pages = 0
        self._free: list[int] = []

    def put(self, history: History) -> SpilledHistory:
        """Writes what of a history is not in the file yet, and returns what stands for it in memory."""
        if isinstance(history, SpilledHistory) and history.spill is self:
            history.settle()
            return history
        spilled = SpilledHistory(self)
        spilled.extend(history.copy())
        try:
            spilled.settle()
        except OSError:
            spilled.clear()
            raise
        return spilled

    @property
    def bytes(self) -> int:
        """The size of the file."""
        return self._pages * PAGE

    @property
    def used(self) -> int:
        """Of these, what holds histories."""
        return (self._pages - len(self._free)) * PAGE

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    # ------------------------------------------------------------------ pages

    def write(self, pages: array[int], end: int, data: bytes) -> None:
        """Writes behind the first `end` bytes of these pages; takes more pages as they are needed."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="perdure-")  # noqa: SIM115 - it lives as long as the claim
        while len(pages) * PAGE < end + len(data):
            if self._free:
                pages.append(self._free.pop())
            else:
                pages.append(self._pages)
                self._pages += 1
        at = 0
        for place, room in _stretches(pages, end, len(data)):
            self._file.seek(place)
            self._file.write(data[at : at + room])
            at += room

    def read(self, pages: Sequence[int], end: int) -> bytes:
        if self._file is None:
            raise ValueError("the spill file is closed")
        found: list[bytes] = []
        for place, room in _stretches(pages, 0, end):
            self._file.seek(place)
            found.append(self._file.read(room))
        return b"".join(found)

    def release(self, pages: Sequence[int]) -> None:
        """What these hold is not wanted any more."""
        self._free.extend(reversed(pages))


def _stretches(pages: Sequence[int], start: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the bytes from `start` on lie in the file: places and lengths, as long as pages follow one another."""
    end = start + size
    while start < end:
        first = index = start // PAGE
        while (index + 1) * PAGE < end and pages[index + 1] == pages[index] + 1:
            index += 1
        room = min((index + 1) * PAGE, end) - start
        yield pages[first] * PAGE + start % PAGE, room
        start += room


class SpilledHistory:
    """A run's history: its older part lies in the spill file, what is appended stays in memory until `settle`."""

    __slots__ = ("_count", "_end", "_pages", "_tail", "spill")

    def __init__(self, spill: Spill) -> None:
        self.spill = spill
        self._pages: array[int] = array("I")
        self._end = 0
        self._count = 0
        self._tail: list[bytes] = []

    def settle(self) -> None:
        """Puts what is in memory into the file, behind what lies there."""
        if not self._tail:
            return
        data = b"".join(part for item in self._tail for part in (_LENGTH.pack(len(item)), item))
        self.spill.write(self._pages, self._end, data)
        self._end += len(data)
        self._count += len(self._tail)
        self._tail.clear()

    def append(self, item: bytes, /) -> None:
        self._tail.append(item)

    def extend(self, items: Sequence[bytes]) -> None:
        self._tail += items

    def copy(self) -> list[bytes]:
        if not self._count:
            return self._tail.copy()
        data = self.spill.read(self._pages, self._end)
        items: list[bytes] = []
        at = 0
        while at < len(data):
            (length,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size
            items.append(data[at : at + length])
            at += length
        return [*items, *self._tail]

    def clear(self) -> None:
        self.spill.release(self._pages)
        self._pages = array("I")
        self._end = self._count = 0
        self._tail.clear()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.copy())

    def __len__(self) -> int:
        return self._count + len(self._tail)

    def __getitem__(self, index: int, /) -> bytes:
        return self.copy()[index]
