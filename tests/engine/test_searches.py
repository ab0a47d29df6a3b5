"""Searches of earlier events that cannot be made at once, or are answered by a broker that knows less (A2)."""

from __future__ import annotations

import pytest

from perdure import Context
from perdure.logs.contract import Topic
from perdure.logs.memory import MemoryLog
from perdure.testing import environment
from tests.engine.going_on import app, collecting_troubles
from tests.engine.test_troubles import failing_first

pytestmark = pytest.mark.asyncio


async def test_a_search_that_fails_is_made_again_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a = app()

    @a.function(on="go")
    async def finds(ctx: Context) -> bool:
        return await ctx.step.wait_for_event("w", "there", lookback="1h", timeout="1m") is not None

    async with environment(a, partitions=1) as env:
        await env.send("there", {})
        monkeypatch.setattr(MemoryLog, "offset_at", failing_first(1, MemoryLog.offset_at))
        with collecting_troubles() as told:
            await env.send([{"name": "go", "data": {}} for _ in range(3)])
            await env.advance("5s")
        assert [run.result for run in env.runs("finds")] == [True] * 3
        assert len(told) == 1


async def test_a_search_that_a_former_leader_answers_is_made_again() -> None:
    """It hung, others lead, and it does not know yet: what came since is not there for it (Kafka)."""
    a = app()

    @a.function(on="go")
    async def finds(ctx: Context) -> bool:
        return await ctx.step.wait_for_event("w", "there", lookback="1h", timeout="1m") is not None

    async with environment(a, partitions=1) as env:
        await env.send("elsewhere", {})
        env.log.ask_former(Topic.EVENTS, 0)
        await env.send("there", {})
        with collecting_troubles() as told:
            await env.send("go", {})
            await env.advance("5s")
        assert [run.status for run in env.runs("finds")] == ["running"]
        assert "a broker that led before" in str(told[0][1])
        env.log.ask_leader(Topic.EVENTS, 0)
        await env.advance("20s")
        assert [run.result for run in env.runs("finds")] == [True]
