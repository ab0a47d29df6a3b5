"""`app.runs`: lists of runs, what steers many at once, and the starts that did not happen."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from perdure import App, Context, RateLimit, RunNotFound, UsageError
from perdure.testing import environment
from tests.engine.going_on import app

pytestmark = pytest.mark.asyncio


def shop(cleaned: list[str] | None = None) -> App:
    a = app()
    cleaned = [] if cleaned is None else cleaned

    @a.function(on="order/placed")
    async def ship(ctx: Context) -> None:
        try:
            await ctx.step.sleep("packing", "1h")
        finally:
            await ctx.step.run("put-back", cleaned.append, ctx.run_id)

    @a.function(on="order/placed")
    async def bill(ctx: Context) -> str:
        if ctx.event.data.get("bad"):
            raise ValueError("no")
        return "billed"

    return a


async def test_a_list_has_all_that_fits_the_newest_first() -> None:
    a = shop()
    async with environment(a) as env:
        await env.send("order/placed", {"bad": True})
        await env.advance("30m")
        await env.send("order/placed", {})
        ship = a.functions.get("ship")
        assert ship is not None
        tagged = await env.start(ship, {}, tags={"tenant": "acme", "tier": "1"})

        async def found(**which: Any) -> list[tuple[str, str]]:
            return sorted((view.function, view.status) for view in await a.runs.list(**which))

        both = [("bill", "completed"), ("bill", "failed")]
        assert await found(function="bill") == both
        assert await found(function=ship) == [("ship", "running")] * 3
        assert await found(status="failed") == [("bill", "failed")]
        assert await found(status=["failed", "completed"]) == both
        assert await found(status="ended") == both
        assert await found(status="live", since="10m") == [("ship", "running")] * 2
        assert await found(since=env.now() - timedelta(minutes=10), function="bill") == [
            ("bill", "completed")
        ]
        assert [view.id for view in await a.runs.list(tags={"tenant": "acme"})] == [tagged.id]
        assert await found(tags={"tenant": "other"}) == []
        assert [view.created for view in await a.runs.list(limit=2)] == [env.clock.now()] * 2
        assert await found(function="never-heard-of") == []
        view = await a.runs.get(tagged.id)
        assert [(step.id, step.status) for step in view.steps] == [("packing", "running")]


async def test_all_that_fit_are_cancelled_and_clean_up_and_no_other() -> None:
    cleaned: list[str] = []
    a = shop(cleaned)
    async with environment(a) as env:
        for customer in ("ann", "bob", "ann"):
            await a.start(a.functions.resolve("ship"), {}, tags={"customer": customer})
        await env.settle()
        asked = await a.runs.cancel(tags={"customer": "ann"}, reason="she left")
        await env.settle()
        assert len(asked) == 2
        assert sorted(cleaned) == sorted(asked)
        assert sorted((run.status, run.view.reason) for run in env.runs()) == [
            ("cancelled", "she left"),
            ("cancelled", "she left"),
            ("running", ""),
        ]
        assert await a.runs.cancel(tags={"customer": "ann"}) == []


async def test_all_that_fit_are_paused_and_go_on() -> None:
    a = shop()
    async with environment(a) as env:
        for _ in range(3):
            await a.start(a.functions.resolve("ship"), {})
        await env.settle()
        assert len(await a.runs.pause(function="ship", reason="the lorry is broken")) == 3
        await env.advance("2h")
        assert {(run.status, run.view.reason) for run in env.runs()} == {("paused", "the lorry is broken")}
        assert len(await a.runs.resume(function="ship")) == 3
        await env.settle()
        await env.advance("1s")
        assert {run.status for run in env.runs()} == {"completed"}
        assert await a.runs.resume(function="ship") == []


async def test_starts_that_did_not_happen_are_listed_with_their_reasons() -> None:
    a = app()

    @a.function(on="order/placed", if_=lambda event: event.data["cents"] > 0)
    async def bill(ctx: Context) -> None: ...

    async with environment(a) as env:
        await env.send("order/placed", {"cents": 1}, id="good")
        await env.send("order/placed", {}, id="odd")
        await env.advance("1h")
        await env.send("order/placed", {"cents": 1}, id="good")
        again, odd = await a.runs.skipped()
        assert (odd.event, odd.function) == ("odd", "bill")
        assert "KeyError" in odd.reason
        assert (again.event, again.reason) == ("good", "an event of this id was routed before")
        assert again.time == env.clock.now()
        assert await a.runs.skipped(since="10m") == [again]
        assert await a.runs.skipped(limit=1) == [again]
        assert await a.runs.skipped(function="other") == []


async def test_starts_that_flow_control_dropped_are_listed_among_them() -> None:
    a = app()

    @a.function(on="order/placed", rate_limit=RateLimit(1, "1h"))
    async def bill(ctx: Context) -> None: ...

    async with environment(a) as env:
        await env.send("order/placed", {}, id="first")
        await env.send("order/placed", {}, id="second")
        (skip,) = await a.runs.skipped(function=bill)
        assert (skip.event, skip.function, skip.time) == ("second", "bill", env.clock.now())
        assert skip.reason == "a run has started within 1 h (rate_limit)"


async def test_a_run_that_is_not_there() -> None:
    a = shop()
    async with environment(a):
        with pytest.raises(RunNotFound, match="no run 'nobody'"):
            await a.runs.get("nobody")


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ({"status": "broken"}, "use queued, scheduled"),
        ({"since": "yesterday"}, "is not a duration"),
        ({"state": "failed"}, "no filter 'state'; there are function"),
        ({"limit": 0}, "use 1 or more"),
    ],
)
async def test_filters_that_nothing_can_fit(which: dict[str, Any], said: str) -> None:
    a = shop()
    async with environment(a):
        with pytest.raises(UsageError, match=said):
            await a.runs.list(**which)


async def test_who_steers_all_has_to_say_so() -> None:
    a = shop()
    async with environment(a) as env:
        await env.send("order/placed", {})
        for steer in (a.runs.cancel, a.runs.pause, a.runs.resume):
            with pytest.raises(UsageError, match="every run of the app"):
                await steer()
        assert len(await a.runs.cancel(status="live")) == 1
