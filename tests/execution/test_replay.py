"""Replay: what must be the same, what may differ after a deploy, and how messages name both sides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from perdure.core import codec, ops
from perdure.core.ops import Op
from perdure.errors import NonDeterminismError, Stuck
from perdure.execution import Context
from tests.execution.harness import T0, Driver, execution, resumed, step_done, step_failed, timer_fired, work


async def two_steps(ctx: Context) -> str:
    first = await ctx.step.run("a", work, "x")
    await ctx.step.sleep("nap", 5)
    return first + await ctx.step.run("b", work, "x")


def at_the_second_step() -> Driver:
    run = Driver(two_steps, code="1")
    run.done("/a", "A")
    run.release(timer_fired("/nap", time=T0 + 5_000_000))
    return run


def test_a_replay_goes_on_where_the_record_ends() -> None:
    run = at_the_second_step()
    again = run.replayed()
    assert list(again.outstanding()) == ["/b"]
    assert not again.late
    turn = again.release(step_done("/b", "B", time=T0 + 9_000_000))
    assert turn.ops == [("perdure.RunDone", {"time": T0 + 9_000_000, "result": b'"AB"'})]


def test_a_replay_of_an_ended_run() -> None:
    run = at_the_second_step()
    run.done("/b", "B")
    again = run.replayed()
    assert again.ended
    assert again.outstanding() == {}


def test_history_survives_the_codec() -> None:
    """The ops as they come back from Avro are the ops that were given to it."""
    run = at_the_second_step()
    changes = [op for commit in run.record.commits for op in commit]
    commit: dict[str, Any] = {
        "epoch": 1,
        "owner": b"o" * 16,
        "changes": [{"entity": "run:r", "prev": 0, "ops": changes}],
        "acks": [],
    }
    _, back = codec.decode(codec.encode("Commit", commit))
    again = execution(run.body, code="1")
    again.replay([back["changes"][0]["ops"]])
    assert list(again.outstanding()) == ["/b"]


# --- what must not differ ---------------------------------------------------------------------------------------------


async def other_step(ctx: Context) -> str:
    return await ctx.step.run("renamed", work, "x")


async def ends_early(ctx: Context) -> str:
    return await ctx.step.run("a", work, "x")


async def other_kind(ctx: Context) -> str:
    await ctx.step.run("a", work, "x")
    return await ctx.step.run("nap", work, "x")


async def swapped(ctx: Context) -> str:
    await ctx.step.sleep("nap", 5)
    return await ctx.step.run("a", work, "x")


@pytest.mark.parametrize("code", ["1", "2"])
@pytest.mark.parametrize(
    ("body", "recorded", "now"),
    [
        (other_step, "step 'a'", "step 'renamed'"),
        (ends_early, "timer 'nap'", "end of the run, completed"),
        (other_kind, "timer 'nap'", "step 'nap'"),
        (swapped, "step 'a'", "timer 'nap'"),
    ],
)
def test_the_error_names_both_sides(body: Any, recorded: str, now: str, code: str) -> None:
    run = at_the_second_step()
    with pytest.raises(NonDeterminismError) as raised:
        run.replayed(body, code=code)
    text = str(raised.value)
    assert "the record has " + recorded in text
    assert "but the code now has " + now in text
    assert "turn" in text


def test_a_release_that_the_code_does_not_wait_for() -> None:
    async def gone(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")

    history: list[list[Op]] = [
        [
            ("perdure.Started", {"time": T0, "code": "1", "python": "3.11"}),
            ("perdure.Asked", {"keys": ["/a"]}),
        ],
        [step_done("/b")],
    ]
    with pytest.raises(NonDeterminismError, match="the result of step 'b', but the code waits for step 'a'"):
        execution(gone, code="1").replay(history)


def test_a_record_that_does_not_begin_with_a_start() -> None:
    with pytest.raises(NonDeterminismError, match="begin"):
        execution(two_steps).replay([[("perdure.Asked", {"keys": ["/a"]})]])


def test_another_time_in_the_same_code_is_a_difference() -> None:
    delays = [5, 6]

    async def body(ctx: Context) -> None:
        await ctx.step.sleep("nap", delays.pop(0))

    run = Driver(body, code="1")
    with pytest.raises(
        NonDeterminismError, match=r"timer 'nap' due at 20\d\d-\d\d-\d\dT.*timer 'nap' due at 20"
    ):
        run.replayed()


def test_a17_another_minor_version_is_named() -> None:
    history: list[list[Op]] = [
        [("perdure.Started", {"time": T0, "code": "1", "python": "3.4"}), ("perdure.Asked", {"keys": ["/z"]})]
    ]
    with pytest.raises(NonDeterminismError, match=r"recorded on Python 3\.4, this is"):
        execution(two_steps, code="1").replay(history)


def test_a17_another_minor_version_is_named_when_the_body_is_stuck_or_ended() -> None:
    async def waits_for_nobody(ctx: Context) -> None:
        await asyncio.get_running_loop().create_future()

    def recorded(*changes: Op) -> list[list[Op]]:
        return [[("perdure.Started", {"time": T0, "code": "1", "python": "3.4"}), *changes]]

    with pytest.raises(Stuck, match=r"recorded on Python 3\.4, this is"):
        execution(waits_for_nobody, code="1").replay(recorded(("perdure.Asked", {"keys": ["/z"]})))
    with pytest.raises(NonDeterminismError, match=r"waits for step .* recorded on Python 3\.4, this is"):
        execution(two_steps, code="1").replay(recorded(("perdure.Asked", {"keys": ["/a"]}), step_done("/z")))


def test_more_asked_than_recorded_by_the_same_code_is_a_difference() -> None:
    wanted = [1, 2]

    async def body(ctx: Context) -> None:
        await asyncio.gather(*(ctx.step.run(f"s{i}", work, "x") for i in range(wanted.pop(0))))

    run = Driver(body, code="1")
    with pytest.raises(
        NonDeterminismError, match="the record has nothing more, but the code now has step 's1'"
    ):
        run.replayed()


# --- what may differ after a deploy -----------------------------------------------------------------------------------


async def branches_before(ctx: Context) -> Any:
    return await asyncio.gather(ctx.step.run("a", work, "x"), ctx.step.run("b", work, "x"))


async def branches_after(ctx: Context) -> Any:
    return await asyncio.gather(
        ctx.step.run("new", work, "x"), ctx.step.run("a", work, "x"), ctx.step.run("b", work, "x")
    )


def test_a4_a_branch_that_is_added_does_not_break_live_runs() -> None:
    run = Driver(branches_before, code="1")
    run.done("2/b", "B")
    again = run.replayed(branches_after, code="2")
    assert list(again.outstanding()) == ["1/a"], "found by id, under the key that the record knows"
    assert again.outstanding()["1/a"].key == "1/a"
    assert again.late
    run.execution = again
    turn = run.done("1/a", "A")
    assert turn.ops == [("perdure.Asked", {"keys": ["1/new"]})]
    assert [ask.step_id for ask in turn.steps] == ["new"]
    assert not again.late
    run.done("1/new", "N")
    assert run.result == ["N", "A", "B"]
    run.replayed(branches_after, code="2")


def test_a4_a_branch_alone_waits_for_the_next_input() -> None:
    run = Driver(branches_before, code="1")
    again = run.replayed(branches_after, code="2")
    run.execution = again
    turn = run.release(resumed("2"))
    assert turn.ops == [("perdure.Asked", {"keys": ["1/new"]})]
    for key in ("1/a", "2/b", "1/new"):
        run.done(key)
    run.replayed(branches_after, code="2")


def test_a4_not_by_id_when_that_is_ambiguous() -> None:
    async def before(ctx: Context) -> None:
        await asyncio.gather(ctx.step.run("a", work, "x"), ctx.step.run("a", work, "x"))

    async def nested(ctx: Context) -> None:
        await asyncio.gather(before(ctx), asyncio.sleep(1))

    run = Driver(before, code="1")
    with pytest.raises(NonDeterminismError):
        run.replayed(nested, code="2")


@pytest.mark.parametrize("draw", [lambda ctx: str(ctx.uuid4()), lambda ctx: str(ctx.random.random())])
def test_a9_not_by_id_when_the_task_has_drawn_random_numbers(draw: Callable[[Context], str]) -> None:
    """They follow the task's path: the step would run with another argument under the same key.

    So it is with `asyncio.wait_for`, which awaits in a task of its own until Python 3.11 and in the caller's since.
    """

    async def pays(ctx: Context) -> None:
        await ctx.step.run("pay", work, draw(ctx))

    async def pays_in_a_task(ctx: Context) -> None:
        await asyncio.gather(pays(ctx))

    run = Driver(pays, code="1")
    with pytest.raises(NonDeterminismError, match="step 'pay', but the code now has step 'pay' in task 1"):
        run.replayed(pays_in_a_task, code="2")


def test_a4_timers_waits_and_events_move_too() -> None:
    async def part(ctx: Context) -> None:
        await ctx.step.send_event("tell", "a/b")
        await asyncio.gather(
            ctx.step.sleep("nap", 5), ctx.step.wait_for_signal("sig", "go"), ctx.step.run("a", work, "x")
        )

    async def nested(ctx: Context) -> None:
        await asyncio.gather(part(ctx))

    run = Driver(part, code="1")
    again = run.replayed(nested, code="2")
    assert sorted(again.waiting_for()) == ["1/nap", "2/sig", "3/a"]
    run.execution = again
    for key in list(run.record.open):
        run.release(step_done(key) if key == "3/a" else timer_fired(key, time=T0 + 5_000_000))
    assert run.result is None


def test_a_timer_set_before_a_deploy_stays_as_it_was_set() -> None:
    async def longer(ctx: Context) -> str:
        first = await ctx.step.run("a", work, "x")
        await ctx.step.sleep("nap", "5h")
        return first

    run = Driver(two_steps, code="1")
    run.done("/a", "A")
    again = run.replayed(longer, code="2")
    assert again.release(timer_fired("/nap", time=T0 + 5_000_000)).ended


def parked(code: str = "1") -> Op:
    return ops.PARKED, {"time": T0, "reason": "stuck", "code": code, "detail": ""}


def test_a_parked_run_goes_on_with_new_code() -> None:
    async def stuck(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")
        await asyncio.Event().wait()

    async def mended(ctx: Context) -> str:
        await ctx.step.run("a", work, "x")
        await ctx.step.send_event("tell", "a/b")
        return await ctx.step.run("b", work, "x")

    run = Driver(stuck, code="1")
    with pytest.raises(Stuck):
        run.execution.release(step_done("/a"))
    run.execution.teardown()
    run.record.commits.append([step_done("/a"), parked()])
    run.record.open.clear()

    again = run.replayed(mended, code="1")
    assert again.late
    assert again.outstanding() == {}, "the record does not know it yet"
    run.execution = again
    turn = run.release(resumed("1"))
    assert [name for name, _ in turn.ops] == ["perdure.Asked", "perdure.EventsSent"]
    assert [ask.key for ask in turn.steps] == ["/b"]
    assert list(run.replayed(mended, code="1").outstanding()) == ["/b"]
    run.done("/b", "B")
    assert run.result == "B"


def test_a_paused_run_whose_code_still_fails_fails_again() -> None:
    async def body(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")

    run = Driver(body, code="1")
    run.execution.release(step_failed("/a"))
    run.record.commits.append([step_failed("/a"), parked()])
    run.record.open.clear()
    again = run.replayed()
    run.execution = again
    turn = run.release(resumed("1"))
    assert turn.ended
    assert run.result == "ValueError"
    assert turn.error is not None


# --- B10: what the message says ---------------------------------------------------------------------------------------


def test_B10_the_message_has_the_time_and_the_line_of_what_the_code_now_asks_for() -> None:
    async def other(ctx: Context) -> None:
        await ctx.step.run("a", work, "x")
        await ctx.step.run("new", work, "x")

    run = at_the_second_step()
    with pytest.raises(NonDeterminismError) as raised:
        run.replayed(other)
    line = other.__code__.co_firstlineno + 2
    message = str(raised.value)
    assert (
        "the record has timer 'nap' due at 2023-11-14T22:13:25+00:00, but the code now has step 'new' (at "
        in message
    )
    assert f"test_replay.py:{line}, in " in message


def test_B10_the_line_is_that_of_the_task_which_asked() -> None:
    async def one(ctx: Context, name: str) -> str:
        return await ctx.step.run(name, work, name)

    async def old(ctx: Context) -> None:
        await asyncio.gather(one(ctx, "a"), one(ctx, "b"))

    async def new(ctx: Context) -> None:
        async def another() -> None:
            await ctx.step.run("c", work, "x")

        await asyncio.gather(one(ctx, "a"), another())

    run = Driver(old, code="1")
    with pytest.raises(NonDeterminismError) as raised:
        run.replayed(new)
    line = new.__code__.co_firstlineno + 2
    assert f"step 'c' in task 2 (at {__file__}:{line}, in " in str(raised.value)
