"""Signals that are kept, and requests: signals whose sender waits for an answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from perdure import (
    App,
    Context,
    EncodingError,
    RequestRefused,
    RunEnded,
    RunNotFound,
    SyncContext,
    UsageError,
)
from perdure.core.limits import DEFAULT_LIMITS
from perdure.errors import RunCancelled
from perdure.testing import Environment, crash_everywhere, environment
from tests.engine.going_on import app as app_that_goes_on
from tests.engine.going_on import failed_with, goes_on

pytestmark = pytest.mark.asyncio


def addresses(**options: Any) -> tuple[App, Any]:
    """A function whose address can be changed while it sleeps, a limited number of times."""
    a = app_that_goes_on(**options)

    @a.function(on="order/placed", retries=0)
    async def order(ctx: Context) -> list[str]:
        known: list[str] = []
        while len(known) < 2:
            asked = await ctx.step.wait_for_signal("address", "change-address", timeout="7d")
            if asked is None:
                break
            if not asked.data.get("street"):
                asked.refuse("an address has a street")
                continue
            known.append(asked.data["street"])
            asked.reply({"changed": len(known)})
        return known

    return a, order


async def test_a_request_is_answered_by_the_body() -> None:
    a, order = addresses()
    async with environment(a) as env:
        run = await env.start(order)
        handle = a.handle(order, run.id)
        assert await handle.request("change-address", {"street": "A"}, timeout="5s") == {"changed": 1}
        assert await handle.request("change-address", {"street": "B"}, timeout="5s") == {"changed": 2}
        await env.settle()
        assert run.result == ["A", "B"]
        await goes_on(env)


async def test_a_request_that_the_body_refuses_raises_with_its_reason() -> None:
    a, order = addresses()
    async with environment(a) as env:
        run = await env.start(order)
        with pytest.raises(RequestRefused, match="an address has a street") as refused:
            await a.handle(order, run.id).request("change-address", {})
        assert (refused.value.run_id, refused.value.name) == (run.id, "change-address")


async def test_a_request_before_its_wait_is_kept_and_answered_then() -> None:
    a = App("test")

    @a.function
    async def late(ctx: Context) -> None:
        await ctx.step.sleep("nap", "1h")
        asked = await ctx.step.wait_for_signal("s", "how-far")
        assert asked is not None
        asked.reply("done")

    async with environment(a) as env:
        run = await env.start(late)
        asking = asyncio.create_task(a.handle(late, run.id).request("how-far"))
        await env.settle()
        assert not asking.done()
        await env.advance("1h")
        assert await asking == "done"


async def test_a_request_of_a_def_body_is_answered_once_however_often_its_code_runs() -> None:
    a = App("test")

    @a.function
    def work(ctx: SyncContext) -> str:
        asked = ctx.step.wait_for_signal("s", "go")
        assert asked is not None
        asked.reply(7)
        ctx.step.sleep("nap", "1h")
        return "done"

    async with environment(a) as env:
        run = await env.start(work)
        assert await a.handle(work, run.id).request("go") == 7
        await env.advance("1h")
        assert run.result == "done"


async def test_sent_again_under_its_id_it_counts_once_and_is_answered_alike() -> None:
    a, order = addresses()
    async with environment(a) as env:
        run = await env.start(order)
        handle = a.handle(order, run.id)
        for _ in range(3):
            assert await handle.request("change-address", {"street": "A"}, id="r1") == {"changed": 1}
        assert await handle.request("change-address", {"street": "B"}, id="r2") == {"changed": 2}
        await env.settle()
        assert run.status == "completed"
        assert await handle.request("change-address", {"street": "A"}, id="r1") == {"changed": 1}


async def test_an_answer_survives_the_crash_of_the_worker_that_gave_it() -> None:
    a = App("test")

    @a.function(on="order/placed")
    async def order(ctx: Context) -> int:
        asked = await ctx.step.wait_for_signal("s", "go")
        assert asked is not None
        asked.reply({"n": 7})
        await ctx.step.sleep("nap", "1h")
        return 7

    answers: list[Any] = []

    async def script(env: Environment) -> None:
        (run,) = await env.send("order/placed")
        asking = asyncio.create_task(a.handle(order, run.id).request("go", id="r"))
        while not asking.done():
            await env.settle()
        answers.append(await asking)
        await env.advance("2h")

    report = await crash_everywhere(a, script)
    assert report.crashes > 5
    assert answers == [{"n": 7}] * len(answers)


async def test_a_signal_to_a_run_that_has_ended_or_is_not_known_is_an_error() -> None:
    a, order = addresses()
    async with environment(a) as env:
        run = await env.start(order)
        handle = a.handle(order, run.id)
        await handle.signal("other")  # it is kept; nobody has to wait for it
        await run.cancel(force=True)
        with pytest.raises(RunEnded, match="is cancelled, and takes no signals any more"):
            await handle.signal("change-address", {})
        with pytest.raises(RunEnded):
            await handle.request("change-address", {})
        with pytest.raises(RunNotFound):
            await a.handle(order, "order/nobody").signal("change-address")
        await goes_on(env)


async def test_a_request_that_nobody_answered_before_the_end_is_refused() -> None:
    a, order = addresses()
    async with environment(a) as env:
        run = await env.start(order)
        asking = asyncio.create_task(a.handle(order, run.id).request("unheard"))
        await env.settle()
        await run.cancel()
        with pytest.raises(RequestRefused, match="the run is cancelled"):
            await asking
        with pytest.raises(RunCancelled):
            await a.handle(order, run.id).result()


async def test_a_request_that_is_not_answered_in_time_raises_and_stays() -> None:
    a, order = addresses()
    async with environment(a) as env:
        run = await env.start(order)
        with pytest.raises(TimeoutError, match="has not answered 'unheard' within"):
            await a.handle(order, run.id).request("unheard", timeout="10ms")
        assert run.status == "running"


async def test_a_signal_without_a_worker_is_durable_and_is_given_later() -> None:
    a, order = addresses()
    async with environment(a) as env:
        run = await env.start(order)
        await env.stop_worker()
        await a.handle(order, run.id).signal("change-address", {"street": "A"}, timeout="10ms")
        await env.start_worker()
        await run.signal("change-address", {"street": "B"})
        assert run.result == ["A", "B"]


async def test_signals_and_requests_that_find_no_room_are_refused() -> None:
    a, order = addresses(limits=replace(DEFAULT_LIMITS, inbox_max=4, requests_max=2))
    async with environment(a) as env:
        run = await env.start(order)
        handle = a.handle(order, run.id)
        asking = [asyncio.create_task(handle.request("unheard", n)) for n in range(3)]
        await env.settle()
        with pytest.raises(RequestRefused, match="too many requests wait"):
            await asking[2]
        await handle.signal("other")
        await handle.signal("other")
        with pytest.raises(RequestRefused, match="inbox full"):
            await handle.signal("other")
        await run.cancel()
        for asked in asking[:2]:
            with pytest.raises(RequestRefused, match="the run is cancelled"):
                await asked
        await goes_on(env)


async def test_a_request_has_one_answer_and_a_plain_signal_needs_none() -> None:
    a = app_that_goes_on()

    @a.function(retries=0)
    async def twice(ctx: Context) -> None:
        asked = await ctx.step.wait_for_signal("s", "go")
        assert asked is not None
        asked.reply(1)
        asked.reply(2)

    @a.function(retries=0)
    async def odd(ctx: Context) -> None:
        asked = await ctx.step.wait_for_signal("s", "go")
        assert asked is not None
        with pytest.raises(EncodingError):
            asked.reply({1, 2})
        with pytest.raises(UsageError, match="takes the reason"):
            asked.refuse("")
        asked.reply("fine")

    async with environment(a) as env:
        run = await env.start(twice)
        await run.signal("go")
        failed_with(run, UsageError, "a request has one answer")
        other = await env.start(odd)
        assert await a.handle(odd, other.id).request("go") == "fine"
        await goes_on(env)


@pytest.mark.parametrize("partitions", [1, 4])
async def test_a_run_signals_another_once(partitions: int) -> None:
    a = App("test")

    @a.function
    async def collects(ctx: Context) -> list[Any]:
        got = [await ctx.step.wait_for_signal("s", "go", timeout="1d") for _ in range(3)]
        return [signal and signal.data for signal in got]

    @a.function(on="order/placed")
    async def tells(ctx: Context) -> None:
        other = ctx.event.data["run"]
        for n in range(2):
            await ctx.step.signal("tell", other, "go", n)
            await ctx.step.sleep("nap", "1h")

    async with environment(a, partitions=partitions) as env:
        run = await env.start(collects)
        (teller,) = await env.send("order/placed", {"run": run.id})
        await env.advance("30m")
        await env.crash_worker()
        await env.start_worker()
        await env.advance("2d")
        assert teller.status == "completed"
        assert run.result == [0, 1, None]
        assert [step.id for step in teller.steps] == ["tell", "nap", "tell:1", "nap:1"]
