"""`cancel_on` and `timeouts`: what ends a run from outside, without anybody who steers it."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from perdure import App, CancelOn, Context, Event, StepError, Timeouts, UsageError
from perdure.authoring.ending import CANCEL_ON_MAX
from perdure.testing import environment
from tests.engine.going_on import app

pytestmark = pytest.mark.asyncio


class Placed(Event, name="order/placed", key="data.customer"):
    customer: str
    order: int


class Cancelled(Event, name="order/cancelled"):
    order: int


def shop(cleaned: list[int] | None = None, **options: Any) -> App:
    a = app()
    cleaned = [] if cleaned is None else cleaned

    async def put_back(order: int) -> None:
        cleaned.append(order)

    chosen: dict[str, Any] = {"cancel_on": CancelOn(Cancelled, match="data.order")} | options

    @a.function(on=Placed, **chosen)
    async def ship(ctx: Context[Placed]) -> str:
        try:
            await ctx.step.sleep("packing", "1h")
        finally:
            await ctx.step.run("put-back", put_back, ctx.event.data.order)
        return "shipped"

    return a


async def test_an_event_cancels_the_runs_that_it_is_about_and_these_clean_up() -> None:
    cleaned: list[int] = []
    async with environment(shop(cleaned)) as env:
        (one,) = await env.send(Placed(customer="ann", order=1))
        (two,) = await env.send(Placed(customer="bob", order=2))
        await env.send(Cancelled(order=1))
        assert (one.status, two.status, cleaned) == ("cancelled", "running", [1])
        assert one.view.reason.startswith("the event order/cancelled ")
        await env.send(Cancelled(order=1))
        await env.advance("2h")
        assert (one.status, two.result, cleaned) == ("cancelled", "shipped", [1, 2])


async def test_one_that_was_sent_before_cancels_nothing() -> None:
    async with environment(shop()) as env:
        await env.send(Cancelled(order=1))
        await env.advance("1ms")  # events of one moment have an order only within a partition
        (run,) = await env.send(Placed(customer="ann", order=1))
        await env.advance("2h")
        assert run.result == "shipped"


async def test_a_burst_in_one_batch_is_in_its_order() -> None:
    async with environment(shop(), partitions=1) as env:
        cancel, place = {"name": "order/cancelled", "key": "k"}, {"name": "order/placed", "key": "k"}
        await env.app.send(
            [
                cancel | {"data": {"order": 1}},
                place | {"data": {"customer": "ann", "order": 1}},
                place | {"data": {"customer": "ann", "order": 2}},
                cancel | {"data": {"order": 2}},
            ]
        )
        await env.settle()
        assert sorted((run.view.event["data"], run.status) for run in env.runs()) == [
            (b'{"customer":"ann","order":1}', "running"),
            (b'{"customer":"ann","order":2}', "cancelled"),
        ]


async def test_any_of_several_events_and_one_without_a_match() -> None:
    several = [CancelOn(Cancelled, match="data.order"), CancelOn("shop/closed")]
    async with environment(shop(cancel_on=several)) as env:
        runs = [(await env.send(Placed(customer="ann", order=n)))[0] for n in range(3)]
        await env.send(Cancelled(order=0))
        await env.send("shop/closed", {})
        assert [run.status for run in runs] == ["cancelled"] * 3
        assert runs[2].view.reason.startswith("the event shop/closed ")


async def test_a_run_that_is_not_begun_by_its_time_is_cancelled_too() -> None:
    async with environment(shop()) as env:
        (run,) = await env.send(Placed(customer="ann", order=1), ts=env.now() + timedelta(hours=1))
        assert run.status == "scheduled"
        await env.send(Cancelled(order=1))
        assert (run.status, run.view.started) == ("cancelled", 0)


async def test_a_paused_run_is_cancelled_where_it_stands() -> None:
    async with environment(shop()) as env:
        (run,) = await env.send(Placed(customer="ann", order=1))
        await run.pause()
        await env.send(Cancelled(order=1))
        assert run.status == "cancelled"


async def test_it_survives_a_crash_and_a_run_that_was_packed() -> None:
    a = shop()
    async with environment(a) as env:
        (one,) = await env.send(Placed(customer="ann", order=1))
        await env.crash_worker()
        await env.start_worker()
        await env.send(Cancelled(order=1))
        assert one.status == "cancelled"


async def test_a_run_that_was_started_by_name_is_cancelled_by_its_events() -> None:
    a = shop()
    async with environment(a) as env:
        ship = a.functions.get("ship")
        assert ship is not None
        run = await env.start(ship, Placed(customer="ann", order=7))
        await env.send(Cancelled(order=7))
        assert run.status == "cancelled"


async def test_a_child_tells_its_parent() -> None:
    a = shop()

    @a.function
    async def parent(ctx: Context) -> str:
        try:
            await ctx.step.invoke("ship", "ship", Placed(customer="ann", order=1))
        except StepError as error:
            return error.type_name
        return "shipped"

    async with environment(a) as env:
        run = await env.start(parent)
        await env.send(Cancelled(order=1))
        assert run.result == "perdure.errors.RunCancelled"


async def test_a_run_that_has_begun_anew_hears_of_its_event_still() -> None:
    a = app()

    @a.function(on=Placed, cancel_on=CancelOn(Cancelled, match="data.order"))
    async def watch(ctx: Context[Placed]) -> None:
        await ctx.step.sleep("a-while", "1h")
        await ctx.restart_with(Placed(customer="ann", order=ctx.event.data.order + 1))

    async with environment(a) as env:
        (run,) = await env.send(Placed(customer="ann", order=1))
        await env.advance("90m")
        await env.send(Cancelled(order=1))
        assert run.status == "running"
        await env.send(Cancelled(order=2))
        assert run.status == "cancelled"


CONDITION = CancelOn(
    "order/changed", if_="async.data.number == event.data.order && async.data.cents > 100 * event.data.order"
)


async def test_a_condition_is_asked_of_the_events_that_it_may_be_about() -> None:
    cleaned: list[int] = []
    async with environment(shop(cleaned, cancel_on=CONDITION)) as env:
        (run,) = await env.send(Placed(customer="ann", order=2))
        for change in ({"number": 2, "cents": 200}, {"number": 3, "cents": 500}, {"number": 2}):
            await env.send("order/changed", change)
        assert (run.status, cleaned) == ("running", [])
        await env.crash_worker()
        await env.start_worker()
        await env.send("order/changed", {"number": 2, "cents": 201})
        assert (run.status, cleaned) == ("cancelled", [2])
        assert run.view.reason.startswith("the event order/changed ")


@pytest.mark.parametrize("state", ["paused", "scheduled", "awake"])
async def test_a_condition_needs_no_body(state: str) -> None:
    async with environment(shop(cancel_on=CONDITION)) as env:
        at = env.now() + timedelta(hours=1) if state == "scheduled" else None
        (run,) = await env.send(Placed(customer="ann", order=2), ts=at)
        if state == "paused":
            await run.pause()
        await env.send("order/changed", {"number": 2, "cents": 1})
        assert run.status != "cancelled"
        await env.send("order/changed", {"number": 2, "cents": 900})
        assert run.status == "cancelled"


async def test_a_condition_that_is_an_equality_of_two_fields_needs_no_owner() -> None:
    a = shop(cancel_on=CancelOn("order/changed", if_="async.data.number == event.data.order"))
    async with environment(a) as env:
        (run,) = await env.send(Placed(customer="ann", order=2))
        (spec,) = next(known["cancels"] for known in a.functions.definitions() if known["id"] == "ship")
        assert (spec["path"], spec["own"], spec["cel"]) == ("data.number", "data.order", "")
        await env.send("order/changed", {"number": 2})
        assert run.status == "cancelled"


async def test_more_events_than_a_run_has_room_for() -> None:
    a = shop(cancel_on=CONDITION)
    a.limits = dataclasses.replace(a.limits, inbox_max=3)
    async with environment(a, partitions=1) as env:
        (run,) = await env.send(Placed(customer="ann", order=2))
        changes = [{"name": "order/changed", "data": {"number": 2, "cents": n}} for n in (*range(20), 900)]
        await env.send(changes)
        assert run.status == "cancelled"


# --- timeouts ---------------------------------------------------------------------------------------------------------


async def test_a_run_that_does_not_end_in_time_is_cancelled_and_cleans_up() -> None:
    cleaned: list[int] = []
    a = shop(cleaned, cancel_on=None, timeouts=Timeouts(finish="30m"))
    async with environment(a) as env:
        (run,) = await env.send(Placed(customer="ann", order=1))
        await env.advance("29m")
        assert run.status == "running"
        await env.advance("1m")
        assert (run.status, cleaned) == ("cancelled", [1])
        assert run.view.reason == "it did not end in time (timeouts)"


async def test_a_run_that_ends_in_time_is_left_alone() -> None:
    async with environment(shop(timeouts=Timeouts(start="1m", finish="2h"))) as env:
        (run,) = await env.send(Placed(customer="ann", order=1))
        await env.advance("3h")
        assert run.result == "shipped"


async def test_the_time_counts_across_crashes() -> None:
    async with environment(shop(timeouts=Timeouts(finish="30m"))) as env:
        (run,) = await env.send(Placed(customer="ann", order=1))
        await env.advance("20m")
        await env.crash_worker()
        await env.start_worker()
        await env.advance("10m")
        assert run.status == "cancelled"


async def test_a_run_whose_code_is_not_there_is_cancelled_when_it_cannot_begin() -> None:
    old, new = app(), shop(timeouts=Timeouts(start="1h"))
    async with environment(new) as env:
        (run,) = await env.send(Placed(customer="ann", order=1), ts=env.now() + timedelta(hours=1))
        await env.stop_worker()
        env.app = old  # somebody went back to it
        await env.start_worker()
        await env.advance("119m")
        assert run.status == "scheduled"
        await env.advance("1m")
        assert (run.status, run.view.reason) == ("cancelled", "it did not begin in time (timeouts)")


async def test_a_paused_run_runs_out_of_time() -> None:
    async with environment(shop(timeouts=Timeouts(finish="30m"))) as env:
        (run,) = await env.send(Placed(customer="ann", order=1))
        await run.pause()
        await env.advance("30m")
        assert run.status == "cancelled"


async def test_many_that_sleep_run_out_of_time() -> None:
    """Packed runs, too, are told of their time."""
    a = shop(timeouts=Timeouts(finish="30m"))
    a.limits = dataclasses.replace(a.limits, dormant_runs_max=0)
    async with environment(a, partitions=1) as env:
        await env.app.send([Placed(customer="ann", order=n) for n in range(60)])
        await env.settle()
        await env.advance("10m")
        (state,) = (reader.state for reader in env.reader.partitions)
        assert len(state.runs) == 60
        await env.advance("20m")
        assert {run.status for run in env.runs()} == {"cancelled"}


async def test_a_step_that_runs_is_stopped() -> None:
    a = app()
    stopped = asyncio.Event()

    async def long() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            stopped.set()
            raise

    @a.function(on="go", timeouts=Timeouts(finish="1s"))
    async def work(ctx: Context) -> None:
        await ctx.step.run("long", long)

    async with environment(a) as env:
        await env.app.send("go", {})
        async with asyncio.timeout(10):
            while not stopped.is_set():  # the step is under way: nothing settles meanwhile
                env.clock.step(env.clock.now() + 10_000_000)
                await asyncio.sleep(0.001)
        await env.settle()
        (run,) = env.runs()
        assert run.status == "cancelled"


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cancel_on": "order/cancelled"}, "write cancel_on=CancelOn"),
        ({"cancel_on": [CancelOn("a")] * (CANCEL_ON_MAX + 1)}, "16 at most"),
        ({"cancel_on": CancelOn("order/cancelled", match="data.nothing")}, "has no field 'nothing'"),
        ({"timeouts": "1h"}, "write timeouts=Timeouts"),
    ],
)
async def test_what_cannot_be_is_refused_where_it_is_declared(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        shop(**options)
    assert "function 'ship'" in str(error.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CancelOn("order/*"), "has a \\*"),
        (lambda: CancelOn("perdure/function.failed"), "start functions, and cancel none"),
        (lambda: CancelOn("a", match="nowhere"), "does not start at"),
        (lambda: CancelOn(Cancelled, match="data.nothing"), "has no field 'nothing'"),
        (lambda: CancelOn("a", timeout="soon"), "is not a duration"),
        (lambda: CancelOn("a", if_="async.data.x =="), "at column"),
        (lambda: CancelOn("a", if_=lambda event: True), "use CEL as text"),  # pyright: ignore[reportArgumentType]
        (lambda: CancelOn(Cancelled, if_="async.data.nothing > 1"), "has no field 'nothing'"),
        (lambda: CancelOn("a", timeout=0), "no time at all"),
        (lambda: Timeouts(start="1ms"), "at least 1s"),
        (lambda: Timeouts(finish=0), "more than nothing"),
        (lambda: Timeouts(finish="soon"), "is not a duration"),
    ],
)
async def test_what_cannot_be_is_refused_at_once(make: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()
