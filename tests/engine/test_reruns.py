"""A run is started once more: from its beginning, or from a step, over the outcomes of those before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import App, Context, PayloadTooLarge, RunNotFound, StepError, SyncContext, UsageError
from perdure.testing import Environment, environment
from tests.engine.going_on import app

pytestmark = pytest.mark.asyncio


class Bank:
    """What is called, and what fails."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.broken = True

    def reserve(self, order: int) -> str:
        self.calls.append("reserve")
        return f"r{order}"

    def charge(self, reservation: str) -> str:
        self.calls.append("charge")
        if self.broken:
            raise ValueError("no money")
        return f"paid {reservation}"

    def thank(self) -> None:
        self.calls.append("thank")


def shop(bank: Bank, heard: list[str] | None = None) -> App:
    a = app()

    @a.function(on="order/placed", retries=0)
    async def buy(ctx: Context) -> str:
        reservation = await ctx.step.run("reserve", bank.reserve, ctx.event.data["order"])
        await ctx.step.send_event("tell", {"name": "order/reserved", "data": {}})
        await ctx.step.sleep("think", "1h")
        paid = await ctx.step.wait_for_event("payment", "payment/done", match="data.order")
        child = await ctx.step.invoke("weigh", "weigh", {"by": paid.data["by"] if paid else ""})
        charged = await ctx.step.run("charge", bank.charge, reservation)
        await ctx.step.run("thank", bank.thank)
        return f"{charged} {child}"

    @a.function
    async def weigh(ctx: Context) -> str:
        bank.calls.append("weigh")
        return f"weighed by {ctx.event.data['by']}"

    @a.function(on="order/reserved")
    async def hear(ctx: Context) -> None:
        bank.calls.append("hear")

    return a


async def failed(env: Environment) -> Any:
    (run,) = await env.send("order/placed", {"order": 1})
    await env.advance("1h")
    await env.send("payment/done", {"order": 1, "by": "ann"})
    assert run.status == "failed"
    return run


async def test_from_a_step_the_earlier_outcomes_are_used_again() -> None:
    bank = Bank()
    a = shop(bank)
    async with environment(a) as env:
        run = await failed(env)
        assert sorted(bank.calls) == ["charge", "hear", "reserve", "weigh"]
        bank.calls.clear()
        bank.broken = False
        handle = await a.runs.rerun(run.id, from_step="charge")
        await env.settle()
        assert await handle.result("5s") == "paid r1 weighed by ann"
        assert bank.calls == ["charge", "thank"]
        again = env.run(handle.run_id)
        assert [step.id for step in again.steps if step.kind != "send"] == [
            "reserve",
            "think",
            "payment",
            "weigh",
            "charge",
            "thank",
        ]
        assert run.status == "failed"


async def test_from_the_beginning_everything_is_done_again() -> None:
    bank = Bank()
    a = shop(bank)
    async with environment(a) as env:
        run = await failed(env)
        bank.calls.clear()
        bank.broken = False
        handle = await a.runs.rerun(run.id)
        await env.advance("1h")
        await env.send("payment/done", {"order": 1, "by": "bob"})
        assert await handle.result("5s") == "paid r1 weighed by bob"
        assert sorted(bank.calls) == ["charge", "hear", "reserve", "thank", "weigh"]


async def test_from_an_early_step_what_comes_after_it_is_new() -> None:
    bank = Bank()
    a = shop(bank)
    async with environment(a) as env:
        run = await failed(env)
        bank.calls.clear()
        bank.broken = False
        await env.advance("1s")
        handle = await a.runs.rerun(run.id, from_step="payment")
        await env.settle()
        assert await handle.status() == "running"
        await env.send("payment/done", {"order": 1, "by": "bob"})
        assert await handle.result("5s") == "paid r1 weighed by bob"
        assert bank.calls == ["weigh", "charge", "thank"]


async def test_a_crash_in_the_middle_forgets_nothing() -> None:
    bank = Bank()
    a = shop(bank)
    async with environment(a) as env:
        run = await failed(env)
        bank.calls.clear()
        handle = await a.runs.rerun(run.id, from_step="charge")
        await env.crash_worker()
        bank.broken = False
        await env.start_worker()
        await env.settle()
        assert await handle.result("5s") == "paid r1 weighed by ann"
        assert bank.calls == ["charge", "thank"]


async def test_branches_side_by_side_and_a_failure_that_was_caught() -> None:
    a = app()
    ran: list[str] = []

    async def step(name: str) -> str:
        ran.append(name)
        if name == "bad":
            raise ValueError(name)
        return name

    @a.function(retries=0)
    async def work(ctx: Context) -> list[str]:
        try:
            await ctx.step.run("bad", step, "bad")
        except StepError as error:
            caught = error.message
        else:
            caught = "nothing"
        both = await asyncio.gather(ctx.step.run("left", step, "left"), ctx.step.run("right", step, "right"))
        return [caught, *both, await ctx.step.run("last", step, "last")]

    async with environment(a) as env:
        run = await env.start(work)
        assert run.result == ["bad", "left", "right", "last"]
        ran.clear()
        handle = await a.runs.rerun(run.id, from_step="right")
        await env.settle()
        assert await handle.result("5s") == ["bad", "left", "right", "last"]
        assert ran == ["right", "last"]


async def test_a_long_history_does_not_nest() -> None:
    a = app()
    ran: list[int] = []

    @a.function
    async def work(ctx: Context) -> int:
        for n in range(400):
            await ctx.step.run("count", ran.append, n)
        await ctx.step.run("last", ran.append, -1)
        return len(ran)

    async with environment(a) as env:
        run = await env.start(work)
        ran.clear()
        handle = await a.runs.rerun(run.id, from_step="last")
        await env.settle()
        assert await handle.result("5s") == 1


async def test_a_def_body() -> None:
    a = app()
    ran: list[str] = []

    @a.function
    def work(ctx: SyncContext) -> str:
        ctx.step.run("one", ran.append, "one")
        ctx.step.sleep("nap", "1h")
        ctx.step.run("two", ran.append, "two")
        return "done"

    async with environment(a) as env:
        run = await env.start(work)
        await env.advance("1h")
        assert run.result == "done"
        ran.clear()
        handle = await a.runs.rerun(run.id, from_step="two")
        await env.settle()
        assert (await handle.result("5s"), ran) == ("done", ["two"])


async def test_an_id_reruns_once() -> None:
    bank = Bank()
    a = shop(bank)
    async with environment(a) as env:
        run = await failed(env)
        bank.calls.clear()
        one = await a.runs.rerun(run.id, from_step="charge", id="again")
        two = await a.runs.rerun(run.id, from_step="charge", id="again")
        await env.settle()
        assert (one.run_id, bank.calls) == (two.run_id, ["charge"])


async def test_what_cannot_be_rerun() -> None:
    bank = Bank()
    a = shop(bank)
    async with environment(a) as env:
        run = await failed(env)
        with pytest.raises(RunNotFound):
            await a.runs.rerun("nobody")
        with pytest.raises(
            UsageError, match="has not come to a step 'chrage'; its steps are reserve, think, tell"
        ):
            await a.runs.rerun(run.id, from_step="chrage")


async def test_what_does_not_fit_a_record_says_from_where_it_can_be_rerun() -> None:
    a = app()
    broken = [True]

    def large(n: int) -> str:
        return str(n) * 100_000

    def last() -> str:
        if broken:
            raise ValueError("not yet")
        return "done"

    @a.function(retries=0)
    async def work(ctx: Context) -> str:
        for n in range(12):
            await ctx.step.run("large", large, n)
        return await ctx.step.run("last", last)

    async with environment(a) as env:
        run = await env.start(work)
        assert run.status == "failed"
        broken.clear()
        with pytest.raises(
            PayloadTooLarge, match=f"what run {run.id} has before 'last' .* rerun it from an earlier step"
        ):
            await a.runs.rerun(run.id, from_step="last")
        assert len(env.runs()) == 1
        earlier = await a.runs.rerun(run.id, from_step="large:3")
        await env.settle()
        assert await earlier.result("5s") == "done"
