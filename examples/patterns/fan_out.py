"""Fan-out by events: one run sends an event for each item, and each event has a run of its own, with its own retries.

For many items that nobody waits for together: mails of a newsletter, tenants of a nightly job. Each run is retried,
throttled and listed by itself, and other teams may listen to the same events. Not when the results are wanted in one
place: `ctx.step.map` and `asyncio.gather` bring them back. One `send_event` takes up to 5,000 events.

    perdure dev examples/patterns/fan_out.py:app
    perdure events send newsletter/published '{"issue": 7}'
    perdure runs list
"""

from __future__ import annotations

from perdure import App, Context, Event, NonRetriableError, Throttle

app = App("fan-out")


class Published(Event, name="newsletter/published", key="data.issue"):
    issue: int


class CopyDue(Event, name="newsletter/copy-due", key="data.to"):
    issue: int
    to: str


def list_subscribers() -> list[str]:
    return ["ada@example.com", "bob.example.com", "cyd@example.com"]


def send_copy(issue: int, to: str) -> str:
    if "@" not in to:
        raise NonRetriableError(f"{to!r} is no address")
    return f"issue {issue} to {to}"


@app.function(on=Published)
async def publish(ctx: Context[Published]) -> int:
    issue = ctx.event.data.issue
    subscribers = await ctx.step.run("list-subscribers", list_subscribers)
    await ctx.step.send_event("fan-out", [CopyDue(issue=issue, to=to) for to in subscribers])
    return len(subscribers)


@app.function(on=CopyDue, retries=5, throttle=Throttle(100, "1m"))
async def deliver(ctx: Context[CopyDue]) -> str:
    return await ctx.step.run("send", send_copy, ctx.event.data.issue, ctx.event.data.to)
