"""Doing something many times, and how long it took. It knows nothing of what is measured."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import perf_counter, perf_counter_ns, process_time


@dataclass
class Sample:
    """What some runs of one workload took."""

    latencies: list[int] = field(default_factory=list)
    """Of each run in ns, sorted."""
    wall: float = 0.0
    """Seconds for all of them."""
    cpu: float = 0.0
    """Seconds of processor time of this process meanwhile, all threads."""

    @property
    def runs(self) -> int:
        return len(self.latencies)

    def percentile(self, percent: float) -> float:
        """In ms."""
        place = min(len(self.latencies) - 1, int(len(self.latencies) * percent / 100))
        return self.latencies[place] / 1e6


async def until(
    condition: Callable[[], bool], what: str, patience_s: float = 60.0, pause_s: float = 0.005
) -> None:
    """Looks again and again whether a condition holds. Raises RuntimeError, which says what is missing."""
    deadline = perf_counter() + patience_s
    while not condition():
        if perf_counter() > deadline:
            raise RuntimeError(f"{what}, for {patience_s:g} s")
        await asyncio.sleep(pause_s)


async def timed(once: Callable[[], Awaitable[object]], runs: int, in_flight: int, seconds: float) -> Sample:
    """Does something `runs` times, so many at once, and stops early after so many seconds."""
    sample, left = Sample(), iter(range(runs))
    gc.collect()
    began, cpu = perf_counter(), process_time()

    async def lane() -> None:
        for _ in left:
            at = perf_counter_ns()
            await once()
            sample.latencies.append(perf_counter_ns() - at)
            if perf_counter() - began > seconds:
                return

    await asyncio.gather(*(lane() for _ in range(in_flight)))
    sample.wall, sample.cpu = perf_counter() - began, process_time() - cpu
    sample.latencies.sort()
    return sample
