"""`app.schedules`: made, paused, triggered and deleted while the app runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from perdure import App, Context, Cron, Tick, UsageError
from perdure.testing import Environment, environment
from tests.engine.going_on import app

pytestmark = pytest.mark.asyncio


def shop() -> App:
    a = app()

    @a.function
    async def remind(ctx: Context[Tick]) -> str:
        return ctx.event.data.schedule

    @a.function(on=Cron("30 * * * *"))
    async def tidy(ctx: Context[Tick]) -> str:
        return "tidied"

    return a


def ticks(env: Environment, function: str = "remind") -> list[str]:
    return sorted(
        f"{run.result} {datetime.fromtimestamp(run.view.created / 1e6, UTC):%H:%M}"
        for run in env.runs(function)
    )


async def test_one_for_each_user_in_a_zone_of_their_own() -> None:
    a = shop()
    async with environment(a) as env:
        await a.schedules.create("user-1", "remind", Cron("0 9 * * *", tz="Europe/Berlin"))
        await a.schedules.create("user-2", "remind", Cron("0 9 * * *", tz="America/New_York"))
        await env.advance("1d")
        assert ticks(env) == ["user-1 08:00", "user-2 14:00"]
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1d")
        assert len(ticks(env)) == 4


async def test_it_is_paused_and_resumed_and_what_it_left_out_is_gone() -> None:
    a = shop()
    async with environment(a) as env:
        await a.schedules.create("hourly", "remind", "0 * * * *")
        await a.schedules.pause("hourly", reason="a holiday")
        await env.advance("90m")
        assert ticks(env) == []
        (hourly, _) = await a.schedules.list()
        assert (hourly.id, hourly.paused, hourly.next, hourly.reason) == ("hourly", True, None, "a holiday")
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1m")
        assert ticks(env) == []
        await a.schedules.resume("hourly")
        assert [view.reason for view in await a.schedules.list()] == ["", ""]
        await env.advance("2h")
        assert ticks(env) == ["hourly 02:00", "hourly 03:00"]


async def test_one_that_code_declares_is_paused_across_a_deploy() -> None:
    a, newer = shop(), shop()

    @newer.function(on="new/one")
    async def other(ctx: Context) -> None: ...

    async with environment(a) as env:
        await a.schedules.pause("tidy 30 * * * *")
        await env.advance("1h")
        await env.stop_worker()
        env.app = newer
        await env.start_worker()
        await env.advance("1h")
        assert env.runs("tidy") == []
        await a.schedules.resume("tidy 30 * * * *")
        await env.advance("1h")
        assert len(env.runs("tidy")) == 1
        with pytest.raises(UsageError, match="code declares the schedule"):
            await a.schedules.delete("tidy 30 * * * *")


async def test_it_is_triggered_also_while_it_is_paused() -> None:
    a = shop()
    async with environment(a) as env:
        await a.schedules.create("hourly", "remind", "0 * * * *")
        await a.schedules.pause("hourly")
        run_id = await a.schedules.trigger("hourly")
        await env.settle()
        assert env.run(run_id).result == "hourly"
        await a.schedules.trigger("tidy 30 * * * *")
        await env.settle()
        assert [run.result for run in env.runs("tidy")] == ["tidied"]


async def test_it_is_replaced_and_deleted() -> None:
    a = shop()
    async with environment(a) as env:
        await a.schedules.create("s", "remind", "0 * * * *")
        await env.advance("61m")
        await a.schedules.create("s", "remind", "0 * * * *")  # the same again changes nothing
        await a.schedules.create("s", "remind", "15 * * * *")
        await env.advance("1h")
        assert ticks(env) == ["s 01:00", "s 01:15"]
        await a.schedules.delete("s")
        await a.schedules.delete("s")
        await env.advance("1d")
        assert len(ticks(env)) == 2
        assert [view.id for view in await a.schedules.list()] == ["tidy 30 * * * *"]


async def test_the_list_says_what_there_is() -> None:
    a = shop()
    async with environment(a) as env:
        await a.schedules.create(
            "s", a.functions.resolve("remind"), Cron("0 9 * * *", tz="Europe/Berlin", jitter="5m")
        )
        await env.settle()
        made, declared = await a.schedules.list()
        assert (made.id, made.function, made.declared, made.run) == ("s", "remind", False, "")
        assert (str(made.cron), made.cron.jitter_us) == ("0 9 * * * Europe/Berlin", 300_000_000)
        assert made.next == datetime(2026, 1, 1, 8, tzinfo=UTC)
        assert (declared.id, declared.function, declared.declared) == ("tidy 30 * * * *", "tidy", True)


async def test_ticks_of_a_function_that_is_gone_are_dropped_with_a_reason() -> None:
    a, older = shop(), app()

    @older.function(on="other")
    async def other(ctx: Context) -> None: ...

    async with environment(a) as env:
        await a.schedules.create("s", "remind", "0 * * * *")
        await env.stop_worker()
        env.app = older
        await env.start_worker()
        await env.advance("1h")
        assert env.runs("remind") == []
        assert [skip.reason for skip in await a.runs.skipped()] == ["no function 'remind' is deployed"]


async def test_what_is_done_while_no_worker_is_there_counts_later() -> None:
    a = shop()
    async with environment(a, start=False) as env:
        import asyncio

        from perdure.steering import schedules

        before, schedules.ANSWERED_S = schedules.ANSWERED_S, 0.05
        try:
            await a.schedules.create("s", "remind", "0 * * * *")
        finally:
            schedules.ANSWERED_S = before
        await env.start_worker()
        await asyncio.sleep(0)
        await env.advance("1h")
        assert ticks(env) == ["s 01:00"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda a: a.schedules.pause("nobody"), "there is no schedule of that id"),
        (lambda a: a.schedules.resume("nobody"), "there is no schedule of that id"),
        (lambda a: a.schedules.trigger("nobody"), "there is no schedule of that id"),
        (lambda a: a.schedules.create("", "remind", "0 * * * *"), "is empty"),
        (lambda a: a.schedules.create("s", "remnd", "0 * * * *"), 'did you mean "remind"'),
        (lambda a: a.schedules.create("s", "remind", "often"), "Cron\\('often'\\)"),
        (lambda a: a.schedules.create("s", "remind", 5), "is no Cron"),
        (lambda a: a.schedules.create("tidy 30 * * * *", "tidy", "0 * * * *"), "code declares the schedule"),
    ],
)
async def test_what_cannot_be_is_refused(call: Any, said: str) -> None:
    a = shop()
    async with environment(a):
        with pytest.raises(UsageError, match=said):
            await call(a)
