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
        if self.paused or self.closed or self.position >= self.slot.next:
            return ()
        start = max(self.position - self.slot.first, 0)
        return self.slot.entries[start : start + entries_max]


@dataclass(slots=True, eq=False)
class Slot:
    """One partition of one topic."""

    topic: Topic
    partition: int
    first: int = 0
    entries: list[Entry] = field(default_factory=list[Entry])
    tails: list[Tail] = field(default_factory=list[Tail])

    @property
    def next(self) -> int:
        return self.first + len(self.entries)

    def read(self, offset: int, entries_max: int) -> Sequence[Entry]:
        start = max(offset - self.first, 0)
        return self.entries[start : start + entries_max]

    def trim(self, before: int) -> None:
        gone = min(max(before - self.first, 0), len(self.entries))
        del self.entries[:gone]
        self.first += gone

    def offset_at(self, ts: int) -> int:
        return self.first + bisect_left(self.entries, ts, key=lambda entry: entry.ts)


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
