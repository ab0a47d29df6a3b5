"""Clocks of machines that jump, stand still and disagree, under real processes.

No timer is early by the clock of the log, none is lost, nothing hangs, and no time of a run goes back.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perdure.core import ops
from perdure.core.facts import Fact, read_fact
from perdure.core.fold import fold
from perdure.core.state import PartitionState
from perdure.logs.contract import Topic
from perdure.logs.sqlite import SqliteLog
from tests.crash import ledger, verdict
from tests.crash.processes import Child, until
from tests.faults.conftest import FaultyPlace, MakePlace
from tests.faults.lives import NAP_S, timed_ends
from tests.faults.shim import Faults

HOUR_S = 3_600.0
WITHIN_S = 30.0
SHAKEN_S = 30.0
Clocks = list[Faults]


def back(clocks: Clocks, _workers: list[Child]) -> None:
    for clock in clocks:
        clock.set_clock(-HOUR_S)


def ahead(clocks: Clocks, _workers: list[Child]) -> None:
    for clock in clocks:
        clock.set_clock(HOUR_S)


def frozen(clocks: Clocks, _workers: list[Child]) -> None:
    for clock in clocks:
        clock.freeze_clock(time.time_ns() // 1_000)


def apart(clocks: Clocks, workers: list[Child]) -> None:
    """And the machine that was ahead is gone: the log's time goes on from there."""
    clocks[0].set_clock(HOUR_S)
    clocks[1].set_clock(-HOUR_S)
    workers.pop(0).kill()


def to_and_fro(clocks: Clocks, _workers: list[Child]) -> None:
    draw = random.Random(3)
    begun = time.monotonic()

    def shaken() -> bool:
        for clock in clocks:
            clock.set_clock(draw.uniform(-SHAKEN_S, SHAKEN_S))
        return time.monotonic() > begun + NAP_S

    until(shaken, "the clocks were set some hundred times")


@pytest.mark.parametrize("then", [back, ahead, frozen, apart, to_and_fro])
def test_timers_when_clocks_are_set(place: MakePlace, then: Callable[[Clocks, list[Child]], None]) -> None:
    here = place()
    clocks = [here.faults(f"clock-{n}") for n in range(3)]
    workers = [here.start("timed_work", faults=clock) for clock in clocks[:2]]
    for worker in workers:
        worker.started()
    send(here, clocks[2], range(3))
    until(lambda: asked(here) >= 9, "the runs of the first events wait")
    then(clocks, workers)
    send(here, clocks[2], range(6))  # the first ones once more: they count once
    wanted = timed_ends(range(6))
    until(lambda: verdict.read(here.folder).ends() == wanted, "all runs end", WITHIN_S)
    assert [worker.stop() for worker in workers] == [0] * len(workers), workers[-1].errors()
    story = verdict.read(here.folder)
    if (
        then is to_and_fro
    ):  # the ledger goes by one of the clocks, the record by another, or by the same one, set anew
        story.stamp_us += int(2 * SHAKEN_S * 1e6)
    verdict.check(story, ledger.read(here.folder), wanted, kills=1)
    # What is due by a clock that is then set back is recorded with the time of the clock as it is by then.
    times = asyncio.run(audited(here.folder / "log.db", 2 * SHAKEN_S if then is to_and_fro else 0.0))
    if then is ahead:
        assert times[-1] - times[0] >= HOUR_S * 1e6, "the shim sets no clock"


def test_two_clocks_in_one_file(place: MakePlace) -> None:
    """Two hours apart from the beginning: the log's time is the later one's, for both."""
    here = place()
    clocks = [here.faults(f"clock-{n}") for n in range(3)]
    clocks[0].set_clock(HOUR_S)
    clocks[1].set_clock(-HOUR_S)
    workers: list[Child] = []
    for clock in clocks[:2]:
        workers.append(here.start("timed_work", faults=clock))
        workers[-1].started()  # one after the other: the log has the later time from its first record on
    send(here, clocks[2], range(6))
    wanted = timed_ends(range(6))
    until(lambda: verdict.read(here.folder).ends() == wanted, "all runs end", WITHIN_S)
    assert [worker.stop() for worker in workers] == [0, 0], workers[0].errors()
    verdict.check(verdict.read(here.folder), ledger.read(here.folder), wanted, kills=0)
    times = asyncio.run(audited(here.folder / "log.db"))
    assert times[0] > (time.time() + HOUR_S / 2) * 1e6


def send(here: FaultyPlace, clock: Faults, numbers: range) -> None:
    sender = here.start("timed_send", numbers=list(numbers), faults=clock)
    assert sender.wait() == 0, sender.errors()


def asked(here: FaultyPlace) -> int:
    return sum(line.what == "end" and line.key.endswith("/before") for line in ledger.read(here.folder))


async def audited(file: Path, set_back_s: float = 0.0) -> list[int]:
    """Holds every record's time against what was due, less what a clock was set back between firing and record.

    When the records were appended, oldest first.
    """
    log = SqliteLog(file)
    await log.open()
    appended: list[int] = []
    run_times: defaultdict[str, int] = defaultdict(int)
    try:
        fired = 0
        for number in range(log.partitions):
            state = PartitionState(number, log.partitions)
            last = 0
            for entry in await verdict.everything(log, Topic.JOURNAL, number):
                assert entry.ts >= last, "the log's time goes back"
                last = entry.ts
                appended.append(entry.ts)
                fact = read_fact(entry.offset, entry.ts, entry.value, entry.headers)
                dues = dict(due_of(state, fact))
                if fold(state, fact) is None:
                    fired += len(dues)
                    for what, due in dues.items():
                        assert fact.ts >= due - set_back_s * 1e6, f"{what} fired {due - fact.ts} µs early"
                state.effects.clear()
                for run in state.runs.values():
                    assert run.time >= run_times[run.id], f"the time of {run.id} goes back"
                    run_times[run.id] = run.time
        assert fired >= 3 * 6, "sleeps and timeouts were not seen to fire"
    finally:
        await log.close()
    return sorted(appended)


def due_of(state: PartitionState, fact: Fact) -> Iterator[tuple[str, int]]:
    """The timers that a record says have fired, and when they were due."""
    for change in fact.body["changes"] if fact.kind == "Commit" else ():
        run = state.runs.get(change["entity"])
        for name, body in change["ops"]:
            if name == ops.TIMER_FIRED and run is not None and (pending := run.pending.get(body["key"])):
                assert pending.due is not None
                yield f"{body['key']} of {run.id}", pending.due
