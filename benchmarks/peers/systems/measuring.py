"""The workloads W1 to W3 on one system: what each `with_….py` beside this calls with its own way to run them.

The parent folders are on the path: `run.py` sees to it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from timing import Sample, timed

FANOUT = 100
STEPS = {"W1": 1, "W2": 3, "W3": FANOUT + 1}
IN_FLIGHT = 200
Once = Callable[[], Awaitable[Any]]
RIGHT = {"W1": 1, "W2": 3, "W3": sum(range(1, FANOUT + 1))}
"""What a run of each returns: who returns something else does something else."""


@dataclass(frozen=True)
class Size:
    """How much is measured: runs at most, seconds at most for each workload."""

    runs: int
    crowd: int
    seconds: float
    warm_up: int
    in_flight: int


FULL = Size(150, 1_500, 4.0, 20, IN_FLIGHT)
QUICK = Size(10, 40, 1.0, 2, 20)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("url", help="of the server that the system needs, or of a file")
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args()


def alone(workload: str, sample: Sample) -> dict[str, float]:
    """The figures of runs one at a time."""
    return {"p50_ms": sample.percentile(50), "p99_ms": sample.percentile(99), "runs": sample.runs}


def crowd(workload: str, sample: Sample) -> dict[str, float]:
    """The figures of many runs in flight."""
    return {"steps_per_s": sample.runs * STEPS[workload] / sample.wall, "runs": sample.runs}


async def measured(runs: Mapping[str, Once], *, quick: bool) -> dict[str, Any]:
    """Each workload one at a time, then W2 with many in flight."""
    size = QUICK if quick else FULL
    cells: dict[str, Any] = {}
    for workload, once in runs.items():
        assert await once() == RIGHT[workload], f"{workload} comes to something else"
        await timed(once, size.warm_up, 1, size.seconds)
        cells[workload] = alone(workload, await timed(once, size.runs, 1, size.seconds))
    await timed(runs["W2"], size.in_flight, size.in_flight, size.seconds)
    cells[f"W2x{IN_FLIGHT}"] = crowd("W2", await timed(runs["W2"], size.crowd, size.in_flight, size.seconds))
    return cells


def report(version: str, setting: str, cells: Mapping[str, Any]) -> None:
    """One line of JSON, the last that is printed."""
    print(json.dumps({"version": version, "setting": setting, "cells": cells}), flush=True)


def run(work: Awaitable[None]) -> None:
    """On uvloop's event loop, as perdure's workers are."""
    import uvloop

    async def main() -> None:
        await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
