"""Fan-out and fan-in by events: one event makes many, each has a run of its own, and one run collects their answers.

For parts that other services may do, or that take days: the collector begins anew after each answer, and so stays small
however many there are. It looks back to where it began, so that no answer is missed or counted twice. Not for parts
that are steps of the same run: `ctx.step.map` gives their results in order.

    perdure dev examples/patterns/fan_in.py:app
    perdure events send count/begun '{"job": "j1", "texts": ["one two three", "four five", "six"]}'
    perdure runs list
"""

from __future__ import annotations

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


async def count(text: str) -> int:
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
