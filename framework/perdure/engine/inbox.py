"""From a run's inbox to its body: commands and messages become releases, in the order in which they came."""

from __future__ import annotations

from collections.abc import Callable

from perdure.core import ops
from perdure.core.fold import ending
from perdure.core.fold.waits import EVENT_MATCHED
from perdure.core.ops import Op
from perdure.core.state import STILL, Item, Run
from perdure.engine import judging, listening
from perdure.engine.driver import Driver
from perdure.engine.opening import give
from perdure.engine.resident import Resident


def deliver(driver: Driver, run: Run, resident: Resident) -> None:
    """Gives the body what it can take now. The rest waits: a signal for its wait, all but a cancel for a resume."""
    for item in list(run.inbox):
        if resident.dead or resident.ended or resident.busy:
            return  # a thread that computes may leave the body with other waits than it has now
        if item in resident.delivered or (run.status in STILL and item.name != "perdure.ResumeAsk"):
            continue
        op = _RELEASES[item.name](driver, run, resident, item)
        if op is not None:
            resident.delivered.add(item)
            give(driver, resident, op)


def without_body(driver: Driver, run: Run, resident: Resident | None) -> bool:
    """Handles what needs no coroutine. True when nothing is left for one."""
    if run.listeners and run.inbox:
        listening.judge(driver, run, resident)
    cancel = _at_once(run, resident)
    if cancel is not None:
        _cancelled(driver, run, resident, cancel)
        return True
    if resident is not None:
        return False
    if run.held is not None:  # its attempts are gone with their owner (B2)
        driver.plain_commit(run, [run.held])
        return True
    if run.status == "scheduled" and driver.services.clock.now() < run.not_before:
        return True
    if not run.may_start:
        if run.status not in STILL:
            driver.admission.want(run)
        return True
    if run.status == "scheduled":
        return False
    if run.status in STILL:
        return not any(item.name == "perdure.ResumeAsk" for item in run.inbox)
    return False


def time_is_up(driver: Driver, run: Run, due: int) -> None:
    """A run has not begun in time, or has not ended: it is cancelled as if somebody had asked for it."""
    if run.until != due:
        return  # it has begun meanwhile
    what = "end" if run.started else "begin"
    body = {"reason": f"it did not {what} in time (timeouts)", "force": False}
    command = {"id": ending.command_of(due), "run": run.id, "client": None, "body": (ending.CANCEL, body)}
    driver.life.append("Command", command, lambda _fact, _void: None, key=run.id)


def passes_all(driver: Driver, run: Run) -> bool:
    """Whether all that came are events that no wait of the run takes: then no body need be made again for them."""
    if run.status != "running" and run.status not in STILL:
        return False
    passed: list[Op] = []
    for item in run.inbox:
        pending = run.pending.get(item.body["key"]) if item.name == EVENT_MATCHED else None
        if pending is None or not pending.condition:
            return False
        verdict = judging.by_text(driver, run, pending.condition, item)
        if verdict.takes:
            return False
        if verdict.told:
            passed.append(judging.passed(item, verdict))
    if passed:
        driver.plain_commit(run, passed)
    return bool(run.inbox)


def _at_once(run: Run, resident: Resident | None) -> Item | None:
    """A cancel that no body is asked about: by force, the second one, or of a run that has not begun or stands still.

    Its code need not be here, and no attempt is waited for.
    """
    asks = [item for item in run.inbox if item.name == "perdure.CancelAsk"]
    for number, ask in enumerate(asks, run.cancels + 1):
        if ask.body["force"] or number > 1:
            return ask
    if not asks:
        return None
    if resident is None:
        still = run.status in STILL or run.status == "scheduled" or not run.started
    else:
        still = run.status in STILL and asks[0] not in resident.delivered
    return asks[0] if still else None


def _cancelled(driver: Driver, run: Run, resident: Resident | None, cancel: Item) -> None:
    if resident is not None:
        driver.let_go(resident)
    reason = cancel.body["reason"]
    time = max(driver.services.clock.now(), run.time)
    asked: Op = ops.CANCEL_ASKED, {"time": time, "command": cancel.command, "reason": reason, "force": True}
    driver.plain_commit(run, [asked, (ops.RUN_CANCELLED, {"time": time, "reason": reason})])


def _cancel(driver: Driver, _run: Run, resident: Resident, item: Item) -> Op | None:
    body = {"time": driver.tick(resident), "command": item.command, **item.body}
    return ops.CANCEL_ASKED, body


def _child(driver: Driver, _run: Run, resident: Resident, item: Item) -> Op | None:
    key = item.body["key"]
    if not resident.execution.awaits(key):
        return None
    return ops.CHILD_ENDED, {"key": key, "time": driver.tick(resident), "outcome": item.body["outcome"]}


def _event(driver: Driver, run: Run, resident: Resident, item: Item) -> Op | None:
    key = item.body["key"]
    if not resident.execution.awaits(key):
        return None
    pending = run.pending.get(key)
    if pending is not None and pending.condition is not None:
        verdict = judging.by_body(driver, run, resident, pending.condition, item)
        if verdict.told and not verdict.takes:
            resident.delivered.add(item)
            driver.note(resident, judging.passed(item, verdict))
        if not verdict.takes:
            return None
    if _is_given(resident, item.body["event"]["id"]):
        return None  # another wait of this run has it, as soon as that counts
    body = {"key": key, "time": driver.tick(resident)}
    return ops.EVENT_GIVEN, body | {"position": item.body["position"], "event": item.body["event"]}


def _is_given(resident: Resident, event_id: str) -> bool:
    return any(
        name == ops.EVENT_GIVEN and body["event"]["id"] == event_id
        for step in (*resident.in_flight, *resident.turns)
        for name, body in step.ops
    )


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


_RELEASES: dict[str, Callable[[Driver, Run, Resident, Item], Op | None]] = {
    "perdure.CancelAsk": _cancel,
    "perdure.ChildOutcome": _child,
    EVENT_MATCHED: _event,
    "perdure.SignalSend": _signal,
    "perdure.ResumeAsk": _resume,
}
