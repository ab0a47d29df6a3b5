"""The engine's own events: functions hear how others end and are started, and nobody hears of itself for ever."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import App, Context, Cron
from perdure.core.payload import NESTING_MAX
from perdure.testing import Environment, environment
from tests.core.journal import Journal
from tests.engine.going_on import app, goes_on, nested

pytestmark = pytest.mark.asyncio


def heard(*names: str) -> App:
    """An app whose function `hears` returns what it was told."""
    a = app()

    @a.function(on=list(names))
    async def hears(ctx: Context[Any]) -> list[Any]:
        return [ctx.event.name, ctx.event.data]

    @a.function(on="work")
    async def work(ctx: Context) -> Any:
        if ctx.event.data.get("fail"):
            raise ValueError("no")
        if ctx.event.data.get("wait"):
            await ctx.step.sleep("long", "1d")
        return ctx.event.data.get("result", "done")

    @a.function()
    async def boss(ctx: Context) -> Any:
        return await ctx.step.invoke("child", "work", {"result": 7})

    return a


def told(env: Environment) -> list[tuple[str, dict[str, Any]]]:
    return sorted(((run.result[0], run.result[1]) for run in env.runs("hears")), key=lambda item: item[0])


async def test_how_a_run_ended() -> None:
    async with environment(heard("perdure/function.*")) as env:
        (run,) = await env.send("work", {"result": [1]}, id="w-1")
        ((name, data),) = told(env)
        assert name == "perdure/function.finished"
        assert data["event"]["id"] == "w-1"
        assert (data["run_id"], data["function_id"], data["status"], data["result"]) == (
            run.id,
            "work",
            "completed",
            [1],
        )
        assert data["event"]["data"] == {"result": [1]}


async def test_a_failure_is_told_twice_and_a_cancel_once() -> None:
    async with environment(
        heard("perdure/function.finished", "perdure/function.failed", "perdure/function.cancelled")
    ) as env:
        await env.send("work", {"fail": True})
        assert [(name, data["status"], data["error"]["message"]) for name, data in told(env)] == [
            ("perdure/function.failed", "failed", "no"),
            ("perdure/function.finished", "failed", "no"),
        ]
        (run,) = await env.send("work", {"wait": True})
        await run.cancel(reason="enough")
        assert [(name, data["reason"]) for name, data in told(env)[:1]] == [
            ("perdure/function.cancelled", "enough")
        ]
        assert len(told(env)) == 3


async def test_who_was_invoked_and_what_the_clock_started() -> None:
    a = heard("perdure/function.invoked", "perdure/scheduled.timer")

    @a.function(on=Cron("0 * * * *"))
    async def hourly(ctx: Context[Any]) -> None: ...

    async with environment(a) as env:
        boss = await env.start(a.functions.resolve("boss"), {})
        assert boss.result == 7
        assert sorted((data["function_id"], data["data"]) for _, data in told(env)) == [
            ("boss", {}),
            ("work", {"result": 7}),
        ]
        await env.advance("1h")
        assert told(env)[-1] == (
            "perdure/scheduled.timer",
            {"schedule": "hourly 0 * * * *", "at": "2026-01-01T01:00:00Z"},
        )
        assert len(env.runs("hears")) == 3, "the run that a tick's event started is told of to nobody"


async def test_nobody_pays_for_what_nobody_hears_and_nobody_hears_of_itself() -> None:
    async with environment(heard("never")) as env:
        await env.send("work", {})
        assert told(env) == []
    async with environment(heard("perdure/*")) as env:
        await env.send("work", {})
        await env.advance("1h")
        assert [name for name, _ in told(env)] == ["perdure/function.finished"]
        await goes_on(env)


async def test_data_that_fit_only_just_are_told_as_text() -> None:
    async with environment(heard("perdure/function.finished")) as env:
        (run,) = await env.send("work", {"result": nested(NESTING_MAX - 2)})
        ((_, data),) = told(env)
        assert data["status"] == run.status == "completed"
        assert data["result"] == "[" * (NESTING_MAX - 1) + "]" * (NESTING_MAX - 1)
        await goes_on(env)


async def test_what_is_told_starts_nothing_that_is_told_of() -> None:
    """Wherever a run that such an event starts lives: with more partitions it is made by a message, as a child is."""
    a = heard("perdure/function.*", "perdure/scheduled.timer")

    @a.function(on=Cron("0 * * * *"))
    async def hourly(ctx: Context[Any]) -> None: ...

    async with environment(a) as env:
        await env.advance("1h")
        assert [name for name, _ in told(env)] == ["perdure/function.finished", "perdure/scheduled.timer"]
        await env.start(a.functions.resolve("work"), {})
        assert [name for name, _ in told(env)] == [
            "perdure/function.finished",
            "perdure/function.finished",
            "perdure/function.invoked",
            "perdure/scheduled.timer",
        ]
        for number, run in enumerate(env.runs("hears"), 1):
            journal = Journal()
            journal.claim()
            journal.config(("hears", ["perdure/*"]))
            child = {
                "run": f"r{number}",
                "function": "hears",
                "event": run.event,
                "parent": None,
                "parent_key": None,
            }
            journal.message("1p5", 1, "StartChild", child)
            assert journal.state.outbox == {}, run.event["name"]
