"""One repetition: how long until another worker steps in, with 100,000 live runs to take over. Prints one line of JSON.

Two worker processes share the partitions, and 200,000 runs sleep in them, 100,000 in those of each. Short runs are
started without a pause in the partitions of one, which is killed (-9). *First step*: from the kill to the first step in
any of its partitions that the other runs; *all*: until there was one in each of them. Then a third worker comes, and
the second is asked to leave (SIGTERM): the same again.
"""

from __future__ import annotations

import asyncio
import os
from itertools import count
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

from asleep import FILLERS
from places import Cells, Setting, repetition_of
from staff import LEDGER, Functions, Probes, Worker, id_in, make

from perdure import App

LIVE, LIVE_QUICK = 100_000, 500
PAUSE_S = 0.02
PATIENCE_S = 120.0


async def fill(app: App, functions: Functions, partitions: int, live: int) -> float:
    """Starts twice so many runs that sleep, evenly over all partitions; runs/s."""
    numbers, began = count(), perf_counter()
    places = iter([number % partitions for number in range(2 * live)])

    async def lane() -> None:
        for partition in places:
            await app.start(functions["asleep"], id=id_in(partition, partitions, "asleep", numbers))

    await asyncio.gather(*(lane() for _ in range(FILLERS)))
    return 2 * live / (perf_counter() - began)


async def until_taken(probes: Probes, theirs: set[int], by: int, since: int) -> dict[str, float]:
    """Sends to these partitions until another has run a step in each; s since then to the first, and to the last."""
    firsts: dict[int, int] = {}
    deadline = perf_counter() + PATIENCE_S
    while set(firsts) < theirs:
        for partition in theirs - set(firsts):
            probes.send(partition)
        await asyncio.sleep(PAUSE_S)
        for line in probes.read():
            if line.pid == by and line.at > since and probes.partition_of(line) in theirs:
                firsts.setdefault(probes.partition_of(line), line.at)
        if perf_counter() > deadline:
            raise RuntimeError(f"{theirs - set(firsts)} were not taken over within {PATIENCE_S:g} s")
    return {"first_s": (min(firsts.values()) - since) / 1e9, "all_s": (max(firsts.values()) - since) / 1e9}


async def taken_over(probes: Probes, one: Worker, other: Worker, *, kill: bool) -> dict[str, float]:
    owners = await probes.owners({one.pid, other.pid})
    theirs = {partition for partition, pid in owners.items() if pid == one.pid}
    for partition in theirs:  # something is under way when it ends
        probes.send(partition)
    await asyncio.sleep(PAUSE_S)
    since = perf_counter_ns()
    one.kill() if kill else one.leave()
    return await until_taken(probes, theirs, other.pid, since)


async def measure(setting: Setting) -> Cells:
    live = LIVE_QUICK if setting.quick else LIVE
    ledger = setting.folder / "ledger"
    ledger.touch()
    os.environ[LEDGER] = str(ledger)
    async with setting.place() as (url, _):
        app, functions = make(url)
        workers: list[Worker] = []
        try:
            probes = Probes(app, functions, Path(ledger))
            await probes.begin()
            workers += [Worker(url), Worker(url)]
            await probes.owners({worker.pid for worker in workers})
            found: dict[str, Any] = {"filled_per_s": await fill(app, functions, probes.partitions, live)}
            killed, left, third = workers[0], workers[1], None
            found["killed"] = await taken_over(probes, killed, left, kill=True)
            third = Worker(url)
            workers.append(third)
            found["left"] = await taken_over(probes, left, third, kill=False)
            await left.gone()
        finally:
            for worker in workers:
                worker.kill()
            await app.close()
    return {"takeover": {"engine": found | {"live": live}}}


if __name__ == "__main__":
    repetition_of(measure)
