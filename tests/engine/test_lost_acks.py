"""A client whose append fails sends it once more: whatever became of the first one, it counts once (promise 1)."""

from __future__ import annotations

import pytest

from perdure import AppendFailed
from perdure.core import ids, routing
from perdure.logs.contract import Topic
from perdure.logs.memory import Fault
from perdure.testing import Environment, environment
from tests.engine.going_on import app

pytestmark = pytest.mark.asyncio
each = pytest.mark.parametrize("fault", [Fault.LOST_ACK, Fault.FAIL])


def arm(env: Environment, fault: Fault, times: int = 1) -> None:
    """The next appends of events fail, wherever they go."""
    for number in range(env.log.partitions):
        for _ in range(times):
            env.log.arm(fault, Topic.EVENTS, number)


@each
async def test_an_event(fault: Fault) -> None:
    async with environment(app()) as env:
        arm(env, fault)
        (run,) = await env.send("fine", {})
        assert run.result == 8
        assert len(env.runs()) == 1


@each
async def test_a_start(fault: Fault) -> None:
    async with environment(app()) as env:
        fine = env.app.functions.resolve("fine")
        place = routing.run_partition(ids.named_run("fine", "one"), env.log.partitions)
        env.log.arm(fault, Topic.JOURNAL, place)
        run = await env.app.start(fine, {}, id="one")
        await env.settle()
        assert [seen.id for seen in env.runs()] == [run.run_id]
        assert env.runs()[0].result == 8


async def test_what_fails_again_is_told() -> None:
    async with environment(app()) as env:
        arm(env, Fault.FAIL, times=2)
        with pytest.raises(AppendFailed):
            await env.app.send("fine", {}, id="f-1")
        await env.send("fine", {}, id="f-1")
        assert len(env.runs()) == 1
