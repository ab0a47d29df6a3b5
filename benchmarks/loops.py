"""A loop without end: does one run that begins anew, lap after lap, leave memory and log as they are?

    nice .venv/bin/python benchmarks/loops.py --laps 1000000

One run on a log in a file; each lap is a step and `restart_with`. Every tenth of the laps it says how fast it goes, how
much memory the process has, and how large the file and the journal are. Behind snapshots the journal is kept for
`--keep` seconds only, where an app keeps 7 days by default: a log is flat over the time that it is kept for.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from perdure import App, Context
from perdure.core.limits import DEFAULT_LIMITS
from perdure.logs.contract import Topic

PAGE = resource.getpagesize()
FIRST_US = 1_000_000


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


def bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def following(n: int) -> int:
    return n + 1


async def measure(laps: int, folder: Path, keep_s: float) -> None:
    limits = replace(DEFAULT_LIMITS, history_time_max=int(keep_s * FIRST_US), snapshot_tail_bytes_min=1 << 20)
    app = App("loops", log=f"sqlite:///{folder}/log.db", limits=limits)
    reached = 0

    @app.function(retries=0)
    async def loop(ctx: Context) -> int:
        nonlocal reached
        n = reached = await ctx.step.run("next", following, ctx.event.data["n"])
        if n < laps:
            await ctx.restart_with({"n": n})
        return n

    print(f"{'laps':>10} {'laps/s':>8} {'memory MB':>10} {'file MB':>9} {'entries':>9}")
    async with app.worker() as engine:
        run = await app.start(loop, {"n": 0})
        ending = asyncio.create_task(run.result())
        log, number = engine.services.log, int(run.run_id.partition("-")[0].partition("p")[2])
        before, since = 0, time.perf_counter()
        for tenth in range(1, 11):
            while reached < laps * tenth // 10:  # noqa: ASYNC110 - nobody tells of a lap
                await asyncio.sleep(0.05)
            now, done = time.perf_counter(), reached
            first, end = await log.bounds(Topic.JOURNAL, number)
            size = bytes_in(folder) / 1e6
            rate = (done - before) / (now - since)
            print(
                f"{done:>10,} {rate:>8,.0f} {resident_mb():>10.1f} {size:>9.1f} {end - first:>9,}", flush=True
            )
            before, since = done, now
        assert await ending == laps
    await app.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--laps", type=int, default=20_000)
    parser.add_argument("--keep", type=float, default=5.0, help="seconds of history behind snapshots")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(arguments.laps, Path(folder), arguments.keep))


if __name__ == "__main__":
    main()
