"""The patterns of events, people, limits and the clock."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from examples.scenes import approval, cron_catch_up, drip_campaign, fair_tenants, fan_in, fan_out, reindex
from perdure import RequestRefused
from perdure.testing import Environment, TestRun, environment


def steps(run: TestRun[Any]) -> list[str]:
    return [step.id for step in run.steps]


def results(env: Environment, function: str) -> list[Any]:
    return [run.view.result for run in env.runs(function)]


# --- fan-out ----------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_fan_out_gives_each_copy_a_run_and_one_that_fails_fails_alone() -> None:
    async with environment(fan_out.app) as env:
        [run] = await env.send(fan_out.Published(issue=7))
        assert run.result == 3
        copies = env.runs(fan_out.deliver)
        assert sorted(copy.status for copy in copies) == ["completed", "completed", "failed"]
        assert {copy.view.result for copy in copies} == {
            "issue 7 to ada@example.com",
            "issue 7 to cyd@example.com",
            None,
        }


@pytest.mark.asyncio
async def test_fan_out_is_throttled_where_it_arrives() -> None:
    async with environment(fan_out.app) as env:
        env.mock_step("list-subscribers", returns=[f"user-{n}@example.com" for n in range(150)])
        await env.send(fan_out.Published(issue=7))
        done = [run for run in env.runs(fan_out.deliver) if run.status == "completed"]
        assert len(done) == 100
        await env.advance("1m")
        assert {run.status for run in env.runs(fan_out.deliver)} == {"completed"}


@pytest.mark.asyncio
async def test_fan_in_counts_each_part_once() -> None:
    async with environment(fan_in.app) as env:
        [run] = await env.send(fan_in.Begun(job="j", texts=["one two", "three", "four five six"]))
        assert run.result == 6
        assert len(env.runs(fan_in.count_part)) == 3
        assert run.view.restarts == 3


@pytest.mark.asyncio
async def test_fan_in_says_how_many_parts_came_when_one_does_not() -> None:
    async with environment(fan_in.app) as env:
        env.mock_step("count", call=lambda text: fan_in.count(text) if text else 1 / 0)
        [run] = await env.send(fan_in.Begun(job="j", texts=["one two", ""]))
        await env.advance("3h")
        assert run.status == "failed"
        assert run.error is not None
        assert run.error["message"] == "1 of 2 parts came"


# --- drip campaign ----------------------------------------------------------------------------------------------------

ADA = "ada@example.com"


@pytest.mark.asyncio
async def test_drip_campaign_ends_with_thanks_when_somebody_buys() -> None:
    async with environment(drip_campaign.app) as env:
        [run] = await env.send(drip_campaign.SignedUp(email=ADA))
        await env.advance("3d")
        await env.send(drip_campaign.Bought(email="somebody.else@example.com"))
        assert run.status == "running"
        await env.send(drip_campaign.Bought(email=ADA))
        assert run.result == "bought after how-others-use-it"
        assert steps(run) == ["welcome", "bought", "how-others-use-it", "bought:1", "thank-you"]


@pytest.mark.asyncio
async def test_drip_campaign_sends_all_in_their_time_and_then_no_more() -> None:
    async with environment(drip_campaign.app) as env:
        [run] = await env.send(drip_campaign.SignedUp(email=ADA))
        for days, sent in [(0, 1), (1, 1), (1, 2), (4, 2), (1, 3), (6, 3)]:
            await env.advance(timedelta(days=days))
            assert len([step for step in run.steps if step.kind == "step"]) == sent
        await env.advance("1d")
        assert run.result == "not interested"


@pytest.mark.asyncio
async def test_drip_campaign_stops_for_who_unsubscribes_and_runs_once_for_who_signs_up_twice() -> None:
    async with environment(drip_campaign.app) as env:
        [run] = await env.send(drip_campaign.SignedUp(email=ADA))
        [again] = await env.send(drip_campaign.SignedUp(email=ADA))
        assert again.status == "skipped"
        await env.send(drip_campaign.Unsubscribed(email=ADA))
        assert run.status == "cancelled"
        await env.advance("30d")
        assert steps(run) == ["welcome", "bought"]


# --- human approval ---------------------------------------------------------------------------------------------------

EXPENSE = approval.ExpenseFiled(by="ada", cents=90_000)


@pytest.mark.asyncio
async def test_approval_is_given_and_whoever_gives_it_learns_that_it_counted() -> None:
    async with environment(approval.app) as env:
        [run] = await env.send(EXPENSE)
        assert run.values == {"waits for": "the manager"}
        await env.advance("2d")
        handle = approval.app.handle(approval.approve, run.id)
        with pytest.raises(RequestRefused, match="nobody decides on their own expenses"):
            await handle.request("decide", {"by": "ada", "approved": True})
        assert await handle.request("decide", {"by": "bob", "approved": True}) == "recorded"
        await env.settle()
        assert run.result == approval.Decision(by="bob", approved=True)


@pytest.mark.asyncio
async def test_approval_asks_the_next_one_and_is_refused_when_nobody_decides() -> None:
    async with environment(approval.app) as env:
        [run] = await env.send(EXPENSE)
        await env.advance("3d")
        assert run.values == {"waits for": "the director"}
        await env.crash_worker()
        await env.start_worker()
        await env.advance("3d 23h")
        assert run.status == "running"
        await env.advance("1h")
        assert run.result == approval.Decision(by="nobody", approved=False)


# --- debounced re-index -----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_reindex_runs_once_for_a_burst_with_the_latest_edit_of_each_document() -> None:
    async with environment(reindex.app) as env:
        for revision in range(1, 6):
            await env.send(reindex.Edited(document="d1", revision=revision))
            await env.advance("3s")
        await env.send(reindex.Edited(document="d2", revision=1))
        await env.advance("10s")
        done = [run.result for run in env.runs() if run.status == "completed"]
        assert sorted(done) == ["d1 is searchable in revision 5", "d2 is searchable in revision 1"]
        assert len([run for run in env.runs() if run.status == "skipped"]) == 4


@pytest.mark.asyncio
async def test_reindex_does_not_wait_for_ever_for_quiet() -> None:
    async with environment(reindex.app) as env:
        for revision in range(30):
            await env.send(reindex.Edited(document="d1", revision=revision))
            await env.advance("5s")
        done = [run.result for run in env.runs() if run.status == "completed"]
        assert done == ["d1 is searchable in revision 23"]


# --- per-tenant fair processing ---------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_fair_tenants_do_not_wait_for_one_another() -> None:
    async with environment(fair_tenants.app) as env:
        await env.send([fair_tenants.Uploaded(tenant="big", video=f"b{n}") for n in range(20)])
        [small] = await env.send(fair_tenants.Uploaded(tenant="small", video="s1"))
        await env.advance("20s")
        assert small.result == "result of the job of s1"
        assert len([run for run in env.runs() if run.status == "completed"]) == 3


@pytest.mark.asyncio
async def test_fair_tenants_never_have_more_than_their_places_nor_all_than_theirs() -> None:
    async with environment(fair_tenants.app) as env:
        tenants = [f"t{n % 5}" for n in range(40)]
        await env.send(
            [fair_tenants.Uploaded(tenant=tenant, video=f"v{n}") for n, tenant in enumerate(tenants)]
        )
        most = 0
        while left := [run for run in env.runs() if run.status != "completed"]:
            at_work = [run.event["key"] for run in left if run.status == "running"]
            most = max(most, len(at_work))
            assert len(at_work) <= fair_tenants.FOR_ALL
            assert max(map(at_work.count, at_work)) <= fair_tenants.PER_TENANT
            await env.advance("10s")
        assert most == fair_tenants.FOR_ALL


# --- cron with catch-up -----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_cron_catch_up_has_a_run_for_each_minute_that_nobody_was_there() -> None:
    async with environment(cron_catch_up.app) as env:
        await env.advance("2m")
        await env.crash_worker()
        await env.advance("10m 30s")
        await env.start_worker()
        await env.advance("10s")
        assert results(env, "bill-minute") == [
            f"usage from 00:{minute:02} to 00:{minute + 1:02}" for minute in range(12)
        ]


@pytest.mark.asyncio
async def test_cron_catch_up_takes_one_period_after_the_other() -> None:
    async with environment(cron_catch_up.app) as env:
        env.mock_step("add-up", raises=ConnectionError("the meter is away"))
        await env.advance("5m")
        assert [run.status for run in env.runs() if run.steps] == ["running"]
        env.mock_step("add-up", call=cron_catch_up.add_up)
        await env.advance("1h")
        done = [run for run in env.runs() if run.status == "completed"]
        assert len(done) == 65
        spans = [(run.view.started, run.view.ended) for run in done]
        assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(spans))
