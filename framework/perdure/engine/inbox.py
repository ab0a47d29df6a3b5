"""From a run's inbox to its body: commands and messages become releases, in the order in which they came."""

from __future__ import annotations

from collections.abc import Callable

from perdure.core import ops
from perdure.core.ops import Op
from perdure.core.state import STILL, Item, Run
from perdure.engine.driver import Driver
from perdure.engine.resident import Resident


def deliver(driver: Driver, run: Run, resident: Resident) -> None:
    """Gives the body what it can take now. The rest waits: a signal for its wait, everything for a resume."""
    for item in list(run.inbox):
        if resident.dead or resident.ended:
            return
        if item.offset in resident.delivered or (run.status in STILL and item.name not in _WHILE_STILL):
            continue
        op = _RELEASES[item.name](driver, run, resident, item)
        if op is not None:
            resident.delivered.add(item.offset)
            driver.release(resident, op)


def without_body(driver: Driver, run: Run) -> bool:
    """Handles what needs no coroutine: a run that has not begun, or that stands still. True when nothing is left."""
    cancel = next((item for item in run.inbox if item.name == "perdure.CancelAsk"), None)
    time = max(driver.services.clock.now(), run.time)
    if cancel is not None and (run.status == "scheduled" or run.status in STILL or not run.started):
        reason = cancel.body["reason"]
        driver.plain_commit(
            run,
            [
                (
                    ops.CANCEL_ASKED,
                    {"time": time, "command": cancel.command, "reason": reason, "force": True},
                ),
                (ops.RUN_CANCELLED, {"time": time, "reason": reason}),
            ],
        )
        return True
    if run.status == "scheduled":
        return driver.services.clock.now() < run.not_before
    if run.status in STILL:
        return not any(item.name == "perdure.ResumeAsk" for item in run.inbox)
    return False


def _cancel(driver: Driver, _run: Run, resident: Resident, item: Item) -> Op | None:
    body = {"time": driver.tick(resident), "command": item.command, **item.body}
    return ops.CANCEL_ASKED, body


def _child(driver: Driver, _run: Run, resident: Resident, item: Item) -> Op | None:
    key = item.body["key"]
    if not resident.execution.awaits(key):
        return None
    return ops.CHILD_ENDED, {"key": key, "time": driver.tick(resident), "outcome": item.body["outcome"]}


def _event(driver: Driver, _run: Run, resident: Resident, item: Item) -> Op | None:
    key = item.body["key"]
    if not resident.execution.awaits(key):
        return None
    body = {"key": key, "time": driver.tick(resident)}
    return ops.EVENT_GIVEN, body | {"position": item.body["position"], "event": item.body["event"]}


def _signal(driver: Driver, run: Run, resident: Resident, item: Item) -> Op | None:
    name = item.body["name"]
    for key, pending in run.pending.items():
        if pending.kind == "signal" and pending.name == name and resident.execution.awaits(key):
            body = {"key": key, "time": driver.tick(resident), "command": item.command}
            return ops.SIGNAL_GIVEN, body | {"name": name, "data": item.body["data"]}
    return None


def _resume(driver: Driver, run: Run, resident: Resident, item: Item) -> Op | None:
    if run.status not in STILL:
        return None
    time = driver.tick(resident)
    return ops.RESUMED_BY_USER, {"time": time, "command": item.command, "code": resident.function.code}


_WHILE_STILL = frozenset({"perdure.ResumeAsk", "perdure.CancelAsk"})

_RELEASES: dict[str, Callable[[Driver, Run, Resident, Item], Op | None]] = {
    "perdure.CancelAsk": _cancel,
    "perdure.ChildOutcome": _child,
    "perdure.EventMatched": _event,
    "perdure.SignalSend": _signal,
    "perdure.ResumeAsk": _resume,
}
