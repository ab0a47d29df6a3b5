"""Very many timers that are due at once: they are recorded as fired together, and each run goes on once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from perdure import App, Context
from perdure.core.facts import KIND
from perdure.core.invariants import check
from perdure.core.limits import DEFAULT_LIMITS
from perdure.engine import firing
from perdure.engine.firing import Firing
from perdure.engine.lead import Lead
from perdure.engine.timers import FEW
from perdure.logs.contract import Topic
from perdure.testing import Environment, environment
from tests.core.journal import portrait
from tests.engine.going_on import collecting_troubles

pytestmark = pytest.mark.asyncio
MANY = 120


def app(begun: list[int] | None = None) -> App:
    a = App("test", limits=replace(DEFAULT_LIMITS, dormant_runs_max=0))

    def double(n: int) -> int:
        return 2 * n

    @a.function(on="nap")
    async def naps(ctx: Context) -> int:
        if begun is not None:
            begun.append(ctx.event.data["n"])
        await ctx.step.sleep("nap", "10m")
        n = await ctx.step.run("double", double, ctx.event.data["n"])
        await ctx.step.sleep("again", "10m")
        return n

    return a


async def asleep(env: Environment) -> Lead:
    """The leader of runs that are packed, and whose timers are not in its heap any more."""
    await env.send([{"name": "nap", "data": {"n": n}} for n in range(MANY)])
    await env.send("other", {})
    return packed(env)


def packed(env: Environment) -> Lead:
    assert env._engine is not None
    partition = env._engine.partitions[0]
    assert partition.lead is not None
    assert partition.state.runs.packed == MANY
    partition.lead.life.timers.begin()
    return partition.lead


async def records(env: Environment, kind: str) -> int:
    entries = await env.log.read(Topic.JOURNAL, 0, 0, 100_000)
    return sum(entry.headers.get(KIND) == kind.encode() for entry in entries)


async def test_many_timers_share_a_record_and_each_run_goes_on_once() -> None:
    async with environment(app(), partitions=1) as env:
        await asleep(env)
        await env.advance("10m")
        assert await records(env, "Fired") == 1
        state = packed(env).life.state  # asleep again
        assert check(state) == []
        assert portrait(state) == portrait(env.reader.partitions[0].state)
        await env.advance("10m")
        assert await records(env, "Fired") == 2
        assert sorted(run.result for run in env.runs("naps")) == [2 * n for n in range(MANY)]


async def test_few_timers_have_no_record_of_their_own() -> None:
    async with environment(app(), partitions=1) as env:
        await env.send([{"name": "nap", "data": {"n": n}} for n in range(FEW)])
        await env.send("other", {})
        assert env._engine is not None
        lead = env._engine.partitions[0].lead
        assert lead is not None
        lead.life.timers.begin()
        await env.advance("30m")
        assert await records(env, "Fired") == 0
        assert sorted(run.result for run in env.runs("naps")) == [2 * n for n in range(FEW)]


async def test_a_record_has_its_bound_and_what_is_under_way_is_not_recorded_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(firing, "TIMERS_PER_RECORD", 50)
    async with environment(app(), partitions=1) as env:
        lead = await asleep(env)
        lead.life.timers._tick_max = 70
        await env.advance("10m")
        assert await records(env, "Fired") == 3  # 50 and 20 of the first go, the others of the second
        assert lead.life.timers._under_way == set()
        await env.advance("10m")
        assert sorted(run.result for run in env.runs("naps")) == [2 * n for n in range(MANY)]


async def test_who_takes_over_wakes_what_is_recorded_as_fired(monkeypatch: pytest.MonkeyPatch) -> None:
    a = app()
    async with environment(a, partitions=1) as env:
        await asleep(env)
        with monkeypatch.context() as m:
            m.setattr(Firing, "_wake", lambda _self: None)  # it dies before it gets there
            env.clock.step(env.clock.now() + 600_000_000)
            for _ in range(200):
                await asyncio.sleep(0)
            assert await records(env, "Fired") == 1
            assert {run.status for run in env.runs("naps")} == {"running"}
            await env.reader.read()
            assert check(env.reader.partitions[0].state) == []
            env.crash_now()
        await env.start_worker()
        await env.advance("11m")
        assert sorted(run.result for run in env.runs("naps")) == [2 * n for n in range(MANY)]


async def test_a_run_that_was_cancelled_or_paused_meanwhile_does_not_go_on() -> None:
    async with environment(app(), partitions=1) as env:
        await asleep(env)
        first, second, *rest = env.runs("naps")
        await first.pause()
        await second.cancel()
        await env.advance("21m")
        assert (first.status, second.status) == ("paused", "cancelled")
        assert {run.status for run in rest} == {"completed"}
        await first.resume()
        await env.advance("21m")
        assert first.status == "completed"


async def test_a_run_that_cannot_be_woken_comes_again_and_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fire, failures = Firing._wake, iter([RuntimeError("a bug")])

    async with environment(app(), partitions=1) as env:
        lead = await asleep(env)
        woken = lead.firing._fire

        def fails_once(run: str, key: str, due: int) -> None:
            for error in failures:
                raise error
            woken(run, key, due)

        lead.firing._fire = fails_once
        with collecting_troubles() as told:
            await env.advance("10m")
            await env.advance("1s")
        assert len(told) == 1
        await env.advance("10m")
        assert {run.status for run in env.runs("naps")} == {"completed"}
    assert fire is Firing._wake


async def test_what_does_not_fit_a_record_is_woken_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with environment(app(), partitions=1) as env:
        lead = await asleep(env)
        append = lead.life.append
        monkeypatch.setattr(
            lead.life, "append", lambda name, *args, **more: name != "Fired" and append(name, *args, **more)
        )
        await env.advance("21m")
        assert await records(env, "Fired") == 0
        assert {run.status for run in env.runs("naps")} == {"completed"}
