"""One run for many events: debounce and batch."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import (
    Batch,
    Context,
    Debounce,
)
from perdure.testing import environment
from tests.engine.flow import SECOND, counted, gates, instant, reasons, sound
from tests.engine.going_on import app

pytestmark = pytest.mark.asyncio

# --- debounce ---------------------------------------------------------------------------------------------------------


async def test_debounce_starts_one_run_of_the_last_event_when_it_is_quiet() -> None:
    async with environment(instant(debounce=Debounce("10s", key="event.data.who"))) as env:
        for n in range(4):
            await env.send("go", {"n": n, "who": "ann"})
            await env.advance("9s")
        assert counted(env) == {"skipped": 3, "queued": 1}
        await env.send("go", {"n": 0, "who": "bob"})
        await env.advance("1s")
        assert [run.result for run in env.runs("f") if run.status == "completed"] == [
            [{"n": 3, "who": "ann"}]
        ]
        await env.advance("9s")
        assert counted(env) == {"skipped": 3, "completed": 2}
        assert reasons(env)[0].startswith("a later event took its place, for run ")
        assert gates(env) == []
        sound(env)


async def test_a_debounce_waits_no_longer_than_its_timeout() -> None:
    async with environment(instant(debounce=Debounce("10s", timeout="25s"))) as env:
        for n in range(6):
            await env.send("go", {"n": n})
            await env.advance("5s")
        done = [run for run in env.runs("f") if run.status == "completed"]
        assert [run.result[0]["n"] for run in done] == [4]
        assert counted(env)["queued"] == 1


async def test_a_debounce_takes_what_happened_last_and_not_what_came_last() -> None:
    async with environment(instant(debounce=Debounce("10s"))) as env:
        now = env.clock.now() / SECOND
        (late,) = await env.send("go", {"n": 2}, ts=now - 1)
        (early,) = await env.send("go", {"n": 1}, ts=now - 5)
        assert early.status == "skipped"
        assert "an event that happened later had come" in early.view.reason
        await env.advance("10s")
        assert late.result == [{"n": 2}]


async def test_a_debounce_keeps_all_events_when_told_to() -> None:
    a = app()

    @a.function(on="go", id="f", debounce=Debounce("10s", keep="all"))
    async def f(ctx: Context) -> list[int]:
        return [ctx.event.data["n"], *(event.data["n"] for event in ctx.events)]

    async with environment(a) as env:
        now = env.clock.now() / SECOND
        for n, ago in ((3, 1), (1, 9), (2, 5)):
            await env.send("go", {"n": n}, ts=now - ago)
        await env.advance("10s")
        done = [run for run in env.runs("f") if run.status == "completed"]
        assert [run.result for run in done] == [[3, 1, 2, 3]], "by their time; the latest is the run's own"
        assert reasons(env) == [f"its event is one of those of run {done[0].id} (debounce)"] * 2
        await env.crash_worker()
        await env.start_worker()
        assert done[0].result == [3, 1, 2, 3]


# --- batch ------------------------------------------------------------------------------------------------------------


async def test_a_batch_starts_when_it_is_full_or_old_with_its_events_in_order() -> None:
    async with environment(instant(batch=Batch(3, "30s", key="event.data.who"))) as env:
        for n in range(4):
            await env.send("go", {"n": n, "who": "ann"})
        await env.send("go", {"n": 9, "who": "bob"})
        done = [run for run in env.runs("f") if run.status == "completed"]
        assert [[data["n"] for data in run.result] for run in done] == [[0, 1, 2]]
        await env.advance("30s")
        done = [run for run in env.runs("f") if run.status == "completed"]
        assert sorted([data["n"] for data in run.result] for run in done) == [[0, 1, 2], [3], [9]]
        assert counted(env) == {"completed": 3, "skipped": 2}
        assert gates(env) == []
        sound(env)


async def test_a_batch_has_no_more_bytes_than_it_may_and_leaves_out_what_it_does_not_collect() -> None:
    flow = {"batch": Batch(100, "30s", max_bytes=1_000, if_='event.data.kind == "many"')}
    async with environment(instant(**flow)) as env:
        for n in range(5):
            await env.send("go", {"n": n, "kind": "many", "text": "x" * 300})
        await env.send("go", {"n": 9, "kind": "one"})
        done = [run for run in env.runs("f") if run.status == "completed"]
        assert sorted([data["n"] for data in run.result] for run in done) == [[0, 1], [2, 3], [9]]
        await env.advance("30s")
        done = [run for run in env.runs("f") if run.status == "completed"]
        assert sorted([data["n"] for data in run.result] for run in done) == [[0, 1], [2, 3], [4], [9]]


async def test_who_invokes_a_batched_function_has_a_run_of_its_own() -> None:
    a = instant(batch=Batch(10, "1h"))

    @a.function(on="parent")
    async def parent(ctx: Context) -> Any:
        return await ctx.step.invoke("call", "f", {"n": 1})

    async with environment(a) as env:
        (run,) = await env.send("parent", {})
        assert run.result == [{"n": 1}]
