"""One repetition: W2 with one worker process and with two, in turn, on one log. Prints one line of JSON.

The client is a third process. What the machine has left is measured beside it: with every core busy, a second worker
cannot add what the first one leaves to nobody.
"""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from places import Cells, Setting, repetition_of
from staff import LEDGER, TICKS, Functions, Probes, Worker, make
from workloads import STEPS, drive

from perdure import App

RUNS, IN_FLIGHT, SECONDS, ROUNDS = 4_000, 400, 5.0, 3
RUNS_QUICK, SECONDS_QUICK, ROUNDS_QUICK = 200, 1.0, 1


def machine_s() -> tuple[float, float]:
    """Processor time of the whole machine since it started: of those who work, and of nobody."""
    fields = [int(field) for field in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / TICKS, idle / TICKS


async def driven(app: App, functions: Functions, workers: list[Worker], quick: bool) -> dict[str, float]:
    """W2, and whose processor time it took."""
    runs, seconds = (RUNS_QUICK, SECONDS_QUICK) if quick else (RUNS, SECONDS)
    await drive(app, functions["W2"], runs // 10, IN_FLIGHT, seconds)
    began, client, (busy, idle) = perf_counter(), process_time(), machine_s()
    before = [worker.cpu_s() for worker in workers]
    sample = await drive(app, functions["W2"], runs, IN_FLIGHT, seconds)
    wall, (busy_then, idle_then) = perf_counter() - began, machine_s()
    steps = sample.runs * STEPS["W2"]
    theirs = sum(worker.cpu_s() for worker in workers) - sum(before)
    return {
        "steps_per_s": steps / sample.wall,
        "worker_cpu_s_per_1000": theirs / steps * 1_000,
        "workers_cores": theirs / wall,
        "client_cores": (process_time() - client) / wall,
        "others_cores": (busy_then - busy - theirs - process_time() + client) / wall,
        "idle_cores": (idle_then - idle) / wall,
    }


async def measure(setting: Setting) -> Cells:
    rounds = ROUNDS_QUICK if setting.quick else ROUNDS
    ledger = setting.folder / "ledger"
    ledger.touch()
    os.environ[LEDGER] = str(ledger)
    one: list[dict[str, float]] = []
    two: list[dict[str, float]] = []
    async with setting.place() as (url, _):
        app, functions = make(url)
        workers: list[Worker] = []
        try:
            probes = Probes(app, functions, ledger)
            await probes.begin()
            workers.append(Worker(url))
            await probes.owners({workers[0].pid})
            for _ in range(rounds):
                one.append(await driven(app, functions, workers, setting.quick))
                workers.append(Worker(url))
                await probes.owners({worker.pid for worker in workers})
                two.append(await driven(app, functions, workers, setting.quick))
                workers[-1].leave()
                await workers.pop().gone()
                await probes.owners({workers[0].pid})
        finally:
            for worker in workers:
                worker.kill()
            await app.close()
    found: dict[str, Any] = {"one": _median(one), "two": _median(two)}
    found["gain"] = median(b["steps_per_s"] / a["steps_per_s"] for a, b in zip(one, two, strict=True))
    return {"two workers": {"engine": found}}


def _median(of: list[dict[str, float]]) -> dict[str, float]:
    return {name: median(one[name] for one in of) for name in of[0]}


if __name__ == "__main__":
    repetition_of(measure)
