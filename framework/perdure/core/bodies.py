"""Runs and cells as the bodies of records, and back: what snapshots hold, and what is kept of those that only wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from perdure.core import avro, codec
from perdure.core.entities import (
    Admission,
    Cell,
    CellKey,
    Item,
    Listener,
    Pending,
    Request,
    Run,
    Stage,
    Subscription,
)
from perdure.core.roster import Form, Roster

__all__ = ["RUNS", "cell_body", "cells_roster", "fire", "fired", "run_body", "run_of", "runs_roster", "waits"]

Body = dict[str, Any]

_head = avro.reader(
    {
        "type": "record",
        "name": "Head",
        "fields": [{"name": "timer", "type": "string"}, {"name": "id", "type": "string"}],
    },
    {},
)
"""The beginning of a packed run: its state begins with its id."""
_RUN_PLAIN = (
    "id", "function", "status", "event", "created", "started", "time", "prev", "tags", "parent", "parent_key",
    "history", "ops", "size", "watchers", "result", "error", "reason", "ended", "values", "not_before",
    "cancels", "held", "restarts", "begun", "depth", "until", "repeats",
)  # fmt: skip
_plain: Callable[[Run], tuple[Any, ...]] = attrgetter(*_RUN_PLAIN)


def run_body(run: Run) -> Body:
    body: Body = dict(zip(_RUN_PLAIN, _plain(run), strict=True))
    for name in ("history", "tags", "watchers", "values"):
        body[name] = body[name].copy()  # encoded later than this moment
    body["pending"] = [
        {name: getattr(p, name) for name in Pending.__slots__} | {"key": key, "passed": timed(p.passed)}
        for key, p in run.pending.items()
    ]
    body["inbox"] = [
        {"offset": item.offset, "body": (item.name, item.body), "command": item.command} for item in run.inbox
    ]
    body["requests"] = [
        {"command": command, "client": r.client, "answer": r.answer, "refused": r.refused}
        for command, r in run.requests.items()
    ]
    body["commands"], body["seen"] = list(run.commands), timed(run.seen)
    body["listeners"] = [
        {name: getattr(listener, name) for name in Listener.__slots__}
        for listener in (run.listeners or {}).values()
    ]
    body["reuse"] = [{"key": key, "op": op} for key, op in (run.reuse or {}).items()]
    body["admission"] = None if run.admission is None else _admission_body(run.admission)
    return body


def _admission_of(body: Body) -> Admission:
    stages, steps = ([Stage(s["limit"], s["value"]) for s in body[name]] for name in ("stages", "steps"))
    return Admission(body["at"], body["rank"], body["config"], stages, steps, body["events"])


def _admission_body(admission: Admission) -> Body:
    return {
        "at": admission.at,
        "rank": admission.rank,
        "config": admission.config,
        "stages": [stage._asdict() for stage in admission.stages],
        "steps": [stage._asdict() for stage in admission.steps],
        "events": list(admission.events),
    }


def run_of(body: Body) -> Run:
    run = Run(body["id"], body["function"], body["event"], body["created"], body["prev"])
    for name in _RUN_PLAIN:
        setattr(run, name, body[name])
    for p in body["pending"]:
        key = p.pop("key")
        p["passed"] = {passed["name"]: passed["time"] for passed in p["passed"]}
        run.pending[key] = Pending(**p)
    run.inbox = [Item(i["offset"], i["body"][0], i["body"][1], i["command"]) for i in body["inbox"]]
    run.commands = dict.fromkeys(body["commands"])
    run.seen = {seen["name"]: seen["time"] for seen in body["seen"]}
    run.requests = {r["command"]: Request(r["client"], r["answer"], r["refused"]) for r in body["requests"]}
    if body["reuse"]:
        run.reuse = {reused["key"]: reused["op"] for reused in body["reuse"]}
    if body["listeners"]:
        run.listeners = {listener["key"]: Listener(**listener) for listener in body["listeners"]}
    if body["admission"] is not None:
        run.admission = _admission_of(body["admission"])
    return run


def cell_body(where: CellKey, cell: Cell) -> Body:
    return {
        "name": where[0],
        "path": where[1],
        "value": where[2],
        "subscriptions": [
            {"run": s.run, "key": s.key, "since": s.since, "seen": list(s.seen), "stays": s.stays}
            for s in cell.subscriptions.values()
        ],
        "kept": [{"arrived": arrived, "correlate": c} for arrived, c in cell.kept],
        "forgotten": cell.forgotten,
    }


def cell_of(body: Body) -> Cell:
    kept = deque((k["arrived"], k["correlate"]) for k in body["kept"])
    cell = Cell(kept=kept, forgotten=body["forgotten"], where=(body["name"], body["path"], body["value"]))
    for s in body["subscriptions"]:
        cell.subscriptions[s["run"], s["key"]] = Subscription(
            s["run"], s["key"], s["since"], dict.fromkeys(s["seen"]), s["stays"]
        )
    return cell


def timed(times: dict[str, int]) -> list[Body]:
    return [{"name": name, "time": time} for name, time in times.items()]


# --- what only waits --------------------------------------------------------------------------------------------------


def waits(run: Run) -> bool:
    """Whether a run does nothing until a time comes, or something for it: it may be packed."""
    if run.inbox or run.held is not None:
        return False
    if run.status == "scheduled":
        return True
    return (
        run.status == "running"
        and bool(run.pending)
        and run.reuse is None
        and not any(pending.kind == "step" or fired(pending) for pending in run.pending.values())
    )


def fired(pending: Pending) -> bool:
    """Whether the log says that a timer is due."""
    return pending.kind == "timer" and pending.attempt > 0


def fire(run: Run, key: str, due: int) -> bool:
    """Notes what the log says: that a timer has fired. False when it was dropped meanwhile, or is another."""
    pending = run.pending.get(key) if run.live else None
    if pending is None or pending.kind != "timer" or pending.due != due or pending.attempt:
        return False
    pending.attempt = 1
    return True


def _due(run: Run) -> int | None:
    if not run.live:
        return None
    if run.status == "scheduled":
        return run.not_before
    dues = [p.due for p in run.pending.values() if p.due is not None]
    if run.until:
        dues.append(run.until)
    return min(dues, default=None)


def _pack(run: Run) -> bytes:
    first = min(
        ((p.due, key, p.kind) for key, p in run.pending.items() if p.due is not None), default=(0, "", "")
    )
    timer = first[1] if first[2] == "timer" and run.status == "running" else ""
    if run.until and run.until <= first[0]:
        timer = ""
    return codec.pack("PackedRun", {"timer": timer, "state": run_body(run)})


def _timer(data: bytes) -> tuple[str, str]:
    head, _ = _head(data, 0)
    return head["id"], head["timer"]


def _cell_name(where: CellKey) -> bytes:
    name, path, value = where
    return b"\0".join((name.encode(errors="surrogatepass"), path.encode(errors="surrogatepass"), value))


RUNS: Form[str, Run] = Form(
    name=lambda run_id: run_id.encode(errors="surrogatepass"),
    key=lambda run: run.id,
    pack=_pack,
    unpack=lambda data: run_of(codec.unpack("PackedRun", data)["state"]),
    due=_due,
    timer=_timer,
    fire=fire,
)
CELLS: Form[CellKey, Cell] = Form(
    name=_cell_name,
    key=lambda cell: cell.where,
    pack=lambda cell: codec.pack("CellState", cell_body(cell.where, cell)),
    unpack=lambda data: cell_of(codec.unpack("CellState", data)),
    due=lambda _cell: None,
    timer=lambda _data: ("", ""),
    fire=lambda _cell, _key, _due: False,
)


def runs_roster() -> Roster[str, Run]:
    return Roster(RUNS)


def cells_roster() -> Roster[CellKey, Cell]:
    return Roster(CELLS)
