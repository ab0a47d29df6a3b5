"""Graceful degradation: what is optional has little time, and the answer goes out without it, and says so.

For answers that are worth more in time than complete: pages, reports, enrichment. Not for what must be right: the price
here is no option, and its step is tried again until it succeeds. Which parts were left out is recorded with the
result, so nobody takes the poorer answer for the full one.

    perdure dev examples/patterns/degradation.py:app
    perdure events send page/wanted '{"sku": "tea"}'
    perdure events send page/wanted '{"sku": "new-tea"}'     # nobody has reviewed it, and the recommender hangs
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from pydantic import BaseModel

from perdure import App, Context, Event, Retry, StepError

app = App("degradation")
BESTSELLERS = ["pot", "cup"]
IMPATIENT = Retry(limit=1, initial="500ms")


class PageWanted(Event, name="page/wanted"):
    sku: str


class Page(BaseModel):
    cents: int
    reviews: list[str]
    tips: list[str]
    without: list[str]


def find_price(sku: str) -> int:
    return 100 * len(sku)


async def find_reviews(sku: str) -> list[str]:
    if sku.startswith("new-"):
        raise LookupError(f"no reviews of {sku}")
    return [f"{sku} is good"]


async def find_tips(sku: str) -> list[str]:
    await asyncio.sleep(30 if sku.startswith("new-") else 0)
    return [f"more {sku}"]


@app.function(on=PageWanted, retries=20)
async def build_page(ctx: Context[PageWanted]) -> Page:
    sku = ctx.event.data.sku
    quick = ctx.step.options(retry=IMPATIENT, timeout="1s").run
    without: list[str] = []

    async def optional(
        part: str, find: Callable[[str], Coroutine[None, None, list[str]]], instead: list[str]
    ) -> list[str]:
        try:
            return await quick(part, find, sku)
        except StepError:
            without.append(part)
            return instead

    cents, reviews, tips = await asyncio.gather(
        ctx.step.run("price", find_price, sku),
        optional("reviews", find_reviews, []),
        optional("tips", find_tips, BESTSELLERS),
    )
    return Page(cents=cents, reviews=reviews, tips=tips, without=sorted(without))
