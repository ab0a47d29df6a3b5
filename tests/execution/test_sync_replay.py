"""`def` bodies: errors between steps, and replay."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from perdure.core import ops
from perdure.errors import NonDeterminismError
from perdure.execution import BodyExited, BodyRaised, SyncContext, SyncFailureContext
from tests.execution.harness import (
    Driver,
    event,
    execution,
    function,
    resumed,
    step_done,
    work,
)


def cleans_up(ctx: SyncContext) -> None:
    try:
        ctx.step.run("a", work, "x")
        ctx.step.sleep("nap", 5)
    finally:
        ctx.step.run("cleanup", work, "x")


# --- errors between steps ---------------------------------------------------------------------------------------------


def test_an_error_between_steps_can_be_retried() -> None:
    flaky = [ValueError("first"), ValueError("second")]

    def body(ctx: SyncContext) -> str:
        first = ctx.step.run("a", work, "x")
        if flaky:
            raise flaky.pop(0)
        return first + ctx.step.run("b", work, "x")

    run = Driver(body)
    turn = run.execution.release(step_done("/a", "A"))
    assert turn.ended
    assert str(turn.error) == "first"
    assert turn.ops[-1][0] == ops.RUN_FAILED
    again = run.execution.rerun()
    assert str(again.error) == "second"
    turn = run.execution.rerun()
    assert not turn.ended
    assert [ask.step_id for ask in turn.steps] == ["b"]


def test_replay_when_code_between_steps_fails() -> None:
    broken = [False]

    def body(ctx: SyncContext) -> str:
        first = ctx.step.run("a", work, "x")
        if broken[0]:
            raise OSError("the network is away")
        return first + ctx.step.run("b", work, "x")

    run = Driver(body)
    run.done("/a", "A")
    broken[0] = True
    with pytest.raises(BodyRaised) as raised:
        run.replayed()
    assert isinstance(raised.value.__cause__, OSError)
    broken[0] = False
    assert list(run.replayed().outstanding()) == ["/b"]


def test_replay_of_a_run_whose_body_is_to_be_retried() -> None:
    broken = [True]

    def body(ctx: SyncContext) -> str:
        first = ctx.step.run("a", work, "x")
        if broken[0]:
            raise OSError("the network is away")
        return first

    run = Driver(body)
    run.execution.release(step_done("/a", "A"))
    run.record.commits.append([step_done("/a", "A")])  # what a policy of retries records
    again = run.replayed()
    assert not again.ended
    broken[0] = False
    assert again.rerun().ops[-1][1]["result"] == b'"A"'


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_b1d_exits(kind: type[BaseException]) -> None:
    def body(ctx: SyncContext) -> None:
        raise kind

    with pytest.raises(BodyExited):
        execution(body).begin()


def test_a_result_that_cannot_be_recorded() -> None:
    def body(ctx: SyncContext):
        return object()

    assert Driver(body).result == "perdure.errors.EncodingError"


# --- replay -----------------------------------------------------------------------------------------------------------


def test_replay_against_other_code() -> None:
    def other(ctx: SyncContext) -> str:
        return ctx.step.run("other", work, "x")

    run = Driver(cleans_up)
    with pytest.raises(
        NonDeterminismError, match="waits for step 'a', but the code now comes to step 'other'"
    ):
        run.replayed(other)


def test_an_outcome_of_another_kind() -> None:
    hidden: list[Exception] = []

    def other(ctx: SyncContext) -> None:
        try:
            ctx.step.sleep("a", 5)
        except Exception as error:
            hidden.append(error)

    run = Driver(cleans_up)
    run.done("/a")
    with pytest.raises(NonDeterminismError, match="has a timer there"):
        run.replayed(other)
    assert hidden == [], "a body must not be able to hide it"


def test_an_input_that_the_code_no_longer_comes_to() -> None:
    ways = iter("abb")

    def body(ctx: SyncContext) -> str:
        return ctx.step.run(next(ways), work, "x") + ctx.step.run(next(ways), work, "x")

    run = Driver(body)
    with pytest.raises(NonDeterminismError):
        run.done("/a")


def test_more_than_recorded_is_late() -> None:
    def before(ctx: SyncContext) -> list[str]:
        return ctx.step.map("m", work, "ab")

    def after(ctx: SyncContext) -> list[str]:
        return ctx.step.map("m", work, "abc")

    run = Driver(before, code="1")
    run.done("/m", "A")
    again = run.replayed(after, code="2")
    assert again.late
    assert list(again.outstanding()) == ["/m:1"]
    run.execution = again
    turn = run.release(resumed("2"))
    assert turn.ops == [("perdure.Asked", {"keys": ["/m:2"]})]


def test_teardown_stops_a_pass_that_is_under_way() -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def body(ctx: SyncContext) -> str:
        at_work.set()
        go_on.wait(10)
        return ctx.step.run("a", work, "x")

    run = execution(body)
    with ThreadPoolExecutor(1) as pool:
        turn = pool.submit(run.begin)
        assert at_work.wait(10)
        run.teardown()
        go_on.set()
        assert turn.result(10).steps == []


def test_a_failure_handler_may_be_a_def() -> None:
    def handler(ctx: SyncFailureContext) -> str:
        return f"{ctx.error.type_name} {ctx.run_id} " + ctx.step.run("note", work, "x")

    data = {
        "run_id": "run-0",
        "function_id": "shop",
        "error": {"type": "ValueError", "message": "no", "traceback": "", "data": ""},
        "event": {**event(), "data": {"ref": 1}},
    }
    run = Driver(
        function(handler, id="shop:on-failure", kind="failure"),
        events=(event("perdure/function.failed", data),),
    )
    run.done("/note", "N")
    assert run.result == "ValueError run-0 N"


def test_many_steps_stay_affordable() -> None:
    """Each wait runs the body again, so n steps cost n²/2 answers: keep an answer cheap."""

    def body(ctx: SyncContext) -> int:
        return sum(len(ctx.step.run("s", work, "x")) for _ in range(300))

    run = execution(body)
    run.begin()
    began = time.process_time()
    turns = [run.release(step_done("/s" if not i else f"/s:{i}", "x")) for i in range(300)]
    assert turns[-1].ended
    assert time.process_time() - began < 5
