"""`wait_for_event(if_=…)`: what a wait asks of an event beside its name."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from perdure import App, Context, Event, NonDeterminismError, SyncContext, UsageError
from perdure.core import codec
from perdure.core.limits import DEFAULT_LIMITS
from perdure.logs.contract import Topic
from perdure.testing import Environment, TestRun, assert_replays, crash_everywhere, environment
from tests.engine.going_on import app as app_that_goes_on
from tests.engine.going_on import failed_with, goes_on

pytestmark = pytest.mark.asyncio

DEARER = "async.data.order == event.data.order && async.data.cents > event.data.cents"


def waits_with(condition: Any, a: App | None = None, **more: Any) -> tuple[App, Any]:
    a = a or App("test")

    @a.function(on="order/placed", retries=0)
    async def waits(ctx: Context) -> Any:
        got = await ctx.step.wait_for_event("paid", "order/paid", if_=condition, **more)
        return got and got.data

    return a, waits


async def ops_of(env: Environment, run: TestRun[Any]) -> list[tuple[str, dict[str, Any]]]:
    """Those of all its commits, in the log's order."""
    found: list[tuple[str, dict[str, Any]]] = []
    for number in range(env.log.partitions):
        first, end = await env.log.bounds(Topic.JOURNAL, number)
        for entry in await env.log.read(Topic.JOURNAL, number, first, max(end - first, 1)):
            name, body = codec.decode(entry.value)
            if name == "Commit":
                found += [op for c in body["changes"] if c["entity"] == run.id for op in c["ops"]]
    return found


async def passed(env: Environment, run: TestRun[Any]) -> list[tuple[str, str]]:
    """The events that its waits let pass, and why."""
    return [(b["event"], b["reason"]) for n, b in await ops_of(env, run) if n == "perdure.EventPassed"]


async def opened(env: Environment, run: TestRun[Any]) -> tuple[str | None, bytes | None, str | None]:
    """Path and value by which the wait is found, and what is asked of each event beside."""
    ops = await ops_of(env, run)
    (wait,) = (body for name, body in ops if name == "perdure.WaitOpened")
    asked = [body["condition"] for name, body in ops if name == "perdure.WaitFiltered"]
    return wait["path"], wait["value"], asked[0] if asked else None


@pytest.mark.parametrize("partitions", [1, 4])
async def test_cel_over_the_event_and_the_one_that_comes(partitions: int) -> None:
    a, _ = waits_with(DEARER)
    async with environment(a, partitions=partitions) as env:
        (run,) = await env.send("order/placed", {"order": "7", "cents": 100})
        await env.send("order/paid", {"order": "8", "cents": 500}, id="other-order")
        await env.send("order/paid", {"order": "7", "cents": 50}, id="too-little")
        assert run.status == "running"
        await env.send("order/paid", {"order": "7", "cents": 101})
        assert run.result == {"order": "7", "cents": 101}
        # The equality is found by the table, so the run hears nothing of other orders.
        assert await opened(env, run) == (
            "data.order",
            b'"7"',
            "(async . data . cents > event . data . cents)",
        )
        assert await passed(env, run) == [("too-little", "")]


@pytest.mark.parametrize(
    ("condition", "path", "value", "rest"),
    [
        ('async.data.kind == "card"', "data.kind", b'"card"', None),
        ("async.data.n == 3", "data.n", b"3", None),
        ("event.data.order == async.data.id", "data.id", b'"7"', None),
        ('async.key == event.key && async.v == "2"', "key", b'"k"', '(async . v == "2")'),
        ("async.data.a > 1", None, None, "async.data.a > 1"),
        ("async.data.a == 1 || async.data.b == 1", None, None, "async.data.a == 1 || async.data.b == 1"),
    ],
)
async def test_an_equality_is_found_by_the_table(
    condition: str, path: str | None, value: bytes | None, rest: str | None
) -> None:
    a, _ = waits_with(condition)
    async with environment(a) as env:
        (run,) = await env.send("order/placed", {"order": "7"}, key="k")
        assert await opened(env, run) == (path, value, rest)


async def test_match_is_the_value_and_if_the_rest() -> None:
    a, _ = waits_with("async.data.cents > 10", match="data.order")
    async with environment(a) as env:
        (run,) = await env.send("order/placed", {"order": "7"})
        assert await opened(env, run) == ("data.order", b'"7"', "async.data.cents > 10")
        await env.send("order/paid", {"order": "7", "cents": 1})
        await env.send("order/paid", {"order": "7", "cents": 11})
        assert run.result == {"order": "7", "cents": 11}


async def test_a_predicate_in_python_is_given_the_event_as_the_body_receives_it() -> None:
    a = App("test")

    class Paid(Event, name="order/paid"):
        cents: int

    @a.function(on="order/placed")
    async def waits(ctx: Context) -> int:
        least = ctx.event.data["cents"]
        got = await ctx.step.wait_for_event("paid", Paid, if_=lambda paid: paid.data.cents >= least)
        assert got is not None
        return got.data.cents

    async with environment(a) as env:
        (run,) = await env.send("order/placed", {"cents": 100})
        for cents in (1, 99, 100, 101):
            await env.send(Paid(cents=cents))
        assert run.result == 100


async def test_a_def_body_and_each_kind_of_condition_survive_a_crash_at_every_record() -> None:
    a = App("test")

    @a.function(on="order/placed")
    def waits(ctx: SyncContext) -> list[Any]:
        by_cel = ctx.step.wait_for_event("cel", "order/paid", if_="async.data.n > 1")
        by_code = ctx.step.wait_for_event(
            "code", "order/paid", if_=lambda paid: paid.data["n"] > 3, timeout="1h"
        )
        late = ctx.step.wait_for_event("late", "order/paid", if_="async.data.n > 9", timeout="1h")
        return [by_cel and by_cel.data["n"], by_code and by_code.data["n"], late]

    async def script(env: Environment) -> None:
        (run,) = await env.send("order/placed")
        for n in range(1, 6):
            await env.send("order/paid", {"n": n}, key="k")
        await env.advance("2h")
        assert run.result == [2, 4, None]

    report = await crash_everywhere(a, script)
    assert report.crashes > 30


async def test_an_async_body_survives_a_crash_at_every_record() -> None:
    a = App("test")

    @a.function(on="order/placed")
    async def waits(ctx: Context) -> list[Any]:
        async def one(step_id: str, least: int) -> Any:
            got = await ctx.step.wait_for_event(step_id, "order/paid", if_=f"async.data.n >= {least}")
            return got and got.data["n"]

        return [*await asyncio.gather(one("a", 4), one("b", 2), one("c", 2))]

    async def script(env: Environment) -> None:
        (run,) = await env.send("order/placed")
        for n in range(1, 6):
            await env.send("order/paid", {"n": n}, key="k")
        # Each event answers one wait: the first that takes it.
        assert sorted(run.result) == [2, 3, 4]

    await crash_everywhere(a, script)


async def test_an_event_of_which_it_cannot_be_told_is_passed_over_with_the_reason() -> None:
    a, _ = waits_with("async.data.cents > 10")
    async with environment(a, partitions=1) as env:
        (run,) = await env.send("order/placed")
        await env.send("order/paid", {}, id="bare")
        await env.send("order/paid", {"cents": "many"}, id="text")
        await env.send("order/paid", {"cents": 11})
        assert run.result == {"cents": 11}
        (bare, no_key), (text, no_overload) = await passed(env, run)
        assert (bare, text) == ("bare", "text")
        assert "cents" in no_key
        assert "if_ failed" in no_overload


async def test_a_predicate_that_raises_passes_the_event_over_with_the_reason() -> None:
    a, _ = waits_with(lambda paid: paid.data["cents"] > 10)
    async with environment(a, partitions=1) as env:
        (run,) = await env.send("order/placed")
        await env.send("order/paid", {}, id="bare")
        await env.send("order/paid", {"cents": 11})
        assert run.result == {"cents": 11}
        assert await passed(env, run) == [("bare", "if_ raised KeyError: 'cents'")]


async def test_a_wait_against_its_timeout_has_one_winner() -> None:
    a, _ = waits_with("async.data.n > 1", timeout="1h")
    async with environment(a) as env:
        (first,) = await env.send("order/placed")
        await env.advance("59m")
        await env.send("order/paid", {"n": 2})
        await env.advance("1h")
        assert first.result == {"n": 2}
        (second,) = await env.send("order/placed")
        await env.send("order/paid", {"n": 1})
        await env.advance("1h")
        assert (second.status, second.view.result) == ("completed", None)
        await env.send("order/paid", {"n": 2})
        for partition in env._engine.partitions.values():  # pyright: ignore[reportOptionalMemberAccess]
            assert not any(cell.subscriptions for cell in partition.state.cells.values())


async def test_lookback_asks_the_condition_of_earlier_events_too() -> None:
    a, _ = waits_with("async.data.n > 1", lookback="1h")
    async with environment(a) as env:
        for n in (1, 2, 3):
            await env.send("order/paid", {"n": n}, key="k")
        await env.advance("30m")
        (run,) = await env.send("order/placed")
        assert run.result == {"n": 2}


async def test_one_event_does_not_answer_two_waits_of_a_run_whatever_they_ask() -> None:
    a = App("test")

    @a.function(on="order/placed")
    async def waits(ctx: Context) -> list[Any]:
        async def one(step_id: str, **asks: Any) -> Any:
            got = await ctx.step.wait_for_event(step_id, "order/paid", timeout="1h", **asks)
            return got and got.data["n"]

        return [
            *await asyncio.gather(
                one("cel", if_="async.data.n > 0"),
                one("plain"),
                one("code", if_=lambda paid: paid.data["n"] > 0),
            )
        ]

    async with environment(a, partitions=1) as env:
        (run,) = await env.send("order/placed")
        await env.send([{"name": "order/paid", "data": {"n": n}} for n in (1, 2, 3)])
        await env.advance("2h")
        assert sorted(run.result) == [1, 2, 3]


@pytest.mark.parametrize("kind", ["cel", "code"])
@pytest.mark.parametrize("apart", [0, 1])
async def test_events_that_came_while_a_run_had_no_room_for_them_are_not_missed(
    kind: str, apart: int
) -> None:
    """Also when many of them share one moment, as those of a batch on Kafka do."""
    condition = (
        "async.data.n > 19 && async.data.n < 21" if kind == "cel" else lambda paid: paid.data["n"] == 20
    )
    limits = replace(DEFAULT_LIMITS, inbox_max=5, kept_events_max=8)
    a, _ = waits_with(condition, app_that_goes_on(limits=limits))
    async with environment(a, partitions=1) as env:
        (run,) = await env.send("order/placed")
        await run.pause()
        for n in range(40):
            await env.send("order/paid", {"n": n}, key="k")
            await env.advance(apart)
        assert env._engine is not None
        state = env._engine.partitions[0].state.runs[run.id]
        assert len(state.inbox) <= 5
        assert state.pending["/paid"].behind
        await run.resume()
        assert run.result == {"n": 20}
        await goes_on(env)


async def test_events_that_are_passed_over_do_not_count_towards_a_runs_history() -> None:
    a, _ = waits_with("async.data.n > 1", app_that_goes_on(limits=replace(DEFAULT_LIMITS, run_ops_max=20)))
    async with environment(a, partitions=1) as env:
        (run,) = await env.send("order/placed")
        for _ in range(50):
            await env.send("order/paid", {"n": 1})
        assert run.status == "running"
        await env.send("order/paid", {"n": 2})
        assert run.result == {"n": 2}


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("async.data.x +", "column 15"),
        ("async.data.x", ""),
        ("async.data.n + 1", ""),
        ("other.data.n == 1 && async.data.n > 1", "undeclared reference to 'other.data.n'"),
        ("", "it is empty"),
        ("event.data.order == '7'", "it asks nothing of the event that comes: that is async"),
        (3, "use CEL as text"),
    ],
)
async def test_a_condition_that_cannot_be_fails_its_run_and_says_where(condition: Any, words: str) -> None:
    a, _ = waits_with(condition, app_that_goes_on())
    async with environment(a) as env:
        (run,) = await env.send("order/placed")
        if words:
            failed_with(run, UsageError, words)
            failed_with(run, UsageError, "wait_for_event 'paid'")
        await goes_on(env)


async def test_a_field_that_a_class_does_not_have_and_a_reserved_name_are_refused() -> None:
    a = app_that_goes_on()

    class Paid(Event, name="order/paid"):
        cents: int

    @a.function(on="order/placed", retries=0)
    async def misspelt(ctx: Context) -> None:
        await ctx.step.wait_for_event("paid", Paid, if_="async.data.sents > 1")

    @a.function(on="order/placed", retries=0)
    async def reserved(ctx: Context) -> None:
        await ctx.step.wait_for_event("end", "perdure/function.finished")

    @a.function(on="order/placed", retries=0)
    async def absent(ctx: Context) -> None:
        await ctx.step.wait_for_event("paid", "order/paid", if_="async.data.id == event.data.id")

    async with environment(a) as env:
        await env.send("order/placed")
        failed_with(env.runs(misspelt)[0], UsageError, "Paid has no field 'sents'")
        failed_with(env.runs(reserved)[0], UsageError, "is one of the engine's own")
        failed_with(env.runs(absent)[0], UsageError, "no event can ever match it")
        await goes_on(env)


async def test_a_run_that_waits_is_not_woken_for_what_it_does_not_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, _ = waits_with("async.data.n > 1")
    async with environment(a, partitions=1) as env:
        (run,) = await env.send("order/placed")
        await env.advance("2m")  # its coroutine is let go
        assert env._engine is not None
        lead = env._engine.partitions[0].lead
        assert lead is not None
        assert run.id not in lead.residents.residents
        await env.send("order/paid", {"n": 1}, id="small")
        assert run.id not in lead.residents.residents
        assert await passed(env, run) == [("small", "")]
        await env.send("order/paid", {"n": 2})
        assert run.result == {"n": 2}


async def test_a_condition_belongs_to_what_is_recorded() -> None:
    old, _ = waits_with("async.data.n > 1")
    new, _ = waits_with("async.data.n > 5")
    async with environment(old, partitions=1) as env:
        (run,) = await env.send("order/placed")
        assert_replays(run.view, old)
        with pytest.raises(NonDeterminismError, match="condition of wait 'paid'"):
            assert_replays(run.view, new)
