"""Gates: what a limit's key lets through, and who waits there. One partition owns each, so that its count is exact.

Plain data, changed by the fold alone.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from perdure.core.ops import EventData

__all__ = ["HOLDING", "Gate", "GateKey", "Waiter", "gate_bodies", "take_gate"]

Body = dict[str, Any]
GateKey = tuple[str, bytes]
"""A limit's id, and the value of its key."""
Place = tuple[str, str]
"""A run, and the key of its step; of the run itself, an empty one."""
WAITERS_PER_PART = 1_000
HOLDING = frozenset({"concurrency", "singleton"})
"""The kinds of limits that are held until the run, or the attempt, is over."""


@dataclass(slots=True)
class Waiter:
    """Who waits at a gate."""

    run: str
    key: str
    number: int
    rank: int
    """Its place in the queue: a time (µs), moved by its priority."""
    order: int
    time: int
    """When its event happened (µs)."""
    event: EventData | None


@dataclass(slots=True)
class Gate:
    """A limit for one value of its key."""

    limit: Body
    value: bytes
    config: int
    """The version of the config that says so."""
    held: dict[Place, None] = field(default_factory=dict[Place, None])
    waiting: dict[Place, Waiter] = field(default_factory=dict[Place, Waiter])
    """In the order in which they came."""
    tat: int = 0
    """When the next start is due by the limit's pace (µs): the theoretical arrival time of GCRA."""
    times: deque[int] = field(default_factory=deque[int])
    """When runs have started (µs), as far as the limit's period reaches back."""
    since: int = 0
    """When the first of those that wait came (µs)."""
    due: int | None = None
    order: int = 0
    cancelling: bool = False
    """Who holds it was asked to make room."""
    expires: int = 0
    """From then on (µs) nothing has to be known of it, if nobody waits."""
    queue: list[tuple[int, int, Place]] = field(default_factory=list[tuple[int, int, Place]])
    """Not state: those who wait, by rank; some of them may have left."""

    @property
    def name(self) -> GateKey:
        return self.limit["id"], self.value

    def wait(self, waiter: Waiter) -> None:
        place = waiter.run, waiter.key
        self.waiting[place] = waiter
        heapq.heappush(self.queue, (waiter.rank, waiter.order, place))

    def first(self) -> Waiter | None:
        """Who is let in next."""
        while self.queue:
            _, order, place = self.queue[0]
            waiter = self.waiting.get(place)
            if waiter is not None and waiter.order == order:
                return waiter
            heapq.heappop(self.queue)
        return None

    def leave(self, waiter: Waiter) -> None:
        del self.waiting[waiter.run, waiter.key]


def gate_bodies(gate: Gate) -> list[Body]:
    """A gate as it is in snapshots: in several parts when many wait."""
    waiters = list(gate.waiting.values())
    parts = [waiters[at : at + WAITERS_PER_PART] for at in range(0, len(waiters), WAITERS_PER_PART)] or [[]]
    whole: Body = {
        "limit": gate.limit,
        "value": gate.value,
        "config": gate.config,
        "held": [{"run": run, "key": key} for run, key in gate.held],
        "tat": gate.tat,
        "times": list(gate.times),
        "since": gate.since,
        "due": gate.due,
        "order": gate.order,
        "cancelling": gate.cancelling,
        "expires": gate.expires,
    }
    return [
        whole | {"waiting": [{name: getattr(w, name) for name in Waiter.__slots__} for w in part]}
        for part in parts
    ]


def take_gate(gates: dict[GateKey, Gate], body: Body) -> None:
    """Takes a part of a gate back."""
    key = body["limit"]["id"], body["value"]
    gate = gates.get(key)
    if gate is None:
        gate = gates[key] = Gate(body["limit"], body["value"], body["config"])
        gate.held = {(place["run"], place["key"]): None for place in body["held"]}
        gate.times = deque(body["times"])
        for name in ("tat", "since", "due", "order", "cancelling", "expires"):
            setattr(gate, name, body[name])
    for waiter in body["waiting"]:
        gate.wait(Waiter(**waiter))
