"""Many lives of the simulated service, on all cores: `make soak`, or `python -m tests.simulation.soak`.

Each seed is lived in both worlds: on the log in memory, and on one that behaves as Kafka does. A seed that breaks a
promise, or does not come to its end, is printed with the command that lives it again, and kept in a file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from tests.simulation.kafka_world import KafkaWorld
from tests.simulation.world import World, simulate

WORLDS: dict[str, type[World]] = {"memory": World, "kafka": KafkaWorld}
COMMANDS = {
    "memory": "test_simulation.py -k whatever_happens",
    "kafka": "test_kafka_semantics.py -k like_kafka",
}
KEPT = Path(__file__).resolve().parents[2] / ".chaos" / "soak.jsonl"
CHUNK = 20
"""Lives for which a process is asked at once."""
CHUNKS_MAX = 50
"""After so many a process is replaced by another, so that what a life leaves behind does not add up."""
LIFE_S = 120.0
"""A life takes about 0.1 s; one that takes so long will not end."""
AGAIN_S = 1.0
TOLD_EVERY_S = 10.0


@dataclass(frozen=True)
class Failure:
    """A seed that broke a promise."""

    world: str
    seed: int
    said: str

    def command(self) -> str:
        """What lives it again."""
        return f"SIMULATION_SEEDS={self.seed} python -m pytest tests/simulation/{COMMANDS[self.world]}"


@dataclass(frozen=True)
class Lived:
    """What came of some lives."""

    lives: int
    records: int
    failures: list[Failure]


class TooLong(KeyboardInterrupt):
    """A life that does not end. An event loop lets through what is a KeyboardInterrupt, and swallows much else."""


def live(world: str, seeds: Sequence[int], life: Callable[..., Any] = simulate) -> Lived:
    """Lives these seeds one by one. None of them stops the others."""
    records, failures = 0, list[Failure]()
    for seed in seeds:
        try:
            with _at_most(LIFE_S):
                records += asyncio.run(life(seed, kind=WORLDS[world])).audit.records
        except (Exception, TooLong) as error:
            failures.append(Failure(world, seed, f"{type(error).__name__}: {error}"))
    return Lived(len(seeds), records, failures)


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raises TooLong in the main thread after so long. A timer that was under way goes on afterwards."""

    def too_long(_number: int, _frame: object) -> None:
        raise TooLong(f"it does not come to its end within {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, too_long)
    # Again and again: raised where nobody can hear it, as in a finalizer, it would be forgotten.
    left, again = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, again)
        signal.signal(signal.SIGALRM, handler)


def chunks(worlds: Sequence[str], first: int, count: int) -> Iterator[tuple[str, range]]:
    """The lives in pieces; the worlds take turns, so that a soak that is broken off has seen both."""
    for start in range(first, first + count, CHUNK):
        for world in worlds:
            yield world, range(start, min(start + CHUNK, first + count))


def keep(failure: Failure, file: Path) -> None:
    """Adds it to the file; what earlier soaks have found stays."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as out:
        out.write(json.dumps(asdict(failure) | {"again": failure.command()}) + "\n")


def soak(worlds: Sequence[str], first: int, count: int, jobs: int, kept: Path) -> Lived:
    """Lives them all, and says how far it is."""
    total, lived, began = count * len(worlds), Lived(0, 0, []), monotonic()
    told = began
    for part in _parts(list(chunks(worlds, first, count)), jobs):
        lived = Lived(lived.lives + part.lives, lived.records + part.records, lived.failures + part.failures)
        for failure in part.failures:
            keep(failure, kept)
            print(f"BROKEN  {failure.world} world, {failure.said}\n        {failure.command()}", flush=True)
        if monotonic() - told >= TOLD_EVERY_S:
            told = monotonic()
            rate = lived.lives / (told - began)
            left = f"{(total - lived.lives) / rate:,.0f} s left, {len(lived.failures)} broken"
            print(f"{lived.lives:,} of {total:,} lives, {rate:.1f}/s, {left}", flush=True)
    return lived


def _parts(pieces: Sequence[tuple[str, range]], jobs: int) -> Iterator[Lived]:
    """What came of each piece, as they are done."""
    # A pool for each round, and not `max_tasks_per_child`: with that, Python 3.11's can wait for ever.
    context, size = multiprocessing.get_context("spawn"), CHUNKS_MAX * jobs
    for start in range(0, len(pieces), size):
        with ProcessPoolExecutor(jobs, context, initializer=_calm) as pool:
            under_way = [pool.submit(live, *piece) for piece in pieces[start : start + size]]
            for done in as_completed(under_way):
                yield done.result()


def _calm() -> None:
    logging.disable(logging.ERROR)  # each life warns of what it does to its workers


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.soak", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--world", choices=[*WORLDS, "both"], default="both")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    parser.add_argument("--kept", type=Path, default=KEPT, help="where broken seeds are kept")
    args = parser.parse_args(words)
    worlds = list(WORLDS) if args.world == "both" else [args.world]
    began = monotonic()
    lived = soak(worlds, args.first, args.seeds, args.jobs, args.kept)
    print(
        f"seeds {args.first} to {args.first + args.seeds - 1} in {' and '.join(worlds)} world: {lived.lives:,} lives,"
        f" {lived.records:,} records, {monotonic() - began:,.0f} s on {args.jobs} processes,"
        f" {len(lived.failures)} broken"
    )
    if lived.failures:
        print(f"kept in {args.kept}")
    return 1 if lived.failures else 0


if __name__ == "__main__":
    sys.exit(main())
