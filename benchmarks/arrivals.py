"""One repetition: events at 500/s, and how long each takes to the first line of the function that it starts.

The time runs from the moment at which the event was *due* to be sent (see `sender`), so that a sender that was held up
counts, too; and, beside it, from the moment at which its sender knew that it was accepted. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
from time import perf_counter, perf_counter_ns
from typing import Any

from floor import Record, entry_bytes, journal_bounds, journal_since, records_of
from places import Cells, Plays, Setting, repetition_of
from sender import Sent, from_afar, through_app
from timing import until

from perdure import App, Context
from perdure.logs.contract import Log

RATE = 500
SECONDS, SECONDS_QUICK = 10, 1
FLOOR_RUNS, FLOOR_S = 400, 3.0
PATIENCE_S = 30.0


def make(url: str) -> tuple[App, dict[int, int]]:
    """The app, and when the first line of its function ran for each event."""
    app, seen = App("bench", log=url), dict[int, int]()

    @app.function(on="bench/arrived")
    async def arrived(ctx: Context[dict[str, Any]]) -> None:
        now = perf_counter_ns()
        seen.setdefault(ctx.event.data["number"], now)

    return app, seen


async def all_seen(seen: dict[int, int], count: int) -> None:
    """Waits until all have come. Raises RuntimeError when none comes any more."""
    deadline, before = perf_counter() + PATIENCE_S, 0
    while len(seen) < count:
        if len(seen) > before:
            deadline, before = perf_counter() + PATIENCE_S, len(seen)
        if perf_counter() > deadline:
            raise RuntimeError(f"{count - len(seen)} of {count} events have started nothing")
        await asyncio.sleep(0.01)


def percentiles(ns: list[int], name: str = "") -> dict[str, float]:
    """Of some times, in ms."""
    ordered = sorted(ns)
    return {f"p{p}{name}_ms": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] / 1e6 for p in (50, 99)}


def figures(sent: Sent, seen: dict[int, int]) -> dict[str, Any]:
    if sent.refused:
        raise RuntimeError(f"not all events were taken: {sent.refused}")
    numbers = range(len(sent.due))
    found: dict[str, Any] = {"events": len(sent.due)}
    found |= percentiles([seen[number] - sent.due[number] for number in numbers])
    found |= percentiles([seen[number] - sent.accepted[number] for number in numbers], "_accepted")
    found |= percentiles([sent.began[number] - sent.due[number] for number in numbers], "_late")
    return found


async def floor_of(log: Log, app: App, seen: dict[int, int], floor: Plays) -> dict[str, Any]:
    """The event and the record that starts its run, one after the other, each read back: no engine takes less."""
    before = await journal_bounds(log)
    await app.send("bench/arrived", {"number": -1})
    await until(lambda: -1 in seen, "an event has started nothing", PATIENCE_S)
    started = [e for e in await journal_since(log, before) if e.headers.get("kind") == b"Ingest"]
    ingest = records_of(started)[0]
    event = Record(
        "Event", ingest.body["events"][0]["event"], b"1", {"kind": b"Event"}, entry_bytes(started[0])
    )
    sample = await floor.play([event, ingest], FLOOR_RUNS, 1, FLOOR_S)
    return {"p50_ms": sample.percentile(50), "p99_ms": sample.percentile(99), "events": sample.runs}


async def measure(setting: Setting) -> Cells:
    count = RATE * (SECONDS_QUICK if setting.quick else SECONDS)
    async with setting.place() as (url, floor):
        app, seen = make(url)
        try:
            async with app.worker() as engine:
                await through_app(app, "bench/arrived", RATE, RATE // 2)  # to warm up
                await all_seen(seen, RATE // 2)
                cells: Cells = {}
                for name, send in (
                    ("E500", through_app(app, "bench/arrived", RATE, count)),
                    ("E500 far", from_afar(url, "bench/arrived", RATE, count)),
                ):
                    seen.clear()
                    cells[name] = {}
                    if setting.floor_first:
                        cells[name]["floor"] = await floor_of(engine.services.log, app, seen, floor)
                        seen.clear()
                    sent = await send
                    await all_seen(seen, count)
                    cells[name]["engine"] = figures(sent, seen)
                    if not setting.floor_first:
                        cells[name]["floor"] = await floor_of(engine.services.log, app, seen, floor)
                return cells
        finally:
            await app.close()


if __name__ == "__main__":
    repetition_of(measure)
