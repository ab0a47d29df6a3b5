"""More to do than the limits let be done at once, while workers are killed: the same on each log."""

from __future__ import annotations

import random

from perdure.core.fold import fold
from perdure.core.state import PartitionState
from tests.crash import ledger, verdict
from tests.crash.limited import LIMITED, RUNS, STEPS
from tests.crash.processes import Place, pause, until
from tests.crash.sending import as_client

SENT = 240
"""Events, each for all functions."""


def limits_under_kills(here: Place, kills: int, *, seed: int = 1) -> None:
    """Two workers, of which one is killed now and then, have more to do than the limits let them do at once."""
    draw = random.Random(seed)
    workers = [here.start("work", code=LIMITED) for _ in range(2)]
    workers[0].started()
    portions = min(kills, 12)
    for number in range(kills):
        if number % (kills // portions) == 0 and number < portions * (kills // portions):
            events = [{"name": "limited", "data": {"who": n % 20}} for n in range(SENT // portions)]
            as_client(here, lambda app, events=events: app.send(events))
        pause(draw.uniform(0.02, 0.2))
        victim = draw.randrange(2)
        workers[victim].kill()
        workers[victim] = here.start("work", code=LIMITED)

    def over() -> bool:
        runs = verdict.read(here.folder).runs()
        return len(runs) == 3 * SENT and not any(run.live for run in runs)

    until(over, "all runs end", 120)
    assert [worker.stop() for worker in workers] == [0, 0], workers[0].errors()
    holds_its_limits(here, verdict.read(here.folder))


def holds_its_limits(here: Place, story: verdict.Story) -> None:
    """The log never shows more than a limit, the steps never did, no place is lost, and no start."""
    assert not story.faults
    ended = story.ends()
    by_status: dict[tuple[str, str], int] = {}
    for (function, status, _), count in ended.items():
        by_status[function, status] = by_status.get((function, status), 0) + count
    assert by_status["held", "completed"] == by_status["stepping", "completed"] == SENT
    assert by_status["alone", "completed"] + by_status.get(("alone", "skipped"), 0) == SENT
    states = [PartitionState(s.number, s.partitions, limits=s.limits) for s in story.states]
    most: dict[str, int] = {}
    for record in story.records:
        fold(states[record.partition], record.fact)
        states[record.partition].effects.clear()
        for (name, _), gate in states[record.partition].gates.items():
            most[name] = max(most.get(name, 0), len(gate.held))
    assert most["concurrency:held:run:"] == RUNS
    assert most["concurrency:held:run:event.data.who"] == 1
    assert most["concurrency:stepping:step:"] == STEPS
    assert most["singleton:alone:event.data.who"] == 1
    assert not [gate for state in states for gate in state.gates.values() if gate.held or gate.waiting]
    functions = {run.id: run.function for run in story.runs()}
    assert _overlap(here, functions, "stepping") <= STEPS


def _overlap(here: Place, functions: dict[str, str], function: str) -> int:
    """How many steps of a function went on at once, of those that came to their end."""
    moments: list[tuple[int, int]] = []
    began: dict[tuple[int, str], int] = {}
    for line in ledger.read(here.folder):
        if functions.get(line.run) != function:
            continue
        if line.what == "begin":
            began[line.pid, line.key] = line.at
        elif line.what == "end":
            moments += [(began[line.pid, line.key], 1), (line.at, -1)]
    most = now = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most
