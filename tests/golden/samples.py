"""One of everything that stands in the log, with every field filled in: what golden files are written from."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]
T = 1_764_000_000_000_000
"""A time in November 2025 (µs)."""

EVENT: Body = {
    "name": "user/created",
    "id": "evt-1",
    "ts": T,
    "key": "user-7",
    "v": "2",
    "data": '{"name":"Zoë"}'.encode(),
    "trace": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
PLAIN_EVENT: Body = EVENT | {"id": "~1", "v": None, "data": b"{}", "trace": None}
FAILURE: Body = {
    "type": "ValueError",
    "message": "no",
    "traceback": 'File "a.py", line 1',
    "data": '{"fields":{"code":"expired"},"causes":[{"type":"KeyError","message":"k"}]}',
}
POSITION: Body = {"partition": 3, "offset": 1_000_000}
CORRELATE: Body = {
    "name": "payment/done",
    "path": "data.id",
    "value": b'"7"',
    "time": T,
    "position": POSITION,
    "event": EVENT,
}
SUBSCRIBE: Body = {"name": "payment/done", "path": "data.id", "value": b'"7"', "run": "r", "key": "/w"}
RUN = "1p3-aaaaaaaaaaaaaaaaaaaa"

LIMIT: Body = {
    "id": "batch:f:event.data.customer",
    "kind": "batch",
    "key": "event.data.customer",
    "limit": 10,
    "period": 60_000_000,
    "burst": 1,
    "timeout": 90_000_000,
    "bytes": 4_096,
    "mode": "all",
    "only": "event.data.cents > 100",
}
GATE: Body = {"run": RUN, "key": "/charge", "limit": LIMIT["id"], "value": b'"7"'}

SCHEDULE: Body = {
    "id": "f 0 9 * * * Europe/Berlin",
    "cron": "0 9 * * *",
    "tz": "Europe/Berlin",
    "jitter": 60_000_000,
    "catch_up": "last",
    "overlap": "buffer",
}

OPS: dict[str, Body] = {
    "Started": {"time": T, "code": "1", "python": "3.11"},
    "StepDone": {"key": "/charge", "time": T + 1, "attempt": 2, "took": 1500, "result": b'{"ok":true}'},
    "StepFailed": {"key": "1.2/mail:3", "time": T + 2, "attempt": 4, "took": 9, "error": FAILURE},
    "TimerFired": {"key": "/~timer", "time": T + 3},
    "EventGiven": {"key": "/w", "time": T + 4, "position": POSITION, "event": EVENT},
    "SignalGiven": {"key": "/go", "time": T + 5, "command": "c1", "name": "go", "data": b"1"},
    "ChildEnded": {"key": "/pay", "time": T + 6, "outcome": ("perdure.ChildDone", {"result": b"7"})},
    "SlotGranted": {"key": "/slot", "time": T + 7},
    "CancelAsked": {"time": T + 8, "command": "c2", "reason": "enough", "force": True},
    "ResumedByUser": {"time": T + 9, "command": "c3", "code": "2"},
    "ForkedFrom": {"time": T + 10, "run": "r0", "op": 12},
    "Asked": {"keys": ["/charge", "1.2/mail:3"]},
    "TimerSet": {"key": "/~timer", "due": T + 60_000_000},
    "TimerDropped": {"key": "/~timer:1"},
    "WaitOpened": {
        "key": "/w",
        "event": "payment/done",
        "signal": None,
        "path": "data.id",
        "value": b'"7"',
        "due": T + 7_000_000,
        "lookback": 5_000_000,
    },
    "WaitClosed": {"key": "/w"},
    "StepAbandoned": {"key": "/slow"},
    "ChildIssued": {
        "key": "/pay",
        "run": RUN,
        "function": "pay",
        "event": PLAIN_EVENT,
        "due": None,
        "detached": False,
        "parent_close": "abandon",
    },
    "ChildDropped": {"key": "/pay"},
    "EventsSent": {"key": "/send", "events": [EVENT, PLAIN_EVENT]},
    "SlotAsked": {"key": "/slot", "limit": "user-7"},
    "SlotReleased": {"key": "/slot", "limit": "user-7"},
    "AttemptFailed": {
        "key": "/charge",
        "attempt": 1,
        "took": 800,
        "time": T,
        "retry_at": T + 1_000_000,
        "error": FAILURE,
    },
    "Parked": {"time": T + 11, "reason": "stuck", "code": "1", "detail": "line 7 waits for nothing"},
    "ValueSet": {"name": "progress", "value": b"0.5"},
    "EndHeld": {"end": ("perdure.RunDone", {"time": T + 12, "result": b"null"})},
    "RunDone": {"time": T + 12, "result": b"null"},
    "RunFailed": {"time": T + 12, "error": FAILURE, "handler": "f:on-failure"},
    "RunCancelled": {"time": T + 12, "reason": "enough"},
    "RunRestarted": {"time": T + 12, "event": EVENT},
    "SignalSent": {"key": "/tell", "run": RUN, "command": "c4", "name": "go", "data": b"1"},
    "SignalAnswered": {"key": "/go", "command": "c1", "answer": b"7", "refused": None},
    "EventPassed": {"key": "/w", "event": "evt-1", "reason": "no such key: amount"},
    "WaitFiltered": {"key": "/w", "condition": "async.data.amount > 100"},
}
MESSAGES: dict[str, Body] = {
    "StartChild": {
        "run": RUN,
        "function": "pay",
        "event": EVENT,
        "parent": "r",
        "parent_key": "/pay",
        "depth": 2,
        "since": T,
        "position": POSITION,
    },
    "ChildOutcome": {"run": "r", "key": "/pay", "outcome": ("perdure.ChildFailed", {"error": FAILURE})},
    "CancelRun": {"run": RUN, "command": "c", "reason": "its parent no longer waits for it", "force": False},
    "Signalled": {"run": RUN, "command": "c", "name": "go", "data": b"1"},
    "EventMatched": {"run": "r", "key": "/w", "position": POSITION, "time": T, "event": EVENT},
    "Subscribe": SUBSCRIBE | {"since": T, "seen": ["evt-0", "evt-1"], "scan": True, "stays": True},
    "Unsubscribe": SUBSCRIBE,
    "Correlate": CORRELATE,
    "Arm": {"name": "payment/done", "path": "data.id", "since": T},
    "Scan": {"name": "payment/done", "path": "data.id", "value": b'"7"', "since": T},
    "GateAsk": GATE
    | {"limit": LIMIT, "number": 2, "config": 3, "rank": T - 5, "time": T, "awaited": True, "event": EVENT},
    "GateAnswer": {
        "run": RUN,
        "key": "",
        "number": 0,
        "limit": LIMIT["id"],
        "reason": "too many",
        "events": [EVENT, PLAIN_EVENT],
    },
    "GateLeft": GATE,
}
COMMANDS: dict[str, Body] = {
    "StartRun": {
        "function": "f",
        "event": EVENT,
        "tags": {"customer": "7"},
        "repeats": "r0",
        "reuse": [
            {"key": "/charge", "op": ("perdure.StepDone", OPS["StepDone"])},
            {"key": "/send", "op": None},
        ],
    },
    "SchedulePut": {"function": "f", "schedule": SCHEDULE | {"id": "user-7"}},
    "ScheduleAsk": {"wish": "pause", "reason": "a holiday"},
    "CancelAsk": {"reason": "enough", "force": False},
    "SignalSend": {"name": "go", "data": b'"now"', "request": True},
    "Query": {"wait": True, "value": "progress"},
    "PauseAsk": {"reason": "look at it"},
    "ResumeAsk": {"reason": ""},
}
CONFIG: Body = {
    "version": 3,
    "functions": [
        {
            "id": "f",
            "triggers": ["user/*", "payment/done"],
            "code": "1",
            "handler": "f:on-failure",
            "conditions": [{"trigger": 1, "cel": "event.data.amount > 100"}, {"trigger": 1, "cel": ""}],
            "schedules": [SCHEDULE],
            "cancels": [
                {
                    "event": "user/left",
                    "path": "data.id",
                    "own": "data.id",
                    "timeout": 1_000_000,
                    "cel": "",
                }
            ],
            "start_within": 60_000_000,
            "finish_within": 86_400_000_000,
            "flow": [LIMIT],
        },
        {
            "id": "f:on-failure",
            "triggers": [],
            "code": "1",
            "handler": None,
            "conditions": [],
            "schedules": [],
            "cancels": [],
            "start_within": 0,
            "finish_within": 0,
            "flow": [],
        },
    ],
    "limits": {"inbox_max": 1_000, "of another version": 7},
    "paused": {"f": "the bank is away"},
    "encrypts": True,
}
TICKED: Body = {
    "schedule": "f 0 9 * * * Europe/Berlin",
    "function": "f",
    "config": 3,
    "from": T,
    "to": T + 1,
    "runs": [{"run": RUN, "at": T + 1, "event": EVENT}],
    "waiting": [T + 1],
    "cancel": "r",
    "skipped": [{"event": "evt-0", "function": "f", "reason": "the run of the tick before goes on"}],
}
INGEST: Body = {
    "partition": 3,
    "from": 10,
    "to": 14,
    "config": 3,
    "armed": 1,
    "events": [
        {"offset": 10, "time": T, "event": EVENT},
        {"offset": 13, "time": T + 1, "event": PLAIN_EVENT},
    ],
    "starts": [{"run": RUN, "function": "f", "event": 0}],
    "correlates": [{"event": 0, "path": "data.id", "value": b'"7"'}],
    "delayed": [1],
    "skipped": [{"event": "evt-0", "function": "f", "reason": "an event of this id was routed before"}],
    "origins": [{"origin": "1p4", "seq": 9}],
    "lost": 1,
    "digests": [b"", b"\x00\x01said..."],
}
OUTCOMES: list[tuple[str, Body]] = [
    ("perdure.ChildDone", {"result": b"7"}),
    ("perdure.ChildFailed", {"error": FAILURE}),
    ("perdure.ChildCancelled", {"reason": "enough"}),
    ("perdure.ChildRefused", {"reason": "a run x exists already"}),
]


def _commit(*ops: tuple[str, Body]) -> Body:
    return {
        "changes": [{"entity": "r", "prev": 41, "ops": list(ops)}],
        "acks": [{"target": "j1", "seq": 8}, {"target": "e0", "seq": 2}],
    }


def _every_op() -> Body:
    return _commit(*((f"perdure.{name}", body) for name, body in OPS.items()))


def _every_outcome() -> Body:
    return _commit(
        *(("perdure.ChildEnded", {"key": "/pay", "time": T, "outcome": outcome}) for outcome in OUTCOMES)
    )


ADMITTED: Body = {
    "config": 3,
    "asks": [
        {"run": RUN, "values": [b'"7"', None], "priority": 5_000_000, "fault": None},
        {"run": "r", "values": [], "priority": 0, "fault": FAILURE},
    ],
}
Samples = dict[str, tuple[str, str, Body]]


DUE: Body = {"offsets": [13], "armed": 1, "correlates": INGEST["correlates"]}


LETTER: Body = {
    "topic": "journal",
    "partition": 3,
    "offset": 9,
    "reason": "undecodable",
    "value": b"\xff\x00",
}
PAUSED: Body = {"function": "f", "paused": True, "reason": "the bank is away"}
GATES_DUE: Body = {"time": T + 1, "gates": [{"limit": LIMIT["id"], "value": b'"7"', "due": T}]}


def samples() -> Samples:
    """By the file's name: the record, what the file is about, and the body."""
    from tests.golden.states import PACKED, SNAPSHOT

    made: Samples = {
        "Event": ("Event", "an event as a client sends it, with every field", EVENT),
        "Event.plain": ("Event", "an event with nothing that may be left out", PLAIN_EVENT),
        "Claim": ("Claim", "a worker claims a partition", {"epoch": 7, "worker": "host-1"}),
        "Commit.3": ("Commit", "a commit with every op, and acks", _every_op()),
        "Commit.children.3": ("Commit", "every outcome of a child", _every_outcome()),
        "Ingest.2": ("Ingest", "a batch of events, routed", INGEST),
        "Due": ("Due", "delayed events are due", DUE),
        "Fired": ("Fired", "timers have fired", {"timers": [{"run": "r", "key": "/nap", "due": T}]}),
        "Config.6": ("Config", "the functions in force, one under conditions and flow control", CONFIG),
        "Admitted.2": ("Admitted", "the keys of two runs, and an event that has none", ADMITTED),
        "GatesDue": ("GatesDue", "a batch has waited for long enough", GATES_DUE),
        "LimitChanged": ("LimitChanged", "a limit has other numbers", {"limit": LIMIT, "changed": True}),
        "FunctionPaused": ("FunctionPaused", "a function is paused", PAUSED),
        "Ticked": ("Ticked", "a tick starts a run, another waits, a third is dropped", TICKED),
        "Level": ("Level", "a level is raised", {"level": 1}),
        "Snapshotted": ("Snapshotted", "a set counts", {"set": "00042", "covers": 42, "crc": 4_294_967_295}),
        "Released": ("Released", "an owner leaves", {"reason": "leave"}),
        "Resumed": ("Resumed", "steps resumed", {"steps": [{"run": "r", "key": "/charge", "alone": True}]}),
        "Resumed.waking": (
            "Resumed",
            "a body is about to be woken alone",
            {"steps": [{"run": "r", "key": "", "alone": True}]},
        ),
        "Resumed.woken": ("Resumed", "all bodies were woken", {"steps": []}),
        "Scanned": (
            "Scanned",
            "a step of a search",
            {"scan": 2, "from": -1, "to": 500, "done": False, "found": [CORRELATE]},
        ),
        "DeadLetter": ("DeadLetter", "what could not be read", LETTER),
        "Snapshot.14": ("Snapshot", "the only chunk of a snapshot", SNAPSHOT),
        "Messages": ("Messages", "two messages to one partition", {"messages": [b"one", b"two"]}),
        "PackedState.8": ("PackedState", "runs that only wait, in a snapshot", PACKED),
    }
    reply: Body = {
        "command": "c1",
        "run": "r",
        "status": "completed",
        "function": "f",
        "result": b"7",
        "error": None,
    }
    reply |= {"reason": "", "values": {"progress": b"1"}, "answer": b"7", "refused": None}
    made["Reply.3"] = ("Reply", "the result of a run", reply)
    made["Reply.failed.3"] = (
        "Reply",
        "a failed run",
        reply | {"status": "failed", "result": None, "error": FAILURE},
    )
    return made | _sent()


def _sent() -> Samples:
    """What partitions and clients send."""
    made: Samples = {}
    for name, body in MESSAGES.items():
        message = {"origin": "1p4", "seq": 12, "body": (f"perdure.{name}", body)}
        made[f"Message.{name}.5"] = ("Message", f"a message from another partition: {name}", message)
    for name, body in COMMANDS.items():
        command = {"id": "c1", "run": "f/chosen", "client": "me", "body": (f"perdure.{name}", body)}
        made[f"Command.{name}.4"] = ("Command", f"a client's command: {name}", command)
    return made
