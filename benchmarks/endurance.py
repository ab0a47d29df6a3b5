"""Load for an hour at 80 % of what the machine can do, ten minutes at 200 %, and then none: `make bench-endurance`.

A worker is a process of its own. This one sends events in an open loop (see `sender`): each starts a run of three
steps, and the last of them writes the event's number into a file, the ledger. What is reported, for each minute: the
times from when its events were due to that line; how late they were accepted, and how many were refused; accepted
events that are not in the ledger yet; the worker's resident memory. In the end each accepted event must be in the
ledger.

What 100 % is, is measured first: so many events are on their way that the worker always has some, and no more. At
200 % `send` waits for the worker (see `perdure.client.pace`), so this sender, as a service would, takes only so many
events on at once, and turns away the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter, perf_counter_ns
from typing import Any

from broker import broker
from machine import Others, described, remark
from places import on_a_file, on_kafka
from staff import LEDGER, LOAD, Worker, make
from table import columns, number

from perdure import App
from perdure.errors import LogError
from perdure.worker.process import calm_collector, event_loop

HERE = Path(__file__).resolve().parent
ON_THEIR_WAY = 100
"""What 100 % is, is measured with so many on their way: some twenty times what one takes alone. With more, records are
larger and the worker does more, which no open loop does at 80 % of it."""
UNSENT_MAX = 5_000
"""With so many sends under way, the sender turns what comes away: it is told by them that it is too fast."""
CAPACITY_S = 60.0
"""Snapshots of all partitions are taken within it: they are part of what 100 % is."""
TICK_S, READ_S = 0.005, 0.1
LATE_S = 1.0
PATIENCE_S = 60.0
NORMAL = 1.5
"""So much more than the median of the minutes at 80 % is still normal for a p99."""
FINENESS = math.log(1.02)


class Times:
    """Durations, counted in classes of 2 %, so that an hour of them takes no memory to speak of."""

    def __init__(self) -> None:
        self._classes: Counter[int] = Counter()

    def add(self, seconds: float, times: int = 1) -> None:
        self._classes[int(math.log(max(seconds, 1e-6)) / FINENESS)] += times

    def percentile(self, percent: float) -> float:
        """In ms; NaN when there is none."""
        left = self._classes.total() * percent / 100
        for place in sorted(self._classes):
            left -= self._classes[place]
            if left <= 0:
                return math.exp(place * FINENESS) * 1e3
        return math.nan

    def beyond(self, seconds: float) -> int:
        """How many are longer."""
        bound = math.log(seconds) / FINENESS
        return sum(count for place, count in self._classes.items() if place > bound)


@dataclass
class Minute:
    """One minute of a phase."""

    phase: str
    offered: int = 0
    turned_away: int = 0
    done: Times = field(default_factory=Times)
    accepted: Times = field(default_factory=Times)
    refused: Counter[str] = field(default_factory=Counter[str])
    backlog: int = 0
    """At its end: accepted, and not in the ledger."""
    unsent: int = 0
    """At its end: due, and not accepted."""
    resident_mb: float = 0.0
    worker_cores: float = 0.0

    def figures(self) -> dict[str, Any]:
        return {
            "phase": self.phase,
            "offered": self.offered,
            "turned_away": self.turned_away,
            "p50_ms": self.done.percentile(50),
            "p99_ms": self.done.percentile(99),
            "accepted_p99_ms": self.accepted.percentile(99),
            "late": self.accepted.beyond(LATE_S),
            "refused": dict(self.refused),
            "backlog": self.backlog,
            "unsent": self.unsent,
            "resident_mb": self.resident_mb,
            "worker_cores": self.worker_cores,
        }


@dataclass
class Event:
    """What is known of an event that is on its way."""

    due: int
    minute: Minute


class Bench:
    """The sender, and the reader of the ledger."""

    def __init__(self, app: App, worker: Worker, ledger: Path, minute_s: float) -> None:
        self._app, self._worker, self._ledger = app, worker, ledger.open()
        self._minute_s = minute_s
        self._rest = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._sent = 0
        self._under_way: dict[int, Event] = {}
        """Events that are not in the ledger."""
        self._unaccepted = 0
        self._unknown: set[int] = set()
        """Those whose sending has failed: they may have landed."""
        self.done = 0
        self.twice = 0
        self.minutes: list[Minute] = []

    # ------------------------------------------------------------------ events

    def _send(self, dues: Iterable[int], minute: Minute) -> None:
        numbers = []
        for due in dues:
            self._under_way[self._sent] = Event(due, minute)
            numbers.append(self._sent)
            self._sent += 1
        if numbers:
            minute.offered += len(numbers)
            self._unaccepted += len(numbers)
            task = asyncio.ensure_future(self._sending(numbers, minute))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _sending(self, numbers: list[int], minute: Minute) -> None:
        dues = {number: self._under_way[number].due for number in numbers}
        try:
            await self._app.send([{"name": LOAD, "data": {"number": number}} for number in numbers])
        except LogError as error:
            minute.refused[error.code] += len(numbers)
            self._unknown.update(numbers)
        now = perf_counter_ns()
        self._unaccepted -= len(numbers)
        for due in dues.values():
            minute.accepted.add((now - due) / 1e9)

    def read(self) -> None:
        """Reads on in the ledger."""
        *lines, self._rest = (self._rest + self._ledger.read()).split("\n")
        for line in lines:
            at, told = map(int, line.split())
            event = self._under_way.pop(told, None)
            if event is None:
                self.twice += 1
                continue
            self.done += 1
            event.minute.done.add((at - event.due) / 1e9)

    @property
    def on_their_way(self) -> int:
        """Events that are sent and not in the ledger."""
        return len(self._under_way)

    def lost(self) -> int:
        """Events that were accepted and are not in the ledger."""
        return len(self._under_way.keys() - self._unknown)

    # ------------------------------------------------------------------ loads

    async def at_most(self, seconds: float) -> float:
        """Keeps the worker busy; events/s that it does."""
        minute, began, done = Minute("100 %"), perf_counter(), self.done
        # A busy machine may do none for a while.
        while (spent := perf_counter() - began) < seconds or (self.done == done and spent < PATIENCE_S):
            self.read()
            self._send([perf_counter_ns()] * (ON_THEIR_WAY - len(self._under_way)), minute)
            await asyncio.sleep(TICK_S)
        return (self.done - done) / (perf_counter() - began)

    async def offer(self, phase: str, rate: float, seconds: float) -> None:
        """An open loop; each of its minutes is noted."""
        begin = perf_counter_ns()
        number, count = 0, int(rate * seconds)
        read_at = 0.0
        minute = self._next_minute(phase)
        minute_ends, cpu = perf_counter() + self._minute_s, self._worker.cpu_s()
        while number < count:
            upto = min(int((perf_counter_ns() - begin) / 1e9 * rate), count)
            dues = [begin + int(at * 1e9 / rate) for at in range(number, upto)]
            if self._unaccepted + len(dues) > UNSENT_MAX:
                minute.turned_away += len(dues)
            else:
                self._send(dues, minute)
            number = max(number, upto)
            if perf_counter() >= minute_ends or number == count:
                self._note(minute, self._worker.cpu_s() - cpu)
                if number < count:
                    minute = self._next_minute(phase)
                    minute_ends, cpu = minute_ends + self._minute_s, self._worker.cpu_s()
            if perf_counter() >= read_at:
                self.read()
                read_at = perf_counter() + READ_S
            await asyncio.sleep(TICK_S)

    async def rest(self) -> float:
        """Sends nothing, until nothing is on its way; seconds. Gives up when nothing has come for a minute."""
        began, changed, before = perf_counter(), perf_counter(), -1
        while self._unaccepted or self._under_way.keys() - self._unknown:
            self.read()
            if self.done != before:
                before, changed = self.done, perf_counter()
            if perf_counter() - changed > PATIENCE_S:
                break
            await asyncio.sleep(READ_S)
        return perf_counter() - began

    def _next_minute(self, phase: str) -> Minute:
        self.minutes.append(Minute(phase))
        return self.minutes[-1]

    def _note(self, minute: Minute, cpu_s: float) -> None:
        self.read()
        minute.unsent = self._unaccepted
        minute.backlog = len(self._under_way) - self._unaccepted
        minute.resident_mb = self._worker.resident_mb()
        minute.worker_cores = cpu_s / self._minute_s
        print(shown([minute.figures()]).splitlines()[-1], file=sys.stderr)


async def endured(url: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    ledger = folder / "ledger"
    ledger.touch()
    os.environ[LEDGER] = str(ledger)
    app, _ = make(url)
    worker = Worker(url)
    try:
        bench = Bench(app, worker, ledger, args.minute)
        for _ in range(2):  # the first events wait for the worker to come, the next ones for what is cold
            await bench.at_most(args.capacity / 4)
            await bench.rest()
        full = await bench.at_most(args.capacity)
        await bench.rest()
        print(f"100 % are {full:,.0f} events/s", file=sys.stderr)
        before_mb = worker.resident_mb()
        await bench.offer("80 %", 0.8 * full, args.minutes_80 * args.minute)
        if args.minutes_200:
            await bench.offer("200 %", 2.0 * full, args.minutes_200 * args.minute)
        drained_s = await bench.rest()
        await bench.offer("80 % again", 0.8 * full, args.minute)
        await bench.rest()
    finally:
        worker.kill()
        await app.close()
    minutes = [minute.figures() for minute in bench.minutes]
    normal = median(minute["p99_ms"] for minute in minutes if minute["phase"] == "80 %")
    return {
        "full_per_s": full,
        "minutes": minutes,
        "resident_before_mb": before_mb,
        "drained_s": drained_s,
        "normal_again": minutes[-1]["p99_ms"] <= NORMAL * normal,
        "done": bench.done,
        "lost": bench.lost(),
        "twice": bench.twice,
    }


HEAD = (
    "phase",
    "sent",
    "turned away",
    "p50 ms",
    "p99 ms",
    "accepted p99 ms",
    "late",
    "refused",
    "backlog",
    "unsent",
    "MB",
    "cores",
)


def _row(minute: dict[str, Any]) -> tuple[str, ...]:
    refused = ", ".join(f"{count} {code}" for code, count in minute["refused"].items()) or "0"
    return (
        minute["phase"],
        f"{minute['offered']:,}",
        f"{minute['turned_away']:,}",
        *(number(minute[name]) for name in ("p50_ms", "p99_ms", "accepted_p99_ms")),
        f"{minute['late']:,}",
        refused,
        *(f"{minute[name]:,}" for name in ("backlog", "unsent")),
        *(number(minute[name]) for name in ("resident_mb", "worker_cores")),
    )


def shown(minutes: Iterable[dict[str, Any]]) -> str:
    return columns([HEAD, *map(_row, minutes)])


def conclusion(found: dict[str, Any]) -> str:
    again = "as before" if found["normal_again"] else "worse than before"
    return (
        f"100 % were {found['full_per_s']:,.0f} events/s. With no more load, the backlog was gone after"
        f" {found['drained_s']:.1f} s; then p99 at 80 % was {again}. {found['done']:,} events were done,"
        f" {found['lost']} were lost, and {found['twice']} steps ran twice. At first the worker had"
        f" {found['resident_before_mb']:.0f} MB."
    )


def as_markdown(kept: dict[str, Any]) -> str:
    """For docs/performance.md."""
    machine = kept["machine"]
    rows = [HEAD, ("---",) * len(HEAD), *map(_row, kept["minutes"])]
    head = (
        f"{kept['log']}; {machine['date'][:16].replace('T', ' ')} UTC, commit `{machine['commit']}`; {machine['cpu']}, "
        f"{machine['cores']} cores; others used {kept['others']:.2f} of them{remark([kept['others']])}."
        f" A row is {kept['minute_s']:g} s."
    )
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{head}\n{conclusion(kept)}\n\n{table}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes-80", type=float, default=60)
    parser.add_argument("--minutes-200", type=float, default=10)
    parser.add_argument("--minute", type=float, default=60.0, help="how long one is, in seconds")
    parser.add_argument(
        "--capacity", type=float, default=CAPACITY_S, help="seconds to find out what 100 %% is"
    )
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the log lies")
    parser.add_argument("--kafka", nargs="?", const="", metavar="HOST:PORT", help="as for run.py")
    parser.add_argument("--keep", action="store_true", help="into figures/, for docs/performance.md")
    parser.add_argument("--out", type=Path, help="where the figures go; by default into results/")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that its worker and its broker end, too
    calm_collector()
    others = Others()
    result: dict[str, Any] = {
        "machine": described(args.folder),
        "minute_s": args.minute,
    }
    with (
        tempfile.TemporaryDirectory(prefix="perdure-bench-", dir=args.folder) as folder,
        asyncio.Runner(loop_factory=event_loop) as runner,
    ):
        if args.kafka is None:
            result["log"] = "embedded log, synchronous=FULL"
            found = runner.run(placed(on_a_file(Path(folder)), Path(folder), args))
        else:
            result["log"] = "Kafka, one broker on the same cores, 8 partitions, acks=all"
            with broker(args.kafka, args.folder) as servers:
                found = runner.run(placed(on_kafka(servers), Path(folder), args))
    result |= found | {"others": others.cores()}
    print(shown(found["minutes"]))
    print(conclusion(found))
    name = "endurance" if args.kafka is None else "endurance_kafka"
    place = args.out or HERE / ("figures" if args.keep else "results") / f"{name}.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(result, indent=1) + "\n")
    print(place)
    sys.exit(1 if found["lost"] else 0)


async def placed(place: Any, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    async with place as (url, _):
        return await endured(url, folder, args)


if __name__ == "__main__":
    main()
