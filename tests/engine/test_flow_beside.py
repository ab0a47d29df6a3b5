"""Flow control beside what else may become of a run: it begins anew, is run again, times out, is sealed, packed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from perdure import (
    App,
    Batch,
    CancelOn,
    Concurrency,
    Context,
    Debounce,
    Idempotency,
    RateLimit,
    Singleton,
    Throttle,
    Timeouts,
    UsageError,
)
from perdure.core.limits import DEFAULT_LIMITS
from perdure.testing import crash_everywhere, environment
from tests.engine.flow import counted, gates, go, instant, sleeping, sound
from tests.engine.going_on import app

pytestmark = pytest.mark.asyncio


async def test_a_run_that_begins_anew_keeps_its_place() -> None:
    a = app()

    async def work() -> None: ...

    @a.function(on="go", id="f", concurrency=[Concurrency(1, unit="run"), Concurrency(1)])
    async def f(ctx: Context) -> int:
        n = ctx.event.data["n"]
        await ctx.step.run("work", work)
        await ctx.step.sleep("nap", "10s")
        if n < 3:
            await ctx.restart_with({"n": n + 1})
        return n

    async with environment(a) as env:
        (first,) = await go(env)
        (second,) = await go(env)
        for _ in range(4):
            assert (first.status, second.status) == ("running", "queued")
            sound(env)
            await env.advance("10s")
        assert (first.status, first.result, second.status) == ("completed", 3, "running")
        await env.advance("1m")
        assert second.result == 3
        assert gates(env) == []


async def test_a_run_that_is_run_again_comes_to_its_limits() -> None:
    a = sleeping(concurrency=Concurrency(1, unit="run"))
    async with environment(a) as env:
        (first,) = await go(env)
        await env.advance("10s")
        (second,) = await go(env)
        again = await a.runs.rerun(first.id)
        await env.settle()
        assert await again.status() == "queued"
        await env.advance("10s")
        assert second.status == "completed"
        assert await again.status() == "running"
        await env.advance("10s")
        assert await again.status() == "completed"
        assert gates(env) == []


async def test_a_rate_limit_counts_on_beside_more_places_than_counts_are_kept() -> None:
    a = app(limits=replace(DEFAULT_LIMITS, gates_max=2))
    ran: list[int] = []

    @a.function(on="drip", singleton=Singleton(key="event.data.n"))
    async def drips(ctx: Context) -> None:
        await ctx.step.sleep("nap", "7d")

    @a.function(on="go", rate_limit=RateLimit(1, "1h", key="event.data.n"))
    async def goes(ctx: Context) -> None:
        ran.append(ctx.event.data["n"])

    async with environment(a, partitions=1) as env:
        await env.send([{"name": "drip", "data": {"n": n}} for n in range(5)])
        for n in (1, 1, 2, 2, 3, 3, 1):  # of three counts two are kept
            await env.send("go", {"n": n})
            await env.advance("1s")
        assert ran == [1, 2, 3, 1]
        await env.crash_worker()
        await env.start_worker()
        await env.send("go", {"n": 1})
        assert ran == [1, 2, 3, 1]
        sound(env)


@pytest.mark.parametrize(
    "flow",
    [
        {"idempotency": Idempotency("event.data.n", ttl="1d")},
        {"rate_limit": RateLimit(1, "1d")},
        {"debounce": Debounce("1m")},
        {"batch": Batch(100, "1m")},
    ],
    ids=lambda flow: next(iter(flow)),
)
async def test_a_run_that_is_run_again_is_not_counted_as_an_event(flow: dict[str, Any]) -> None:
    a = sleeping(lasts="10s", **flow)
    async with environment(a) as env:
        (first,) = await go(env)
        await env.advance("2m")
        assert first.status == "completed"
        again = await a.runs.rerun(first.id)
        await env.settle()
        assert await again.status() == "running", "at once"
        await env.advance("10s")
        assert await again.status() == "completed"
        sound(env)


async def test_a_run_of_a_batch_is_not_run_again() -> None:
    a = sleeping(batch=Batch(2, "1m"))
    async with environment(a) as env:
        (first,) = await go(env)
        await go(env)
        await env.advance("1m")
        assert first.status == "completed"
        with pytest.raises(UsageError, match=r"had a batch of 2 events, .* send the events again"):
            await a.runs.rerun(first.id)


async def test_a_run_that_waits_is_cancelled_by_time_and_by_an_event() -> None:
    flow = {"concurrency": Concurrency(1, unit="run"), "cancel_on": CancelOn("stop", match="data.who")}
    async with environment(sleeping(lasts="1h", timeouts=Timeouts(start="1m"), **flow)) as env:
        (first,) = await go(env, 1, who="ann")
        (second,) = await go(env, 1, who="bob")
        (third,) = await go(env, 1, who="cid")
        await env.send("stop", {"who": "bob"})
        assert [run.status for run in (first, second, third)] == ["running", "cancelled", "queued"]
        await env.advance("1m")
        assert [run.status for run in (first, third)] == ["running", "cancelled"]
        sound(env)
        await env.advance("1h")
        assert gates(env) == []


async def test_a_function_that_is_paused_and_one_under_no_limits_any_more() -> None:
    a = sleeping(lasts="1h", concurrency=Concurrency(1, unit="run"))
    async with environment(a) as env:
        (first,) = await go(env)
        (second,) = await go(env)
        await a.pause("f")
        await env.settle()
        assert await go(env) == []
        await a.resume("f")
        await env.settle()
        await env.stop_worker()
        env.app = sleeping(lasts="1h")
        await env.start_worker()
        await env.settle()
        assert [run.status for run in (first, second)] == ["running", "running"], (
            "nothing holds it up any more"
        )
        await a.send("go", {})
        await env.settle()
        assert counted(env) == {"running": 3}
        await env.advance("1h")
        assert counted(env) == {"completed": 3}
        assert gates(env) == []


async def test_a_snapshot_holds_who_waits() -> None:
    from perdure.core.snapshot import restore, take
    from tests.core.journal import portrait

    flow = {
        "throttle": Throttle(1, "1h"),
        "concurrency": Concurrency(1, unit="run"),
        "singleton": Singleton(key="event.id"),
    }
    a = sleeping(lasts="1h", **flow)

    @a.function(on="go", id="d", debounce=Debounce("1h", keep="all"))
    async def d(_ctx: Context) -> None: ...

    @a.function(on="go", id="r", rate_limit=RateLimit(3, "1h", key="event.data.n"))
    async def r(_ctx: Context) -> None: ...

    async with environment(a, partitions=1) as env:
        await go(env, 1_100)
        state = env.reader.partitions[0].state
        again, _ = restore(take(state, 1), state.limits)
        assert portrait(again) == portrait(state)
        assert len(state.gates) > 1_000


SCRIPT_FLOW: dict[str, Any] = {
    "concurrency": [Concurrency(1, key="event.data.who", unit="run"), Concurrency(1)],
    "throttle": Throttle(1, "10s"),
}


async def test_it_survives_a_crash_at_every_record() -> None:
    """The worker dies before and after each of its records, and the outcome is the same."""
    a = App("crashing")

    def work() -> int:
        return 1

    @a.function(on="go", id="f", **SCRIPT_FLOW)
    async def f(ctx: Context) -> int:
        one = await ctx.step.run("one", work)
        await ctx.step.sleep("nap", "5s")
        return one + await ctx.step.run("two", work)

    @a.function(on="go", id="b", batch=Batch(3, "30s"))
    async def b(ctx: Context) -> int:
        return len(ctx.events)

    async def three(env: Any) -> Any:
        for n in range(3):
            await env.send("go", {"who": n % 2})
        await env.advance("2m")
        done = [run for run in env.runs("f") if run.status == "completed"]
        assert len(done) == 3
        assert counted(env, "b") == {"completed": 1, "skipped": 2}
        assert [gate for gate in gates(env) if gate.held or gate.waiting] == []
        return done[0]

    await crash_everywhere(a, three)


async def test_a_queue_of_many_is_worked_off_in_order() -> None:
    async with environment(instant(concurrency=Concurrency(10, unit="run")), partitions=2) as env:
        await go(env, 2_000)
        assert counted(env) == {"completed": 2_000}
        assert gates(env) == []
