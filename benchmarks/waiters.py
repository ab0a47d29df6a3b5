"""One repetition of W7: 100,000 runs wait for one event name, each for another value. Prints one line of JSON.

Events are appended while the worker reads none, and then it reads them all: so what is measured is the worker, and not
who sends. Those of one kind match nobody: they are read, routed, and kept for waits that come late. Those of the other
kind match one wait each: its run goes on, and ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import contextmanager
from time import perf_counter, process_time
from typing import Any

from asleep import FILLERS
from places import Cells, Setting, repetition_of
from resting import until_at_rest
from timing import until

from perdure import App, Context
from perdure.authoring.functions import Function
from perdure.engine.engine import Engine
from perdure.logs.contract import Topic

WAITERS, EVENTS = 100_000, 20_000
WAITERS_QUICK, EVENTS_QUICK = 500, 200
BATCH = 500
PATIENCE_S = 240.0


class Met:
    """How many runs have had their event."""

    def __init__(self) -> None:
        self.runs = 0


def make(url: str, met: Met) -> tuple[App, Function[Any, Any]]:
    app = App("bench", log=url)

    @app.function
    async def waiting(ctx: Context[dict[str, Any]]) -> None:
        await ctx.step.wait_for_event("answer", "bench/answer", match="data.waiter")
        met.runs += 1

    return app, waiting


def subscribed(engine: Engine) -> int:
    """Waits that their cells know."""
    states = [partition.state for partition in engine.partitions.values()]
    return sum(len(cell.subscriptions) for state in states for cell in state.cells.values())


@contextmanager
def held(engine: Engine):
    """Meanwhile the worker reads no events."""
    for number in engine.partitions:
        engine.services.pause(Topic.EVENTS, number)
    yield
    for number in engine.partitions:
        engine.services.resume(Topic.EVENTS, number)


async def routed(engine: Engine) -> None:
    """Waits until all events in the log are routed, and what followed from it is done."""
    log = engine.services.log
    ends = [(await log.bounds(Topic.EVENTS, number))[1] for number in range(log.partitions)]

    def all_routed() -> bool:
        states = {number: partition.state for number, partition in engine.partitions.items()}
        here = len(states) == len(ends)  # on a busy machine, a worker may lose some for a while
        return here and all(states[number].next >= end for number, end in enumerate(ends)) and engine.quiet()

    await until(all_routed, "there are events that are not routed", PATIENCE_S)


async def taken(app: App, engine: Engine, waiters: Sequence[str]) -> dict[str, float]:
    """Events of these values, from where the worker begins to read them until all is done that follows."""
    with held(engine):
        for first in range(0, len(waiters), BATCH):
            batch = waiters[first : first + BATCH]
            await app.send([{"name": "bench/answer", "data": {"waiter": waiter}} for waiter in batch])
        began, cpu = perf_counter(), process_time()
    await routed(engine)
    wall, cpu = perf_counter() - began, process_time() - cpu
    return {"events_per_s": len(waiters) / wall, "cpu_us_per_event": cpu / len(waiters) * 1e6}


async def fill(app: App, waiting: Function[Any, Any], count: int) -> float:
    """Starts so many runs, each of which waits for its number; runs/s."""
    left, began = iter(range(count)), perf_counter()

    async def lane() -> None:
        for number in left:
            await app.start(waiting, {"waiter": f"w{number}"})

    await asyncio.gather(*(lane() for _ in range(FILLERS)))
    return count / (perf_counter() - began)


async def measure(setting: Setting) -> Cells:
    waiters, events = (WAITERS_QUICK, EVENTS_QUICK) if setting.quick else (WAITERS, EVENTS)
    met, found = Met(), dict[str, Any]()
    kinds = [("none", "x"), ("one", "w")]
    async with setting.place() as (url, _):
        app, waiting = make(url, met)
        try:
            async with app.worker() as engine:
                rate = await fill(app, waiting, waiters)
                subscribing = "there are waits that no cell knows"
                await until(lambda: subscribed(engine) == waiters, subscribing, PATIENCE_S, 0.2)
                await until_at_rest(engine)
                for name, letter in reversed(kinds) if setting.floor_first else kinds:
                    found[name] = await taken(app, engine, [f"{letter}{number}" for number in range(events)])
        finally:
            await app.close()
    if met.runs != events:
        raise RuntimeError(f"{events} events were for one run each, and {met.runs} runs went on")
    return {"W7": {"engine": found | {"filled_per_s": rate, "waiters": waiters}}}


if __name__ == "__main__":
    repetition_of(measure)
