"""How runs end: results, failures, cancels, what is left over (B2), failure handlers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from perdure.core.limits import Limits
from perdure.errors import NonDeterminismError, StepError
from perdure.execution import Context, FailureContext
from tests.execution.harness import T0, Driver, cancel_asked, event, function, step_done, step_failed, work


def test_a_result_is_encoded_by_the_annotation() -> None:
    async def body(ctx: Context) -> dict[str, int]:
        return {"a": 1}

    run = Driver(body)
    assert run.record.ended == ("perdure.RunDone", {"time": T0, "result": b'{"a":1}'})
    assert run.last.ended
    assert run.last.error is None


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan")])
def test_a_result_that_cannot_be_recorded_fails_the_run(value: Any) -> None:
    async def body(ctx: Context):
        return value

    run = Driver(body)
    assert run.result == "perdure.errors.EncodingError"


def test_a_result_that_is_too_large_fails_the_run() -> None:
    async def body(ctx: Context) -> str:
        return "x" * 2_000

    run = Driver(body, limits=Limits(payload_bytes_max=1_000, stored_payload_bytes_max=0))
    assert run.result == "perdure.errors.PayloadTooLarge"


def test_an_exception_fails_the_run_with_a_traceback_of_the_users_code() -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")
        raise LookupError("not here")

    run = Driver(body)
    turn = run.done("/a")
    assert run.error["type"] == "LookupError"
    assert run.error["message"] == "not here"
    assert "test_ends.py" in run.error["traceback"]
    assert "execution/loop.py" not in run.error["traceback"]
    assert isinstance(turn.error, LookupError)
    assert run.record.ended is not None
    assert run.record.ended[1]["handler"] is None


def test_a_body_that_raises_before_it_awaits_and_one_that_is_no_coroutine() -> None:
    async def raises(ctx: Context) -> None:
        raise ValueError("at once")

    assert Driver(raises).result == "ValueError"


def test_nothing_can_be_released_after_the_end() -> None:
    async def body(ctx: Context) -> str:
        return await ctx.step.run("a", work, "x")

    run = Driver(body)
    run.done("/a")
    for op in (step_done("/a"), cancel_asked()):
        with pytest.raises(NonDeterminismError, match="already ended"):
            run.execution.release(op)


# --- cancel -----------------------------------------------------------------------------------------------------------


async def cleans_up(ctx: Context) -> None:
    try:
        await ctx.step.run("a", work, "x")
    finally:
        await ctx.step.run("cleanup", work, "x")


def test_a_cancel_lets_the_body_clean_up() -> None:
    run = Driver(cleans_up)
    turn = run.release(cancel_asked(reason="enough"))
    assert turn.ops == [("perdure.Asked", {"keys": ["/cleanup"]}), ("perdure.StepAbandoned", {"key": "/a"})]
    run.done("/cleanup")
    assert run.record.ended == ("perdure.RunCancelled", {"time": T0, "reason": "enough"})
    assert run.last.error is None


@pytest.mark.parametrize("second", [cancel_asked(reason="now", force=True), cancel_asked(reason="now")])
def test_a_second_cancel_or_force_skips_the_cleanup(second: Any) -> None:
    run = Driver(cleans_up)
    run.release(cancel_asked())
    turn = run.release(second)
    assert turn.ops == [
        ("perdure.StepAbandoned", {"key": "/cleanup"}),
        ("perdure.RunCancelled", {"time": T0, "reason": "now"}),
    ]
    run.replayed()


def test_force_at_once() -> None:
    run = Driver(cleans_up)
    run.release(cancel_asked(force=True))
    assert run.result == "cancelled"


def test_a_body_that_swallows_the_cancel_and_returns_is_done() -> None:
    async def body(ctx: Context) -> str:
        try:
            await ctx.step.run("a", work, "x")
        except asyncio.CancelledError:
            return "never mind"
        return "?"

    run = Driver(body)
    run.release(cancel_asked())
    assert run.result == "never mind"


def test_a_body_that_fails_while_it_is_cancelled_failed() -> None:
    async def body(ctx: Context) -> None:
        try:
            await ctx.step.run("a", work, "x")
        finally:
            raise ValueError("in cleanup")

    run = Driver(body)
    run.release(cancel_asked())
    assert run.result == "ValueError"


def test_a_cancelled_error_of_the_bodys_own_is_a_failure() -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")
        raise asyncio.CancelledError("mine")

    run = Driver(body)
    turn = run.done("/a")
    assert run.result == "asyncio.exceptions.CancelledError"
    assert isinstance(turn.error, asyncio.CancelledError)


# --- B2: what is left over --------------------------------------------------------------------------------------------


def test_b2_left_over_tasks_are_cancelled_and_driven_to_their_end() -> None:
    async def background(ctx: Context) -> None:
        try:
            await ctx.step.run("bg", work, "x")
        finally:
            await ctx.step.run("bg-final", work, "x")

    async def body(ctx: Context) -> str:
        task = asyncio.create_task(background(ctx))
        await ctx.step.run("main", work, "x")
        return task.get_name()

    run = Driver(body)
    turn = run.done("/main")
    assert not turn.ended
    assert turn.ops == [
        ("perdure.Asked", {"keys": ["1/bg-final"]}),
        ("perdure.StepAbandoned", {"key": "1/bg"}),
    ]
    turn = run.done("1/bg-final", time=T0 + 5)
    assert turn.ended
    assert run.result == "task 1"
    assert run.record.ended is not None
    assert run.record.ended[1]["time"] == T0 + 5


def test_b2_siblings_of_a_failed_gather_do_not_run_on_beside_the_failure_handler() -> None:
    async def charge(ctx: Context) -> None:
        await ctx.step.run("charge", work, "x")
        await ctx.step.run("ship", work, "x")

    async def body(ctx: Context) -> None:
        await asyncio.gather(charge(ctx), ctx.step.run("fails", work, "x"))

    run = Driver(body)
    turn = run.release(step_failed("2/fails"))
    assert [name for name, _ in turn.ops] == ["perdure.StepAbandoned", "perdure.RunFailed"]
    assert turn.ops[0][1] == {"key": "1/charge"}


def test_b2_a_left_over_task_that_swallows_its_cancel_goes_on() -> None:
    async def stubborn(ctx: Context) -> None:
        for _ in range(2):
            try:
                await ctx.step.run("s", work, "x")
            except asyncio.CancelledError:
                pass

    async def body(ctx: Context) -> str:
        task = asyncio.create_task(stubborn(ctx))
        await ctx.step.run("main", work, "x")
        return task.get_name()

    run = Driver(body)
    run.done("/main")
    assert run.open == ["1/s:1"]
    run.done("1/s:1")
    assert run.result == "task 1"


def test_b2_a_left_over_task_that_nothing_can_wake_does_not_keep_the_run() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass

    async def body(ctx: Context) -> str:
        asyncio.create_task(stubborn())
        return "done"

    run = Driver(body)
    assert run.result == "done"


def test_b2_left_over_generators_are_closed_at_the_end_in_order() -> None:
    async def numbers(ctx: Context, name: str) -> Any:
        try:
            yield 1
            yield 2
        finally:
            await ctx.step.run(f"close-{name}", work, "x")

    kept: list[Any] = []

    async def body(ctx: Context) -> None:
        for name in "ab":
            kept.append(numbers(ctx, name))
            await anext(kept[-1])

    run = Driver(body)
    assert [ask.step_id for ask in run.last.steps] == ["close-a", "close-b"]
    kept.clear()
    for key in run.open:
        run.done(key)
    assert run.result is None


def test_b2_a_cancel_during_the_cleanup() -> None:
    async def background(ctx: Context) -> None:
        try:
            await ctx.step.run("bg", work, "x")
        finally:
            await ctx.step.run("bg-final", work, "x")

    async def body(ctx: Context) -> str:
        asyncio.create_task(background(ctx))
        await ctx.step.run("main", work, "x")
        return "done"

    run = Driver(body)
    run.done("/main")
    run.release(cancel_asked())
    assert run.result == "done", "the body had ended, so there was nothing to cancel but its cleanup"
    run = Driver(body)
    run.done("/main")
    run.release(cancel_asked(force=True))
    assert run.result == "cancelled"


# --- failure handlers -------------------------------------------------------------------------------------------------


def test_a_failure_handler_gets_the_error_and_the_original_event() -> None:
    async def failed(ctx: Context) -> None: ...

    async def handler(ctx: FailureContext) -> Any:
        note = await ctx.step.run("note", work, "x")
        return [
            note,
            ctx.error.type_name,
            ctx.error.message,
            ctx.error.run_id,
            ctx.event.data,
            ctx.event.name,
            ctx.run_id,
            ctx.handler_run_id,
        ]

    original = event("order/paid", {"ref": 1})
    data = {
        "run_id": "run-0",
        "function_id": "shop",
        "error": {"type": "ValueError", "message": "no", "traceback": "...", "data": ""},
        "event": {**original, "data": json.loads(original["data"])},
    }
    start = event("perdure/function.failed", data, event_id="f1")
    shop = function(failed, id="shop")
    run = Driver(
        function(handler, id="shop:on-failure", kind="failure"),
        run_id="run-9",
        events=(start,),
        functions={"shop": shop},
    )
    run.done("/note", "noted")
    assert run.result == ["noted", "ValueError", "no", "run-0", {"ref": 1}, "order/paid", "run-0", "run-9"]


# --- B4: speculation --------------------------------------------------------------------------------------------------


def test_b4_lines_and_values_are_buffered_per_turn() -> None:
    async def body(ctx: Context) -> None:
        ctx.log.info("one", n=1)
        ctx.set_value("progress", {"done": 1})
        await ctx.step.run("a", work, "x")
        ctx.log.warning("two")
        ctx.set_value("progress", {"done": 1})
        ctx.set_value("progress", {"done": 2})
        try:
            await ctx.step.run("b", work, "x")
        except StepError:
            ctx.log.exception("it failed", step="b")

    run = Driver(body)
    assert [tuple(line) for line in run.last.lines] == [("info", "one", {"n": 1})]
    assert run.last.values == {"progress": b'{"done":1}'}
    first = run.last
    turn = run.done("/a")
    assert [line.message for line in turn.lines] == ["two"]
    assert turn.values == {"progress": b'{"done":2}'}
    assert [line.message for line in first.lines] == ["one"], "turns share nothing"
    turn = run.release(step_failed("/b"))
    assert turn.lines[0].level == "error"
    assert turn.lines[0].fields["error"]["type"] == "ValueError"


def test_b4_replay_is_silent_and_what_follows_is_not() -> None:
    async def body(ctx: Context) -> None:
        ctx.log.info("one")
        ctx.set_value("v", 1)
        await ctx.step.run("a", work, "x")
        ctx.log.info("two")
        ctx.set_value("v", 2)

    run = Driver(body)
    again = run.replayed()
    turn = again.release(step_done("/a"))
    assert [line.message for line in turn.lines] == ["two"]
    assert turn.values == {"v": b"2"}


def test_b4_a_value_must_be_json() -> None:
    async def body(ctx: Context) -> None:
        ctx.set_value("v", object())

    assert Driver(body).result == "perdure.errors.EncodingError"
