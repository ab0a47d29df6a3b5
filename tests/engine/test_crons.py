"""Functions that the clock starts: one run for each tick, whatever happens in between (promise 5)."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

from perdure import App, Context, Cron, Tick, UsageError
from perdure.engine.schedules import Schedules
from perdure.testing import Environment, environment
from tests.engine.going_on import app, collecting_troubles, goes_on
from tests.engine.test_triggers import Paid, skips

pytestmark = pytest.mark.asyncio


def ticking(*crons: Cron, lasts: str | None = None) -> App:
    """An app whose function `report` starts by the clock."""
    a = app()

    @a.function(on=[*crons, "report/now"])
    async def report(ctx: Context[Any]) -> str:
        if ctx.event.name == "report/now":
            return "now"
        if lasts is not None:
            await ctx.step.sleep("work", lasts)
        return ctx.event.data.schedule

    return a


def planned(env: Environment) -> list[datetime]:
    """The ticks that have a run that has begun."""
    ticks = (run.event["id"].partition("@")[2] for run in env.runs("report") if run.view.started)
    return sorted(datetime.fromisoformat(tick) for tick in ticks if tick)


def at(text: str) -> datetime:
    """A time of the day on which the virtual clock begins."""
    return datetime.fromisoformat(f"2026-01-01T{text}+00:00")


def statuses(env: Environment) -> list[str]:
    """Of the runs, in the order of the ticks."""
    return [run.status for run in sorted(env.runs("report"), key=lambda run: run.event["id"])]


async def again(env: Environment, other: App | None = None) -> None:
    """A worker is there again, perhaps with other code."""
    if other is not None:
        await env.stop_worker()
        env.app = other
    await env.start_worker()
    await env.settle()


async def test_a_function_starts_by_the_clock() -> None:
    a = ticking(Cron("*/15 * * * *"))
    async with environment(a) as env:
        assert env.now() == datetime(2026, 1, 1, tzinfo=UTC)
        await env.advance("1h")
        assert planned(env) == [at("00:15"), at("00:30"), at("00:45"), at("01:00")]
        await env.advance("14m59s")
        assert len(planned(env)) == 4
        await env.advance("1s")
        assert planned(env)[-1] == at("01:15")
        (first, *_) = env.runs("report")
        assert first.result == "report */15 * * * *"
        assert [run.result for run in await env.send("report/now", {})] == ["now"]
        await goes_on(env)


async def test_a_body_that_only_the_clock_starts_has_a_tick() -> None:
    a = app()

    @a.function(on=Cron("0 9 * * *", tz="Europe/Berlin"))
    async def daily(ctx: Context[Tick]) -> str:
        return f"{ctx.event.data.at:%H:%M} {ctx.event.data.schedule} {ctx.event.ts:%H:%M}"

    async with environment(a) as env:
        await env.advance("1d")
        (run,) = env.runs("daily")
        assert run.result == "08:00 daily 0 9 * * * Europe/Berlin 08:00"


async def test_several_crons_and_seconds() -> None:
    a = ticking(Cron("*/20 * * * * *"), Cron("30 0 * * *"))
    async with environment(a) as env:
        await env.advance("1m")
        assert planned(env) == [at("00:00:20"), at("00:00:40"), at("00:01:00")]
        await env.advance("29m")
        assert planned(env).count(at("00:30:00")) == 2, "two schedules, two runs"


async def test_jitter_is_drawn_once_and_starts_nothing_early() -> None:
    a = ticking(Cron("0 * * * *", jitter="10m"))
    async with environment(a) as env:
        await env.advance("5h59m")
        late = [
            datetime.fromtimestamp(run.event["ts"] / 1e6, UTC) - at(f"0{hour}:00")
            for hour, run in enumerate(sorted(env.runs("report"), key=lambda run: run.event["ts"]), 1)
        ]
        assert len(planned(env)) == 5
        assert len(set(late)) == 5
        assert all(timedelta() <= each < timedelta(minutes=10) for each in late)
        started = [run.view.started - run.event["ts"] for run in env.runs("report")]
        assert all(0 <= each < 1_000_000 for each in started)


@pytest.mark.parametrize(
    ("catch_up", "missed"),
    [("skip", []), ("last", ["04:00"]), ("all", ["02:00", "03:00", "04:00"])],
)
async def test_ticks_while_no_worker_was_there(
    catch_up: Literal["skip", "last", "all"], missed: list[str]
) -> None:
    a = ticking(Cron("0 * * * *", catch_up=catch_up))
    async with environment(a) as env:
        await env.advance("1h30m")
        await env.crash_worker()
        await env.advance("3h")
        await again(env)
        await env.advance("1h")
        assert planned(env) == [at("01:00"), *map(at, missed), at("05:00")]
        reasons = [reason for function, reason in await skips(env) if function == "report"]
        assert len(reasons) == (catch_up != "all"), reasons
        assert all("missed while no worker led its schedule" in reason for reason in reasons)


async def test_of_too_many_missed_ticks_the_newest_are_made_up_for() -> None:
    a = ticking(Cron("0 * * * *", catch_up="all"))
    a.limits = dataclasses.replace(a.limits, ticks_missed_max=5)
    async with environment(a) as env:
        await env.crash_worker()
        await env.advance("10h30m")
        await again(env)
        await env.advance("1s")
        assert planned(env) == [at(f"{hour:02}:00") for hour in range(6, 11)]
        assert ("report", "too many ticks were missed before this one") in await skips(env)


async def test_overlap_allow() -> None:
    a = ticking(Cron("0 * * * *"), lasts="90m")
    async with environment(a) as env:
        await env.advance("3h15m")
        assert planned(env) == [at("01:00"), at("02:00"), at("03:00")]


async def test_overlap_skip() -> None:
    a = ticking(Cron("0 * * * *", overlap="skip"), lasts="90m")
    async with environment(a) as env:
        await env.advance("5h15m")
        assert planned(env) == [at("01:00"), at("03:00"), at("05:00")]
        dropped = [reason for function, reason in await skips(env) if function == "report"]
        assert dropped == ["the run of the tick before goes on"] * 2


async def test_overlap_buffer() -> None:
    a = ticking(Cron("0 1-3 * * *", overlap="buffer"), lasts="90m")
    async with environment(a) as env:
        await env.advance("2h29m")
        assert planned(env) == [at("01:00")]
        await env.advance("2m")
        assert planned(env) == [at("01:00"), at("02:00")]
        await env.advance("3h")
        assert planned(env) == [at("01:00"), at("02:00"), at("03:00")]
        assert statuses(env) == ["completed"] * 3


async def test_the_buffer_is_bounded() -> None:
    a = ticking(Cron("* * * * *", overlap="buffer"), lasts="1h")
    a.limits = dataclasses.replace(a.limits, ticks_waiting_max=3)
    async with environment(a) as env:
        await env.advance("10m")
        assert len(planned(env)) == 1
        dropped = [reason for function, reason in await skips(env) if function == "report"]
        assert len(dropped) == 6
        assert all("ticks_waiting_max" in reason for reason in dropped)


async def test_overlap_cancel() -> None:
    a = ticking(Cron("0 * * * *", overlap="cancel"), lasts="90m")
    async with environment(a) as env:
        await env.advance("3h15m")
        assert planned(env) == [at("01:00"), at("02:00"), at("03:00")]
        assert statuses(env) == ["cancelled", "cancelled", "running"]
        (first, *_) = sorted(env.runs("report"), key=lambda run: run.event["id"])
        assert first.view.reason == "its next tick came"


async def test_a_tick_that_waits_starts_although_the_owner_died_as_the_run_before_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a = ticking(Cron("0 1,2 * * *", overlap="buffer"), lasts="90m")
    async with environment(a) as env:
        await env.advance("2h")
        monkeypatch.setattr(Schedules, "ended", lambda _self, _run: None)
        await env.advance("31m")
        assert planned(env) == [at("01:00")]
        assert statuses(env) == ["completed"]
        await env.crash_worker()
        monkeypatch.undo()
        await again(env)
        assert planned(env) == [at("01:00"), at("02:00")]


async def test_a_worker_that_cannot_read_a_schedule_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a = ticking(Cron("0 1,2 * * *", overlap="buffer"), lasts="90m")
    async with environment(a) as env:
        await env.advance("2h")
        await env.crash_worker()

        def unread(_expression: str, _tz: str) -> Any:
            raise UsageError("a Cron needs croniter")

        monkeypatch.setattr("perdure.engine.schedules.calendar", unread)
        with collecting_troubles() as told:
            await again(env)
            await env.advance("1h")
        assert any("cannot be kept" in trouble for trouble, _ in told)
        assert statuses(env) == ["completed"]
        await goes_on(env)


@pytest.mark.parametrize("overlap", ["allow", "skip", "buffer", "cancel"])
async def test_ticks_after_a_downtime_keep_to_the_rule_for_what_overlaps(
    overlap: Literal["allow", "skip", "buffer", "cancel"],
) -> None:
    a = ticking(Cron("0 * * * *", overlap=overlap, catch_up="all"), lasts="10m")
    async with environment(a) as env:
        await env.crash_worker()
        await env.advance("4h")
        await again(env)
        await env.advance("50m")
        every = [at(f"0{hour}:00") for hour in range(1, 5)]
        assert planned(env) == {"skip": every[:1], "cancel": [every[0], every[3]]}.get(overlap, every)
        expected = ["cancelled", "completed"] if overlap == "cancel" else ["completed"] * len(planned(env))
        assert statuses(env) == expected


async def test_a_schedule_that_is_gone_ticks_no_more_and_begins_anew_when_it_comes_back() -> None:
    one = ticking(Cron("0 * * * *", catch_up="all"))
    none = ticking()
    async with environment(one) as env:
        await env.advance("1h")
        await again(env, none)
        await env.advance("2h")
        await again(env, one)
        await env.advance("1h")
        assert planned(env) == [at("01:00"), at("04:00")]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Cron("0 9 * *"), r"Cron\('0 9 \* \*'\): the cron expression .* has 4 fields"),
        (lambda: Cron("0 9 * * *", tz="Mars/Olympus"), "there is no time zone 'Mars/Olympus'"),
        (lambda: Cron("0 9 * * *", jitter="-5m"), "Cron.*duration"),
        (lambda: Cron("0 9 * * *", catch_up="none"), "catch_up='none'; use 'skip', 'last', 'all'"),  # pyright: ignore[reportArgumentType]
        (lambda: Cron("0 9 * * *", overlap="wait"), "overlap='wait'; use 'allow', 'skip'"),  # pyright: ignore[reportArgumentType]
        (lambda: Cron(5), "both are text"),  # pyright: ignore[reportArgumentType]
        (lambda: ticking(Cron("0 9 * * *"), Cron("0  9 * * *")), "has Cron.*twice"),
    ],
)
async def test_a_cron_that_cannot_be_is_refused(make: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make()


async def test_a_context_that_does_not_fit_a_tick_is_refused() -> None:
    a = app()
    with pytest.raises(UsageError, match=r"write ctx: Context\[Tick\]"):

        @a.function(on=Cron("0 9 * * *"))
        async def typed(ctx: Context[Paid]) -> None: ...
