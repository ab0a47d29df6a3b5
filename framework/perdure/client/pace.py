"""Backpressure: a sender goes no faster than workers take events up.

A log takes events faster than workers start runs of them, and keeps them safe. But what waits there for long is late.
So a sender waits where, by what the owner of a partition says, too many events are ahead of it already. Where no worker
answers, or none gets on, events are accepted as fast as the log takes them: it is there to keep them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from perdure.errors import PerdureError

__all__ = ["Pace"]

ASK_PARTS = 8
"""A sender asks how far the owner is each time it has sent this part of what may wait."""
FIRST_EVENTS = 100
"""Who sends fewer to a partition asks nobody."""
ASK_AGAIN_S = 0.1
ANSWER_S = 10.0
STUCK_S = 30.0
"""An owner that has not got on for so long holds nobody up."""

Ask = Callable[[int], Awaitable[int]]


@dataclass(slots=True)
class Lane:
    """What is known of one partition of the events."""

    end: int = 0
    """Behind the last event that was accepted from here."""
    flying: int = 0
    """Events let through and not accepted yet."""
    routed: int = -1
    """The first event that its owner has not taken up, as of the last answer; -1: there was none yet."""
    asked: int = -1
    """`end` at the last question."""
    free: bool = False
    """Nobody answers, or the owner does not get on: all may pass."""
    moved: float = 0.0
    """When the owner was last seen to have got on, by the time of the event loop."""
    waiters: deque[asyncio.Future[None]] = field(default_factory=deque[asyncio.Future[None]])
    asking: asyncio.Task[None] | None = None


class Pace:
    """Of one client. `ask` says where the owner of a partition is, and raises when nobody answers. `waiting_max` counts
    the events of a partition; 0 never holds anybody up.
    """

    def __init__(self, ask: Ask, waiting_max: int) -> None:
        self._ask = ask
        self._max = waiting_max
        self._step = max(waiting_max // ASK_PARTS, 1)
        self._lanes: dict[int, Lane] = {}

    def enter(self, partition: int) -> bool:
        """Whether an event may be appended now. If not, `turn` says when. After either of them `left` has to be called,
        whatever becomes of the event.
        """
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = Lane(moved=asyncio.get_running_loop().time())
        if lane.waiters or not self._room(lane):
            return False
        lane.flying += 1
        return True

    async def turn(self, partition: int) -> None:
        """Waits until an event may be appended; first come, first served."""
        lane = self._lanes[partition]
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lane.waiters.append(waiter)
        self._look(partition, lane)
        try:
            await waiter  # who is let through is counted by then
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.left(partition, None)
            raise

    def left(self, partition: int, offset: int | None) -> None:
        """An event was accepted at this offset, or its sending failed."""
        lane = self._lanes[partition]
        lane.flying -= 1
        if offset is not None and offset >= lane.end:
            lane.end = offset + 1
            if lane.routed < 0:
                lane.routed = offset  # as good as any guess, until the first answer
                lane.asked = offset + min(FIRST_EVENTS, self._step) - self._step
            if self._max and lane.end - lane.asked > self._step:
                self._look(partition, lane)

    def close(self) -> None:
        for lane in self._lanes.values():
            if lane.asking is not None:
                lane.asking.cancel()

    def _room(self, lane: Lane) -> bool:
        return (
            lane.free or lane.routed < 0 or not self._max or lane.end + lane.flying - lane.routed < self._max
        )

    def _look(self, partition: int, lane: Lane) -> None:
        if lane.asking is None:
            lane.asking = asyncio.get_running_loop().create_task(self._looking(partition, lane))
            lane.asking.add_done_callback(lambda task: self._looked(partition, lane, task))

    def _looked(self, partition: int, lane: Lane, task: asyncio.Task[None]) -> None:
        lane.asking = None
        if task.cancelled() or task.exception() is not None:
            lane.free = True
            self._let_through(lane)
        elif lane.waiters:
            self._look(partition, lane)

    async def _looking(self, partition: int, lane: Lane) -> None:
        """Asks how far the owner is; again and again while somebody waits."""
        loop = asyncio.get_running_loop()
        while True:
            lane.asked = lane.end
            try:
                async with asyncio.timeout(ANSWER_S):
                    routed = await self._ask(partition)
            except (TimeoutError, PerdureError):
                lane.free = True
            else:
                if routed != lane.routed:
                    lane.moved = loop.time()
                lane.routed = routed
                lane.free = loop.time() - lane.moved > STUCK_S
            self._let_through(lane)
            if not lane.waiters:
                return
            await asyncio.sleep(ASK_AGAIN_S)

    def _let_through(self, lane: Lane) -> None:
        while lane.waiters and self._room(lane):
            waiter = lane.waiters.popleft()
            if not waiter.done():
                lane.flying += 1
                waiter.set_result(None)
