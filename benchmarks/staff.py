"""Worker processes, for what needs more than one: started, found out who owns what, killed. Each runs this as a script.

`staff.py URL` is a worker. Steps append who they are to the ledger that `PERDURE_BENCH_LEDGER` names, a line each.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

from workloads import make_app, plus

from perdure import App, Context
from perdure.authoring.functions import Function
from perdure.core import ids
from perdure.core.routing import run_partition

THIS = str(Path(__file__).resolve())
LEDGER = "PERDURE_BENCH_LEDGER"
LOAD = "bench/load"
"""The event that starts a run of three steps, which tells its number in the end."""
SHARED_S = 60.0
STOP_S = 60.0
TICKS = os.sysconf("SC_CLK_TCK")
Functions = dict[str, Function[Any, Any]]


@dataclass
class Line:
    """One line of the ledger: a step that ran."""

    at: int
    """ns of the machine's clock."""
    pid: int
    run: str


def make(url: str) -> tuple[App, Functions]:
    """The app of the workloads, with runs that sleep and runs that say where they are."""
    app, functions = make_app(url)
    out = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def tell(run: str) -> None:
        os.write(out, f"{perf_counter_ns()} {os.getpid()} {run}\n".encode())

    async def done(number: int) -> None:
        os.write(out, f"{perf_counter_ns()} {number}\n".encode())

    @app.function
    async def asleep(ctx: Context[dict[str, Any]]) -> None:
        await ctx.step.sleep("long", timedelta(days=30))

    @app.function
    async def probe(ctx: Context[dict[str, Any]]) -> None:
        await ctx.step.run("tell", tell, ctx.run_id)

    @app.function(on=LOAD)
    async def work(ctx: Context[dict[str, Any]]) -> None:
        await ctx.step.run("one", plus, 0)
        await ctx.step.run("two", plus, 1)
        await ctx.step.run("done", done, ctx.event.data["number"])

    return app, functions | {"asleep": asleep, "probe": probe}


def id_in(partition: int, partitions: int, function: str, numbers: count[int]) -> str:
    """A new id for a run of a function that lives in this partition."""
    while True:
        chosen = str(next(numbers))
        if run_partition(ids.named_run(function, chosen), partitions) == partition:
            return chosen


class Worker:
    """A worker process."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen([sys.executable, THIS, url], stdout=subprocess.DEVNULL)
        self.pid = self._process.pid

    def cpu_s(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_mb(self) -> float:
        """Resident memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def kill(self) -> None:
        """-9; returns when it is dead."""
        self._process.kill()
        self._process.wait()

    def leave(self) -> None:
        """Asks it to go."""
        self._process.send_signal(signal.SIGTERM)

    async def gone(self) -> int:
        """Waits for its end; its exit code. One that does not end is killed."""
        try:
            return await asyncio.to_thread(self._process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode


class Probes:
    """Short runs, in the partitions that are wanted, and what they told."""

    def __init__(self, app: App, functions: Functions, ledger: Path) -> None:
        self._app, self._probe, self._ledger = app, functions["probe"], ledger
        self._numbers = count()
        self._position = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self.partitions = 0
        self.lines: list[Line] = []

    async def begin(self) -> None:
        """Learns how many partitions there are."""
        client = await self._app._connect().client()
        self.partitions = client.log.partitions

    def send(self, partition: int) -> None:
        """Starts one; nobody waits for it."""
        chosen = id_in(partition, self.partitions, "probe", self._numbers)
        task = asyncio.ensure_future(self._app.start(self._probe, id=chosen))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def read(self) -> list[Line]:
        """What is new in the ledger; all of it is in `lines`."""
        with self._ledger.open() as file:
            file.seek(self._position)
            text = file.read()
        whole = text[: text.rfind("\n") + 1]
        self._position += len(whole.encode())
        new = [Line(int(at), int(pid), run) for at, pid, run in map(str.split, whole.splitlines())]
        self.lines += new
        return new

    def partition_of(self, line: Line) -> int:
        return run_partition(line.run, self.partitions)

    async def owners(self, pids: set[int]) -> dict[int, int]:
        """Who owns each partition, once these share them evenly. Raises RuntimeError when they never do."""
        deadline = perf_counter() + SHARED_S
        while perf_counter() < deadline:
            began = perf_counter_ns()
            for partition in range(self.partitions):
                self.send(partition)
            owners: dict[int, int] = {}
            while len(owners) < self.partitions and perf_counter() < deadline:
                await asyncio.sleep(0.02)
                owners |= {self.partition_of(line): line.pid for line in self.read() if line.at > began}
            counts = [list(owners.values()).count(pid) for pid in pids]
            if set(owners.values()) == pids and max(counts) - min(counts) <= 1:
                return owners
        raise RuntimeError(f"the workers {pids} do not share the partitions within {SHARED_S:g} s")


if __name__ == "__main__":
    sys.exit(make(sys.argv[1])[0].run_worker())
