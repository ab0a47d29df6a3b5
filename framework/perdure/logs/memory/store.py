"""What the log in memory holds: entries by partition, and the pieces that are under way to and from it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from perdure.errors import LogError
from perdure.logs.contract import Done, Entry, Topic


@dataclass(slots=True, eq=False)
class Tail:
    """One follower's position in one partition."""

    process: str
    slot: Slot
    position: int
    sink: Callable[[Sequence[Entry]], None]
    paused: bool = False
    closed: bool = False

    def next_batch(self, entries_max: int) -> Sequence[Entry]:
        """What would be delivered next; empty when paused, closed or at the end."""
        if self.paused or self.closed or self.position >= self.slot.end:
            return ()
        return self.slot.read(self.position, entries_max)


@dataclass(slots=True, eq=False)
class Slot:
    """One partition of one topic. Its offsets grow; they are contiguous unless some were skipped."""

    topic: Topic
    partition: int
    first: int = 0
    next: int = 0
    entries: list[Entry] = field(default_factory=list[Entry])
    tails: list[Tail] = field(default_factory=list[Tail])
    aborted: set[int] = field(default_factory=set[int])
    """Entries of transactions that were aborted: they have a place and are never read."""
    held: int | None = None
    """From here on nothing is read: a transaction is open."""
    former: int | None = None
    """Where it ends for a former leader, which answers questions meanwhile."""

    @property
    def end(self) -> int:
        """Where reading ends."""
        return self.next if self.held is None else self.held

    @property
    def end_told(self) -> int:
        """Where it ends for whoever is asked."""
        return self.end if self.former is None else min(self.end, self.former)

    def append(self, ts: int, key: bytes, value: bytes, headers: Mapping[str, bytes]) -> int:
        offset = self.next
        self.entries.append(Entry(offset, ts, key, value, headers))
        self.next += 1
        return offset

    def read(self, offset: int, entries_max: int) -> Sequence[Entry]:
        start = self._index(offset)
        if not self.aborted and self.held is None:
            return self.entries[start : start + entries_max]
        seen = self.entries[start : self._index(self.end)]
        return [entry for entry in seen if entry.offset not in self.aborted][:entries_max]

    def trim(self, before: int) -> None:
        del self.entries[: self._index(before)]
        self.first = min(max(before, self.first), self.next)

    def offset_at(self, ts: int) -> int:
        at = bisect_left(self.entries, ts, key=lambda entry: entry.ts)
        return self.entries[at].offset if at < len(self.entries) else self.next

    def _index(self, offset: int) -> int:
        """Of the first entry at or after an offset."""
        if len(self.entries) == self.next - self.first:
            return min(max(offset - self.first, 0), len(self.entries))
        return bisect_left(self.entries, offset, key=lambda entry: entry.offset)


@dataclass(slots=True, eq=False)
class Origin:
    """The store's side of one producer."""

    process: str
    poisoned: LogError | None = None
    gone: bool = False
    """Its process was killed: nobody is there to be told."""


@dataclass(slots=True, eq=False)
class Flight:
    """One append under way, and afterwards its acknowledgement."""

    origin: Origin
    slot: Slot
    key: bytes
    value: bytes
    headers: Mapping[str, bytes]
    done: Done | None
    outcome: int | LogError = 0

    @property
    def lane(self) -> tuple[int, int]:
        """Flights of one lane stay in order."""
        return (id(self.origin), id(self.slot))
