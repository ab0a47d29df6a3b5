"""`map` and `race`, and what a context knows."""

from __future__ import annotations

from typing import Any

from perdure.authoring.events import Event
from perdure.core import ops
from perdure.errors import StepError
from perdure.execution import Context
from tests.execution.harness import (
    T0,
    Driver,
    cancel_asked,
    event,
    function,
    step_failed,
    work,
)


class Paid(Event, name="order/paid"):
    ref: int
    amount: int = 0


# --- map and race -----------------------------------------------------------------------------------------------------


def test_map_bounds_what_runs_and_keeps_the_order() -> None:
    async def body(ctx: Context) -> list[str]:
        return await ctx.step.map("m", work, "abcd", limit=2)

    run = Driver(body)
    assert run.open == ["/m", "/m:1"]
    run.done("/m:1", "B")
    assert run.open == ["/m", "/m:2"]
    run.done("/m:2", "C")
    run.done("/m", "A")
    run.done("/m:3", "D")
    assert run.result == ["A", "B", "C", "D"]


def test_map_of_nothing() -> None:
    async def body(ctx: Context) -> list[str]:
        return await ctx.step.map("m", work, [])

    assert Driver(body).result == []


def test_map_fails_with_the_first_failure_and_abandons_the_rest() -> None:
    async def body(ctx: Context) -> str:
        try:
            await ctx.step.map("m", work, "abcd", limit=3)
        except StepError as error:
            return error.step_id
        return "?"

    run = Driver(body)
    turn = run.release(step_failed("/m:1"))
    assert sorted(fields["key"] for name, fields in turn.ops if name == ops.STEP_ABANDONED) == ["/m", "/m:2"]
    assert run.result == "m:1"


def test_map_that_is_cancelled_abandons_all() -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.map("m", work, "abcd", limit=2)

    run = Driver(body)
    turn = run.release(cancel_asked())
    assert sorted(fields["key"] for name, fields in turn.ops if name == ops.STEP_ABANDONED) == ["/m", "/m:1"]
    assert run.result == "cancelled"


def test_race_gives_the_first_and_cancels_the_others() -> None:
    async def body(ctx: Context) -> Any:
        return await ctx.step.race(a=ctx.step.run("a", work, "x"), b=ctx.step.run("b", work, "x"))

    run = Driver(body)
    turn = run.done("2/b", "B")
    assert turn.ops[0] == ("perdure.StepAbandoned", {"key": "1/a"})
    assert run.result == ["b", "B"]


def test_race_waits_for_the_cleanup_of_losers() -> None:
    async def loser(ctx: Context) -> None:
        try:
            await ctx.step.run("a", work, "x")
        finally:
            await ctx.step.run("cleanup", work, "x")

    async def body(ctx: Context) -> Any:
        return await ctx.step.race(a=loser(ctx), b=ctx.step.run("b", work, "x"))

    run = Driver(body)
    run.done("2/b", "B")
    assert run.open == ["1/cleanup"]
    run.done("1/cleanup")
    assert run.result == ["b", "B"]


def test_race_raises_what_the_first_raised() -> None:
    async def body(ctx: Context) -> Any:
        return await ctx.step.race(a=ctx.step.run("a", work, "x"), b=ctx.step.run("b", work, "x"))

    run = Driver(body)
    turn = run.release(step_failed("1/a"))
    assert isinstance(turn.error, StepError)


def test_race_that_is_cancelled_cancels_its_branches() -> None:
    async def body(ctx: Context) -> Any:
        return await ctx.step.race(a=ctx.step.run("a", work, "x"), b=ctx.step.sleep("b", 5))

    run = Driver(body)
    run.release(cancel_asked(reason="enough"))
    assert run.result == "cancelled"
    assert run.record.ended == ("perdure.RunCancelled", {"time": T0, "reason": "enough"})


# --- the rest of the context ------------------------------------------------------------------------------------------


def test_what_a_context_knows() -> None:
    async def body(ctx: Context[Paid]) -> Any:
        return [
            ctx.run_id,
            ctx.function_id,
            ctx.started_at.isoformat(),
            ctx.evicting,
            ctx.event.data.ref,
            ctx.event.name,
            [one.id for one in ctx.events],
            ctx.event is ctx.event,
        ]

    given = (event("order/paid", {"ref": 1}, event_id="e1"), event("order/paid", {"ref": 2}, event_id="e2"))
    run = Driver(function(body, on=Paid), events=given, run_id="r")
    assert run.result == [
        "r",
        "program",
        "2023-11-14T22:13:20+00:00",
        False,
        1,
        "order/paid",
        ["e1", "e2"],
        True,
    ]


def test_an_event_that_does_not_fit_its_model_fails_the_run() -> None:
    async def body(ctx: Context[Paid]) -> int:
        return ctx.event.data.ref

    run = Driver(function(body, on=Paid), events=(event("order/paid", {"no": 1}),))
    assert run.result == "perdure.errors.EncodingError"
