"""Functions of the service whose starts are dropped, put off or put together: two events for one run."""

from __future__ import annotations

from typing import Any

from perdure import App, Batch, Context, Debounce, Idempotency, RateLimit
from tests.crash.ledger import effect

FIRST, SECOND = "crash/admit_first", "crash/admit_second"
SETTLING = "crash/settling"


def count(run: str, n: int, events: int) -> int:
    with effect(run, n, events):
        return n * events


async def counting(ctx: Context[dict[str, Any]]) -> int:
    return await ctx.step.run("count", count, ctx.run_id, ctx.event.data["n"], len(ctx.events))


def declare(app: App) -> None:
    """Each value of `n` has a count of its own, so that it can be foretold what starts."""
    key = "event.data.n"
    both = [FIRST, SECOND]
    app.function(on=both, id="once", retries=0, idempotency=Idempotency(key, ttl="7d"))(counting)
    app.function(on=both, id="rated", retries=0, rate_limit=RateLimit(1, "7d", key=key))(counting)
    app.function(on=both, id="together", retries=0, batch=Batch(2, "7d", key=key))(counting)
    app.function(on=SETTLING, id="settled", retries=0, debounce=Debounce("1s", key=key))(counting)
