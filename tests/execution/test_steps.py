"""What `ctx.step` promises (API §2), and what it refuses."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from perdure.authoring.events import Event
from perdure.authoring.retry import Retry
from perdure.authoring.steps import step as step_options
from perdure.core import ops
from perdure.core.limits import Limits
from perdure.errors import NonDeterminismError, RunCancelled, StepError, StepTimeout, UsageError
from perdure.execution import Context, StepInfo, current_step, running_step
from tests.execution.harness import (
    T0,
    Driver,
    cancel_asked,
    child_ended,
    event,
    event_given,
    function,
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


class Paid(Event, name="order/paid"):
    ref: int
    amount: int = 0


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


# --- waits ------------------------------------------------------------------------------------------------------------


def test_wait_for_event_by_class_with_match_timeout_and_lookback() -> None:
    async def body(ctx: Context) -> Any:
        found = await ctx.step.wait_for_event("paid", Paid, match="data.ref", timeout="1h", lookback="10m")
        assert found is not None
        return [found.data.amount, found.name, found.id, type(found.data).__name__]

    run = Driver(body)
    [(name, fields)] = run.last.ops[1:]
    assert name == "perdure.WaitOpened"
    assert fields == {
        "key": "/paid",
        "event": "order/paid",
        "signal": None,
        "path": "data.ref",
        "value": b"7",
        "due": T0 + 3_600_000_000,
        "lookback": 600_000_000,
    }
    run.release(event_given("/paid", event("order/paid", {"ref": 7, "amount": 5}, event_id="e9")))
    assert run.result == [5, "order/paid", "e9", "Paid"]


def test_wait_for_event_by_name_times_out_with_none() -> None:
    async def body(ctx: Context) -> Any:
        return await ctx.step.wait_for_event("paid", "order/paid", timeout=3)

    run = Driver(body)
    assert run.last.ops[1][1]["path"] is None
    run.release(timer_fired("/paid", time=T0 + 3_000_000))
    assert run.result is None


def test_a_match_that_this_run_cannot_have_only_times_out() -> None:
    async def body(ctx: Context) -> Any:
        return await ctx.step.wait_for_event("paid", "order/paid", match="data.other", timeout=3)

    run = Driver(body)
    assert run.last.ops[1] == ("perdure.TimerSet", {"key": "/paid", "due": T0 + 3_000_000})
    run.release(timer_fired("/paid", time=T0 + 3_000_000))
    assert run.result is None


@pytest.mark.parametrize(
    "wait",
    [
        lambda ctx: ctx.step.wait_for_event("w", "x", match="data.other"),
        lambda ctx: ctx.step.wait_for_event("w", "x", match="nonsense"),
        lambda ctx: ctx.step.wait_for_event("w", "a/*"),
        lambda ctx: ctx.step.wait_for_event("w", ""),
        lambda ctx: ctx.step.wait_for_event("w", Event),
        lambda ctx: ctx.step.wait_for_event("w", "x", timeout=-1),
        lambda ctx: ctx.step.wait_for_signal("w", ""),
        lambda ctx: ctx.step.sleep("w", "soon"),
        lambda ctx: ctx.step.invoke("w", "nobody"),
        lambda ctx: ctx.step.start("w", "nobody"),
        lambda ctx: ctx.step.map("w", work, "abc", limit=0),
        lambda ctx: ctx.step.race(),
        lambda ctx: ctx.step.race(a=3),
        lambda ctx: ctx.step.send_event("w", "perdure/mine"),
        lambda ctx: ctx.step.send_event("w", [{"data": {}}]),
    ],
)
def test_waits_that_cannot_work_are_refused_at_the_ask(wait: Any) -> None:
    async def body(ctx: Context) -> None:
        await wait(ctx)

    run = Driver(body)
    assert run.result in ("perdure.errors.UsageError", "perdure.errors.InvalidEvent")
    assert [name for name, _ in run.last.ops] == ["perdure.Started", "perdure.RunFailed"]


def test_a_wait_that_is_given_up_is_closed() -> None:
    async def body(ctx: Context) -> str:
        try:
            async with asyncio.timeout(1):
                await ctx.step.wait_for_signal("w", "go")
        except TimeoutError:
            return "late"
        return "in time"

    run = Driver(body)
    turn = run.release(timer_fired("/~timer", time=T0 + 1_000_000))
    assert turn.ops[0] == ("perdure.WaitClosed", {"key": "/w"})
    assert run.result == "late"


def test_wait_for_signal() -> None:
    async def body(ctx: Context) -> Any:
        found = await ctx.step.wait_for_signal("ok", "approve")
        return None if found is None else [found.name, found.data, found.id]

    run = Driver(body)
    run.release(signal_given("/ok", "approve", {"by": "ada"}))
    assert run.result == ["approve", {"by": "ada"}, "c1"]


# --- other functions --------------------------------------------------------------------------------------------------


async def child_body(ctx: Context[Paid]) -> User:
    return User(name="x")


CHILD = function(child_body, id="child", on=Paid)


def parent(**more: Any) -> Driver:
    async def body(ctx: Context) -> Any:
        try:
            found = await ctx.step.invoke("call", CHILD, {"ref": 1}, timeout="1m", parent_close="abandon")
        except StepError as error:
            return [error.type_name, error.message, type(error.cause).__name__, error.step_id]
        return found.name

    return Driver(body, functions={"child": CHILD}, child_run_id=lambda key: f"placed{key}", **more)


def test_invoke_issues_a_child_and_gives_its_result() -> None:
    run = parent()
    [(name, fields)] = run.last.ops[1:]
    assert name == "perdure.ChildIssued"
    data = {key: fields[key] for key in ("key", "run", "function", "due", "detached", "parent_close")}
    assert data == {
        "key": "/call",
        "run": "placed/call",
        "function": "child",
        "due": T0 + 60_000_000,
        "detached": False,
        "parent_close": "abandon",
    }
    assert fields["event"]["name"] == "perdure/function.invoked"
    assert json.loads(fields["event"]["data"]) == {"ref": 1}
    run.release(child_ended("/call", (ops.CHILD_DONE, {"result": b'{"name":"ada","age":1}'})))
    assert run.result == "ada"


@pytest.mark.parametrize(
    ("outcome", "type_name", "cause"),
    [
        (
            (ops.CHILD_FAILED, {"error": {"type": "KeyError", "message": "k", "traceback": ""}}),
            "KeyError",
            "KeyError",
        ),
        ((ops.CHILD_CANCELLED, {"reason": "no"}), "perdure.errors.RunCancelled", RunCancelled.__name__),
        ((ops.CHILD_REFUSED, {"reason": "singleton"}), "perdure.errors.UsageError", "UsageError"),
        (None, "perdure.errors.StepTimeout", StepTimeout.__name__),
    ],
)
def test_invoke_raises_for_each_other_end(outcome: Any, type_name: str, cause: str) -> None:
    run = parent()
    run.release(
        timer_fired("/call", time=T0 + 60_000_000) if outcome is None else child_ended("/call", outcome)
    )
    assert run.result[0] == type_name
    assert run.result[2:] == [cause, "call"]


def test_an_invoked_body_gets_the_model_of_its_only_trigger() -> None:
    async def child(ctx: Context[Paid]) -> Any:
        return [type(ctx.event.data).__name__, ctx.event.data.ref]

    invoked = event("perdure/function.invoked", {"ref": 5})
    assert Driver(function(child, on=Paid), events=(invoked,)).result == ["Paid", 5]


def test_invoke_with_an_event_keeps_its_name() -> None:
    async def body(ctx: Context) -> str:
        return await ctx.step.start("go", "child", Paid(ref=3))

    run = Driver(body, functions={"child": CHILD})
    [(name, fields), _] = run.last.ops[1:]
    assert name == "perdure.ChildIssued"
    assert (fields["event"]["name"], fields["detached"], fields["due"]) == ("order/paid", True, None)
    assert run.result == fields["run"]


def test_c14_an_unknown_function_fails_at_the_ask() -> None:
    other = function(child_body, id="elsewhere")

    async def body(ctx: Context) -> None:
        await ctx.step.invoke("call", other)

    run = Driver(body, functions={"child": CHILD})
    assert "no function" in run.error["message"]
    assert "elsewhere" in run.error["message"]


def test_a_child_that_nobody_waits_for_is_dropped() -> None:
    async def body(ctx: Context) -> str:
        name, _ = await ctx.step.race(call=ctx.step.invoke("call", CHILD), late=ctx.step.sleep("late", 1))
        return name

    run = Driver(body, functions={"child": CHILD})
    turn = run.release(timer_fired("2/late", time=T0 + 1_000_000))
    assert ("perdure.ChildDropped", {"key": "1/call"}) in turn.ops
    assert run.result == "late"


# --- events -----------------------------------------------------------------------------------------------------------


def test_send_event_gives_ids_that_derive_from_run_key_and_index() -> None:
    async def body(ctx: Context) -> list[str]:
        first = await ctx.step.send_event("tell", [Paid(ref=1), {"name": "a/b", "data": {"x": 1}}])
        return first + await ctx.step.send_event("tell", "a/c")

    run = Driver(body)
    again = Driver(body)
    other = Driver(body, run_id="run-2")
    assert len(set(run.result)) == 3
    assert run.result == again.result
    assert not set(run.result) & set(other.result)
    first, second = (fields for name, fields in run.last.ops if name == ops.EVENTS_SENT)
    assert [one["name"] for one in first["events"]] == ["order/paid", "a/b"]
    assert [one["ts"] for one in first["events"]] == [T0, T0]
    assert (first["key"], second["key"]) == ("/tell", "/tell:1")


def test_no_events_are_no_op() -> None:
    async def body(ctx: Context) -> list[str]:
        return await ctx.step.send_event("tell", [])

    run = Driver(body)
    assert run.result == []
    assert len(run.last.ops) == 2


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
