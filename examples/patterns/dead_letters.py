"""Dead-letter step: what cannot be handled is put aside with its reason, and the run goes on with the rest.

python examples/patterns/dead_letters.py
"""

from __future__ import annotations

import asyncio

from perdure import App, Context, Event, StepError

app = App("letters")


class BatchArrived(Event, name="batch/arrived"):
    lines: list[str]


class LineRefused(Event, name="line/refused"):
    line: str
    why: str


def handle(line: str) -> int:
    return int(line)


@app.function(on=BatchArrived, retries=1)
async def handle_batch(ctx: Context[BatchArrived]) -> int:
    total = 0
    for line in ctx.event.data.lines:
        try:
            total += await ctx.step.run("handle", handle, line)
        except StepError as error:
            await ctx.step.send_event("put-aside", LineRefused(line=line, why=error.message))
    return total


@app.function(on=LineRefused)
async def look_at_it(ctx: Context[LineRefused]) -> str:
    """A person decides: `perdure runs signal RUN decide '"7"'` gives the line again, null drops it."""
    decided = await ctx.step.wait_for_signal("decided", "decide", timeout="30d")
    if decided is None or decided.data is None:
        return "dropped"
    await ctx.step.send_event("again", BatchArrived(lines=[decided.data]))
    return "sent again"


async def main() -> None:
    async with app.worker():
        run = await app.start(handle_batch, BatchArrived(lines=["1", "two", "3"]))
        print(await run.result(timeout="60s"))


if __name__ == "__main__":
    asyncio.run(main())
