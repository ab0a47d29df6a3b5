"""What `ctx.step.run` and `sleep` promise, and what they refuse."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from perdure.authoring.retry import Retry
from perdure.authoring.steps import step as step_options
from perdure.core.limits import Limits
from perdure.errors import NonDeterminismError, StepError, UsageError
from perdure.execution import Context, StepInfo, current_step, running_step
from tests.execution.harness import (
    T0,
    Driver,
    cancel_asked,
    signal_given,
    step_failed,
    timer_fired,
    work,
)


class User(BaseModel):
    name: str
    age: int = 3


@dataclass
class Point:
    x: int


async def fetch(user_id: int, *, id: int = 0) -> User:  # noqa: A002
    return User(name=f"{user_id} {id}")


def point(x: int) -> Point:
    return Point(x)


def unannotated(x):
    return x


# --- run --------------------------------------------------------------------------------------------------------------


def test_a_step_is_asked_with_its_function_arguments_and_options() -> None:
    async def body(ctx: Context) -> Any:
        return await ctx.step.run("get", fetch, 1, id=5)

    run = Driver(body)
    [ask] = run.last.steps
    assert (ask.key, ask.step_id, ask.fn, ask.args, ask.kwargs) == ("/get", "get", fetch, (1,), {"id": 5})
    assert ask.asked_at == T0
    assert run.last.ops[1] == ("perdure.Asked", {"keys": ["/get"]})


def test_results_come_back_as_the_annotated_type() -> None:
    seen: list[Any] = []

    async def body(ctx: Context) -> None:
        seen.append(await ctx.step.run("user", fetch, 1))
        seen.append(await ctx.step.run("point", point, 1))
        seen.append(await ctx.step.run("any", unannotated, 1))

    run = Driver(body)
    run.done("/user", {"name": "ada", "age": 36})
    run.done("/point", {"x": 4})
    run.done("/any", [1, {"a": None}])
    assert seen == [User(name="ada", age=36), Point(4), [1, {"a": None}]]


def test_a_step_id_used_again_gets_an_index() -> None:
    async def body(ctx: Context) -> list[str]:
        return [await ctx.step.run("a", work, "x") for _ in range(3)]

    run = Driver(body)
    assert run.open == ["/a"]
    run.done("/a", "0")
    assert [(ask.key, ask.step_id) for ask in run.last.steps] == [("/a:1", "a:1")]
    run.done("/a:1", "1")
    run.done("/a:2", "2")
    assert run.result == ["0", "1", "2"]


@pytest.mark.parametrize(
    "step_id", ["", "a:1", "x:007", "~a", "ö" * 129, "a\nb", None, 7, b"a", ["a"], "\ud800"]
)
def test_bad_step_ids_are_refused(step_id: Any) -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run(step_id, work, "x")

    assert Driver(body).result == "perdure.errors.UsageError"


@pytest.mark.parametrize("step_id", ["a", "a:b", "a: 1", "ö" * 128, "a/b", "1", ":"])
def test_good_step_ids_are_taken(step_id: str) -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run(step_id, work, "x")

    assert Driver(body).open == ["/" + step_id]


def test_a_coroutine_instead_of_a_function_is_refused() -> None:
    async def body(ctx: Any) -> None:
        await ctx.step.run("a", fetch(1))

    run = Driver(body)
    assert run.result == "perdure.errors.UsageError"
    assert "ctx.step.run(id, fn, arg)" in run.error["message"]


@pytest.mark.parametrize("fn", [None, "name", 3])
def test_what_is_no_function_is_refused(fn: Any) -> None:
    async def body(ctx: Any) -> None:
        await ctx.step.run("a", fn)

    assert Driver(body).result == "perdure.errors.UsageError"


def test_options_of_the_function_and_of_the_place() -> None:
    @step_options(retry=Retry(limit=7), timeout="3s")
    def declared() -> None: ...

    async def body(ctx: Context) -> None:
        await asyncio.gather(
            ctx.step.run("plain", work, "x"),
            ctx.step.run("declared", declared),
            ctx.step.options(timeout="9s", executor="process").run("both", declared),
            ctx.step.options(retries=1).run("place", work, "x"),
        )

    run = Driver(body)
    options = {ask.step_id: ask.options for ask in run.last.steps}
    assert options["plain"].retry is None
    assert (options["declared"].retry, options["declared"].timeout_us) == (Retry(limit=7), 3_000_000)
    both = options["both"]
    assert (both.retry, both.timeout_us, both.executor) == (Retry(limit=7), 9_000_000, "process")
    assert options["place"].retry is not None
    assert options["place"].retry.limit == 1


def test_a_failed_step_raises_step_error_with_its_cause() -> None:
    seen: list[StepError] = []

    async def body(ctx: Context) -> str:
        try:
            await ctx.step.run("a", work, "x")
        except StepError as error:
            seen.append(error)
        return await ctx.step.run("b", work, "x")

    run = Driver(body)
    run.release(step_failed("/a", kind="KeyError", message="'k'"))
    [error] = seen
    assert isinstance(error.cause, KeyError)
    assert error.__cause__ is error.cause
    assert (error.type_name, error.message, error.step_id, error.attempts) == ("KeyError", "'k'", "a", 5)
    run.done("/b", "fine")
    assert run.result == "fine"


def test_a_step_error_that_is_not_caught_fails_the_run() -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")

    run = Driver(body)
    turn = run.release(step_failed("/a"))
    assert run.error["type"] == "ValueError", "recorded as what failed the step"
    assert run.error["message"] == "no"
    assert isinstance(turn.error, StepError)


def test_a_result_that_no_longer_fits_the_annotation_is_an_error_in_the_body() -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run("get", fetch, 1)

    run = Driver(body)
    run.done("/get", {"nom": "ada"})
    assert run.result == "perdure.errors.EncodingError"


# --- bad inputs -------------------------------------------------------------------------------------------------------


def test_a_step_inside_a_step_is_refused() -> None:
    async def inner(ctx: Context) -> None:
        await ctx.step.run("inner", work, "x")

    async def body(ctx: Context) -> None:
        await ctx.step.run("outer", inner, ctx)

    run = Driver(body)
    [ask] = run.last.steps

    async def worker() -> None:
        with running_step(StepInfo("k", 1, 5)):
            await ask.fn(*ask.args)

    with pytest.raises(UsageError, match="Steps cannot nest"):
        asyncio.run(worker())
    assert run.open == ["/outer"]


def test_the_context_cannot_be_used_from_outside() -> None:
    kept: list[Context] = []

    async def body(ctx: Context) -> None:
        kept.append(ctx)
        await ctx.step.run("a", work, "x")

    run = Driver(body)
    with pytest.raises(UsageError, match="outside of its turn"):
        asyncio.run(kept[0].step.run("b", work, "x"))
    for call in (kept[0].now, kept[0].uuid4, lambda: kept[0].random):
        with pytest.raises(UsageError):
            call()
    assert run.open == ["/a"]


def test_except_base_exception_around_a_step() -> None:
    async def body(ctx: Context) -> list[str]:
        seen: list[str] = []
        for _ in range(3):
            try:
                seen.append(await ctx.step.run("a", work, "x"))
            except BaseException as error:
                seen.append(type(error).__name__)
        return seen

    run = Driver(body)
    run.done("/a", "1")
    run.release(step_failed("/a:1"))
    run.release(cancel_asked())
    assert run.result == ["1", "StepError", "CancelledError"]


def test_a7_a_turn_may_not_ask_for_too_much() -> None:
    async def body(ctx: Context) -> None:
        await asyncio.gather(*(ctx.step.run("a", work, "x") for _ in range(11)))

    run = Driver(body, limits=Limits(turn_asks_max=10))
    assert run.result == "perdure.errors.UsageError"
    assert "at most" in run.error["message"] or "may ask for 10" in run.error["message"]


def test_current_step() -> None:
    with pytest.raises(UsageError, match="only inside a step"):
        current_step()
    beats: list[Any] = []
    with running_step(StepInfo("run/a", 2, 5, {"page": 3}, beats.append)):
        info = current_step()
        info.heartbeat({"page": 4})
        assert (info.idempotency_key, info.attempt, info.max_attempts, info.details) == (
            "run/a",
            2,
            5,
            {"page": 3},
        )
    assert beats == [{"page": 4}]
    with pytest.raises(UsageError):
        current_step()


@pytest.mark.parametrize("op", [step_failed("/b"), timer_fired("/a", time=T0), signal_given("/a", "x")])
def test_an_input_that_nobody_waits_for_is_refused(op: Any) -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")

    run = Driver(body)
    with pytest.raises(NonDeterminismError, match="but the code waits for"):
        run.execution.release(op)


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duration", ["7d", timedelta(days=7), 7 * 86_400])
def test_sleep(duration: Any) -> None:
    async def body(ctx: Context) -> str:
        await ctx.step.sleep("trial", duration)
        return ctx.now().isoformat()

    run = Driver(body)
    due = T0 + 7 * 86_400_000_000
    assert run.last.ops[1:] == [("perdure.TimerSet", {"key": "/trial", "due": due})]
    run.release(timer_fired("/trial", time=due))
    assert run.result == "2023-11-21T22:13:20+00:00"


def test_sleep_until() -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.sleep_until("later", datetime(2030, 1, 1, tzinfo=UTC))
        await ctx.step.sleep_until("past", datetime(2020, 1, 1, tzinfo=UTC))

    run = Driver(body)
    due = run.record.open["/later"][1]["due"]
    assert due == 1_893_456_000_000_000
    run.release(timer_fired("/later", time=due))
    assert run.record.open["/past"][1]["due"] == due


def test_a_naive_datetime_is_refused() -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.sleep_until("later", datetime(2030, 1, 1))  # noqa: DTZ001

    assert Driver(body).result == "perdure.errors.UsageError"
