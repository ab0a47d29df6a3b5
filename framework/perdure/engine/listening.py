"""Whether an event that came for `cancel_on` fulfils its condition: the run's owner says so, as of waits (B9)."""

from __future__ import annotations

from perdure.core.fold import ending
from perdure.core.fold.waits import EVENT_MATCHED
from perdure.core.state import Item, Run
from perdure.engine import judging
from perdure.engine.driver import Driver
from perdure.engine.resident import Resident


def judge(driver: Driver, run: Run, resident: Resident | None) -> None:
    """Cancels the run for an event that fulfils the condition, and passes over the others. Its body is not asked."""
    listeners = run.listeners or {}
    others: list[tuple[Item, judging.Verdict]] = []
    for item in run.inbox:
        if item.name != EVENT_MATCHED or item.body["key"] not in listeners:
            continue
        if resident is not None and item in resident.delivered:
            continue
        verdict = judging.by_text(driver, run, listeners[item.body["key"]].cel, item)
        if verdict.takes:
            _cancel(driver, run, item)
            return
        if verdict.told:
            others.append((item, verdict))
    if not others:
        return
    if resident is None:
        driver.plain_commit(run, [judging.passed(item, verdict) for item, verdict in others])
        return
    for item, verdict in others:
        resident.delivered.add(item)
        driver.note(resident, judging.passed(item, verdict))


def _cancel(driver: Driver, run: Run, item: Item) -> None:
    event = item.body["event"]
    body = {"reason": f"the event {event['name']} {event['id']} came", "force": False}
    command = {"id": ending.command_for(event["id"]), "run": run.id, "client": None}
    driver.life.append(
        "Command", command | {"body": (ending.CANCEL, body)}, lambda _fact, _void: None, key=run.id
    )
