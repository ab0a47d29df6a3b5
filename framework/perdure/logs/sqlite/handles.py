"""What users of the SQLite log hold: producers, followers, members. All on the loop's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from perdure.errors import LogError, UsageError
from perdure.logs.callbacks import report
from perdure.logs.contract import NO_HEADERS, Done, Entry, Listener, Sink, Topic
from perdure.logs.sqlite.committer import Committer, Origin
from perdure.logs.sqlite.membership import Seat
from perdure.logs.sqlite.tails import Tail


class Home(Protocol):
    """The log, as its handles need it."""

    @property
    def committer(self) -> Committer: ...

    def slot(self, topic: Topic, partition: int) -> int: ...

    def submit(
        self,
        origin: Origin,
        topic: Topic,
        partition: int,
        key: bytes,
        value: bytes,
        headers: Mapping[str, bytes],
        done: Done | None,
    ) -> None: ...

    def forget(self, member: SqliteMember) -> None: ...


class SqliteProducer:
    """See `perdure.logs.contract.Producer`."""

    def __init__(self, log: Home) -> None:
        self._log = log
        self._origin = Origin()
        self._closed = False

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
        if self._closed:
            raise UsageError("the producer is closed: make a new one")
        self._log.submit(self._origin, topic, partition, key, value, headers, done)

    def close(self) -> None:
        self._closed = True


class SqliteFollower:
    """See `perdure.logs.contract.Follower`."""

    def __init__(self, committer: Committer, slot: int, offset: int, sink: Sink) -> None:
        self._committer = committer
        self.tail = tail = Tail(slot, offset, sink, committer.wake)
        committer.call(lambda: committer.tails.add(tail))

    def close(self) -> None:
        if not self.tail.closed:
            tail, committer = self.tail, self._committer
            tail.closed = True
            committer.call(lambda: committer.tails.remove(tail))


class SqliteMember:
    """See `perdure.logs.contract.Member`.

    The methods named after `SeatEvents` are called on the thread, and only pass the notice on to the loop.
    """

    def __init__(self, log: Home, listener: Listener, revoke_us: int) -> None:
        self._log = log
        self._listener = listener
        self._revoke_s = revoke_us / 1_000_000
        self._seat: Seat | None = None
        self._joined = False
        self._left = asyncio.Event()
        self._held: set[int] = set()
        self._followers: dict[tuple[Topic, int], SqliteFollower] = {}
        self._revokes: dict[int, asyncio.Task[None]] = {}

    async def join(self) -> None:
        if self._joined:
            return
        committer = self._log.committer
        if committer.failure is not None:
            raise committer.failure
        joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(error: Exception | None) -> None:
            if not joined.done():
                if error is None:
                    joined.set_result(None)
                else:
                    joined.set_exception(error)

        def take_seat() -> None:
            try:
                self._seat = committer.membership.join(self)
            except Exception as error:  # noqa: BLE001 - raised by `join`
                failure = error
                committer.bridge.notices.append(lambda: settle(failure))
            else:
                committer.bridge.notices.append(lambda: settle(None))

        self._left.clear()
        self._joined = True
        committer.call(take_seat)
        try:
            await joined
        except BaseException:
            self._joined = False
            raise

    async def leave(self) -> None:
        if not self._joined:
            return
        self._joined = False
        committer = self._log.committer

        def give_up_seat() -> None:
            if self._seat is not None:
                self._seat.leaving = True
                self._seat.beat()
                committer.look_now()

        if committer.failure is None:
            committer.call(give_up_seat)
            await self._left.wait()
        for topic, partition in tuple(self._followers):
            self.unfollow(topic, partition)
        self._log.forget(self)

    def follow(self, topic: Topic, partition: int, offset: int) -> None:
        slot = self._log.slot(topic, partition)
        if topic in (Topic.JOURNAL, Topic.EVENTS):
            if partition not in self._held:
                raise UsageError(f"{topic} {partition} is not assigned to this member")
        elif not self._joined:
            raise UsageError("join the group before following a partition")
        self.unfollow(topic, partition)
        listener = self._listener

        def sink(batch: Sequence[Entry]) -> None:
            listener.entries(topic, partition, batch)

        self._followers[topic, partition] = SqliteFollower(self._log.committer, slot, offset, sink)

    def unfollow(self, topic: Topic, partition: int) -> None:
        follower = self._followers.pop((topic, partition), None)
        if follower is not None:
            follower.close()

    def pause(self, topic: Topic, partition: int) -> None:
        follower = self._followers.get((topic, partition))
        if follower is not None:
            follower.tail.paused = True

    def resume(self, topic: Topic, partition: int) -> None:
        follower = self._followers.get((topic, partition))
        if follower is not None and follower.tail.paused:
            follower.tail.resume(asyncio.get_running_loop())

    # SeatEvents, on the thread

    def assigned(self, partition: int) -> None:
        self._notify(lambda: self._be_assigned(partition))

    def revoke(self, partition: int) -> None:
        self._notify(lambda: self._be_asked(partition))

    def lost(self, partition: int) -> None:
        self._notify(lambda: self._lose(partition))

    def left(self) -> None:
        self._notify(self._left.set)

    def ended(self, error: LogError) -> None:
        self._notify(lambda: self._listener.ended(error))

    def _notify(self, notice: Callable[[], None]) -> None:
        self._log.committer.bridge.notices.append(notice)

    # What they come to, on the loop

    def _be_assigned(self, partition: int) -> None:
        self._held.add(partition)
        self._listener.assigned(partition)

    def _be_asked(self, partition: int) -> None:
        if partition in self._held:
            self._revokes[partition] = asyncio.get_running_loop().create_task(self._ask(partition))

    async def _ask(self, partition: int) -> None:
        try:
            async with asyncio.timeout(self._revoke_s):
                await self._listener.revoked(partition)
        except TimeoutError:
            self._lose(partition)
        except Exception as error:  # noqa: BLE001 - whatever user code raises is the loop's
            report(asyncio.get_running_loop(), f"revoked({partition})", error)
        self._revokes.pop(partition, None)
        self._held.discard(partition)
        self._forget(partition)
        committer, seat = self._log.committer, self._seat

        def release() -> None:
            if seat is not None:
                seat.released.add(partition)
                committer.look_now()

        committer.call(release)

    def _lose(self, partition: int) -> None:
        if partition in self._held:
            revoke = self._revokes.pop(partition, None)
            if revoke is not None and revoke is not asyncio.current_task():
                revoke.cancel()  # what it would give back is not ours any more
            self._held.discard(partition)
            self._forget(partition)
            self._listener.lost(partition)

    def _forget(self, partition: int) -> None:
        """The partition is gone: neither its journal nor its events are delivered any more."""
        self.unfollow(Topic.JOURNAL, partition)
        self.unfollow(Topic.EVENTS, partition)
