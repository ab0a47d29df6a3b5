"""The version of the service whose function starts each second."""

from __future__ import annotations

from perdure import App, Context, Cron, Tick
from tests.crash.ledger import effect

TICKING = 3


def note(run: str, minute: int, second: int) -> int:
    with effect(run, minute, second):
        return second


async def ticking(ctx: Context[Tick]) -> str:
    at = ctx.event.data.at
    await ctx.step.run("note", note, ctx.run_id, at.minute, at.second)
    return at.isoformat()


def declared() -> App:
    """The app, with nowhere to run yet."""
    app = App("crash", log="memory:")
    app.function(on=Cron("* * * * * *", catch_up="all"), retries=0)(ticking)
    return app
