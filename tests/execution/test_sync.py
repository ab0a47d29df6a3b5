"""`def` bodies: run again from the top, and no thread is held while they wait (A14)."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from perdure.core import ops
from perdure.errors import StepError, UsageError
from perdure.execution import StepInfo, SyncContext, running_step
from tests.execution.harness import (
    T0,
    Driver,
    cancel_asked,
    child_ended,
    event,
    event_given,
    execution,
    function,
    signal_given,
    step_done,
    step_failed,
    timer_fired,
    work,
)


def shop(ctx: SyncContext) -> list[Any]:
    first = ctx.step.run("a", work, "x")
    ctx.log.info("after a")
    ctx.step.sleep("nap", "1h")
    ctx.step.send_event("tell", "a/b")
    ctx.set_value("progress", 1)
    found = ctx.step.wait_for_event("paid", "order/paid", match="data.ref", timeout="1d")
    return [
        first,
        None if found is None else found.data,
        ctx.now().isoformat(),
        str(ctx.uuid4()),
        ctx.random.random(),
    ]


def test_a14_each_wait_unwinds_the_body_and_runs_it_again() -> None:
    run = Driver(shop)
    assert run.last.ops[1:] == [("perdure.Asked", {"keys": ["/a"]})]
    turn = run.done("/a", "A", time=T0 + 5)
    assert turn.ops == [("perdure.TimerSet", {"key": "/nap", "due": T0 + 5 + 3_600_000_000})]
    assert [line.message for line in turn.lines] == ["after a"]
    turn = run.release(timer_fired("/nap", time=T0 + 3_600_000_005))
    assert [name for name, _ in turn.ops] == ["perdure.WaitOpened", "perdure.EventsSent"]
    assert turn.lines == []
    assert turn.values == {"progress": b"1"}
    turn = run.release(event_given("/paid", event("order/paid", {"ref": 7}), time=T0 + 3_600_000_009))
    assert turn.values == {}
    assert [name for name, _ in turn.ops] == ["perdure.RunDone"]
    assert run.result[:3] == ["A", {"ref": 7}, "2023-11-14T23:13:20.000009+00:00"]
    again = run.replayed()
    assert again.waiting_for() == []


def test_a14_replay_is_one_pass_and_goes_on() -> None:
    passes: list[int] = []

    def body(ctx: SyncContext) -> str:
        passes.append(1)
        return "".join(ctx.step.run("s", work, "x") for _ in range(5))

    run = Driver(body)
    for i in range(4):
        run.done("/s" if not i else f"/s:{i}", str(i))
    assert len(passes) == 5
    again = run.replayed()
    assert len(passes) == 6
    assert list(again.outstanding()) == ["/s:4"]
    assert not again.late
    turn = again.release(step_done("/s:4", "4"))
    assert turn.ops[-1][1]["result"] == b'"01234"'


def test_a14_no_thread_is_held_while_runs_sleep() -> None:
    """10,000 sleeping runs on 8 threads."""
    inside: set[int] = set()

    def body(ctx: SyncContext) -> str:
        inside.add(threading.get_ident())
        first = ctx.step.run("a", work, "x")
        ctx.step.sleep("nap", "7d")
        return first + ctx.step.run("b", work, "x")

    made = function(body)
    count = 10_000

    def begin(i: int) -> Any:
        run = execution(made, f"run-{i}")
        run.begin()
        run.release(step_done("/a", "A"))
        return run

    threads_before = threading.active_count()
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(begin, range(count)))
        assert threading.active_count() <= threads_before + 8
        assert all(run.waiting_for() == ["/nap"] for run in runs)
        due = T0 + 7 * 86_400_000_000
        list(pool.map(lambda run: run.release(timer_fired("/nap", time=due)), runs))
        ends = list(pool.map(lambda run: run.release(step_done("/b", "B", time=due)), runs))
    assert all(turn.ended for turn in ends)
    assert len(inside) <= 8


def test_a14_ctx_from_another_thread_is_refused() -> None:
    def body(ctx: SyncContext) -> str:
        errors: list[BaseException] = []

        def foreign() -> None:
            try:
                ctx.step.run("a", work, "x")
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=foreign)
        thread.start()
        thread.join()
        return f"{type(errors[0]).__name__} {'ctx.step.map' in str(errors[0])}"

    assert Driver(body).result == "UsageError True"


def test_a_step_inside_a_step_is_refused() -> None:
    def inner(ctx: SyncContext) -> None:
        ctx.step.run("inner", work, "x")

    def body(ctx: SyncContext) -> None:
        ctx.step.run("outer", inner, ctx)

    run = Driver(body)
    [ask] = run.last.steps
    with running_step(StepInfo("k", 1, 5)), pytest.raises(UsageError, match="Steps cannot nest"):
        ask.fn(*ask.args)


def test_a_body_that_swallows_the_unwinding_is_refused_from_then_on() -> None:
    seen: list[Any] = []

    def body(ctx: SyncContext) -> str:
        try:
            ctx.step.run("a", work, "x")
        except BaseException as error:
            seen.append((type(error).__name__, ctx.evicting))
        ctx.log.info("never said")
        return ctx.step.run("b", work, "x")

    run = Driver(body)
    assert run.open == ["/a"]
    assert run.last.lines == []
    assert seen == [("Evicted", True)]
    run.done("/a")
    assert run.open == ["/b"]
    run.done("/b", "B")
    assert run.result == "B"


def test_a_body_that_swallows_the_unwinding_and_returns_has_not_ended() -> None:
    def body(ctx: SyncContext) -> str:
        try:
            return ctx.step.run("a", work, "x")
        except BaseException:
            return "nonsense"

    run = Driver(body)
    assert not run.last.ended
    run.done("/a", "A")
    assert run.result == "A"


def test_failures_of_steps() -> None:
    def body(ctx: SyncContext) -> str:
        try:
            return ctx.step.run("a", work, "x")
        except StepError as error:
            return f"{error.type_name} " + ctx.step.run("b", work, "x")

    run = Driver(body)
    run.release(step_failed("/a"))
    run.done("/b", "B")
    assert run.result == "ValueError B"
    run.replayed()


def test_waits_signals_and_children() -> None:
    def child(ctx: SyncContext) -> int:
        return 1

    made = function(child, id="child")

    def body(ctx: SyncContext) -> list[Any]:
        found = ctx.step.wait_for_signal("sig", "go", timeout=5)
        late = ctx.step.wait_for_signal("sig", "go", timeout=5)
        number = ctx.step.invoke("call", made, {"n": 1})
        started = ctx.step.start("start", "child")
        return [found and found.data, late, number, started]

    run = Driver(body, functions={"child": made})
    run.release(signal_given("/sig", "go", 3))
    run.release(timer_fired("/sig:1", time=T0 + 5_000_000))
    turn = run.release(child_ended("/call", (ops.CHILD_DONE, {"result": b"1"})))
    assert [name for name, _ in turn.ops] == ["perdure.ChildIssued", "perdure.RunDone"]
    assert run.result[:3] == [3, None, 1]
    run.replayed()


def test_events_are_sent_once() -> None:
    def body(ctx: SyncContext) -> list[str]:
        ids = ctx.step.send_event("tell", "a/b")
        ctx.step.run("a", work, "x")
        return ids + ctx.step.send_event("tell", "a/c")

    run = Driver(body)
    turn = run.done("/a")
    sent = [fields["key"] for name, fields in turn.ops if name == ops.EVENTS_SENT]
    assert sent == ["/tell:1"]
    assert len(set(run.result)) == 2


# --- map --------------------------------------------------------------------------------------------------------------


def test_map_is_bounded_and_in_order() -> None:
    def body(ctx: SyncContext) -> list[str]:
        found = ctx.step.map("m", work, "abcd", limit=2)
        return [*found, ctx.step.run("after", work, "x")]

    run = Driver(body)
    assert run.open == ["/m", "/m:1"]
    run.done("/m:1", "B")
    assert run.open == ["/m", "/m:2"]
    assert list(run.replayed().outstanding()) == ["/m", "/m:2"]
    run.done("/m", "A")
    run.done("/m:3", "D")
    run.done("/m:2", "C")
    run.done("/after", "E")
    assert run.result == ["A", "B", "C", "D", "E"]


def test_map_fails_with_its_first_failure() -> None:
    def body(ctx: SyncContext) -> str:
        try:
            ctx.step.map("m", work, "abcd", limit=3)
        except StepError as error:
            return error.step_id + ctx.step.run("after", work, "x")
        return "?"

    run = Driver(body)
    run.done("/m")
    turn = run.release(step_failed("/m:2"))
    assert {fields["key"] for name, fields in turn.ops if name == ops.STEP_ABANDONED} == {"/m:1", "/m:3"}
    assert list(run.replayed().outstanding()) == ["/after"]
    run.done("/after", "!")
    assert run.result == "m:2!"


# --- cancel -----------------------------------------------------------------------------------------------------------


def cleans_up(ctx: SyncContext) -> None:
    try:
        ctx.step.run("a", work, "x")
        ctx.step.sleep("nap", 5)
    finally:
        ctx.step.run("cleanup", work, "x")


def test_a_cancel_reaches_the_body_where_it_waits() -> None:
    run = Driver(cleans_up)
    run.done("/a")
    turn = run.release(cancel_asked(reason="enough"))
    assert sorted(turn.ops) == [
        ("perdure.Asked", {"keys": ["/cleanup"]}),
        ("perdure.TimerDropped", {"key": "/nap"}),
    ]
    again = run.replayed()
    assert list(again.outstanding()) == ["/cleanup"]
    run.execution = again
    run.done("/cleanup")
    assert run.result == "cancelled"


def test_a_second_cancel_skips_the_cleanup() -> None:
    run = Driver(cleans_up)
    run.release(cancel_asked())
    turn = run.release(cancel_asked(reason="now"))
    assert [name for name, _ in turn.ops] == ["perdure.StepAbandoned", "perdure.RunCancelled"]


def test_a_body_may_swallow_its_cancel() -> None:
    def body(ctx: SyncContext) -> str:
        try:
            ctx.step.sleep("nap", 5)
        except asyncio.CancelledError:
            return "never mind"
        return "?"

    run = Driver(body)
    run.release(cancel_asked())
    assert run.result == "never mind"
