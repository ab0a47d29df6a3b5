"""An append that its owner has given up lands after all, behind the claim of the producer that replaced it (A6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from perdure import App, Context
from perdure.core.facts import KIND
from perdure.errors import AppendFailed
from perdure.logs import open_log
from perdure.logs.kafka.producing import Appender
from tests.brokers import broker
from tests.crash import verdict

pytestmark = [pytest.mark.kafka, pytest.mark.asyncio]


class Late:
    """Keeps the first commit back, tells its owner that it has failed, and lets it go on when the next claim landed."""

    def __init__(self) -> None:
        self._append: Callable[..., None] = Appender.append
        self._kept: Callable[[], None] | None = None
        self.landed = asyncio.Event()

    def append(self, appender: Appender, *what: Any) -> None:
        *entry, headers, report = what
        kind = headers.get(KIND)
        if kind == b"Commit" and self._kept is None:
            self._kept = lambda: self._append(appender, *entry, headers, lambda _outcome: self.landed.set())
            report(AppendFailed("no answer came"))
        elif kind == b"Claim" and self._kept is not None and not self.landed.is_set():
            kept = self._kept

            def claimed(outcome: Any) -> None:
                report(outcome)
                kept()

            self._append(appender, *entry, headers, claimed)
        else:
            self._append(appender, *what)


async def test_promise_3_a_late_append_of_a_replaced_producer_is_void(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = broker().url(partitions=1)
    app, calls = App("late", log=url), list[int]()

    async def double(n: int) -> int:
        calls.append(n)
        return 2 * n

    @app.function
    async def work(ctx: Context) -> int:
        return await ctx.step.run("one", double, 1) + await ctx.step.run("two", double, 2)

    late = Late()
    async with app.worker():
        monkeypatch.setattr(Appender, "append", lambda *what: late.append(*what))
        run = await app.start(work, {})
        assert await run.result(timeout=30) == 6
        await asyncio.wait_for(late.landed.wait(), 10)
    await app.close()
    story = await verdict.read_log(open_log(url, "late"))
    assert not story.faults
    assert story.voids()["commit of a former owner"] == 1
    assert story.ends() == {("work", "completed", 6): 1}
    assert [key for _, key in story.settled] == ["/one", "/two"]
    assert sorted(calls) == [1, 1, 2], "what was given up ran again, under the same key"
