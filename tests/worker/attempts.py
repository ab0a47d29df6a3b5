"""What the tests of the worker share: attempts to start, and where their outcomes arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from itertools import count
from typing import Any

from perdure.authoring.payloads import codec_for
from perdure.authoring.steps import make_options
from perdure.execution.ports import Attempt, Outcome
from perdure.worker.steps import LocalSteps

__all__ = ["WITHIN_S", "Started", "attempt", "begin", "outcome", "working"]

WITHIN_S = 20.0
"""Longer than anything here takes, shorter than the patience of who reads the result."""

_numbers = count()


def attempt(
    fn: Callable[..., Any], *args: Any, number: int = 1, key: str = "", details: Any = None, **options: Any
) -> Attempt:
    """The n-th attempt of a step that calls `fn(*args)`."""
    key = key or f"/{getattr(fn, '__name__', 'step')}-{next(_numbers)}"
    return Attempt(
        run_id="run-1",
        function_id="shop",
        key=key,
        step_id=key[1:],
        idempotency_key=f"run-1{key}",
        number=number,
        attempts_max=5,
        fn=fn,
        args=args,
        kwargs={},
        options=make_options(**options),
        codec=codec_for(fn),
        context=copy_context(),
        details=details,
    )


class Started:
    """An attempt that was started, and what became of it."""

    def __init__(self, steps: LocalSteps, attempt: Attempt) -> None:
        self.attempt = attempt
        self.outcomes: list[Outcome] = []
        self._steps = steps
        self._heard = asyncio.Event()
        steps.start(attempt, self._done)

    def _done(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._heard.set()

    def cancel(self) -> None:
        self._steps.cancel(self.attempt.run_id, self.attempt.key)

    async def outcome(self) -> Outcome:
        """Its outcome, as soon as there is one."""
        async with asyncio.timeout(WITHIN_S):
            await self._heard.wait()
        (outcome,) = self.outcomes
        return outcome


def begin(steps: LocalSteps, fn: Callable[..., Any], *args: Any, **options: Any) -> Started:
    return Started(steps, attempt(fn, *args, **options))


async def outcome(steps: LocalSteps, fn: Callable[..., Any], *args: Any, **options: Any) -> Outcome:
    return await begin(steps, fn, *args, **options).outcome()


@asynccontextmanager
async def working(**options: Any) -> AsyncIterator[LocalSteps]:
    """A worker's steps, closed at the end."""
    steps = LocalSteps(**options)
    try:
        yield steps
    finally:
        await steps.close(0)
