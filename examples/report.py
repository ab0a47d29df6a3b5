"""A report by map and reduce, as a `def` body: the shards are counted side by side, and their sums added up.

A `def` body is run again from the top at each wait, over what is recorded, so it holds no thread while it waits. Code
between its steps runs again each time: keep it free of effects, or put it in a step.

    python examples/report.py
    perdure dev examples/report.py:app
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from fakes import ledger, mail, sales
from pydantic import BaseModel

from perdure import App, Event, Retry, SyncContext

app = App("report")


class ReportWanted(Event, name="report/wanted", key="data.to"):
    to: str
    top: int = 3


class Share(BaseModel):
    product: str
    cents: int


class Report(BaseModel):
    regions: int
    total_cents: int
    best: list[Share]


@app.step(retry=Retry(limit=5, initial="500ms", backoff="linear"), timeout="1m")
def count_region(region: str) -> dict[str, int]:
    return dict(sales.read(region))


def add_up(counts: Sequence[dict[str, int]], top: int) -> Report:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    best = [Share(product=product, cents=cents) for product, cents in total.most_common(top)]
    return Report(regions=len(counts), total_cents=total.total(), best=best)


@app.function(on=ReportWanted, retries=3)
def make_report(ctx: SyncContext[ReportWanted]) -> Report:
    wanted = ctx.event.data
    regions = ctx.step.run("list-regions", sales.regions)
    counts = ctx.step.map("count-region", count_region, regions, limit=4)
    report = ctx.step.run("add-up", add_up, counts, wanted.top)
    best = [share.product for share in report.best]
    ctx.step.run("deliver", mail.send, wanted.to, "report", total=report.total_cents, best=best)
    return report


def write_sales() -> None:
    """Something to report on."""
    for number, region in enumerate(["africa", "america", "asia", "europe", "oceania"], 1):
        sales.write(region, {"tea": 900 * number, "cups": 5000 - 700 * number, "spoons": 150})


async def main() -> None:
    write_sales()
    ledger.trouble("sales", "read", times=1)  # one shard is down at first
    async with app.worker():
        run = await app.start(make_report, ReportWanted(to="cfo@example.com"))
        report = await run.result(timeout="30s")
    print(f"{report.total_cents / 100:.2f} in {report.regions} regions; the best:")
    for share in report.best:
        print(f"  {share.product:8}{share.cents / 100:10.2f}")


if __name__ == "__main__":
    asyncio.run(main())
