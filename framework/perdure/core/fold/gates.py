"""What a limit does with those who ask to pass: one small set of functions for each kind, in one table.

All of it is decided by the fold of the partition that owns the key, in the order of its log, so that a limit is exact
however many workers there are. Its clock is partition time, or its owner's when a timer says that something is due.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Any

from perdure.core import effects, ids
from perdure.core.facts import Fact
from perdure.core.fold import channels
from perdure.core.gates import HOLDING, Gate, Waiter
from perdure.core.ops import EventData
from perdure.core.state import PartitionState

Body = dict[str, Any]
SPARE = 1_000
JOINING = frozenset({"debounce", "batch"})
"""What makes one run of the events of several."""
TIME_MAX = 2**63 - 1


def asked(state: PartitionState, fact: Fact, _name: str, body: Body) -> None:
    """A run or a step wants to pass."""
    now = max(state.time, fact.ts)
    limit = body["limit"]
    if limit["kind"] == "idempotency":
        _idempotency(state, body, now)
        return
    rule = _RULES.get(limit["kind"])
    if rule is None:
        _answer(state, body, limit["id"])
        return
    key = limit["id"], body["value"]
    gate = state.gates.get(key)
    if gate is None:
        newer = _in_force(state).get(limit["id"]) if state.config["version"] > body["config"] else None
        gate = state.gates[key] = Gate(newer or limit, body["value"], max(body["config"], 0))
    elif body["config"] > gate.config:
        gate.limit, gate.config = limit, body["config"]
    gate.order += 1
    waiter = Waiter(
        body["run"], body["key"], body["number"], body["rank"], gate.order, body["time"], body["event"]
    )
    rule(state, gate, waiter, now)
    _settled(state, gate)


def left(state: PartitionState, fact: Fact, _name: str, body: Body) -> None:
    """A run or a step gives its place back, or does not want one any more."""
    gate = state.gates.get((body["limit"], body["value"]))
    if gate is None:
        return
    place = body["run"], body["key"]
    gate.waiting.pop(place, None)
    if place in gate.held:
        del gate.held[place]
        gate.cancelling = False
    _go_on(state, gate, max(state.time, fact.ts))
    _settled(state, gate)


def due(state: PartitionState, fact: Fact) -> str | None:
    """Folds a `GatesDue` record of the partition's owner."""
    now = max(state.time, fact.ts, min(fact.body["time"], TIME_MAX))
    for item in fact.body["gates"]:
        gate = state.gates.get((item["limit"], item["value"]))
        if gate is None or gate.due != item["due"] or item["due"] > now:
            continue
        gate.due = None
        if gate.limit["kind"] == "debounce":
            _debounced(state, gate)
        elif gate.limit["kind"] == "batch":
            _flush(state, gate)
        else:
            _go_on(state, gate, now)
        _settled(state, gate)
    return None


def configured(state: PartitionState, now: int) -> None:
    """Another config is in force: limits may be others now."""
    if not state.gates:
        return
    known, version = _in_force(state), state.config["version"]
    for gate in list(state.gates.values()):
        if version <= gate.config:
            continue
        gate.limit, gate.config = known.get(gate.limit["id"]) or _none_of(gate.limit), version
        if gate.waiting and gate.limit["kind"] in JOINING and gate.limit["id"] not in known:
            (_debounced if gate.limit["kind"] == "debounce" else _flush)(state, gate)
        _go_on(state, gate, now)
        _settled(state, gate)


def _none_of(limit: Body) -> Body:
    """A limit that is not in the code any more holds nobody up."""
    return limit | {"limit": TIME_MAX, "burst": 0, "period": 0} if limit["kind"] != "singleton" else limit


def _in_force(state: PartitionState) -> Mapping[str, Body]:
    return {limit["id"]: limit for limits in state.limited.values() for limit in limits}


def forget(state: PartitionState) -> None:
    """Drops gates of which nothing has to be known any more, and of those that only count, the oldest when there are
    too many."""
    heap, idle = state.gates_expiring, state.gates_idle
    while heap and (heap[0][0] <= state.time or len(idle) > state.limits.gates_max):
        expires, key = heapq.heappop(heap)
        if key in idle and state.gates[key].expires == expires:
            del state.gates[key]
            idle.discard(key)


def _settled(state: PartitionState, gate: Gate) -> None:
    """What is left of a gate after something has happened there."""
    if gate.waiting or gate.held:
        state.gates_idle.discard(gate.name)
        return
    gate.due = None
    if gate.expires <= state.time:
        state.gates.pop(gate.name, None)
        state.gates_idle.discard(gate.name)
        return
    state.gates_idle.add(gate.name)
    heap = state.gates_expiring
    heapq.heappush(heap, (gate.expires, gate.name))
    if len(heap) > 2 * len(state.gates) + SPARE:
        heap[:] = [(state.gates[key].expires, key) for key in state.gates_idle]
        heapq.heapify(heap)


def _arm(state: PartitionState, gate: Gate, due: int) -> None:
    if gate.due != due:
        gate.due = due
        state.effects.append(effects.GateDue(*gate.name, due))


def _after(time: int, us: int) -> int:
    return min(time + us, TIME_MAX)


# --- answers ----------------------------------------------------------------------------------------------------------


def _answer(
    state: PartitionState,
    to: Mapping[str, Any],
    limit: str,
    reason: str | None = None,
    events: list[EventData] | None = None,
) -> None:
    body: Body = {"run": to["run"], "key": to["key"], "number": to["number"], "limit": limit}
    body |= {"reason": reason, "events": events or []}
    channels.to_run(state, to["run"], "perdure.GateAnswer", body)


def _tell(
    state: PartitionState,
    gate: Gate,
    waiter: Waiter,
    reason: str | None = None,
    events: list[EventData] | None = None,
) -> None:
    place = {"run": waiter.run, "key": waiter.key, "number": waiter.number}
    _answer(state, place, gate.limit["id"], reason, events)


# --- idempotency and rate limit ---------------------------------------------------------------------------------------


def _idempotency(state: PartitionState, body: Body, now: int) -> None:
    """The first start of a key passes, whatever becomes of it; others do not for as long as it is remembered."""
    limit = body["limit"]
    name = f"{limit['id']}\0{body['value'].decode(errors='backslashreplace')}"
    then = state.passed_ids.time_of(name)
    if then is not None and now - then < limit["period"]:
        _answer(state, body, limit["id"], f"a run of the same {_shown(limit)} has started before")
        return
    state.passed_ids.add(name, now, state.limits.idempotency_keys_max)
    _answer(state, body, limit["id"])


def _rate(state: PartitionState, gate: Gate, waiter: Waiter, now: int) -> None:
    """At most so many starts in any period. What does not pass does not count."""
    limit, times = gate.limit, gate.times
    now = max(now, times[-1]) if times else now
    while times and times[0] <= now - limit["period"]:
        times.popleft()
    if len(times) >= limit["limit"]:
        before = "a run has" if limit["limit"] == 1 else f"{limit['limit']} runs have"
        reason = f"{before} started within {_duration(limit['period'])} (rate_limit"
        _tell(state, gate, waiter, reason + (f", {_shown(limit)})" if limit["key"] else ")"))
        return
    times.append(now)
    gate.expires = _after(now, limit["period"])
    _tell(state, gate, waiter)


# --- debounce and batch -----------------------------------------------------------------------------------------------


def _debounce(state: PartitionState, gate: Gate, waiter: Waiter, now: int) -> None:
    limit = gate.limit
    if not gate.waiting:
        gate.since = now
    elif limit["mode"] == "all":
        if _size(gate) + _size_of(waiter) > limit["bytes"]:
            _debounced(state, gate)  # what fits a record of them
            gate.since = now
    else:
        latest = max(gate.waiting.values(), key=_happened)
        if waiter.time < latest.time:
            _tell(
                state, gate, waiter, f"an event that happened later had come, for run {latest.run} (debounce)"
            )
            return
        gate.leave(latest)
        _tell(state, gate, latest, f"a later event took its place, for run {waiter.run} (debounce)")
    gate.wait(waiter)
    until = _after(now, limit["period"])
    _arm(
        state, gate, min(until, max(_after(gate.since, limit["timeout"]), now)) if limit["timeout"] else until
    )


def _happened(waiter: Waiter) -> tuple[int, int]:
    return waiter.time, waiter.order


def _debounced(state: PartitionState, gate: Gate) -> None:
    """It was quiet for long enough: the latest event wins."""
    waiters = sorted(gate.waiting.values(), key=_happened)
    _join(state, gate, waiters, waiters[-1], "debounce")


def _join(state: PartitionState, gate: Gate, waiters: list[Waiter], chosen: Waiter, what: str) -> None:
    """One run for the events of several."""
    gate.waiting.clear()
    gate.queue.clear()
    gate.due = None
    events = [waiter.event for waiter in waiters if waiter.event is not None]
    _tell(state, gate, chosen, None, events if len(events) > 1 else None)
    for waiter in waiters:
        if waiter is not chosen:
            _tell(state, gate, waiter, f"its event is one of those of run {chosen.run} ({what})")


def _batch(state: PartitionState, gate: Gate, waiter: Waiter, now: int) -> None:
    limit = gate.limit
    if gate.waiting and _size(gate) + _size_of(waiter) > limit["bytes"]:
        _flush(state, gate)
    if not gate.waiting:
        gate.since = now
        _arm(state, gate, _after(now, limit["period"]))
    gate.wait(waiter)
    if len(gate.waiting) >= limit["limit"] or _size(gate) >= limit["bytes"]:
        _flush(state, gate)


def _flush(state: PartitionState, gate: Gate) -> None:
    waiters = list(gate.waiting.values())
    _join(state, gate, waiters, waiters[0], "batch")


EVENT_BYTES = 64
"""About what an event takes in a record beside its strings."""


def _size_of(waiter: Waiter) -> int:
    event = waiter.event
    if event is None:
        return 0
    return EVENT_BYTES + len(event["name"]) + len(event["id"]) + len(event["key"]) + len(event["data"])


def _size(gate: Gate) -> int:
    return sum(map(_size_of, gate.waiting.values()))


# --- singleton, throttle, concurrency ---------------------------------------------------------------------------------


def _singleton(state: PartitionState, gate: Gate, waiter: Waiter, now: int) -> None:
    holder = next(iter(gate.held), None)
    if holder is None:
        gate.wait(waiter)
        _go_on(state, gate, now)
        return
    if gate.limit["mode"] == "skip":
        _tell(state, gate, waiter, f"run {holder[0]} is live (singleton)")
        return
    for other in list(gate.waiting.values()):
        gate.leave(other)
        _tell(state, gate, other, f"a later start took its place, run {waiter.run} (singleton)")
    gate.wait(waiter)
    if not gate.cancelling:
        gate.cancelling = True
        command = ids.digest("singleton", holder[0])
        cancel: Body = {"run": holder[0], "command": command, "force": False}
        reason = f"run {waiter.run} takes its place (singleton)"
        channels.to_run(state, holder[0], "perdure.CancelRun", cancel | {"reason": reason})


def _queued(state: PartitionState, gate: Gate, waiter: Waiter, now: int) -> None:
    gate.wait(waiter)
    _go_on(state, gate, now)


def _go_on(state: PartitionState, gate: Gate, now: int) -> None:
    """Lets in whom there is room for now."""
    kind = gate.limit["kind"]
    if kind == "throttle":
        _pace(state, gate, now)
    elif kind in HOLDING:
        room = gate.limit["limit"] if kind == "concurrency" else 1
        while len(gate.held) < room and (waiter := gate.first()) is not None:
            gate.leave(waiter)
            gate.held[waiter.run, waiter.key] = None
            _tell(state, gate, waiter)


def _pace(state: PartitionState, gate: Gate, now: int) -> None:
    """GCRA: after a quiet time `limit` + `burst` starts pass at once, then one in each `period` / `limit`."""
    limit = gate.limit
    interval = -(-limit["period"] // max(limit["limit"], 1))
    tolerance = (limit["limit"] + limit["burst"] - 1) * interval
    while (waiter := gate.first()) is not None:
        if interval and gate.tat - tolerance > now:
            _arm(state, gate, gate.tat - tolerance)
            return
        gate.leave(waiter)
        gate.tat = _after(max(now, gate.tat), interval)
        gate.expires = gate.tat
        _tell(state, gate, waiter)
    gate.due = None


_RULES: dict[str, Callable[[PartitionState, Gate, Waiter, int], None]] = {
    "rate": _rate,
    "debounce": _debounce,
    "batch": _batch,
    "singleton": _singleton,
    "throttle": _queued,
    "concurrency": _queued,
}


# --- for people -------------------------------------------------------------------------------------------------------


def _shown(limit: Body) -> str:
    return f"key {limit['key']}" if limit["key"] else limit["kind"]


def _duration(us: int) -> str:
    for unit, name in ((86_400_000_000, "d"), (3_600_000_000, "h")):
        if us % unit == 0:
            return f"{us // unit} {name}"
    return f"{us / 1_000_000:g} s"
