"""Packed runs and cells in snapshots: columns of numbers and the bytes as they lie on the shelf, taken over unread.

A million sleeping runs are a hundred MB of them; made into objects and back they would cost a minute.
"""

from __future__ import annotations

import sys
from array import array
from itertools import islice
from operator import le
from typing import Any

from perdure.core import codec
from perdure.core.roster import Roster
from perdure.core.state import PartitionState
from perdure.errors import EncodingError, LevelTooNew

__all__ = ["Columns", "take_over"]

Body = dict[str, Any]
SCHEMAS = {"runs": "PackedRun", "cells": "CellState"}
NUMBERS_BYTES = 20
"""Beside its bytes, of each packed thing."""
DUE_BYTES = 16
NUMBER_BYTES = 8


class Columns:
    """What a roster has packed at one moment, on its way into chunks."""

    def __init__(self, of: str, roster: Roster[Any, Any]) -> None:
        self._of = of
        self._roster = roster
        self._held = roster.hold()
        self._at = self._due = 0
        self._items: list[bytes] = []
        self._size = 0

    @property
    def over(self) -> bool:
        """Whether all is in chunks."""
        return self._at == len(self._held.digests) and self._due == len(self._held.dues) and not self._items

    def advance(self, bytes_max: int) -> Body | None:
        """Reads one more; returns a chunk without its place when one is full, or the last. Raises OSError."""
        held = self._held
        if self._at < len(held.digests):
            item = self._roster.shelf.get(held.places[self._at])
            self._at += 1
            self._items.append(item)
            self._size += len(item) + NUMBERS_BYTES
            if self._size < bytes_max and self._at < len(held.digests):
                return None
        room = max((bytes_max - self._size) // DUE_BYTES, 1)
        dues = slice(self._due, self._due + room)
        if not self._items and self._due == len(held.dues):
            return None
        self._due = min(dues.stop, len(held.dues))
        items, self._items, self._size = self._items, [], 0
        return {
            "of": self._of,
            "form": codec.form(SCHEMAS[self._of]),
            "digests": _bytes(held.digests[self._at - len(items) : self._at]),
            "sizes": _bytes(array("I", map(len, items))),
            "data": b"".join(items),
            "dues": _bytes(held.dues[dues]),
            "due_digests": _bytes(held.due_digests[dues]),
        }


def take_over(state: PartitionState, body: Body) -> None:
    """Puts what a chunk has into a state. Raises EncodingError, and LevelTooNew for a form that is not known here."""
    of = body["of"]
    if of not in SCHEMAS:
        raise LevelTooNew(
            f"a snapshot has packed {of!r}, which this version of perdure does not know; upgrade it"
        )
    roster: Roster[Any, Any] = state.runs if of == "runs" else state.cells
    digests, sizes = _numbers("Q", body["digests"]), _numbers("I", body["sizes"])
    dues, due_digests = _numbers("Q", body["dues"]), _numbers("Q", body["due_digests"])
    data = body["data"]
    if len(digests) != len(sizes) or len(dues) != len(due_digests) or sum(sizes) != len(data):
        raise EncodingError("the columns of a snapshot do not fit together")
    if not _in_order(digests) or not _in_order(dues):
        raise EncodingError("the columns of a snapshot are not in order")
    items: list[bytes] = []
    at = 0
    for size in sizes:
        items.append(data[at : at + size])
        at += size
    if body["form"] != codec.form(SCHEMAS[of]):
        try:
            items = [codec.repack(SCHEMAS[of], body["form"], item) for item in items]
        except LookupError as error:
            raise LevelTooNew(
                f"a snapshot has {of} packed by another version of perdure; upgrade this worker"
            ) from error
    roster.take_over(digests, items)
    roster.agenda.add_sorted(dues, due_digests)


def _in_order(numbers: array[int]) -> bool:
    return all(map(le, numbers, islice(numbers, 1, None)))


def _bytes(numbers: array[int]) -> bytes:
    if sys.byteorder != "little":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers.tobytes()


def _numbers(typecode: str, data: bytes) -> array[int]:
    numbers: array[int] = array(typecode)
    if len(data) % numbers.itemsize:
        raise EncodingError("a column of a snapshot is cut short")
    numbers.frombytes(data)
    if sys.byteorder != "little":
        numbers.byteswap()
    return numbers
