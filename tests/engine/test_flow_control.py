"""Flow control: which starts run now, which wait, which are dropped; by named tests on the virtual clock."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import (
    Concurrency,
    Context,
    Cron,
    Idempotency,
    Priority,
    RateLimit,
    RunSkipped,
    Singleton,
    StepError,
    Throttle,
)
from perdure.testing import environment
from tests.engine.flow import SECOND, counted, gates, go, instant, reasons, sleeping, sound
from tests.engine.going_on import app, goes_on

pytestmark = pytest.mark.asyncio

# --- idempotency and rate limit ---------------------------------------------------------------------------------------


async def test_rate_limit_drops_what_comes_beyond_it_and_records_why() -> None:
    async with environment(instant(rate_limit=RateLimit(2, "1m"))) as env:
        await go(env, 5)
        assert counted(env) == {"completed": 2, "skipped": 3}
        assert reasons(env) == ["2 runs have started within 60 s (rate_limit)"] * 3
        await env.advance("59s")
        await go(env)
        assert counted(env) == {"completed": 2, "skipped": 4}
        await env.advance("1s")
        await go(env, 3)
        assert counted(env) == {"completed": 4, "skipped": 5}, "what was dropped does not count"
        sound(env)
        await goes_on(env)


async def test_a_rate_limit_has_a_count_for_each_value_of_its_key() -> None:
    async with environment(instant(rate_limit=RateLimit(1, "1m", key="event.data.who")), partitions=1) as env:
        for who in ("ann", "bob", 1, 1.0, True, "1", None):
            await go(env, 2, who=who)
        # 1 and 1.0 are two values, and so are 1, "1" and true.
        assert counted(env) == {"completed": 7, "skipped": 7}
        await env.advance("1h")
        await go(env, 1, who="ann")
        assert len(gates(env)) == 1, "the others are forgotten"


async def test_idempotency_starts_one_run_for_a_key_within_its_time() -> None:
    async with environment(instant(idempotency=Idempotency("event.data.order", ttl="1h"))) as env:
        await go(env, 3, order=7)
        await go(env, 1, order=8)
        assert counted(env) == {"completed": 2, "skipped": 2}
        assert reasons(env) == ["a run of the same key event.data.order has started before"] * 2
        await env.advance("1h")
        await go(env, 1, order=7)
        assert counted(env) == {"completed": 3, "skipped": 2}
        sound(env)


async def test_admission_asks_idempotency_before_the_rate_limit() -> None:
    flow = {"idempotency": Idempotency("event.data.order"), "rate_limit": RateLimit(1, "1m")}
    async with environment(instant(**flow)) as env:
        await go(env, 1, order=1)
        await go(env, 1, order=1)
        await env.advance("1m")
        await go(env, 1, order=2)
        assert counted(env) == {"completed": 2, "skipped": 1}, "a duplicate uses nothing of the rate up"


async def test_who_awaits_a_skipped_run_is_told() -> None:
    a = instant(rate_limit=RateLimit(1, "1m"))
    target = a.functions.resolve("f")

    @a.function(on="parent", retries=0)
    async def parent(ctx: Context) -> str:
        try:
            await ctx.step.invoke("call", target, {"n": 1})
        except StepError as error:
            return str(error)
        return "it ran"

    async with environment(a) as env:
        await go(env)
        handle = await a.start(target, {"n": 1})
        await env.settle()
        with pytest.raises(RunSkipped, match="was skipped: a run has started within 60 s"):
            await handle.result(timeout=5)
        assert await handle.status() == "skipped"
        (run,) = await env.send("parent", {})
        assert "skipped: a run has started" in run.result


# --- throttle ---------------------------------------------------------------------------------------------------------


async def test_throttle_lets_limit_and_burst_start_at_once_then_keeps_its_pace_and_drops_nothing() -> None:
    async with environment(instant(throttle=Throttle(2, "6s", burst=1))) as env:
        began = env.clock.now()
        await go(env, 8)
        assert counted(env) == {"completed": 3, "queued": 5}
        await env.advance("1m")
        started = sorted((run.view.started - began) // SECOND for run in env.runs("f"))
        assert started == [0, 0, 0, 3, 6, 9, 12, 15]
        await env.advance("1m")
        assert gates(env) != [], "until something is folded"
        await go(env, 3)
        assert counted(env) == {"completed": 11}, "it was quiet for long enough"
        sound(env)


async def test_a_throttle_has_a_pace_for_each_value_of_its_key_and_knows_priority() -> None:
    flow = {
        "throttle": Throttle(1, "10s", key="event.data.who"),
        "priority": Priority("event.data.n * 100"),
    }
    async with environment(instant(**flow)) as env:
        for who in ("ann", "bob"):
            await go(env, 1, who=who)
            await go(env, 3, who=who)
        assert counted(env) == {"completed": 2, "queued": 6}
        await env.advance("10s")
        assert counted(env) == {"completed": 4, "queued": 4}
        await env.advance("1m")
        order = sorted(env.runs("f"), key=lambda run: run.view.started)
        assert [run.result[0]["n"] for run in order if run.result[0]["who"] == "ann"] == [0, 2, 1, 0]


# --- what else ------------------------------------------------------------------------------------------------------


async def test_an_event_without_the_key_fails_its_run_and_says_what_to_do() -> None:
    a = app()
    handled: list[str] = []

    async def on_failure(ctx: Any) -> None:
        handled.append(ctx.error.message)

    @a.function(on="go", id="f", on_failure=on_failure, concurrency=Concurrency(1, key="event.data.who"))
    async def f(_ctx: Context) -> None: ...

    async with environment(a) as env:
        for data in ({}, {"who": ["a"]}, {"who": {}}):
            (run,) = await env.send("go", data)
            assert run.status == "failed"
            assert run.error is not None
            assert "function 'f': Concurrency(key='event.data.who'): the event has no" in run.error["message"]
            assert "Send events of 'go' with it, or write the key as CEL" in run.error["message"]
        assert len(handled) == 3
        assert gates(env) == []
        await goes_on(env)


async def test_a_key_may_be_an_expression() -> None:
    key = 'has(event.data.team) ? event.data.team + "/" + event.data.who : "nobody"'
    async with environment(instant(rate_limit=RateLimit(1, "1m", key=key))) as env:
        for data in ({"team": "a", "who": "x"}, {"team": "a", "who": "y"}, {"team": "a", "who": "x"}, {}, {}):
            await env.send("go", data)
        assert counted(env) == {"completed": 3, "skipped": 2}


async def test_a_start_that_is_delayed_comes_to_its_limits_at_its_time() -> None:
    async with environment(instant(rate_limit=RateLimit(1, "1m"))) as env:
        now = env.clock.now() / SECOND
        (later,) = await env.send("go", {"n": 1}, ts=now + 3600)
        assert later.status == "scheduled"
        (at_once,) = await env.send("go", {"n": 2})
        assert at_once.status == "completed", "what is to come has used nothing up"
        await env.advance("1h")
        assert later.status == "completed"


async def test_what_the_clock_and_others_start_is_under_flow_control_too() -> None:
    a = sleeping(on="never", lasts="90s", concurrency=Concurrency(1, unit="run"))

    @a.function(id="ticking", on=Cron("* * * * *"), singleton=Singleton())
    async def ticking(ctx: Context[Any]) -> None:
        await ctx.step.sleep("work", "90s")

    async with environment(a) as env:
        for _ in range(3):
            await env.start(a.functions.resolve("f"), {})
        assert counted(env) == {"running": 1, "queued": 2}
        await env.advance("5m")
        assert counted(env) == {"completed": 3}
        assert counted(env, "ticking") == {"completed": 2, "skipped": 2, "running": 1}


async def test_a_run_that_waits_can_be_paused_and_goes_on_when_it_is_resumed() -> None:
    async with environment(sleeping(concurrency=Concurrency(1, unit="run"))) as env:
        await go(env)
        (second,) = await go(env)
        await second.pause()
        assert second.status == "paused"
        await env.advance("10s")
        assert second.status == "paused", "it has its place, and does not start"
        (third,) = await go(env)
        assert third.status == "queued"
        await second.resume()
        assert second.status == "running"
        await env.advance("20s")
        assert (second.status, third.status) == ("completed", "completed")


async def test_flow_control_goes_on_where_its_owner_has_died() -> None:
    flow = {
        "concurrency": [Concurrency(2, unit="run"), Concurrency(1)],
        "throttle": Throttle(1, "1s", burst=3),
        "singleton": Singleton(key="event.data.n"),
    }
    a = app()

    def work() -> None: ...

    @a.function(on="go", id="f", **flow)
    async def f(ctx: Context) -> None:
        await ctx.step.run("one", work)
        await ctx.step.sleep("pause", "5s")
        await ctx.step.run("two", work)

    async with environment(a) as env:
        for n in range(12):
            await env.app.send("go", {"n": n})
        for _ in range(60):
            await env.crash_worker()
            await env.start_worker()
            await env.advance("1s")
            assert counted(env).get("running", 0) <= 2
            sound(env)
        assert counted(env) == {"completed": 12}
        assert [gate for gate in gates(env) if gate.held or gate.waiting] == []
