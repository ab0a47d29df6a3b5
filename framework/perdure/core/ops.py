"""The ops of a run: what a commit says happened to it.

An op is `(name, fields)`, the form in which fastavro reads and writes the members of a union. *Releases* open a
turn of the body and carry the time that the body sees; *consequences* are what the body did in that turn, and are
checked on replay; *book-keeping* is never shown to the body. The fields of each are in `schemas/`.
"""

from __future__ import annotations

from typing import Any, TypedDict

Op = tuple[str, dict[str, Any]]

# Releases
STARTED = "perdure.Started"
STEP_DONE = "perdure.StepDone"
STEP_FAILED = "perdure.StepFailed"
TIMER_FIRED = "perdure.TimerFired"
EVENT_GIVEN = "perdure.EventGiven"
SIGNAL_GIVEN = "perdure.SignalGiven"
CHILD_ENDED = "perdure.ChildEnded"
SLOT_GRANTED = "perdure.SlotGranted"
CANCEL_ASKED = "perdure.CancelAsked"
RESUMED_BY_USER = "perdure.ResumedByUser"
FORKED_FROM = "perdure.ForkedFrom"

# Consequences
ASKED = "perdure.Asked"
TIMER_SET = "perdure.TimerSet"
TIMER_DROPPED = "perdure.TimerDropped"
WAIT_OPENED = "perdure.WaitOpened"
WAIT_CLOSED = "perdure.WaitClosed"
STEP_ABANDONED = "perdure.StepAbandoned"
CHILD_ISSUED = "perdure.ChildIssued"
CHILD_DROPPED = "perdure.ChildDropped"
EVENTS_SENT = "perdure.EventsSent"
RUN_DONE = "perdure.RunDone"
RUN_FAILED = "perdure.RunFailed"
RUN_CANCELLED = "perdure.RunCancelled"
RUN_RESTARTED = "perdure.RunRestarted"
SIGNAL_SENT = "perdure.SignalSent"
SIGNAL_ANSWERED = "perdure.SignalAnswered"
WAIT_FILTERED = "perdure.WaitFiltered"

# Book-keeping
ATTEMPT_FAILED = "perdure.AttemptFailed"
PARKED = "perdure.Parked"
VALUE_SET = "perdure.ValueSet"
END_HELD = "perdure.EndHeld"
EVENT_PASSED = "perdure.EventPassed"
SLOT_ASKED = "perdure.SlotAsked"
SLOT_RELEASED = "perdure.SlotReleased"

# The outcomes of a child run
CHILD_DONE = "perdure.ChildDone"
CHILD_FAILED = "perdure.ChildFailed"
CHILD_CANCELLED = "perdure.ChildCancelled"
CHILD_REFUSED = "perdure.ChildRefused"

RELEASES = frozenset(
    {
        STARTED,
        STEP_DONE,
        STEP_FAILED,
        TIMER_FIRED,
        EVENT_GIVEN,
        SIGNAL_GIVEN,
        CHILD_ENDED,
        SLOT_GRANTED,
        CANCEL_ASKED,
        RESUMED_BY_USER,
        FORKED_FROM,
    }
)
CONSEQUENCES = frozenset(
    {
        ASKED,
        TIMER_SET,
        TIMER_DROPPED,
        WAIT_OPENED,
        WAIT_CLOSED,
        STEP_ABANDONED,
        CHILD_ISSUED,
        CHILD_DROPPED,
        EVENTS_SENT,
        RUN_DONE,
        RUN_FAILED,
        RUN_CANCELLED,
        RUN_RESTARTED,
        SIGNAL_SENT,
        SIGNAL_ANSWERED,
        WAIT_FILTERED,
    }
)
BOOKKEEPING = frozenset(
    {ATTEMPT_FAILED, PARKED, VALUE_SET, END_HELD, EVENT_PASSED, SLOT_ASKED, SLOT_RELEASED}
)
ENDS = frozenset({RUN_DONE, RUN_FAILED, RUN_CANCELLED, RUN_RESTARTED})
"""What a change ends with. After the last one the run is live, and begins anew."""
SENDS = frozenset({CHILD_ISSUED, EVENTS_SENT})
"""The ops that hold events of the body's own making."""


class EventData(TypedDict):
    """An event as recorded (`perdure.Event`): `ts` is microseconds since the epoch, `data` is JSON."""

    name: str
    id: str
    ts: int
    key: str
    v: str | None
    data: bytes
    trace: str | None
    """The W3C traceparent of whoever sent it."""


class Failure(TypedDict):
    """An error as recorded (`perdure.Failure`)."""

    type: str
    message: str
    traceback: str
    data: str
    """JSON: its own fields, and what led to it (`perdure.core.failures`); empty when there are none."""
