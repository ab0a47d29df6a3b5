"""What the engine asks of a log, and nothing more: the promises that every backend keeps.

A log is a few topics, each of one or more partitions. A partition is an append-only sequence of entries.

*One order.* Offsets grow along a partition; every reader sees the same entries at the same offsets, in that
order, for ever (until they are trimmed). One entry is atomic: it is there as a whole or not at all. Nothing
is promised between two partitions, and no two appends are ever a transaction.

*Gaps.* A follower gets every entry that is retained, in order, none twice and none left out. The offsets of
the memory and SQLite logs are contiguous and start at 0; those of Kafka are not, so nothing may rely on
`offset + 1`.

*Time.* `ts` is stamped by the log when an entry lands, in microseconds since the epoch; along a partition it
never decreases (memory and SQLite: along the whole log).

*Durability.* An offset handed to `done` stands: the entry survives a `kill -9` of every process, and with
the default settings a loss of power. So does every entry that a follower was given.

*Threads.* Everything here is called on the event loop thread that opened the log, and calls back on it.
`Listener`, `sink` and `done` must not raise: what they raise goes to the loop's exception handler, the
delivery counts as made, and the log goes on.

`perdure.testing.log_contract` holds the suite that checks these promises; a new backend starts there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from perdure.errors import LogDamaged, LogError

__all__ = [
    "DAMAGED",
    "NO_HEADERS",
    "Done",
    "Entry",
    "Follower",
    "Listener",
    "Log",
    "LogFull",
    "Member",
    "Producer",
    "Sink",
    "Topic",
    "check_whole",
    "damage_of",
    "partition_count",
]

NO_HEADERS: Final[Mapping[str, bytes]] = MappingProxyType({})
REPLIES_PARTITIONS: Final = 16
DAMAGED: Final = "damaged"


class Topic(StrEnum):
    """The topics of one log. `JOURNAL` has `Log.partitions` partitions, and `EVENTS` those of the first generation;
    see `partition_count`.
    """

    EVENTS = "events"
    JOURNAL = "journal"
    REGISTRY = "registry"
    REPLIES = "replies"
    DEAD_LETTERS = "dead-letters"


def partition_count(topic: Topic, generations: Sequence[int]) -> int:
    """How many partitions `topic` has in a log of these generations (see `Log.generations`)."""
    if topic is Topic.EVENTS:
        return generations[0]
    if topic is Topic.JOURNAL:
        return generations[-1]
    return REPLIES_PARTITIONS if topic is Topic.REPLIES else 1


class Entry(NamedTuple):
    """One entry as it stands in the log. `ts` is its append time in µs. Immutable; `headers` must not be
    changed.
    """

    offset: int
    ts: int
    key: bytes
    value: bytes
    headers: Mapping[str, bytes]


def damage_of(entry: Entry) -> str | None:
    """What is wrong with an entry that is not what was appended, or not there any more; None: nothing.

    A log that checks what it reads hands out such an entry without its value. What to do about it depends on the topic.
    """
    if entry.value or (told := entry.headers.get(DAMAGED)) is None:
        return None
    return told.decode(errors="replace")


def check_whole(entry: Entry, of: str, meanwhile: str = "") -> None:
    """Raises LogDamaged for an entry that `damage_of` names. For people: what it is one of, what holds until then."""
    if (damage := damage_of(entry)) is not None:
        raise LogDamaged(
            f"entry {entry.offset} of {of} {damage}: the disk of the log has lost or changed it. Restore the log from a"
            f" backup{meanwhile}"
        )


class LogFull(LogError):
    """More appends wait than the log keeps in memory. This one was refused locally and never sent: wait for
    a `done`.
    """

    code = "log-full"


Done = Callable[[int | LogError], None]
"""Called once for each append, on the event loop and never from inside `append`: the offset, or why it
failed.
"""

Sink = Callable[[Sequence[Entry]], None]


class Producer(Protocol):
    """One producer instance.

    Order: appends of one producer to one partition land in the order of the calls, and their `done`s are
    called in that order too. Between a `done` and the delivery of the same entry to a follower there is no
    order.

    Failure: after one `AppendFailed` this producer is *poisoned*: every append that was not yet
    acknowledged, and every later one, to whatever partition, fails with `AppendFailed` as well. An append
    that failed is of unknown outcome: it may be in the log, and it may even land later. Make a new producer
    to go on.
    """

    def append(
        self,
        topic: Topic,
        partition: int,
        value: bytes,
        *,
        key: bytes = b"",
        headers: Mapping[str, bytes] = NO_HEADERS,
        done: Done | None = None,
    ) -> None:
        """Queue one entry. `headers` is taken over: do not change it afterwards.

        Raises, locally and with nothing sent: `EntryTooLarge` (never fits), `LogFull` (too much is waiting),
        `UsageError` (no such partition; closed). None of these poisons the producer or calls `done`.
        """
        ...

    def close(self) -> None:
        """Take no more appends. Those already queued go on and call their `done`."""
        ...


class Listener(Protocol):
    """What a member of the group is told. All calls are made on the event loop thread.

    For one partition the calls are a sequence of lives: `assigned`, then `entries` for what is followed,
    then either `revoked` or `lost`. From the moment that `revoked` returns or `lost` is called the log
    delivers nothing of that partition (of the journal or of events) until it is assigned and followed again.
    """

    def assigned(self, partition: int) -> None:
        """The journal partition is this member's, and the events partition of the same number, if there is one.
        Nothing is followed yet. A partition that the log has gained meanwhile is in `Log.partitions` by now.
        """
        ...

    async def revoked(self, partition: int) -> None:
        """Let go of the partition: it is given to another member only when this has returned.

        Entries go on arriving and appends may be made until then. The log waits for a bounded time; then the
        partition is given away all the same, the call is cancelled and `lost` is called.
        """
        ...

    def lost(self, partition: int) -> None:
        """The partition is somebody else's already, maybe for long: the process was paused, hung or cut off.

        Told as soon as it is known here, which may be after the other member has appended.
        """
        ...

    def ended(self, error: LogError) -> None:
        """This process's connection to the log has failed for good; every partition was `lost` before.

        Nothing comes any more, and every append fails. Only opening the log anew helps, if the reason is gone.
        """
        ...

    def entries(self, topic: Topic, partition: int, batch: Sequence[Entry]) -> None:
        """The next entries of what is followed: at least one, contiguous with the batch before."""
        ...


class Member(Protocol):
    """One worker's membership in the group that shares the partitions.

    Each journal partition is assigned to one member at a time as far as the log can know; a member that
    hangs may go on believing. So assignment is for liveness only, and safety must come from what is in the
    log (claims). Each member gets about partitions / members; a change moves as few partitions as it can.
    """

    async def join(self) -> None:
        """Enter the group. Returns when membership stands; `assigned` calls follow as partitions come
        free.
        """
        ...

    async def leave(self) -> None:
        """Give every partition back (awaiting `revoked` of each) and leave. Nothing is delivered
        afterwards.
        """
        ...

    def follow(self, topic: Topic, partition: int, offset: int) -> None:
        """Deliver the entries from `offset` on to `Listener.entries`; called again, it moves the position.

        After the call no entry of an earlier position is delivered. An offset below the first retained one
        starts at that one. Raises `UsageError` for a journal or events partition that is not assigned to
        this member; the other topics may be followed at any time between `join` and `leave`.
        """
        ...

    def unfollow(self, topic: Topic, partition: int) -> None:
        """Deliver nothing of it any more. Nothing happens when it is not followed."""
        ...

    def pause(self, topic: Topic, partition: int) -> None:
        """Deliver nothing of it until `resume`; the position stays."""
        ...

    def resume(self, topic: Topic, partition: int) -> None:
        """Go on after `pause`."""
        ...


class Follower(Protocol):
    """A tail of one partition, see `Log.follow`."""

    def close(self) -> None:
        """Deliver nothing any more."""
        ...


class Log(Protocol):
    """One process's connection to a log. `partitions` stands once `open` has returned."""

    @property
    def partitions(self) -> int:
        """How many partitions the journal has. They may become more while the log is open, and never fewer."""
        ...

    @property
    def generations(self) -> Sequence[int]:
        """How many partitions the journal had at first, and after each growth; the last number is `partitions`.

        The first number is also how many partitions events have, and what named things are hashed over, so it never
        changes in the life of a log (A16).
        """
        ...

    async def refresh(self) -> None:
        """Learns whether the journal has grown. Raises `LogError`."""
        ...

    @property
    def expires(self) -> bool:
        """Whether the log by itself drops what is old of all topics but the journal; else the engine trims them."""
        ...

    async def open(self) -> None:
        """Connect, creating what is missing. Raises `LogError` or `UsageError` saying what to do.

        A log may be opened again after `close`, also from another event loop.
        """
        ...

    async def close(self) -> None:
        """Leave the group, wait until every queued append has called its `done`, and let go of everything."""
        ...

    def producer(self) -> Producer:
        """A new producer instance."""
        ...

    def member(self, listener: Listener) -> Member:
        """A member of the group, not yet joined."""
        ...

    def follow(self, topic: Topic, partition: int, offset: int, sink: Sink) -> Follower:
        """Tail one partition from `offset` on, without membership: what clients and tools do."""
        ...

    async def read(self, topic: Topic, partition: int, offset: int, entries_max: int) -> Sequence[Entry]:
        """The entries from `offset` on, at most `entries_max` (fewer when they are big); empty only at the
        end that whoever answers knows: see `bounds`.

        An offset below the first retained one starts at that one.
        """
        ...

    async def bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        """The first retained offset and the offset that the next append gets at least; equal when it is
        empty.

        A broker that hung, and does not know yet that others lead, says where it ended for itself.
        """
        ...

    async def offset_at(self, topic: Topic, partition: int, ts: int) -> int:
        """The first retained offset whose `ts` is at or after the given time (µs), else the next offset."""
        ...

    async def trim(self, topic: Topic, partition: int, before: int) -> None:
        """Drop the entries below `before` (at most up to the end). Offsets go on where they were, even when
        all are gone.
        """
        ...

    async def put_snapshot(self, partition: int, name: str, chunks: Sequence[bytes]) -> None:
        """Store a snapshot. It becomes visible as a whole, replacing one of the same name, or not at all."""
        ...

    async def snapshots(self, partition: int) -> Sequence[str]:
        """The names of the snapshots of this partition, oldest first."""
        ...

    async def get_snapshot(self, partition: int, name: str) -> Sequence[bytes]:
        """The chunks as they were put. Raises `LogError` when there is none of that name, or when it is
        damaged.
        """
        ...

    async def drop_snapshot(self, partition: int, name: str) -> None:
        """Delete it. Nothing happens when there is none."""
        ...

    def now(self) -> int:
        """The log's clock in µs: what an entry that lands now would be stamped with. Never decreases within
        a log.
        """
        ...
