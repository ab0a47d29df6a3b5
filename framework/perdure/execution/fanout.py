"""`map` and `race`, of futures and callbacks only: asyncio's own helpers change with its minor versions (A17)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from perdure.authoring.steps import StepOptions
from perdure.core.ops import STEP_DONE, Op
from perdure.errors import UsageError
from perdure.execution.asks import read_step
from perdure.execution.desk import LoopDesk
from perdure.execution.pending import PendingStep

__all__ = ["run_map", "run_race"]


class _Map:
    """A `map` in progress."""

    def __init__(
        self,
        desk: LoopDesk,
        keys: list[str],
        fn: Callable[[Any], Any],
        items: list[Any],
        options: StepOptions,
    ) -> None:
        self.desk = desk
        self.keys = keys
        self.fn = fn
        self.items = items
        self.options = options
        self.asked: list[PendingStep] = []
        self.outcomes: list[Op | None] = [None] * len(items)
        self.left = len(items)
        self.failed: int | None = None
        self.over = False
        self.waiter: asyncio.Future[None] = desk.loop.create_future()

    def ask(self) -> None:
        """Asks for the next item's step."""
        index = len(self.asked)
        pending = self.desk.ask(self.keys[index], self.fn, (self.items[index],), {}, self.options)
        self.asked.append(pending)
        pending.future.add_done_callback(lambda future: self.done(index, future))

    def done(self, index: int, future: asyncio.Future[Op]) -> None:
        """One of the steps has its outcome."""
        if self.over or future.cancelled():
            return
        op = self.outcomes[index] = future.result()
        self.left -= 1
        if op[0] != STEP_DONE:
            self.failed = index
        elif len(self.asked) < len(self.items):
            try:
                self.ask()
            except BaseException as error:  # noqa: BLE001 - raised where the body waits
                self.finish(error)
            return
        if self.left == 0 or self.failed is not None:
            self.finish(None)

    def finish(self, error: BaseException | None) -> None:
        """Wakes the body."""
        self.over = True
        if self.waiter.done():
            return
        if error is None:
            self.waiter.set_result(None)
        else:
            self.waiter.set_exception(error)

    def close(self) -> None:
        """Abandons what is still in flight."""
        self.over = True
        for index, pending in enumerate(self.asked):
            if self.outcomes[index] is None:
                self.desk.drop(pending)


async def run_map(
    desk: LoopDesk,
    step_id: str,
    fn: Callable[[Any], Any],
    items: Iterable[Any],
    limit: int | None,
    options: StepOptions,
) -> list[Any]:
    """See `StepRunner.map`."""
    task = desk.here()
    if limit is not None and (not isinstance(limit, int) or limit < 1):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"map {step_id!r}: limit={limit!r}; use a whole number, at least 1")
    work = list(items)
    keys = [desk.next_key(task, step_id) for _ in work]
    if not work:
        return []
    job = _Map(desk, keys, fn, work, options)
    try:
        for _ in range(min(limit or len(work), len(work))):
            job.ask()
        await job.waiter
    finally:
        job.close()
    if job.failed is not None:
        read_step(job.asked[job.failed], job.outcomes[job.failed])  # pyright: ignore[reportArgumentType]
    return [read_step(pending, op) for pending, op in zip(job.asked, job.outcomes, strict=True)]  # pyright: ignore[reportArgumentType]


class _Race:
    """A `race` in progress."""

    def __init__(self, desk: LoopDesk, coros: Mapping[str, Coroutine[Any, Any, Any]]) -> None:
        self.loop = desk.loop
        self.tasks = {name: self.loop.create_task(coro) for name, coro in coros.items()}
        self.finished: list[str] = []
        self.waiter: asyncio.Future[None] | None = None
        for name, task in self.tasks.items():
            task.add_done_callback(lambda _, name=name: self.done(name))

    def done(self, name: str) -> None:
        """A branch has ended."""
        self.finished.append(name)
        if len(self.finished) == 1:
            self.cancel()
        if len(self.finished) == len(self.tasks) and self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def cancel(self) -> None:
        """Cancels what still runs."""
        for task in self.tasks.values():
            task.cancel()

    async def ended(self) -> None:
        """Waits for all branches, also when the race itself is cancelled: none outlives it."""
        cancelled: asyncio.CancelledError | None = None
        while len(self.finished) < len(self.tasks):
            self.waiter = self.loop.create_future()
            try:
                await self.waiter
            except asyncio.CancelledError as error:
                cancelled = error
                self.cancel()
        if cancelled is not None:
            raise cancelled


async def run_race(desk: LoopDesk, coros: Mapping[str, Coroutine[Any, Any, Any]]) -> tuple[str, Any]:
    """See `Step.race`."""
    desk.here()
    wrong = [name for name, coro in coros.items() if not asyncio.iscoroutine(coro)]
    if wrong or not coros:
        for coro in coros.values():
            if asyncio.iscoroutine(coro):
                coro.close()
        raise UsageError(
            "race takes coroutines by name, race(paid=ctx.step.wait_for_event(...), late=ctx.step.sleep(...))"
            + (f"; {wrong[0]!r} is none" if wrong else "")
        )
    race = _Race(desk, coros)
    await race.ended()
    winner = race.finished[0]
    return winner, race.tasks[winner].result()
