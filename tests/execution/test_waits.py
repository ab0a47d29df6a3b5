"""Waits for events and signals, other functions, and events that are sent."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel

from perdure.authoring.events import Event
from perdure.core import ops
from perdure.errors import RunCancelled, StepError, StepTimeout
from perdure.execution import Context
from tests.execution.harness import (
    T0,
    Driver,
    child_ended,
    event,
    event_given,
    function,
    signal_given,
    timer_fired,
    work,
)


class User(BaseModel):
    name: str
    age: int = 3


class Paid(Event, name="order/paid"):
    ref: int
    amount: int = 0


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
        lambda ctx: ctx.step.map("w", work, "abc", limit="2"),
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
            (ops.CHILD_FAILED, {"error": {"type": "KeyError", "message": "k", "traceback": "", "data": ""}}),
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


async def anything(ctx: Context) -> None: ...


TYPED = {
    "child": CHILD,
    "annotated": function(child_body, id="annotated"),
    "any": function(anything, id="any"),
}


@pytest.mark.parametrize("how", ["invoke", "start"])
@pytest.mark.parametrize("target", [CHILD, "child", "annotated"])
@pytest.mark.parametrize("data", [{"ref": "x"}, User(name="ada")])
def test_B7_data_that_the_invoked_body_could_not_read_is_refused_at_the_ask(
    how: str, target: Any, data: object
) -> None:
    async def body(ctx: Context) -> Any:
        return await getattr(ctx.step, how)("call", target, data)

    run = Driver(body, functions=TYPED)
    assert run.result == "perdure.errors.UsageError"
    named = target if isinstance(target, str) else "child"
    assert run.error["message"].startswith(
        f"{how} 'call': the data does not fit Paid, which {named} takes: at $.ref, "
    )


@pytest.mark.parametrize(
    ("target", "data"),
    [
        ("child", {"ref": 1}),
        ("child", {"ref": "1"}),
        ("child", Paid(ref=1)),
        ("child", None),
        ("any", {"ref": "x"}),
        ("any", User(name="ada")),
    ],
)
def test_B7_other_data_is_given_on(target: str, data: object) -> None:
    async def body(ctx: Context) -> Any:
        return await ctx.step.invoke("call", target, data)

    assert Driver(body, functions=TYPED).open == ["/call"]


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
