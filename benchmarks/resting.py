"""When a worker is at rest: it has nothing left to do of what it was filled with."""

from __future__ import annotations

from timing import until

from perdure.engine.engine import Engine

__all__ = ["REST_S", "at_rest", "until_at_rest"]

REST_S = 180.0


def at_rest(engine: Engine) -> bool:
    """Snapshots of what is new are taken, too: they come a while after it."""
    leads = [partition.lead for partition in engine.partitions.values()]
    return engine.quiet() and not any(lead is None or lead.snapshots.under_way for lead in leads)


async def until_at_rest(engine: Engine) -> None:
    """Waits for it; raises after three minutes."""
    await until(lambda: at_rest(engine), "the worker does not come to rest", REST_S, 0.1)
