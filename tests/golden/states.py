"""A chunk of a snapshot with one of everything that a partition's state holds."""

from __future__ import annotations

from typing import Any

from perdure.core import codec
from tests.golden.samples import (
    COMMANDS,
    CONFIG,
    CORRELATE,
    EVENT,
    FAILURE,
    LIMIT,
    PLAIN_EVENT,
    POSITION,
    RUN,
    T,
)

Body = dict[str, Any]
PENDING: Body = {
    "attempt": 0,
    "name": "",
    "path": "",
    "value": b"",
    "since": 0,
    "close": "",
    "suspect": 0,
    "condition": None,
    "behind": False,
    "passed": [],
    "alone": 0,
    "slots": 0,
}

PARTITION: Body = {
    "number": 3,
    "generation": 1,
    "partitions": 8,
    "epoch": 7,
    "owner": bytes(range(16)),
    "time": T,
    "level": 1,
    "config": CONFIG,
    "next": 14,
    "inbound": [{"name": "1p4", "seq": 12}],
    "outbound": [{"name": "j1", "seq": 9}],
    "queued": [{"target": "j1", "seq": 9, "body": b"\xc3\x01"}],
    "origins": [{"name": "1p4", "seq": 9}],
    "delayed": [{"offset": 13, "time": T, "event": PLAIN_EVENT}],
    "event_ids": [{"name": "evt-1", "time": T}],
    "event_digests": {"evt-1": b"8 bytes."},
    "ended": [{"name": "gone", "time": T}],
    "ended_sizes": [1_234],
    "armed": [{"name": "payment/done", "path": "data.id", "since": T}],
    "scans": [
        {
            "id": 2,
            "name": "payment/done",
            "path": "data.id",
            "value": None,
            "since": T,
            "cursor": -1,
            "to": 14,
        }
    ],
    "announced": [{"name": "payment/done", "path": "data.id", "since": T}],
    "scan_next": 2,
    "voids": [{"name": "late claim", "seq": 1}],
    "sets": [{"set": "00042", "covers": 42, "crc": 1}],
    "clean": False,
    "unclean": True,
    "alone": "r1/charge",
    "forgotten": T - 1,
    "schedules": [
        {
            "id": "user-7",
            "last": T,
            "run": RUN,
            "waiting": [T + 1],
            "paused": True,
            "put": COMMANDS["SchedulePut"],
            "reason": "on holiday",
        }
    ],
}
LIVE: Body = {
    "id": RUN,
    "function": "f",
    "status": "running",
    "event": EVENT,
    "created": T,
    "started": T,
    "time": T + 5,
    "prev": 41,
    "tags": {"customer": "7"},
    "parent": "r",
    "parent_key": "/pay",
    "history": [b"\xc3\x01 a commit"],
    "ops": 3,
    "size": 11,
    "pending": [
        PENDING
        | {"key": "/charge", "kind": "step", "due": T + 9, "attempt": 1, "suspect": 2, "alone": 1}
        | {"slots": -1},
        PENDING
        | {"key": "/w", "kind": "wait", "due": None, "name": "payment/done", "path": "data.id"}
        | {
            "value": b'"7"',
            "since": T,
            "condition": "async.data.amount > 100",
            "behind": True,
            "passed": [{"name": "evt-2", "time": T}],
        },
        PENDING | {"key": "/pay", "kind": "child", "due": None, "name": "child", "close": "cancel"},
    ],
    "inbox": [
        {
            "offset": 43,
            "body": (
                "perdure.EventMatched",
                {"run": RUN, "key": "/w", "position": POSITION, "time": T, "event": EVENT},
            ),
            "command": "",
        },
        {
            "offset": 44,
            "body": ("perdure.SignalSend", {"name": "go", "data": b"1", "request": True}),
            "command": "c9",
        },
    ],
    "commands": ["c9"],
    "seen": [{"name": "evt-1", "time": T}],
    "watchers": {"me": "c1"},
    "result": None,
    "error": None,
    "reason": "",
    "ended": 0,
    "values": {"progress": b"0.5"},
    "not_before": 0,
    "cancels": 1,
    "held": ("perdure.RunCancelled", {"time": T + 6, "reason": "enough"}),
    "restarts": 3,
    "begun": T + 1,
    "depth": 2,
    "requests": [
        {"command": "c9", "client": "me", "answer": None, "refused": None},
        {"command": "c8", "client": "me", "answer": b"7", "refused": None},
    ],
    "until": T + 60_000_000,
    "repeats": "r0",
    "reuse": COMMANDS["StartRun"]["reuse"],
    "listeners": [
        {
            "key": "/~cancel-on:0",
            "name": "user/left",
            "path": "data.id",
            "value": b'"7"',
            "since": T,
            "until": T + 1_000_000,
            "position": POSITION,
            "seen": ["evt-0"],
            "cel": "async.data.n > event.data.n",
            "behind": True,
        }
    ],
    "admission": {
        "at": 1,
        "rank": T - 5,
        "config": 3,
        "stages": [{"limit": LIMIT, "value": b'"7"'}],
        "steps": [{"limit": LIMIT | {"kind": "concurrency", "mode": "step"}, "value": b""}],
        "events": [EVENT, PLAIN_EVENT],
    },
}
ENDED: Body = LIVE | {
    "id": "f/chosen",
    "status": "failed",
    "parent": None,
    "parent_key": None,
    "history": [],
    "pending": [],
    "inbox": [],
    "error": FAILURE,
    "ended": T,
    "held": None,
    "until": 0,
    "repeats": "",
    "reuse": [],
    "listeners": [],
}
CELL: Body = {
    "name": "payment/done",
    "path": "data.id",
    "value": b'"7"',
    "subscriptions": [{"run": RUN, "key": "/w", "since": T, "seen": ["evt-1"], "stays": True}],
    "kept": [{"arrived": T, "correlate": CORRELATE}],
    "forgotten": 5,
}
GATE: Body = {
    "limit": LIMIT,
    "value": b'"7"',
    "config": 3,
    "held": [{"run": RUN, "key": "/charge"}],
    "waiting": [{"run": "r", "key": "", "number": 0, "rank": T, "order": 8, "time": T - 1, "event": EVENT}],
    "tat": T + 1,
    "times": [T - 2, T - 1],
    "since": T - 1,
    "due": T + 2,
    "order": 8,
    "cancelling": True,
    "expires": T + 3,
}
SLEEPING: Body = LIVE | {
    "id": "1p3-aaaaaaaaaaaaaaaaaaaa",
    "pending": [PENDING | {"key": "/nap", "kind": "timer", "due": T + 9}],
    "inbox": [],
    "held": None,
}
_SLEEPING = codec.pack("PackedRun", {"timer": "/nap", "state": SLEEPING})
PACKED: Body = {
    "covers": 42,
    "index": 1,
    "of": "runs",
    "form": codec.form("PackedRun"),
    "digests": bytes(range(8)),
    "sizes": len(_SLEEPING).to_bytes(4, "little"),
    "data": _SLEEPING,
    "dues": (T + 9).to_bytes(8, "little"),
    "due_digests": bytes(range(8)),
}
SNAPSHOT: Body = {
    "covers": 42,
    "index": 0,
    "count": 1,
    "partition": PARTITION,
    "runs": [LIVE, ENDED],
    "cells": [CELL],
    "ids": [{"of": "ended_ids", "ids": bytes(range(16))}],
    "gates": [GATE],
}
