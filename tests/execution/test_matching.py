"""What a wait for an event matches by: a path that one of the two events cannot have is found at the ask (A3)."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import App
from perdure.authoring.events import Event
from perdure.authoring.functions import make_function
from perdure.execution import Context, FailureContext
from perdure.testing import environment
from tests.execution.harness import T0, Driver, event, function, timer_fired


class Paid(Event, name="order/paid"):
    ref: int
    amount: int = 0


def test_A3_a_match_that_this_run_cannot_have_is_a_wait_that_only_times_out_and_says_so() -> None:
    async def body(ctx: Context) -> Any:
        return await ctx.step.wait_for_event(
            "paid", "order/paid", match="data.other", timeout=3, lookback="1h"
        )

    run = Driver(body)
    name, fields = run.last.ops[1]
    assert (name, fields["path"], fields["value"], fields["lookback"]) == (
        "perdure.WaitOpened",
        "data.other",
        b"",  # the JSON of no value
        None,
    )
    [line] = run.last.lines
    assert line.level == "warning"
    assert line.message == (
        "wait_for_event 'paid', match='data.other': the event of this run has no data.other, so the wait only ends at "
        "its timeout"
    )
    assert run.replayed().waiting_for() == ["/paid"]
    run.release(timer_fired("/paid", time=T0 + 3_000_000))
    assert run.result is None


@pytest.mark.asyncio
async def test_A3_a_wait_without_a_value_is_shown_as_a_wait_and_matches_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App("test")

    @app.function(on="go")
    async def body(ctx: Context) -> Any:
        return await ctx.step.wait_for_event("w", "x/y", match="data.nope", timeout="1h", lookback="1h")

    async with environment(app) as env:
        await env.send("x/y", {"nope": None})
        (run,) = await env.send("go", {})
        for data in ({}, {"nope": None}, {"nope": ""}):
            await env.send("x/y", data)
        assert [(one.id, one.kind) for one in run.steps] == [("w", "wait")]
        await env.advance("1h")
        assert run.result is None
    assert [one.levelname for one in caplog.records if "has no data.nope" in one.getMessage()] == ["WARNING"]


def matching(path: str, awaited: Any = "order/paid", timeout: Any = 3) -> Any:
    async def body(ctx: Context) -> Any:
        return await ctx.step.wait_for_event("w", awaited, match=path, timeout=timeout)

    return body


@pytest.mark.parametrize("timeout", [3, None])
def test_A3_a_path_that_the_event_of_this_run_cannot_have_is_refused_at_the_ask(timeout: Any) -> None:
    async def annotated(ctx: Context[Paid]) -> Any:
        return await matching("data.nope", timeout=timeout)(ctx)

    given = (event("order/paid", {"ref": 1}),)
    invoked = (event("perdure/function.invoked", {"ref": 1}),)
    for run in (
        Driver(function(matching("data.nope", timeout=timeout), on=Paid), events=given),
        Driver(function(matching("data.nope", timeout=timeout), on=Paid), events=invoked),
        Driver(function(annotated), events=given),
    ):
        assert run.error["message"] == (
            "wait_for_event 'w', match='data.nope': the event of this run is a Paid, and Paid has no field 'nope'; it "
            "has amount, ref"
        )


def test_A3_a_field_that_was_not_sent_may_be_waited_with() -> None:
    run = Driver(function(matching("data.amount"), on=Paid), events=(event("order/paid", {"ref": 1}),))
    assert run.open == ["/w"]
    assert len(run.last.lines) == 1


def test_A3_a_path_that_the_awaited_event_cannot_have_is_refused_at_the_ask() -> None:
    run = Driver(matching("data.other", Paid), events=(event(data={"other": 1}),))
    assert run.error["message"] == (
        "wait_for_event 'w', match='data.other': the awaited Paid has no field 'other'; it has amount, ref"
    )
    assert Driver(matching("data.ref", Paid)).open == ["/w"]


def test_A3_a_handler_waits_by_the_event_that_says_what_failed() -> None:
    async def undo(ctx: FailureContext[Paid]) -> Any:
        await ctx.step.wait_for_event("w", "order/paid", match="data.run_id", timeout=3)

    async def body(ctx: Context[Paid]) -> None: ...

    handler = make_function(body, on=Paid, on_failure=undo).on_failure
    assert handler is not None
    failed = event(
        "perdure/function.failed", {"run_id": "r", "function_id": "body", "event": {}, "error": {}}
    )
    assert Driver(handler, events=(failed,)).open == ["/w"]
    handler = make_function(body, on=Paid, on_failure=matching("data.nope")).on_failure
    assert handler is not None
    assert Driver(handler, events=(failed,)).open == ["/w"]
