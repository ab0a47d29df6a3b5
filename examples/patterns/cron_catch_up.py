"""Cron with catch-up: a run for each period, also for those in which no worker was there, one after the other.

For work of which each period needs its own: bills, rollups, exports. Not for upkeep that only wants to be done again
(a sweep, a cache): the default, `catch_up="last"`, starts one run for all that was missed. A run works on the time that
was planned, `ctx.event.data.at`, and never on the present time, so that a late one does the same as one in time.

    perdure dev examples/patterns/cron_catch_up.py:app       # stop it for some minutes, and start it again
    perdure runs list
"""

from __future__ import annotations

from datetime import datetime, timedelta

from perdure import App, Context, Cron, Tick

app = App("cron-catch-up")
MINUTE = timedelta(minutes=1)


def add_up(since: datetime, until: datetime) -> str:
    return f"usage from {since:%H:%M} to {until:%H:%M}"


@app.function(on=Cron("* * * * *", catch_up="all", overlap="buffer"), retries=10)
async def bill_minute(ctx: Context[Tick]) -> str:
    until = ctx.event.data.at
    return await ctx.step.run("add-up", add_up, until - MINUTE, until)
