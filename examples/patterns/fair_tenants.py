"""Per-tenant fair processing: a tenant has few places, all have more, so that none fills the queue for the others.

For one service with many customers, of whom one imports ten thousand videos on a Monday. Not to protect a system from
too many calls in a minute: that is `Throttle`. A run waits for its tenant's place first, and takes one of all only when
it has that. `unit="run"` holds the places from the start of the run to its end, its sleeps included.

    perdure dev examples/patterns/fair_tenants.py:app
    for n in 1 2 3 4 5; do perdure events send video/uploaded '{"tenant": "big", "video": "b'$n'"}'; done
    perdure events send video/uploaded '{"tenant": "small", "video": "s1"}'     # it does not wait for big's
    perdure runs list
"""

from __future__ import annotations

from perdure import App, Concurrency, Context, Event

app = App("fair-tenants")
PER_TENANT, FOR_ALL = 2, 6


class Uploaded(Event, name="video/uploaded", key="data.tenant"):
    tenant: str
    video: str


def submit(video: str) -> str:
    return f"job of {video}"


def fetch(job: str) -> str:
    return f"result of the {job}"


@app.function(
    on=Uploaded,
    concurrency=[
        Concurrency(PER_TENANT, key="event.data.tenant", unit="run"),
        Concurrency(FOR_ALL, unit="run"),
    ],
)
async def transcode(ctx: Context[Uploaded]) -> str:
    job = await ctx.step.run("submit", submit, ctx.event.data.video)
    await ctx.step.sleep("transcoding", "20s")
    return await ctx.step.run("fetch", fetch, job)
