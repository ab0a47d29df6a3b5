"""`ctx.log` through the logging of the standard library."""

from __future__ import annotations

import logging

import pytest

from perdure.app import App
from perdure.execution.context import Context
from perdure.testing.environment import environment


@pytest.mark.asyncio
async def test_each_line_is_written_once_with_its_run(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "perdure.run")
    app = App("shop")

    @app.function(on="a", id="talks")
    async def talks(ctx: Context) -> None:
        ctx.log.info("100% sure", amount=5)
        ctx.log.debug("too much")
        await ctx.step.sleep("nap", "1h")
        try:
            raise ValueError("broken")
        except ValueError:
            ctx.log.exception("went wrong", order="o1")

    async with environment(app) as env:
        run = await env.start(talks)
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1h")
    first, second = [r for r in caplog.records if r.name == "perdure.run"]
    assert (first.levelname, first.getMessage()) == ("INFO", "100% sure amount=5")
    assert (first.__dict__["run_id"], first.__dict__["function_id"]) == (run.id, "talks")
    assert first.__dict__["fields"] == {"amount": 5}
    assert (second.levelname, second.getMessage()) == ("ERROR", "went wrong order='o1'")
    assert "ValueError: broken" in logging.Formatter().format(second)


@pytest.mark.asyncio
async def test_a_level_that_nobody_wants_costs_no_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "perdure.run")
    app = App("shop")

    @app.function(on="a", id="talks")
    async def talks(ctx: Context) -> None:
        ctx.log.warning("hm")

    async with environment(app) as env:
        await env.start(talks)
    assert caplog.records == []
