"""Whether a wait takes an event that came to it: what is left of its condition when its cell has found the event.

The owner of the run decides, with the CEL and the code that this takes, and says so in a commit (B9); the fold knows
neither.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from perdure.authoring import cel
from perdure.core import ops
from perdure.core.ops import EventData, Op
from perdure.core.paths import event_view
from perdure.core.state import Item, Run
from perdure.engine.driver import Driver
from perdure.engine.resident import Resident
from perdure.errors import EncodingError, PayloadError, UsageError
from perdure.payloads.records import Opener

REASON_CHARACTERS_MAX = 300


class Verdict(NamedTuple):
    """What a condition says of an event."""

    told: bool
    """False when it cannot be asked here: CEL is missing. Then the event waits for an owner that has it."""
    takes: bool = False
    reason: str = ""
    """Why it cannot be told of this event, which is passed over then."""


def by_text(driver: Driver, run: Run, condition: str, item: Item) -> Verdict:
    """By CEL, or by equalities alone."""
    try:
        test = cel.wait_tester(condition)
    except UsageError as error:
        driver.services.trouble(f"an event for run {run.id} waits for a worker that can judge it", error)
        return Verdict(told=False)
    found = _opened(driver, run, item)
    if found is None:
        return Verdict(told=False)
    try:
        return Verdict(True, test(event_view(found[0]), event_view(found[1])))
    except (UsageError, EncodingError) as error:  # data that is not JSON fulfils no condition
        return Verdict(True, False, str(error)[:REASON_CHARACTERS_MAX])


def by_body(driver: Driver, run: Run, resident: Resident, condition: str, item: Item) -> Verdict:
    """By text, or by the predicate that the body gave to the wait."""
    if condition:
        return by_text(driver, run, condition, item)
    predicate = resident.execution.predicate(item.body["key"])
    if predicate is None:  # the code asks now by text: what was recorded stays, and this code cannot tell
        return Verdict(told=False)
    found = _opened(driver, run, item)
    if found is None:
        return Verdict(told=False)
    try:
        return Verdict(True, predicate(found[1]))
    except Exception as error:  # noqa: BLE001 - a user's code, of this event alone
        return Verdict(True, False, f"if_ raised {type(error).__name__}: {error!s:.200}")


def _opened(driver: Driver, run: Run, item: Item) -> tuple[EventData, EventData] | None:
    """The event that began the run, and the one that came, as conditions see them; None where they cannot be opened."""
    opener = Opener(driver.services.vault)
    try:
        return opener.event(run.event), opener.event(item.body["event"])
    except PayloadError as error:
        driver.services.trouble(f"an event for run {run.id} waits for a worker that can open it", error)
        return None


def passed(item: Item, verdict: Verdict) -> Op:
    """The op by which a wait goes on."""
    body: dict[str, Any] = {
        "key": item.body["key"],
        "event": item.body["event"]["id"],
        "reason": verdict.reason,
    }
    return ops.EVENT_PASSED, body
