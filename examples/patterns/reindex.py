"""Debounced re-index: a page that is edited many times is indexed once, when its author has paused.

python examples/patterns/reindex.py
"""

from __future__ import annotations

import asyncio

from perdure import App, Context, Debounce, Event

app = App("reindex")
indexed: list[str] = []


class PageSaved(Event, name="page/saved", key="data.page"):
    page: str
    text: str


def index(page: str, text: str) -> int:
    indexed.append(page)
    return len(text.split())


@app.function(on=PageSaved, debounce=Debounce("1s", key="event.data.page", timeout="10s"))
async def reindex(ctx: Context[PageSaved]) -> int:
    page = ctx.event.data  # as it was saved last
    return await ctx.step.run("index", index, page.page, page.text)


async def main() -> None:
    async with app.worker():
        for words in range(1, 6):
            await app.send(PageSaved(page="/about", text="word " * words))
        await app.send(PageSaved(page="/", text="home"))
        async with asyncio.timeout(30):
            while len(indexed) < 2:  # noqa: ASYNC110 - what steps did is no event here
                await asyncio.sleep(0.05)
        print(f"indexed {', '.join(sorted(indexed))}, once each")


if __name__ == "__main__":
    asyncio.run(main())
