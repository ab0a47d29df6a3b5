"""Findings of the design review through the whole engine: ends of bodies, void commits, losers, claims."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from perdure import App, Context, FailureContext, StepError
from perdure.core import codec, ops
from perdure.core.facts import KIND, STAMP, Stamp
from perdure.core.ops import Op
from perdure.core.state import Run
from perdure.logs.contract import Topic
from perdure.logs.memory.faults import Fault
from perdure.observability.observer import Observer
from perdure.testing import Environment, environment
from tests.engine.going_on import app, collecting_troubles, double, goes_on

pytestmark = pytest.mark.asyncio


async def until(env: Environment, condition: Any) -> None:
    """Lets the engine go on while attempts are in flight, when it cannot settle."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)
            await env.reader.read()


# --- B2: the end of a body --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_B2_the_failure_handler_starts_only_when_no_attempt_is_in_flight(kind: str) -> None:
    a = app()
    order: list[str] = []
    release, cleanup = threading.Event(), asyncio.Event()

    def charge() -> None:
        order.append("charging")
        release.wait(5)
        order.append("charged")

    async def charge_slowly() -> None:
        order.append("charging")
        try:
            await asyncio.sleep(60)
        finally:  # it is told to stop, and takes its time
            await cleanup.wait()
            order.append("charged")

    def fails() -> None:
        order.append("fails")
        raise ValueError("no stock")

    async def refund(ctx: FailureContext) -> None:
        await ctx.step.run("refund", order.append, "refund")

    @a.function(retries=0, on_failure=refund)
    async def pay(ctx: Context) -> None:
        step = charge if kind == "def" else charge_slowly
        charging = asyncio.create_task(ctx.step.run("charge", step))
        await ctx.step.run("double", double, 1)
        await asyncio.gather(charging, ctx.step.run("fails", fails))

    async with environment(a, partitions=1) as env:
        starting = asyncio.create_task(env.start(pay))
        await until(env, lambda: "fails" in order)
        for _ in range(200):
            await asyncio.sleep(0)
        await env.reader.read()
        assert (order, len(env.runs())) == (["charging", "fails"], 1)
        assert env.runs()[0].status == "running"
        release.set()
        cleanup.set()
        run = await starting
        assert (run.status, order) == ("failed", ["charging", "fails", "charged", "refund"])
        await goes_on(env)


# --- B4: speculation --------------------------------------------------------------------------------------------------


class Recorder(Observer):
    """Everything that observers are told."""

    def __init__(self) -> None:
        self.ops: list[Op] = []

    def accepted(self, run: Run, ops: Sequence[Op], seen: int) -> None:
        self.ops += ops


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.LATE])
async def test_B4_what_a_turn_said_whose_commit_is_void_is_never_seen(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    a = App("test")
    recorder = Recorder()
    a.observers.append(recorder)
    turns = itertools.count()
    told: list[int] = []

    @a.function
    async def work(ctx: Context) -> int:
        await ctx.step.run("double", arm)
        turn = next(turns)
        ctx.log.info("turn", number=turn)
        ctx.set_value("turn", turn)
        return await ctx.step.run("tell", tell, turn)

    armed = iter([fault])

    def arm() -> None:
        for fault in armed:  # once: the commit of this outcome and of all that follows from it
            env.log.arm(fault, Topic.JOURNAL, 0)

    def tell(turn: int) -> int:
        told.append(turn)
        return turn

    with caplog.at_level(logging.INFO, "perdure.run"), collecting_troubles() as troubles:
        async with environment(a, partitions=1) as env:
            run = await env.start(work)
            assert run.result == 1
            for delivery in env.log.pending():  # the void commit lands after all
                env.log.perform(delivery)
            await env.settle()
            assert (run.result, run.values) == (1, {"turn": 1})
            assert env.reader.partitions[0].state.voids.get("commit of a former owner", 0) == (
                fault is Fault.LATE
            )
    assert [where for where, _ in troubles] == [
        "perdure: an append to partition 0 failed; it is claimed anew"
    ]
    assert (told, next(turns)) == ([1], 2)  # the step that the void turn asked for never ran
    assert [r.getMessage() for r in caplog.records if r.name == "perdure.run"] == ["turn number=1"]
    values = [body["value"] for name, body in recorder.ops if name == ops.VALUE_SET]
    assert values == [b"1"]


# --- B5: outcomes that come too late ----------------------------------------------------------------------------------


async def test_B5_the_outcome_of_a_step_that_was_given_up_is_void_and_holds_the_end_back() -> None:
    a = app()
    order: list[str] = []
    release = threading.Event()

    def slow() -> str:
        release.wait(5)
        order.append("slow")
        return "slow"

    @a.function
    async def work(ctx: Context) -> str:
        losing = ctx.step.run("slow", slow)
        name, _ = await ctx.step.race(quick=after_double(ctx), slow=losing)
        order.append("raced")
        return name

    async def after_double(ctx: Context) -> str:
        return str(await ctx.step.run("double", double, 1))

    async with environment(a, partitions=1) as env:
        starting = asyncio.create_task(env.start(work))
        await until(env, lambda: "raced" in order)
        for _ in range(100):
            await asyncio.sleep(0)
        await env.reader.read()
        assert env.runs("work")[0].status == "running"
        release.set()
        run = await starting
        assert (run.result, order) == ("quick", ["raced", "slow"])
        names = [(name, body["key"]) for name, body in run.view.ops if body.get("key", "").endswith("/slow")]
        assert [name for name, _ in names] == [ops.STEP_ABANDONED]
        await goes_on(env)


async def test_B5_outcomes_that_come_while_a_commit_is_in_flight_are_given_in_their_order() -> None:
    a = app()

    @a.function
    async def work(ctx: Context) -> list[int]:
        seen: list[int] = []

        async def one(n: int) -> None:
            seen.append(await ctx.step.run("double", double, n))
            await ctx.step.run("again", double, n)

        await asyncio.gather(*(one(n) for n in range(20)))
        await ctx.step.sleep("nap", "1h")
        return seen

    async with environment(a, partitions=1) as env:
        run = await env.start(work)
        given = [op[1]["key"] for op in run.view.ops if op[0] == ops.STEP_DONE and "/double" in op[1]["key"]]
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1h")
        assert sorted(run.result) == [2 * n for n in range(20)]
        assert len(given) == len(set(given)) == 20


async def test_B5_a_caught_failure_beside_an_abandoned_step_does_not_end_the_run() -> None:
    a = app()

    def fails() -> None:
        raise ValueError("no")

    @a.function(retries=0)
    async def work(ctx: Context) -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.step.sleep("long", "30d"))
                group.create_task(ctx.step.run("fails", fails))
        except ExceptionGroup as group:
            if group.subgroup(StepError) is None:
                raise
            return await ctx.step.run("plan-b", str, "plan b")
        return "?"

    async with environment(a, partitions=1) as env:
        run = await env.start(work)
        assert run.result == "plan b"
        await goes_on(env)


# --- B6: late claims --------------------------------------------------------------------------------------------------


async def test_B6_a_late_claim_deposes_the_owner_which_claims_again_after_a_pause() -> None:
    a = app()

    @a.function
    async def waits(ctx: Context) -> Any:
        signal = await ctx.step.wait_for_signal("s", "go")
        return signal and signal.data

    async with environment(a, partitions=1) as env:
        run = await env.start(waits)
        for _ in range(3):  # each by another process that is not assigned any more
            assert env._engine is not None
            partition = env._engine.partitions[0]
            epoch = partition.state.epoch
            value = codec.encode("Claim", {"epoch": epoch + 1, "worker": ""})
            stamp = Stamp(b"nobody at all...", epoch + 1, 0).pack()
            client = await env._connections.client()
            await client.append(Topic.JOURNAL, 0, value, headers={KIND: b"Claim", STAMP: stamp})
            for _ in range(20):
                await asyncio.sleep(0)
            assert partition.lead is None
            assert partition.state.epoch == epoch + 1
            before = env.clock.now()
            while partition.lead is None:
                assert env.clock.step(before + 1_000_000), "it never claims again"
                for _ in range(20):
                    await asyncio.sleep(0)
            assert 200_000 <= env.clock.now() - before <= 400_000
            assert partition.state.epoch == epoch + 2
            await goes_on(env)
        await run.signal("go", 5)
        assert run.result == 5
