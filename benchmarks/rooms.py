"""Where the processor's time goes, by room: W2 with 200 in flight, in one process.

Two looks, since neither is true alone. *Sampled*: every ms of processor time a signal looks where the main thread
is; it costs next to nothing, and C code counts for its caller. *Profiled*: cProfile, which counts calls, and makes
small Python functions look dearer than they are. The log's own threads are a line of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from table import columns, number
from workloads import STEPS, drive, make_app

SAMPLE_S = 0.001
WORKLOAD, IN_FLIGHT, WARM_UP, ENOUGH_S = "W2", 200, 400, 60.0
AVRO = "Avro (core.codec, core.avro and what it makes)"
PLACES = (
    ("perdure/core/codec", AVRO),
    ("perdure/core/avro", AVRO),
    ("perdure.core.avro", AVRO),
    ("perdure/core/", "core"),
    ("perdure/engine/", "engine"),
    ("perdure/execution/", "execution"),
    ("perdure/worker/", "worker"),
    ("perdure/logs/", "logs, on the loop"),
    ("perdure/client/", "client"),
    ("perdure/authoring/", "authoring"),
    ("perdure/observability/", "observability"),
    ("perdure/app", "app"),
    ("<string>", "made by dataclasses"),
    ("selectors.py", "waiting in select"),
    ("asyncio/", "asyncio"),
    ("benchmarks/", "the benchmark itself"),
)
THREAD = "the log's threads"


def room_of(file: str) -> str:
    """The room of a source file."""
    return next((room for part, room in PLACES if part in file), "standard library and others")


class Samples:
    """Counts where the main thread is."""

    def __init__(self) -> None:
        self.rooms: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()

    def take(self, _signal: int, frame: FrameType | None) -> None:
        if frame is not None:
            file = frame.f_code.co_filename
            self.rooms[room_of(file)] += 1
            self.lines[f"{_short(file)}:{frame.f_lineno} {frame.f_code.co_name}"] += 1


def _short(file: str) -> str:
    return "/".join(Path(file).parts[-2:])


def by_room(profile: cProfile.Profile) -> tuple[Counter[str], Counter[str]]:
    """Own time and calls by room; what is built in counts for its callers."""
    times: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for (file, _, _), (_, count, own, _, callers) in pstats.Stats(profile).stats.items():  # pyright: ignore[reportAttributeAccessIssue]
        if file != "~":
            times[room_of(file)] += own
            calls[room_of(file)] += count
        for (caller, _, _), (_, their_count, their_own, _) in callers.items() if file == "~" else ():
            times[room_of(caller)] += their_own
            calls[room_of(caller)] += their_count
    return times, calls


async def looked_at(
    url: str, runs: int, samples: Samples | None, profile: cProfile.Profile | None
) -> tuple[float, float]:
    """Runs the workload under one of the two; CPU seconds of the main thread and of all others."""
    with tempfile.TemporaryDirectory(prefix="perdure-bench-") as folder:
        app, functions = make_app(url or f"sqlite:///{folder}/log.db?synchronous=full")
        try:
            async with app.worker():
                await drive(app, functions[WORKLOAD], WARM_UP, IN_FLIGHT, ENOUGH_S)
                whole, main = time.process_time(), time.thread_time()
                if samples is not None:
                    signal.signal(signal.SIGPROF, samples.take)
                    signal.setitimer(signal.ITIMER_PROF, SAMPLE_S, SAMPLE_S)
                if profile is not None:
                    profile.enable()
                await drive(app, functions[WORKLOAD], runs, IN_FLIGHT, ENOUGH_S)
                if profile is not None:
                    profile.disable()
                signal.setitimer(signal.ITIMER_PROF, 0)
                main, whole = time.thread_time() - main, time.process_time() - whole
        finally:
            await app.close()
    return main, whole - main


def printed(url: str, runs: int, lines: int) -> str:
    """Both looks in one table."""
    samples, profile = Samples(), cProfile.Profile()
    main, others = asyncio.run(looked_at(url, runs, samples, None))
    asyncio.run(looked_at(url, runs, None, profile))
    times, calls = by_room(profile)
    steps = runs * STEPS[WORKLOAD]
    samples.rooms.pop("waiting in select", None)
    times.pop("waiting in select", None)
    taken, profiled = samples.rooms.total() or 1, times.total()
    rows = [("room", "µs per step", "sampled", "profiled", "calls per step")]
    for room in sorted(samples.rooms | times, key=lambda room: -samples.rooms[room]):
        share = samples.rooms[room] / taken
        own = (f"{number(share * main / steps * 1e6)}", f"{share:.1%}")
        rows.append((room, *own, f"{times[room] / profiled:.1%}", f"{calls[room] / steps:.1f}"))
    rows.append((THREAD, number(others / steps * 1e6), "", "", ""))
    rows.append(("all", number((main + others) / steps * 1e6), "", "", f"{calls.total() / steps:.1f}"))
    hot = [f"{count / taken:6.1%}  {line}" for line, count in samples.lines.most_common(lines)]
    return "\n".join([columns(rows), *(["", *hot] if lines else [])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4_000)
    parser.add_argument("--lines", type=int, default=0, help="also the lines that were met most often")
    parser.add_argument("--log", default="", help="the log's URL; by default a file of its own")
    args = parser.parse_args()
    print(printed(args.log, args.runs, args.lines))


if __name__ == "__main__":
    main()
