"""One repetition: what a step costs beside one run that sleeps, and beside 100,000. Prints one line of JSON.

The sleeping runs are started by the same process, and sleep for a month. W2 is measured before, between and after, each
time beside the floor, which knows nothing of them.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise
from time import perf_counter
from typing import Any

from floor import Record
from places import Cells, Plays, Setting, repetition_of
from repetition import IN_FLIGHT, alone, crowd, recorded
from resting import until_at_rest
from workloads import Sample, drive, make_app

from perdure import App, Context
from perdure.authoring.functions import Function

LIVE, LIVE_QUICK = (1, 1_000, 10_000, 100_000), (1, 500)
FILLERS = 500
RUNS, CROWD, SECONDS = 300, 3_000, 4.0
RUNS_QUICK, CROWD_QUICK = 30, 300


def with_sleepers(url: str) -> tuple[App, dict[str, Function[Any, Any]]]:
    """The app of the workloads, with a function that sleeps for a month."""
    app, functions = make_app(url)

    @app.function
    async def asleep(ctx: Context[dict[str, Any]]) -> None:
        await ctx.step.sleep("long", timedelta(days=30))

    return app, functions | {"asleep": asleep}


async def fill(app: App, asleep: Function[Any, Any], count: int) -> float:
    """Starts so many runs that sleep; runs/s."""
    left, began = iter(range(count)), perf_counter()

    async def lane() -> None:
        for _ in left:
            await app.start(asleep)

    await asyncio.gather(*(lane() for _ in range(FILLERS)))
    return count / (perf_counter() - began)


async def measure(setting: Setting) -> Cells:
    runs, many = (RUNS_QUICK, CROWD_QUICK) if setting.quick else (RUNS, CROWD)
    levels = LIVE_QUICK if setting.quick else LIVE
    found: dict[int, dict[str, Any]] = {}
    async with setting.place() as (url, floor):
        app, functions = with_sleepers(url)

        async def driven(workload: str, runs: int, in_flight: int, seconds: float) -> Sample:
            return await drive(app, functions[workload], runs, in_flight, seconds)

        async def load(records: list[Record], played: Plays) -> dict[str, Any]:
            one = await driven("W2", runs, 1, SECONDS)
            crowded = await driven("W2", many, IN_FLIGHT, SECONDS)
            below = await played.play(records, many, IN_FLIGHT, SECONDS)
            return {"alone": alone("W2", one), "crowd": crowd("W2", crowded), "floor": crowd("W2", below)}

        try:
            async with app.worker() as engine:
                records = await recorded(engine.services.log, driven, "W2")
                await driven("W2", many, IN_FLIGHT, SECONDS)  # to warm up
                for before, live in pairwise((0, *levels)):
                    rate = await fill(app, functions["asleep"], live - before)
                    await until_at_rest(engine)
                    found[live] = await load(records, floor) | {"filled_per_s": rate}
        finally:
            await app.close()
    return {"100,000 asleep": {"engine": figures(found), "levels": found}}


def figures(found: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """The most beside one."""
    first, last = found[min(found)], found[max(found)]
    return {
        "cpu_ratio": last["crowd"]["cpu_s_per_1000"] / first["crowd"]["cpu_s_per_1000"],
        "alone_ratio": last["alone"]["p50_ms"] / first["alone"]["p50_ms"],
        "time_ratio": first["crowd"]["steps_per_s"] / last["crowd"]["steps_per_s"],
        "floor_ratio": first["floor"]["steps_per_s"] / last["floor"]["steps_per_s"],
        "filled_per_s": last["filled_per_s"],
    }


if __name__ == "__main__":
    repetition_of(measure)
