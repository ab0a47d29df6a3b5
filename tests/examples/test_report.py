"""examples/report.py: a `def` body that maps and reduces."""

from __future__ import annotations

import pytest

from examples.report import ReportWanted, Share, app, ledger, mail, make_report, write_sales
from perdure.testing import environment

CFO = "cfo@example.com"


@pytest.mark.asyncio
async def test_the_shards_are_counted_and_added_up() -> None:
    write_sales()
    async with environment(app) as env:
        run = await env.start(make_report, ReportWanted(to=CFO, top=2))
        report = run.result
        assert (report.regions, report.total_cents) == (5, 28750)
        assert report.best == [Share(product="cups", cents=14500), Share(product="tea", cents=13500)]
        assert [letter.values for letter in mail.inbox(CFO)] == [{"total": 28750, "best": ["cups", "tea"]}]


@pytest.mark.asyncio
async def test_a_shard_that_is_down_is_asked_again_and_the_others_are_not() -> None:
    write_sales()
    ledger.trouble("sales", "read", times=2)
    async with environment(app) as env:
        run = await env.start(make_report, ReportWanted(to=CFO))
        await env.advance("10s")
        assert run.result.regions == 5
        assert len(ledger.calls("sales", "read")) == 5 + 2


@pytest.mark.asyncio
async def test_a_crash_between_map_and_reduce_counts_nothing_twice() -> None:
    write_sales()
    ledger.trouble("mail", "send", times=1)
    async with environment(app) as env:
        run = await env.start(make_report, ReportWanted(to=CFO))
        assert run.status == "running"
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1m")
        assert run.status == "completed"
        assert len(ledger.calls("sales", "read")) == 5
        assert len(mail.inbox(CFO)) == 1


@pytest.mark.asyncio
async def test_no_sales_make_an_empty_report() -> None:
    async with environment(app) as env:
        run = await env.start(make_report, ReportWanted(to=CFO))
        assert run.result.model_dump() == {"regions": 0, "total_cents": 0, "best": []}
