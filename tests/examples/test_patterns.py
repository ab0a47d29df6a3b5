"""examples/patterns: each does what it says, and runs as a program."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.patterns import (
    approval,
    circuit_breaker,
    dead_letters,
    degradation,
    drip,
    fair,
    fan_out,
    reindex,
    saga,
)
from perdure import RequestRefused
from perdure.testing import Environment, crash_everywhere, environment

PATTERNS = sorted((Path(__file__).parents[2] / "examples" / "patterns").glob("[!_]*.py"))


@pytest.mark.asyncio
async def test_a_saga_undoes_what_it_booked_the_last_first() -> None:
    async with environment(saga.app) as env:
        (fine,) = await env.send(saga.TripWanted(traveller="ada", city="Lisbon"))
        assert fine.result == {"booked": ["flight in Lisbon", "car in Lisbon", "hotel in Lisbon"]}
        order: list[str] = []
        undone = env.mock_step("undo", call=order.append)
        (sunk,) = await env.send(saga.TripWanted(traveller="ada", city="Atlantis"))
        assert sunk.result["booked"] == []
        assert "no hotel is left" in sunk.result["why"]
        assert order == ["car in Atlantis", "flight in Atlantis"]
        assert undone.calls == 2


@pytest.mark.asyncio
async def test_a_saga_that_dies_in_its_undoing_goes_on_with_it() -> None:
    await crash_everywhere(saga.app, saga.TripWanted(traveller="ada", city="Atlantis"))


@pytest.mark.asyncio
async def test_a_circuit_opens_after_three_failures_and_closes_again() -> None:
    async with environment(circuit_breaker.app) as env:

        async def asked(provider: str) -> object:
            (run,) = await env.send(circuit_breaker.QuoteWanted(provider=provider))
            while run.status == "running":  # its steps ask another run, by the log
                await env.settle()
            return run.result

        answers = [await asked("down") for _ in range(5)]
        assert answers == ["down does not answer"] * 3 + ["not asked: the circuit is open"] * 2
        assert await asked("up") == 4.2
        await env.advance("61s")
        assert await asked("down") == "down does not answer"
        (down,) = [run for run in env.runs("breaker") if run.id.endswith("down")]
        assert down.view.restarts > 8


@pytest.mark.asyncio
async def test_what_cannot_be_handled_is_put_aside_and_given_again() -> None:
    async with environment(dead_letters.app) as env:
        (batch,) = await env.send(dead_letters.BatchArrived(lines=["1", "two", "3"]))
        await env.advance("1h")
        assert batch.result == 4
        (letter,) = env.runs("look-at-it")
        assert "two" in letter.event["data"].decode()
        await letter.signal("decide", "2")
        assert letter.result == "sent again"
        assert env.runs("handle-batch")[-1].result == 2


@pytest.mark.asyncio
async def test_late_recommendations_are_replaced_by_those_of_yesterday() -> None:
    async with environment(degradation.app) as env:
        (quick,) = await env.send(degradation.PageOpened(customer="ada"))
        assert quick.result == {"items": ["chosen for ada"], "degraded": False}
        env.mock_step("recommend", raises=ConnectionError("down"))
        (failed,) = await env.send(degradation.PageOpened(customer="bob"))
        assert failed.result == {"items": ["chosen yesterday for bob"], "degraded": True}
        env.mock_step("of-yesterday", raises=ConnectionError("down"))
        (bare,) = await env.send(degradation.PageOpened(customer="eve"))
        assert bare.result == {"items": [], "degraded": True}


@pytest.mark.asyncio
async def test_each_part_has_a_run_and_is_counted_once() -> None:
    async def script(env: Environment) -> None:
        (run,) = await env.send(fan_out.Begun(job="j", texts=["one two", "three", "four five six"]))
        assert run.result == 6
        assert len(env.runs("count-part")) == 3

    async with environment(fan_out.app) as env:
        await script(env)
    await crash_everywhere(fan_out.app, script)


@pytest.mark.asyncio
async def test_a_drip_ends_with_a_sale_with_the_last_mail_or_when_it_is_not_wanted() -> None:
    async with environment(drip.app) as env:
        mailed = env.mock_step("mail", returns=None)
        env.mock_step("thank", returns=None)
        sold, unsold, gone = [
            (await env.send(drip.SignedUp(email=email)))[0] for email in ("a@b.c", "d@e.f", "g@h.i")
        ]
        await env.advance("3d")
        await env.send(drip.Bought(email="a@b.c", cents=0))
        await env.send(drip.Bought(email="a@b.c", cents=4200))
        await env.send("user/unsubscribed", {"email": "g@h.i"})
        await env.advance("30d")
        assert sold.result == "bought for 42.00 after how-others-use-it"
        assert (unsold.result, unsold.values) == ("not this time", {"last": "an-offer"})
        assert gone.status == "cancelled"
        assert mailed.calls == 2 + 3 + 2


@pytest.mark.asyncio
async def test_an_approval_is_answered_refused_or_escalated() -> None:
    async with environment(approval.app) as env:
        filed = approval.ExpenseFiled(who="bob", cents=9900)
        (run,) = await env.send(filed)
        handle = approval.app.handle(approval.approve_expense, run.id)
        with pytest.raises(RequestRefused, match="of their own"):
            await handle.request("decide", {"by": "bob", "approved": True})
        assert await handle.request("decide", {"by": "ann", "approved": True}) == "noted"
        await env.settle()
        assert run.result == "99.00 paid to bob"
        (late,) = await env.send(filed)
        await env.advance("4d")
        assert late.result == "escalated"


@pytest.mark.asyncio
async def test_a_page_that_is_edited_many_times_is_indexed_once() -> None:
    async with environment(reindex.app) as env:
        for words in range(1, 6):
            await env.send(reindex.PageSaved(page="/about", text="word " * words))
            await env.advance("900ms")
        await env.send(reindex.PageSaved(page="/", text="home"))
        await env.advance("1s")
        done = {run.event["key"]: run.result for run in env.runs("reindex") if run.status == "completed"}
        assert done == {"/about": 5, "/": 1}
        assert len([run for run in env.runs("reindex") if run.status == "skipped"]) == 4


@pytest.mark.asyncio
async def test_a_tenant_with_many_jobs_holds_nobody_up() -> None:
    async with environment(fair.app, partitions=1) as env:
        fair.order.clear()
        wanted = [fair.JobWanted(tenant="large", number=n, plan="free") for n in range(30)]
        await env.send([*wanted, *(fair.JobWanted(tenant="small", number=n, plan="paid") for n in range(4))])
        assert {run.status for run in env.runs("process")} == {"completed"}
        assert len(fair.order) == 34
        assert max(at for at, tenant in enumerate(fair.order, 1) if tenant == "small") <= 10


@pytest.mark.parametrize("file", PATTERNS, ids=lambda file: file.stem)
@pytest.mark.asyncio
async def test_each_runs_as_a_program(file: Path, tmp_path: Path) -> None:
    env = os.environ | {"PERDURE_LOG": f"sqlite:///{tmp_path}/log.db"}
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, str(file)], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
