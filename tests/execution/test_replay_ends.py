"""Records of ends that the owner booked by itself: held back for attempts in flight, or by force."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure.core import ops
from perdure.core.ops import Op
from perdure.execution import Context, SyncContext
from tests.execution.harness import Driver, cancel_asked, execution, step_done, work


async def leaves(ctx: Context) -> str:
    _left = asyncio.create_task(ctx.step.run("slow", work, "x"))
    return await ctx.step.run("quick", work, "x")


def plain(ctx: SyncContext) -> str:
    try:
        return ctx.step.run("quick", work, "x")
    finally:
        ctx.step.run("clean", work, "x")


FORCED: list[Op] = [cancel_asked(force=True), (ops.RUN_CANCELLED, {"time": 9, "reason": "now"})]


def replayed(run: Driver, commits: list[list[Op]]) -> Any:
    again = execution(run.body)
    again.replay(commits)
    return again


def held(run: Driver) -> list[list[Op]]:
    """The record of a run that has ended, as it is while an attempt holds its end back."""
    commits = [list(commit) for commit in run.record.commits]
    commits[-1][-1] = ops.END_HELD, {"end": commits[-1][-1]}
    return commits


@pytest.mark.parametrize("booked", [False, True])
def test_B2_a_held_end_is_the_end_of_its_turn(booked: bool) -> None:
    run = Driver(leaves)
    run.done("/quick", "q")
    assert run.record.ended is not None
    commits = held(run)
    assert replayed(run, [*commits, [run.record.ended]] if booked else commits).ended


@pytest.mark.parametrize("body", [leaves, plain])
@pytest.mark.parametrize("before", [[], [cancel_asked()]])
def test_a_forced_end_is_the_owners_and_not_compared(body: Any, before: list[Op]) -> None:
    run = Driver(body)
    for op in before:
        run.release(op)
    assert replayed(run, [*run.record.commits, FORCED]).ended


def test_a_forced_end_after_a_held_one_is_not_compared() -> None:
    run = Driver(leaves)
    run.done("/quick", "q")
    assert replayed(run, [*held(run), FORCED]).ended


def test_an_outcome_is_taken_while_a_def_body_is_between_two_tries() -> None:
    tries: list[int] = []

    def body(ctx: SyncContext) -> list[str]:
        tries.append(1)
        if len(tries) == 2:
            raise ConnectionError("its own I/O")
        return ctx.step.map("m", work, ["x", "y"])

    run = Driver(body)
    turn = run.execution.release(step_done("/m", "X"))
    assert turn.ended
    run.execution.ended = False  # the engine tries it again
    turn = run.execution.release(step_done("/m:1", "Y"))
    assert turn.ops[-1][0] == ops.RUN_DONE
