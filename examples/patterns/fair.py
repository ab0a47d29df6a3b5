"""Per-tenant fair processing: one tenant's thousand jobs hold nobody else up, and paying tenants go first.

Of four places in all, no tenant has more than two; who pays is moved up the queue by two minutes.

python examples/patterns/fair.py
"""

from __future__ import annotations

import asyncio

from perdure import App, Concurrency, Context, Event, Priority

app = App("fair")
order: list[str] = []


class JobWanted(Event, name="job/wanted", key="data.tenant"):
    tenant: str
    number: int
    plan: str


async def work(tenant: str, number: int) -> str:
    await asyncio.sleep(0.01)
    order.append(tenant)
    return f"{tenant} {number}"


@app.function(
    on=JobWanted,
    concurrency=[Concurrency(2, key="event.data.tenant", unit="run"), Concurrency(4, unit="run")],
    priority=Priority('event.data.plan == "paid" ? 120 : 0'),
)
async def process(ctx: Context[JobWanted]) -> str:
    job = ctx.event.data
    return await ctx.step.run("work", work, job.tenant, job.number)


async def main() -> None:
    async with app.worker():
        await app.send([JobWanted(tenant="large", number=n, plan="free") for n in range(60)])
        await app.send([JobWanted(tenant="small", number=n, plan="paid") for n in range(4)])
        async with asyncio.timeout(30):
            while len(order) < 64:  # noqa: ASYNC110 - what steps did is no event here
                await asyncio.sleep(0.05)
        place = max(at for at, tenant in enumerate(order, 1) if tenant == "small")
        print(f"the small tenant came last, and its last job was done as number {place} of {len(order)}")


if __name__ == "__main__":
    asyncio.run(main())
