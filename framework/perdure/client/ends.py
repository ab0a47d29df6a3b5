"""The end of a run, and who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ASK_AGAIN_S", "End", "Reply"]

Reply = Mapping[str, Any]
ASK_AGAIN_S = (1.0, 2.0, 5.0, 10.0)
"""Pauses after which a client asks again: nobody may have led, or an answer may have been lost with its owner."""


@dataclass(slots=True, weakref_slot=True, eq=False)
class End:
    """The end of a run that is awaited here: all who wait for it share one question, under one command id."""

    command: str
    answer: asyncio.Future[Reply]
    waiters: list[asyncio.Future[None]] = field(default_factory=list[asyncio.Future[None]])
    ask_at: float = 0.0
    """When to ask (again), by the time of the event loop; 0.0: nobody has asked."""
    times: int = 0

    def asked(self, now: float) -> None:
        self.ask_at = now + ASK_AGAIN_S[min(self.times, len(ASK_AGAIN_S) - 1)]
        self.times += 1

    def wake(self, error: BaseException | None = None) -> None:
        """Lets those who wait look at the answer, or gives them the reason why none can come."""
        for waiter in self.waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
