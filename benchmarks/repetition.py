"""One repetition of W1, W2 and W3: a fresh process and a fresh log, each beside its floor. Prints one line of JSON.

`run.py` starts it. In this process are the worker and, unless the client has one of its own, the client. With `--kafka`
the log and its floor have topics of their own on that broker.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time
from typing import Any

from far_client import FarClient
from floor import Record, entry_bytes, journal_bounds, journal_since, records_of
from places import Place, Plays, on_a_file, on_kafka
from workloads import STEPS, Sample, drive, make_app

from perdure.logs.contract import Log
from perdure.worker.process import calm_collector, event_loop

Drive = Callable[[str, int, int, float], Awaitable[Sample]]
Cell = tuple[str, str, int, int]
"""Its name, the workload, how many runs of it, and how many at once."""


@dataclass
class Size:
    """How much is measured in one repetition: runs of each workload, and seconds after which it is enough."""

    alone: dict[str, int]
    crowd: int
    seconds: float

    def cells(self, crowd: int | None) -> list[Cell]:
        """Those that are measured; `crowd`: only so many in flight."""
        if crowd is not None:
            return [(f"W2x{crowd}", "W2", self.crowd * crowd // IN_FLIGHT, crowd)]
        alone = [(name, name, count, 1) for name, count in self.alone.items()]
        return [*alone, (f"W2x{IN_FLIGHT}", "W2", self.crowd, IN_FLIGHT)]


FULL = Size({"W1": 150, "W2": 150, "W3": 30}, 1_500, 3.0)
QUICK = Size({"W1": 20, "W2": 20, "W3": 5}, 200, 0.5)
IN_FLIGHT = 200
WARM_UP = 20


def alone(workload: str, sample: Sample) -> dict[str, float]:
    """The figures of runs one at a time."""
    return {"p50_ms": sample.percentile(50), "p99_ms": sample.percentile(99), "runs": sample.runs}


def crowd(workload: str, sample: Sample) -> dict[str, float]:
    """The figures of many runs in flight."""
    steps = sample.runs * STEPS[workload]
    return {
        "steps_per_s": steps / sample.wall,
        "cpu_s_per_1000": sample.cpu / steps * 1_000,
        "p50_ms": sample.percentile(50),
        "runs": sample.runs,
    }


async def measure(
    size: Size, cells: Sequence[Cell], log: Log, drive: Drive, floor: Plays, floor_first: bool
) -> dict[str, Any]:
    """All cells, each beside its floor; which of the two goes first changes from one repetition to the next."""
    found: dict[str, Any] = {}
    for name, workload, runs, in_flight in cells:
        records = await recorded(log, drive, workload)
        figures = alone if in_flight == 1 else crowd
        cell: dict[str, Any] = {"records": len(records), "record_bytes": sum(r.size for r in records)}
        for who in ("floor", "engine") if floor_first else ("engine", "floor"):
            if who == "floor":
                sample = await floor.play(records, runs, in_flight, size.seconds)
            else:
                before = await journal_bounds(log)
                sample = await drive(workload, runs, in_flight, size.seconds)
                entries = await journal_since(log, before)
                written = sum(map(entry_bytes, entries))
                cell["log_bytes_per_step"] = written / (sample.runs * STEPS[workload])
                cell["entries_per_run"] = len(entries) / sample.runs
            cell[who] = figures(workload, sample)
        found[name] = cell
    return found


async def recorded(log: Log, drive: Drive, workload: str) -> list[Record]:
    """The records of one run, when all is warm."""
    await drive(workload, WARM_UP, 1, 1.0)
    before = await journal_bounds(log)
    await drive(workload, 1, 1, 1.0)
    return records_of(await journal_since(log, before))


async def repetition(
    place: Place, size: Size, cells: Sequence[Cell], *, floor_first: bool, two_processes: bool = False
) -> dict[str, Any]:
    async with place as (url, floor):
        app, functions = make_app(url)
        far = await FarClient.start(url) if two_processes else None

        async def near(workload: str, runs: int, in_flight: int, seconds: float) -> Sample:
            return await drive(app, functions[workload], runs, in_flight, seconds)

        async def from_afar(workload: str, runs: int, in_flight: int, seconds: float) -> Sample:
            assert far is not None
            cpu = process_time()
            sample = await far.drive(workload, runs, in_flight, seconds)
            sample.cpu = process_time() - cpu  # the worker's, not the client's
            return sample

        try:
            async with app.worker() as engine:
                log = engine.services.log
                driven = near if far is None else from_afar
                return await measure(size, cells, log, driven, floor, floor_first)
        finally:
            if far is not None:
                await far.close()
            await app.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--floor-first", action="store_true")
    parser.add_argument("--two-processes", action="store_true")
    parser.add_argument("--kafka", metavar="SERVERS")
    parser.add_argument("--crowd", type=int, help="only W2, so many in flight")
    args = parser.parse_args()
    size = QUICK if args.quick else FULL
    calm_collector()  # as `perdure worker` does
    with tempfile.TemporaryDirectory(prefix="perdure-bench-", dir=args.folder) as folder:
        place = on_kafka(args.kafka) if args.kafka else on_a_file(Path(folder))
        work = repetition(
            place,
            size,
            size.cells(args.crowd),
            floor_first=args.floor_first,
            two_processes=args.two_processes,
        )
        with asyncio.Runner(loop_factory=event_loop) as runner:  # and as this
            print(json.dumps({"size": asdict(size), "cells": runner.run(work)}))


if __name__ == "__main__":
    main()
