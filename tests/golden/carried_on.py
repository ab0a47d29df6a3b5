"""A whole log of an earlier release, in today's hands: opened, folded by two readers, and carried on to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Set
from typing import Any

from perdure import App
from perdure.core import invariants, ops, payload
from perdure.core.facts import UNDECODABLE
from perdure.core.fold.journal import FOLDED
from perdure.core.fold.runs import FOLDED_OPS
from perdure.core.state import ENDED
from perdure.engine.engine import Engine
from perdure.logs.contract import Log
from tests.crash import verdict
from tests.crash.lives import runs_of
from tests.golden import logs_program
from tests.golden.logs_program import APPROVE, RUNS, app_on

NOT_WRITTEN = {ops.SLOT_ASKED, ops.SLOT_GRANTED, ops.SLOT_RELEASED, ops.FORKED_FROM}
"""Ops of level 1 that nothing writes yet."""
LATER_OPS = {ops.RUN_RESTARTED, ops.SIGNAL_SENT, ops.SIGNAL_ANSWERED, ops.WAIT_FILTERED, ops.EVENT_PASSED}
"""Ops that have come since the logs were written."""
WITHIN_S = 60.0


MakeLog = Callable[[], Log]


def carried_on(make: MakeLog) -> None:
    """Everything that holds of such a log."""
    before = asyncio.run(verdict.read_log(make()))
    consistent(before)
    holds_everything(before)
    assert statuses(before) == {name: status for name, (_, status, _) in RUNS.items()}
    asyncio.run(_carry_on(make))
    after = asyncio.run(verdict.read_log(make()))
    consistent(after)
    # An ended run is kept for a day, so those that had ended before may be forgotten by now.
    live = {name for name, (_, status, _) in RUNS.items() if status not in ENDED}
    assert ends(before, RUNS.keys() - live) == {e: r for e, r in expected().items() if e not in live}
    assert ends(after, live) == {e: r for e, r in expected().items() if e in live}
    # What was recorded is what it was: nothing that had an outcome has another one.
    assert {key: after.settled[key] for key in before.settled} == before.settled


def consistent(story: verdict.Story) -> None:
    faults = [*story.faults, *map(str, invariants.check_between(story.states))]
    for state in story.states:
        faults += map(str, invariants.check(state))
    assert not faults, "\n".join(faults)


LATER = (
    "Ticked",
    "Fired",
    "Messages",
    "Admitted",
    "GatesDue",
)
"""Kinds of records that have come since the logs were written."""


def holds_everything(story: verdict.Story) -> None:
    """Every kind of record and of op, snapshots, and records that do not count are in the log."""
    kinds = {record.fact.kind for record in story.records if record.void is None}
    assert kinds >= FOLDED - {UNDECODABLE, "Level", *LATER}, FOLDED - kinds
    written = {
        name
        for record in story.kinds("Commit")
        for change in record.fact.body["changes"]
        for name, _ in change["ops"]
    }
    assert written >= FOLDED_OPS - NOT_WRITTEN - LATER_OPS, FOLDED_OPS - NOT_WRITTEN - LATER_OPS - written
    assert all(state.sets for state in story.states)


def statuses(story: verdict.Story) -> dict[str, str]:
    """By the ids of events."""
    return {run.event["id"]: run.status for run in story.runs() if run.event["id"] in RUNS}


def expected() -> dict[str, tuple[str, Any]]:
    """How each run ends."""
    return {
        name: (status if status in ENDED else "completed", result)
        for name, (_, status, result) in RUNS.items()
    }


def ends(story: verdict.Story, names: Set[str]) -> dict[str, tuple[str, Any]]:
    """How these runs have ended."""
    return {run.event["id"]: (run.status, _result(run)) for run in story.runs() if run.event["id"] in names}


def _result(run: Any) -> Any:
    if run.error is not None:
        return run.error["message"].rpartition(": ")[2]
    return None if run.result is None else payload.loads(run.result)


async def _carry_on(make: MakeLog) -> None:
    logs_program.opened.set()
    app = app_on(make())
    try:
        async with app.worker() as engine:
            await _steer(app, engine)
            deadline = time.monotonic() + WITHIN_S
            while live := [run for run in runs_of(engine) if run.live]:
                assert time.monotonic() < deadline, [
                    (run.event["id"], run.status, run.reason) for run in live
                ]
                await asyncio.sleep(0.02)
    finally:
        logs_program.opened.clear()
        await app.close()


async def _steer(app: App, engine: Engine) -> None:
    """What the runs wait for comes."""
    runs = {run.event["id"]: run for run in runs_of(engine)}
    await app.send("golden/paid", {"n": 4, "amount": 400}, id="paid-4")
    for name in APPROVE:
        function = app.functions.get("signalled")
        assert function is not None
        handle = app.handle(function, runs[name].id)
        await handle.signal("approve", 7)
        if runs[name].status == "paused":
            await handle.resume()
    parks = app.functions.get("parks")
    assert parks is not None
    await app.handle(parks, runs["parks"].id).resume()
