"""One step in another process, for a program whose main module cannot be imported again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from tests.worker.attempts import outcome, working
from tests.worker.functions import double


@asynccontextmanager
async def once() -> AsyncIterator[Awaitable[None]]:
    async with working() as steps:

        async def run() -> None:
            result = await outcome(steps, double, 21, executor="process")
            print(result.failure and result.failure["message"])

        yield run()
