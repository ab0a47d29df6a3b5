"""What the scenarios of the contract are made of: connections, members that write down what they hear, waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from perdure.errors import LogError
from perdure.logs import NO_HEADERS, Entry, Follower, Log, Member, Producer, Topic

JOURNAL: Final = Topic.JOURNAL
EVENTS: Final = Topic.EVENTS
DEADLINE_S = 30.0


async def until(condition: Callable[[], bool], what: str, deadline_s: float = 10.0) -> None:
    """Wait until `condition()`; raises `AssertionError` naming `what` after the deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while not condition():
        assert loop.time() < end, f"still not after {deadline_s} s: {what}"
        await asyncio.sleep(0.002)


async def append(
    producer: Producer,
    topic: Topic,
    partition: int,
    *values: bytes,
    key: bytes = b"",
    headers: Mapping[str, bytes] = NO_HEADERS,
) -> list[int | LogError]:
    """Append all values at once, and what became of each."""
    outcomes: list[int | LogError] = []
    for value in values:
        producer.append(topic, partition, value, key=key, headers=headers, done=outcomes.append)
    await until(lambda: len(outcomes) == len(values), "every append is answered")
    return outcomes


class Recorder:
    """A listener that writes down what it is told. It follows the journal of what it is assigned, from `start` on."""

    def __init__(self, start: int | None = 0) -> None:
        self.member: Member | None = None
        self.told: list[tuple[str, int]] = []
        self.held: set[int] = set()
        self.got: dict[tuple[Topic, int], list[Entry]] = {}
        self.may_revoke = asyncio.Event()
        self.may_revoke.set()
        self._start = start

    def assigned(self, partition: int) -> None:
        assert partition not in self.held
        self.told.append(("assigned", partition))
        self.held.add(partition)
        if self._start is not None and self.member is not None:
            self.member.follow(JOURNAL, partition, self._start)

    async def revoked(self, partition: int) -> None:
        assert partition in self.held
        self.told.append(("revoking", partition))
        await self.may_revoke.wait()
        self.told.append(("revoked", partition))
        self.held.discard(partition)

    def lost(self, partition: int) -> None:
        assert partition in self.held
        self.told.append(("lost", partition))
        self.held.discard(partition)

    def ended(self, error: LogError) -> None:
        self.told.append(("ended", -1))

    def entries(self, topic: Topic, partition: int, batch: Sequence[Entry]) -> None:
        assert batch
        assert topic not in (JOURNAL, EVENTS) or partition in self.held, "delivered after it was given away"
        self.got.setdefault((topic, partition), []).extend(batch)

    def values(self, topic: Topic, partition: int) -> list[bytes]:
        return [entry.value for entry in self.got.get((topic, partition), [])]


class World:
    """The connections of one test; all are closed at its end."""

    def __init__(self, connect: Callable[[], Log]) -> None:
        self._connect = connect
        self._logs: list[Log] = []
        self.members: list[Member] = []

    async def log(self) -> Log:
        """Another connection, open."""
        log = self._connect()
        await log.open()
        self._logs.append(log)
        return log

    async def join(self, log: Log, start: int | None = 0) -> Recorder:
        """A member on that connection, joined."""
        recorder = Recorder(start)
        recorder.member = log.member(recorder)
        await recorder.member.join()
        return recorder

    async def close(self) -> None:
        for log in self._logs:
            await log.close()


Scenario = Callable[[Any, World], Coroutine[Any, Any, None]]


def scenario(body: Scenario) -> Callable[[Any, Callable[[], Log]], None]:
    """An async test as pytest can run it without a plugin, in an event loop of its own and with a deadline."""

    def test(self: Any, connect: Callable[[], Log]) -> None:
        async def run() -> None:
            world = World(connect)
            async with asyncio.timeout(DEADLINE_S):
                try:
                    await body(self, world)
                finally:
                    await world.close()

        asyncio.run(run())

    test.__name__ = body.__name__
    test.__doc__ = body.__doc__
    return test


def tail(log: Log, topic: Topic, partition: int, offset: int) -> tuple[list[Entry], Follower]:
    """A follower, and the list that its entries go to."""
    got: list[Entry] = []
    return got, log.follow(topic, partition, offset, got.extend)


async def read_all(log: Log, topic: Topic, partition: int) -> list[Entry]:
    """Everything that is retained, however many reads it takes."""
    found: list[Entry] = []
    while batch := await log.read(topic, partition, found[-1].offset + 1 if found else 0, 1_000):
        found.extend(batch)
    return found


def first_at(entries: Sequence[Entry], ts: int) -> int:
    """The first offset whose time is at or after `ts`."""
    return next((entry.offset for entry in entries if entry.ts >= ts), len(entries))
