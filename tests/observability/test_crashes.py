"""A worker that dies at each of its writes: no span is made twice, and none that an undisturbed life does not have."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from perdure.app import App
from perdure.execution.context import Context
from perdure.testing.crashing import crash_everywhere
from perdure.testing.environment import Environment, environment
from tests.observability.collecting import Collected, provider_set, span_id

LOST_MAX = 3
"""A commit that was in flight when its worker died has no spans: here at most an attempt, its step and its run."""


def program() -> App:
    app = App("shop")

    async def pack() -> str:
        return "packed"

    @app.function(id="child")
    async def child(ctx: Context) -> str:
        return await ctx.step.run("pack", pack)

    @app.function(on="go", id="parent")
    async def parent(ctx: Context) -> str:
        await ctx.step.run("pack", pack)
        await ctx.step.sleep("nap", "1h")
        return await ctx.step.invoke("child", child, {})

    return app


@pytest.mark.asyncio
async def test_b4_no_span_twice_wherever_the_worker_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    collected = Collected()
    lives: list[list[int]] = []

    @asynccontextmanager
    async def watched(app: App, **more: Any) -> AsyncGenerator[Environment]:
        collected.clear()
        async with environment(app, **more) as env:
            yield env
        lives.append([span_id(s) for s in collected.spans])

    monkeypatch.setattr("perdure.testing.crashing.environment", watched)
    with provider_set(monkeypatch, collected.provider):
        report = await crash_everywhere(program(), "go")
    undisturbed, *disturbed = lives
    assert len(disturbed) == report.crashes > 10
    assert len(undisturbed) == len(set(undisturbed)) == 8
    for life in disturbed:
        assert len(life) == len(set(life))
        assert set(life) <= set(undisturbed)
        assert len(set(undisturbed) - set(life)) <= LOST_MAX
