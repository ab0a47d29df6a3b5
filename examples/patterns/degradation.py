"""Graceful degradation: the good recommendations when they come in time, else those of yesterday, else none.

python examples/patterns/degradation.py
"""

from __future__ import annotations

import asyncio

from perdure import App, Context, Event, StepError

app = App("shelf")


class PageOpened(Event, name="page/opened"):
    customer: str


async def recommend(customer: str) -> list[str]:
    await asyncio.sleep(60 if customer == "slow" else 0)
    return [f"chosen for {customer}"]


async def of_yesterday(customer: str) -> list[str]:
    return [f"chosen yesterday for {customer}"]


@app.function(on=PageOpened, retries=0)
async def fill_page(ctx: Context[PageOpened]) -> dict[str, object]:
    customer = ctx.event.data.customer
    try:
        async with asyncio.timeout(2):  # durable: it counts for the run, whichever worker has it
            return {"items": await ctx.step.run("recommend", recommend, customer), "degraded": False}
    except (TimeoutError, StepError) as error:
        ctx.log.warning("recommendations are late", why=str(error))
    try:
        return {"items": await ctx.step.run("of-yesterday", of_yesterday, customer), "degraded": True}
    except StepError:
        return {"items": [], "degraded": True}


async def main() -> None:
    async with app.worker():
        for customer in ("ada", "slow"):
            run = await app.start(fill_page, PageOpened(customer=customer))
            print(await run.result(timeout="30s"))


if __name__ == "__main__":
    asyncio.run(main())
