"""The clock of a partition's limits: when one has waited for long enough, a record says so."""

from __future__ import annotations

import heapq

from perdure.core.facts import Fact
from perdure.core.gates import GateKey
from perdure.engine.clock import Alarm
from perdure.engine.life import Life

PER_RECORD = 500
SPARE = 1_000


class Gates:
    """The waiting side of one claim's life. One record is in flight at a time, and takes all that is due."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._heap: list[tuple[int, GateKey]] = []
        self._alarm: Alarm | None = None
        self._in_flight = False

    def begin(self) -> None:
        """Arms all that the state waits for."""
        gates = self._life.state.gates
        self._heap = [(gate.due, key) for key, gate in gates.items() if gate.due is not None]
        heapq.heapify(self._heap)
        self._set_alarm()

    def close(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._heap.clear()

    def arm(self, limit: str, value: bytes, due: int) -> None:
        """A key waits until a time (µs); what it waited for before is void."""
        if len(self._heap) > 2 * len(self._life.state.gates) + SPARE:
            self.begin()
        heapq.heappush(self._heap, (due, (limit, value)))
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        gates = self._life.state.gates
        while self._heap and ((gate := gates.get(self._heap[0][1])) is None or gate.due != self._heap[0][0]):
            heapq.heappop(self._heap)
        if self._heap and not self._in_flight:
            self._alarm = self._life.services.clock.call_at(self._heap[0][0], self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._in_flight or not self._life.acting:
            return
        now = self._life.services.clock.now()
        gates = self._life.state.gates
        due: dict[GateKey, int] = {}
        while self._heap and self._heap[0][0] <= now and len(due) < PER_RECORD:
            at, key = heapq.heappop(self._heap)
            gate = gates.get(key)
            if gate is not None and gate.due == at:
                due[key] = at
        if due:
            items = [{"limit": limit, "value": value, "due": at} for (limit, value), at in due.items()]
            self._in_flight = True
            self._life.append("GatesDue", {"time": now, "gates": items}, self._read)
        self._set_alarm()

    def _read(self, _fact: Fact, _void: str | None) -> None:
        self._in_flight = False
        if self._life.acting:
            self._set_alarm()
