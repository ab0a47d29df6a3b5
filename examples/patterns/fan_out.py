"""Fan-out by events: one event makes many, each has a run of its own, and one run collects their answers.

The collector begins anew after each part, and looks back to where it began, so that none is missed or counted twice.

    python examples/patterns/fan_out.py
"""

from __future__ import annotations

import asyncio

from perdure import App, Context, Event

app = App("count")


class Begun(Event, name="count/begun", key="data.job"):
    job: str
    texts: list[str]
    done: int = 0
    words: int = 0


class PartWanted(Event, name="count/part-wanted", key="data.job"):
    job: str
    text: str


class PartDone(Event, name="count/part-done", key="data.job"):
    job: str
    words: int


def count(text: str) -> int:
    return len(text.split())


@app.function(on=PartWanted)
async def count_part(ctx: Context[PartWanted]) -> None:
    part = ctx.event.data
    words = await ctx.step.run("count", count, part.text)
    await ctx.step.send_event("tell", PartDone(job=part.job, words=words))


@app.function(on=Begun)
async def count_all(ctx: Context[Begun]) -> int:
    job = ctx.event.data
    if job.done == 0:
        parts = [PartWanted(job=job.job, text=text) for text in job.texts]
        await ctx.step.send_event("fan-out", parts)
    if job.done == len(job.texts):
        return job.words
    part = await ctx.step.wait_for_event("part", PartDone, match="data.job", lookback="1h", timeout="1h")
    if part is None:
        raise TimeoutError(f"{job.done} of {len(job.texts)} parts came")
    await ctx.restart_with(
        Begun(job=job.job, texts=job.texts, done=job.done + 1, words=job.words + part.data.words)
    )
    raise AssertionError


async def main() -> None:
    async with app.worker():
        texts = ["one two three", "four five", "six"]
        run = await app.start(count_all, Begun(job="j1", texts=texts))
        print(await run.result(timeout="30s"), "words")


if __name__ == "__main__":
    asyncio.run(main())
