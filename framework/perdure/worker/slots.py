"""How many attempts run at once, and which one is next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

__all__ = ["Lane", "Slots"]

Lane = Literal["loop", "thread", "process"]
"""Where an attempt runs."""

J = TypeVar("J", bound=Hashable)


@dataclass(slots=True)
class _Queue(Generic[J]):
    running_max: int
    running: int = 0
    waiting: OrderedDict[J, int] = field(default_factory=OrderedDict[J, int])
    """Who waits, in order, each with its place among those of all lanes."""


class Slots(Generic[J]):
    """Slots for all attempts together, and a bound for each lane. First come, first served, within what a lane allows:

    an attempt that waits for a process does not keep one that needs no process waiting.
    """

    def __init__(self, running_max: int, lanes: Mapping[Lane, int]) -> None:
        self._running_max = running_max
        self._lanes: dict[Lane, _Queue[J]] = {lane: _Queue(bound) for lane, bound in lanes.items()}
        self._place = 0
        self.running = 0
        self.waiting = 0

    def take(self, job: J, lane: Lane) -> bool:
        """Whether the job may begin now. If not, it waits, until `next` names it."""
        queue = self._lanes[lane]
        # A slot that is free is one that nobody who waits can use, so this overtakes no one.
        if self.running < self._running_max and queue.running < queue.running_max:
            self.running += 1
            queue.running += 1
            return True
        self._place += 1
        self.waiting += 1
        queue.waiting[job] = self._place
        return False

    def leave(self, job: J, lane: Lane) -> bool:
        """Takes a job out of those that wait. False if it did not wait."""
        left = self._lanes[lane].waiting.pop(job, None) is not None
        self.waiting -= left
        return left

    def leave_all(self) -> list[J]:
        """Takes out all that wait."""
        left = [job for queue in self._lanes.values() for job in queue.waiting]
        for queue in self._lanes.values():
            queue.waiting.clear()
        self.waiting = 0
        return left

    def move(self, lane: Lane, to: Lane) -> None:
        """A job that runs changes its lane, and keeps its slot."""
        self._lanes[lane].running -= 1
        self._lanes[to].running += 1

    def free(self, lane: Lane) -> None:
        """A job that ran is over."""
        self._lanes[lane].running -= 1
        self.running -= 1

    def next(self) -> J | None:
        """Takes a slot for the one that has waited longest, of those whose lane has room."""
        if not self.waiting or self.running >= self._running_max:
            return None
        best: _Queue[J] | None = None
        first = self._place + 1
        for queue in self._lanes.values():
            if queue.waiting and queue.running < queue.running_max:
                place = next(iter(queue.waiting.values()))
                if place < first:
                    best, first = queue, place
        if best is None:
            return None
        job, _ = best.waiting.popitem(last=False)
        best.running += 1
        self.running += 1
        self.waiting -= 1
        return job
