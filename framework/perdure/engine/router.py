"""Ingest: events are read ahead, routed under the partition's config, and started by an accepted record (A1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush

from perdure.core.decide import ingest as decide
from perdure.core.decide.ingest import Incoming
from perdure.core.facts import Fact
from perdure.core.matching import Matching
from perdure.core.ops import EventData
from perdure.engine.arriving import Arrivals, incoming
from perdure.engine.life import Life
from perdure.errors import LogError, PayloadError, UsageError
from perdure.logs.contract import Entry, Topic
from perdure.payloads.digests import digests_of
from perdure.payloads.records import Opener

DUE_EVENTS_MAX = 512
BACKPRESSURE_US = 20_000
SHARE = 4
"""Of the room for new runs, a partition takes so small a part at once: then there is some for the others."""
UNABLE_US = 1_000_000


class Router:
    """The ingesting side of one claim's life.

    One `Ingest` is in flight at a time; what arrives meanwhile joins the next.
    """

    def __init__(self, life: Life) -> None:
        self._life = life
        self._arrivals = Arrivals(life.services, self._take, lambda: life.acting)
        self._ahead: deque[Incoming] = deque()
        self._in_flight = 0
        self._starts = 0
        """Runs that the record in flight starts."""
        self._paused = False
        self._waiting = False
        self._configuring = 0
        self._due_in_flight = False
        self._due: list[int] = []
        """Delayed events whose time has come, in the record in flight."""
        self._coming: list[tuple[int, int]] = []
        """When the others are due, and where they lie: a heap, as nobody wants to look at all of them for each that
        is due."""
        self._unable = 0
        """The config by which this process cannot route, and has said so."""

    def begin(self) -> None:
        state = self._life.state
        if state.number < state.partitions:  # those of later generations have no events (A16)
            self._life.services.follow(Topic.EVENTS, state.number, state.next)
            if state.next:  # whose first event this would be, has none before
                self._life.services.spawn(
                    self._miss(state.next), f"a look at the events of partition {state.number}"
                )
        self._coming = [(entry["event"]["ts"], offset) for offset, entry in state.delayed.items()]
        heapify(self._coming)
        self.configure()

    async def _miss(self, expected: int) -> None:
        """Tells of events that the log dropped before anybody routed them: they are lost, and somebody should know."""
        life, number = self._life, self._life.state.number
        first, _ = await life.services.log.bounds(Topic.EVENTS, number)
        if first <= expected or not life.acting:
            return
        reason = (
            f"the events {expected} to {first - 1} of partition {number} were gone before they were routed: no worker"
            " came while they were kept. Keep events for longer than the longest time without workers"
            " (retention.ms of the topic)"
        )
        life.services.trouble(reason, LogError("events are lost"))
        life.replies.bury(Topic.EVENTS, expected, reason)

    def close(self) -> None:
        self._arrivals.close()
        self._ahead.clear()
        self._begin_routing(0)

    # ------------------------------------------------------------------ config

    def configure(self) -> None:
        """Brings the partition's config up to the registry's."""
        config = self._life.services.config
        if config["version"] > max(self._life.state.config["version"], self._configuring):
            self._configuring = config["version"]
            self._life.append("Config", config, lambda _fact, _void: None)
        elif config["version"]:
            self.configured()

    def configured(self) -> None:
        self._life.services.configured(self._life.state.number, self._life.state.config["version"])

    # ------------------------------------------------------------------ events

    def take(self, batch: Sequence[Entry]) -> None:
        """Entries of the events topic, in order."""
        self._arrivals.take(batch)
        if self._buffered() > self._life.services.limits.events_buffered_max and not self._paused:
            self._paused = True
            self._life.services.pause(Topic.EVENTS, self._life.state.number)

    def _buffered(self) -> int:
        return len(self._ahead) + len(self._arrivals)

    def _take(self, batch: Sequence[Entry]) -> None:
        """Entries that can be read now."""
        services, number = self._life.services, self._life.state.number
        for entry in batch:
            read = self._kept(
                incoming(entry, number, services.limits, services.app, services.schemas, services.vault)
            )
            self._ahead.append(read)
            if read.reason:
                self._life.replies.bury(Topic.EVENTS, entry.offset, read.reason, ts=entry.ts, entry=entry)
        self.propose()

    def _kept(self, read: Incoming) -> Incoming:
        """Without its event, when that has a time in the future and there is no room to keep it until then.

        Those behind it do not wait for it: its time may be years away.
        """
        kept, most = self._life.state.delayed, self._life.services.limits.delayed_events_max
        if not _is_delayed(read) or len(kept) < most - sum(map(_is_delayed, self._ahead)):
            return read
        reason = (
            f"its time is in the future, and {most:,} such events are kept in its partition already"
            " (delayed_events_max); send it again when some of them have come due"
        )
        return replace(read, event=None, plain=None, reason=reason)

    def propose(self) -> None:
        """Routes what was read ahead, unless a record is in flight or the partition has too much to do."""
        state = self._life.state
        if self._in_flight or not self._ahead or not state.config["version"]:
            return
        batch = self._batch(self._room())
        if not batch:
            self._later()
            return
        matching = self._matching()
        if matching is None:
            return
        services = self._life.services
        digests = digests_of(services.vault)
        while True:
            self._in_flight = len(batch)
            body = decide.ingest(state, batch, services.app, services.log.generations, matching, digests)
            self._begin_routing(len(body["starts"]))
            if self._life.append("Ingest", body, self._read):
                break
            # Beside the events it names starts and paths, so that its size is known only now.
            if len(batch) == 1:
                first = batch[0]
                reason = "what it starts does not fit a record"
                self._life.replies.bury(Topic.EVENTS, first.offset, reason, ts=first.ts)
                self._ahead[0] = batch[0] = replace(first, event=None, reason=reason)
            batch = batch[: max(len(batch) // 2, 1)]

    def _matching(self) -> Matching | None:
        """The table of the partition's config; None when this process cannot tell what events start."""
        services, state = self._life.services, self._life.state
        try:
            return services.triggering.of(state.config)
        except UsageError as error:
            if self._unable != state.config["version"]:
                self._unable = state.config["version"]
                where = f"events of partition {state.number} wait for a worker that can tell what they start"
                services.trouble(where, error)
            self._later(UNABLE_US)
            return None

    def _begin_routing(self, starts: int) -> None:
        self._life.services.routing += starts - self._starts
        self._starts = starts

    def _batch(self, most: int) -> list[Incoming]:
        if not most:
            return []
        limits = self._life.services.limits
        batch: list[Incoming] = []
        size = 0
        for entry in self._ahead:
            size += entry.size
            if batch and (size > limits.ingest_bytes_max or len(batch) >= most):
                break
            batch.append(entry)
        return batch

    def _read(self, fact: Fact, void: str | None) -> None:
        count, self._in_flight = self._in_flight, 0
        self._begin_routing(0)
        if not self._ahead:  # closed meanwhile
            return
        if void is None:  # else it was decided under an older config: once more
            for _ in range(count):
                self._ahead.popleft()
            self._life.services.observers.passed_over(fact.body["skipped"])
            events = fact.body["events"]
            self._put_off(events[int(index)]["offset"] for index in fact.body["delayed"])
        if self._paused and self._buffered() <= self._life.services.limits.events_buffered_max // 2:
            self._paused = False
            self._life.services.resume(Topic.EVENTS, self._life.state.number)

    @property
    def busy(self) -> bool:
        """Whether events wait to be routed, or the config to be brought up."""
        return bool(self._ahead) or not self._life.state.config["version"]

    def _room(self) -> int:
        """How many events may be routed now; the partitions of a process share what room it has."""
        life, limits = self._life, self._life.services.limits
        if life.outbox.depth() > limits.outbox_max:
            return 0
        return min(-(-life.services.room() // SHARE), limits.ingest_events_max)

    def _later(self, pause_us: int = BACKPRESSURE_US) -> None:
        if not self._waiting:
            self._waiting = True
            clock = self._life.services.clock
            clock.call_at(clock.now() + pause_us, self._again)

    def _again(self) -> None:
        self._waiting = False
        if self._life.acting:
            self.propose()

    def due(self) -> None:
        """Delayed events may have come due. One record of that is in flight at a time, and takes all that it can."""
        if self._due_in_flight:
            return
        offsets = self._come()
        while offsets:
            body = decide.due(self._life.state, sorted(offsets), self._opened)
            self._due_in_flight = self._life.append("Due", body, self._due_read)
            if self._due_in_flight:
                self._due = offsets
                return
            kept = offsets[: len(offsets) // 2]  # the paths that they are paired by do not fit a record
            self._put_off(offsets[len(kept) :])
            offsets = kept

    def _come(self) -> list[int]:
        """The delayed events whose time has come, the earliest first."""
        state, now = self._life.state, self._life.services.clock.now()
        found: list[int] = []
        while self._coming and self._coming[0][0] <= now and len(found) < DUE_EVENTS_MAX:
            _, offset = heappop(self._coming)
            if offset in state.delayed:
                found.append(offset)
        return found

    def _put_off(self, offsets: Iterable[int]) -> None:
        for offset in offsets:
            heappush(self._coming, (self._life.state.delayed[offset]["event"]["ts"], offset))

    def _opened(self, event: EventData) -> EventData:
        """A delayed event as it is looked at. One that this worker has no key for ends no wait by its data."""
        services = self._life.services
        try:
            return Opener(services.vault).event(event)
        except PayloadError as error:
            services.trouble(f"the event {event['id']} cannot be opened, and ends no wait by its data", error)
            return {**event, "data": b"{}"}

    def _due_read(self, _fact: Fact, _void: str | None) -> None:
        self._due_in_flight = False
        self._put_off(offset for offset in self._due if offset in self._life.state.delayed)
        self._due = []
        self.due()


def _is_delayed(read: Incoming) -> bool:
    return read.event is not None and read.event["ts"] > read.ts
