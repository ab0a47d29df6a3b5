"""Ingest: events are read ahead, routed under the partition's config, and started by an accepted record (A1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from perdure.core import codec
from perdure.core.decide import ingest as decide
from perdure.core.decide.ingest import Incoming
from perdure.core.facts import CHANNEL, Fact, unpack_channel
from perdure.engine.life import Life
from perdure.errors import EncodingError
from perdure.logs.contract import Entry, Topic

BACKPRESSURE_US = 20_000


def incoming(entry: Entry) -> Incoming:
    """An entry of the events topic, decoded; `event` is None when it is not an event."""
    channel = unpack_channel(entry.headers.get(CHANNEL))
    try:
        name, body = codec.decode(entry.value)
    except EncodingError:
        name, body = "", {}
    event = body if name == "Event" else None
    return Incoming(entry.offset, entry.ts, event, channel, len(entry.value))  # type: ignore[arg-type]


class Router:
    """The ingesting side of one claim's life.

    One `Ingest` is in flight at a time; what arrives meanwhile joins the next.
    """

    def __init__(self, life: Life) -> None:
        self._life = life
        self._ahead: deque[Incoming] = deque()
        self._in_flight = 0
        self._paused = False
        self._waiting = False
        self._configuring = 0

    def begin(self) -> None:
        self._life.services.follow(Topic.EVENTS, self._life.state.number, self._life.state.next)
        self.configure()
        for entry in self._life.state.delayed.values():
            self._life.timers.arm("", "", entry["event"]["ts"])

    def close(self) -> None:
        self._ahead.clear()

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
        for entry in batch:
            read = incoming(entry)
            self._ahead.append(read)
            if read.event is None:
                self._life.replies.bury(
                    Topic.EVENTS, entry.offset, "this is not an event record", entry.value
                )
        if len(self._ahead) > self._life.services.limits.events_buffered_max and not self._paused:
            self._paused = True
            self._life.services.pause(Topic.EVENTS, self._life.state.number)

    def propose(self) -> None:
        """Routes what was read ahead, unless a record is in flight or the partition has too much to do."""
        state = self._life.state
        if self._in_flight or not self._ahead or not state.config["version"]:
            return
        if self._overloaded():
            self._later()
            return
        batch = self._batch()
        self._in_flight = len(batch)
        self._life.append("Ingest", decide.ingest(state, batch), self._read)

    def _batch(self) -> list[Incoming]:
        limits = self._life.services.limits
        batch: list[Incoming] = []
        size = 0
        for entry in self._ahead:
            size += entry.size
            if batch and (size > limits.ingest_bytes_max or len(batch) >= limits.ingest_events_max):
                break
            batch.append(entry)
        return batch

    def _read(self, _fact: Fact, void: str | None) -> None:
        count, self._in_flight = self._in_flight, 0
        if not self._ahead:  # closed meanwhile
            return
        if void is None:  # else it was decided under an older config: once more
            for _ in range(count):
                self._ahead.popleft()
        if self._paused and len(self._ahead) <= self._life.services.limits.events_buffered_max // 2:
            self._paused = False
            self._life.services.resume(Topic.EVENTS, self._life.state.number)

    @property
    def busy(self) -> bool:
        """Whether events wait to be routed, or the config to be brought up."""
        return bool(self._ahead) or not self._life.state.config["version"]

    def _overloaded(self) -> bool:
        life, limits = self._life, self._life.services.limits
        crowded = len(life.state.delayed) >= limits.delayed_events_max
        return crowded or life.outbox.depth() > limits.outbox_max or life.services.overloaded()

    def _later(self) -> None:
        if not self._waiting:
            self._waiting = True
            clock = self._life.services.clock
            clock.call_at(clock.now() + BACKPRESSURE_US, self._again)

    def _again(self) -> None:
        self._waiting = False
        if self._life.acting:
            self.propose()

    def due(self) -> None:
        """Delayed events may have come due."""
        body = decide.due(self._life.state, self._life.services.clock.now())
        if body is not None:
            self._life.append("Due", body, lambda _fact, _void: self.due())
