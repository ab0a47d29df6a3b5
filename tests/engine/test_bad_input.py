"""What bad input gets, through the whole engine: a typed error that says what to do, and the partition goes on."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from perdure import (
    App,
    Context,
    EncodingError,
    Event,
    InvalidEvent,
    PayloadTooLarge,
    Retry,
    RetryAfterError,
    RunNotFound,
    UsageError,
)
from perdure.logs.contract import Topic
from perdure.testing import environment
from tests.engine.going_on import app, double, failed_with, goes_on, nested, run_body

pytestmark = pytest.mark.asyncio


class Paid(Event, name="payment/paid"):
    cents: int


# --- events -----------------------------------------------------------------------------------------------------------

BAD_EVENTS: list[tuple[Any, Any, str]] = [
    ("", {}, "is empty"),
    ("perdure/mine", {}, "choose another prefix"),
    ("x" * 257, {}, "more than 256; shorten it"),
    ("é" * 129, {}, "has 258 bytes of UTF-8"),
    ("a\x00b", {}, "control character"),
    ("order/*", {}, "an event has one name"),
    ("\ud800", {}, "lone surrogate"),
    (None, None, "use a string"),
    (7, {}, "use a string"),
    ("big", {"text": "x" * 300_000}, "store it elsewhere"),
    ("nan", {"n": math.nan}, "at $.n, nan is not a JSON number"),
    ("surrogate", {"text": "a\ud800"}, "at $.text, a lone surrogate"),
    ("deep", {"deep": nested(10_000)}, "nested deeper than 200 levels"),
    ("object", {"a": {"b": object()}}, "at $.a.b, a value of type object is not JSON"),
    ("keys", {"a": {1: 2}}, "use str(key)"),
    ("digits", {"n": 10**5_000}, "use a string"),
    ("list", [1], "use a dict"),
    (Paid.model_construct(cents="many"), None, "at $.cents"),
    (Paid, None, "send an instance of it"),
]


@pytest.mark.parametrize(("name", "data", "words"), BAD_EVENTS, ids=range(len(BAD_EVENTS)))
async def test_an_event_that_cannot_be_is_refused_before_it_is_appended(
    name: Any, data: Any, words: str
) -> None:
    a = app()
    async with environment(a, partitions=1) as env:
        with pytest.raises(InvalidEvent) as refused:
            await a.send(name, data)
        assert words in str(refused.value)
        with pytest.raises(InvalidEvent):  # beside a good one: none of them is sent
            await a.send([{"name": "fine", "data": {}}, {"name": name, "data": data}])
        assert await env.log.bounds(Topic.EVENTS, 0) == (0, 0)
        await goes_on(env)


@pytest.mark.parametrize("ts", [-1, math.nan, 1e15, "soon", datetime(2031, 1, 1), True])  # noqa: DTZ001
async def test_a_time_that_is_none_is_refused(ts: Any) -> None:
    a = app()
    async with environment(a, partitions=1) as env:
        with pytest.raises(InvalidEvent, match="the ts of event 'fine'"):
            await a.send("fine", {}, ts=ts)
        await goes_on(env)


async def test_a_bad_event_sent_or_invoked_by_a_body_fails_its_run_alone() -> None:
    async def sends(ctx: Context) -> None:
        await ctx.step.send_event("tell", ("perdure/mine"))

    async def invokes(ctx: Context) -> None:
        await ctx.step.invoke("call", "fine", {"deep": nested(10_000)})

    async def waits(ctx: Context) -> None:
        await ctx.step.wait_for_event("wait", "x" * 300, timeout="1h")

    failed_with(await run_body(sends), InvalidEvent, "choose another prefix")
    failed_with(await run_body(invokes), InvalidEvent, "nested deeper")
    failed_with(await run_body(waits), UsageError, "more than 256")


# --- durations --------------------------------------------------------------------------------------------------------

BAD_DURATIONS: list[tuple[Any, str]] = [
    (-1, "is negative"),
    ("-5m", "is negative"),
    (timedelta(seconds=-1), "is negative"),
    (math.nan, "is not a duration"),
    (math.inf, "is not a duration"),
    ("3 parsecs", "is not a duration"),
    ("", "is not a duration"),
    (10**12, "longer than 100 years"),
    ("40000d", "longer than 100 years"),
    (True, "is not a duration"),
    (None, "is not a duration"),
]


@pytest.mark.parametrize(("duration", "words"), BAD_DURATIONS, ids=range(len(BAD_DURATIONS)))
async def test_a_duration_that_is_none_fails_the_run_or_the_call(duration: Any, words: str) -> None:
    async def sleeps(ctx: Context) -> None:
        await ctx.step.sleep("nap", duration)

    failed_with(await run_body(sleeps), UsageError, words)
    failed_with(await run_body(sleeps), UsageError, "sleep 'nap': ")
    a = app()

    @a.function
    async def waits(ctx: Context) -> None:
        await ctx.step.wait_for_signal("s", "never")

    async with environment(a, partitions=1) as env:
        handle = await a.start(waits, {})
        if duration is not None:
            with pytest.raises(UsageError, match=words):
                await handle.result(timeout=duration)
            with pytest.raises(UsageError, match=words):
                Retry(initial=duration)
        await goes_on(env)


async def test_other_times_that_are_none_fail_the_run() -> None:
    async def until(ctx: Context) -> None:
        await ctx.step.sleep_until("nap", datetime(2031, 1, 1))  # noqa: DTZ001

    async def plain(ctx: Context) -> None:
        await asyncio.sleep(1e12)

    async def not_a_number(ctx: Context) -> None:
        await asyncio.sleep(math.nan)

    async def waits(ctx: Context) -> None:
        await ctx.step.wait_for_event("w", "x", timeout=-1)

    async def options(ctx: Context) -> None:
        await ctx.step.options(timeout=-1).run("double", double, 1)

    async def late(ctx: Context) -> int:
        return await ctx.step.run("again", again)

    async def again() -> int:
        raise RetryAfterError("-5s")

    failed_with(await run_body(until), UsageError, "has no time zone")
    failed_with(await run_body(plain), UsageError, "within a hundred years")
    failed_with(await run_body(not_a_number), ValueError, "Invalid delay") if sys.version_info >= (
        3,
        13,
    ) else failed_with(await run_body(not_a_number), UsageError, "within a hundred years")
    failed_with(await run_body(waits), UsageError, "is negative")
    failed_with(await run_body(options), UsageError, "timeout=-1")
    failed_with(await run_body(late), UsageError, "is negative")


# --- functions and steps ----------------------------------------------------------------------------------------------


async def test_two_functions_of_one_id_are_refused_with_both_places() -> None:
    a = app()
    with pytest.raises(UsageError) as refused:

        @a.function(id="fine")
        async def another(ctx: Context) -> None: ...

    assert "going_on.py:" in str(refused.value)
    assert "test_bad_input.py:" in str(refused.value)
    assert "rename one, or give it id=" in str(refused.value)
    async with environment(a, partitions=1) as env:
        await goes_on(env)


async def test_a_step_inside_a_step_fails_and_says_what_to_write() -> None:
    async def outer(ctx: Context) -> int:
        async def inner() -> int:
            return await ctx.step.run("inner", double, 1)

        return await ctx.step.run("outer", inner)

    async def clock(ctx: Context) -> str:
        def inner() -> str:
            return str(ctx.now())

        return await ctx.step.run("outer", inner)

    failed_with(await run_body(outer), UsageError, "Steps cannot nest: call the function directly")
    failed_with(await run_body(clock), UsageError, "give values to a step as arguments")


async def test_a_step_id_used_again_gets_an_index_and_its_own_outcome() -> None:
    calls: list[int] = []

    def count(n: int) -> int:
        calls.append(n)
        return n

    a = app()

    @a.function
    async def work(ctx: Context) -> list[int]:
        first = [await ctx.step.run("count", count, n) for n in range(3)]
        await ctx.step.sleep("nap", "1h")
        return [*first, *await ctx.step.map("count", count, (7, 8))]

    async with environment(a) as env:
        run = await env.start(work)
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1h")
        assert run.result == [0, 1, 2, 7, 8]
        assert [s.id for s in run.steps if s.kind == "step"] == [
            "count",
            "count:1",
            "count:2",
            "count:3",
            "count:4",
        ]
    assert calls == [0, 1, 2, 7, 8]


@pytest.mark.parametrize("step_id", ["", "a:1", "~mine", "x" * 257, "a\nb", "\ud800", None, 5])
async def test_an_id_that_no_step_may_have_fails_the_run(step_id: Any) -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run(step_id, double, 1)

    failed_with(await run_body(body), UsageError, "step")


# --- commands ---------------------------------------------------------------------------------------------------------


async def test_commands_and_starts_that_cannot_be_are_refused_at_the_call() -> None:
    a = app()

    @a.function
    async def waits(ctx: Context) -> Any:
        signal = await ctx.step.wait_for_signal("s", "go")
        return signal and signal.data

    @a.function(on=Paid)
    async def bill(ctx: Context[Paid]) -> None: ...

    foreign = App("other").function(waits.body)
    untyped: Any = a
    async with environment(a, partitions=1) as env:
        calls: list[tuple[type[Exception], str, Callable[[], Awaitable[Any]]]] = []
        handle = await a.start(waits, {})
        odd: Any = handle
        for run_id in ("", "a\x00b", "é" * 200, "\ud800", 5):
            calls.append((UsageError, "printable", lambda i=run_id: untyped.start(waits, {}, id=i)))
        calls += [
            (UsageError, "use a string", lambda: untyped.start(waits, {}, tags={"a": 1})),
            (
                UsageError,
                "64 tags",
                lambda: a.start(waits, {}, tags={f"t{n}": "x" for n in range(65)}),
            ),
            (UsageError, "did you mean", lambda: untyped.start("wait", {})),
            (UsageError, "does not fit Paid, which bill takes", lambda: a.start(bill, {"cents": "x"})),
            (UsageError, "another app", lambda: a.start(foreign, {})),
            (UsageError, "what @app.function made", lambda: untyped.start(waits.body, {})),
            (InvalidEvent, "use a dict", lambda: untyped.start(waits, [1])),
            (UsageError, "is empty", lambda: handle.signal("")),
            (UsageError, "shorten it", lambda: handle.signal("x" * 300)),
            (UsageError, "use a string", lambda: odd.signal(5)),
            (UsageError, "surrogate", lambda: handle.signal("go", id="\ud800")),
            (EncodingError, "is not a JSON number", lambda: handle.signal("go", math.nan)),
            (EncodingError, "nested deeper", lambda: handle.signal("go", nested(10_000))),
            (PayloadTooLarge, "reference", lambda: handle.signal("go", "x" * 500_000)),
            (UsageError, "at most 1024", lambda: handle.cancel(reason="x" * 2_000_000)),
            (UsageError, "must be a string", lambda: odd.cancel(reason=5)),
            (RunNotFound, "no run can have the id", lambda: a.handle(waits, "\ud800").status()),
            (RunNotFound, "1p99", lambda: a.handle(waits, "1p99-aaaaaaaaaaaaaaaaaaaa").status()),
        ]
        for kind, words, call in calls:
            with pytest.raises(kind) as refused:
                await call()
            assert words in str(refused.value)
        await handle.signal("go", 5)
        assert await handle.result(timeout=5) == 5
        await goes_on(env)
