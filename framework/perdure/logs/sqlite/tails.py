"""Followers of the file: handed what this process commits from memory, and read the rest."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from perdure.logs.contract import Entry
from perdure.logs.sqlite import rows

READ_ENTRIES_MAX: Final = 500
READ_BYTES_MAX: Final = 4 * 1024 * 1024
HANDED_BATCHES_MAX: Final = 64
HANDED_BYTES_MAX: Final = 16 * 1024 * 1024


class Tail:
    """One follower of one slot. `position`, `sent_*` belong to the thread, all else to the loop."""

    __slots__ = (
        "_backlog",
        "closed",
        "paused",
        "position",
        "sent_batches",
        "sent_bytes",
        "sink",
        "slot",
        "taken_batches",
        "taken_bytes",
        "waits",
        "wake",
    )

    def __init__(
        self, slot: int, position: int, sink: Callable[[Sequence[Entry]], None], wake: Callable[[], None]
    ) -> None:
        self.slot = slot
        self.position = position
        self.sink = sink
        self.wake = wake
        self.paused = False
        self.closed = False
        self.waits = False
        """The thread holds entries back until some were taken."""
        self.sent_batches = self.sent_bytes = self.taken_batches = self.taken_bytes = 0
        self._backlog: list[tuple[Sequence[Entry], int]] = []

    def take(self, entries: Sequence[Entry], size: int) -> None:
        """On the loop: deliver, unless it was closed or paused while the batch was on its way."""
        if self.closed:
            return
        if self.paused or self._backlog:
            self._backlog.append((entries, size))
        else:
            self._deliver(entries, size)

    def _deliver(self, entries: Sequence[Entry], size: int) -> None:
        self.taken_batches += 1
        self.taken_bytes += size
        if self.waits:
            self.wake()
        self.sink(entries)

    def resume(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the loop: deliver what arrived during the pause, by the next callbacks, and go on."""
        self.paused = False
        if self._backlog:
            loop.call_soon(self._catch_up, loop)
        else:
            self.wake()

    def _catch_up(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._backlog and not self.paused and not self.closed:
            batch = self._backlog.pop(0)
            self.resume(loop)
            self._deliver(*batch)

    def has_room(self) -> bool:
        """On the thread: whether the loop has taken enough of what it was handed."""
        self.waits = True  # first, so that a `take` in between cannot be missed
        room = (
            not self.paused
            and self.sent_batches - self.taken_batches < HANDED_BATCHES_MAX
            and self.sent_bytes - self.taken_bytes < HANDED_BYTES_MAX
        )
        self.waits = not room
        return room


Batch = tuple[Tail, Sequence[Entry], int]
"""What a follower is handed, and its size in bytes."""


class Tails:
    """All followers of one process. Belongs to the thread."""

    def __init__(self) -> None:
        self._by_slot: dict[int, list[Tail]] = {}
        self._behind: dict[Tail, None] = {}

    @property
    def slots(self) -> Mapping[int, object]:
        """The slots that are followed."""
        return self._by_slot

    def add(self, tail: Tail) -> None:
        self._by_slot.setdefault(tail.slot, []).append(tail)
        self._behind[tail] = None

    def remove(self, tail: Tail) -> None:
        self._behind.pop(tail, None)
        tails = self._by_slot.get(tail.slot, [])
        if tail in tails:
            tails.remove(tail)
            if not tails:
                del self._by_slot[tail.slot]

    def may_have_grown(self, slots: Iterable[int] | None = None) -> None:
        """Somebody else has appended to these slots, or to any."""
        for slot in tuple(self._by_slot) if slots is None else slots:
            for tail in self._by_slot.get(slot, ()):
                self._behind[tail] = None

    def committed(self, fresh: Mapping[int, list[Entry]], size: int, batches: list[Batch]) -> None:
        """This process has appended these entries: hand them to who stands right before them."""
        for slot, entries in fresh.items():
            for tail in self._by_slot.get(slot, ()):
                if tail.position == entries[0].offset and tail not in self._behind and tail.has_room():
                    self._hand(tail, entries, size, batches)
                else:
                    self._behind[tail] = None

    def read(self, connection: sqlite3.Connection, batches: list[Batch]) -> bool:
        """Read one batch for each follower that is behind; whether there may be more to read at once."""
        more = False
        for tail in tuple(self._behind):
            if tail.closed:
                self._behind.pop(tail)
            elif tail.has_room():
                entries, size = rows.read(
                    connection, tail.slot, tail.position, READ_ENTRIES_MAX, READ_BYTES_MAX
                )
                if entries:
                    self._hand(tail, entries, size, batches)
                if len(entries) < READ_ENTRIES_MAX and size <= READ_BYTES_MAX:
                    self._behind.pop(tail)
                else:
                    more = True
        return more

    def _hand(self, tail: Tail, entries: Sequence[Entry], size: int, batches: list[Batch]) -> None:
        tail.position = entries[-1].offset + 1
        tail.sent_batches += 1
        tail.sent_bytes += size
        batches.append((tail, entries, size))
