"""What must hold of a partition's state between any two records: every live run is waiting for something, and so on.

`check` looks at one partition, `check_between` at what two partitions say of each other. Neither repairs anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from perdure.core import routing
from perdure.core.entities import Stage
from perdure.core.gates import HOLDING
from perdure.core.state import STILL, PartitionState, Pending, Run

__all__ = ["Violation", "check", "check_between"]


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that can never be, if the engine is right and the log is whole."""

    partition: int
    rule: str
    """Short and stable: what should hold."""
    subject: str
    """The run, cell or channel of which it does not."""
    detail: str


Found = Iterator[tuple[str, str]]
"""Subjects and details."""


def check(state: PartitionState) -> list[Violation]:
    """Everything that is wrong with one partition's state."""
    return [
        Violation(state.number, rule, subject, detail)
        for rule, find in _RULES.items()
        for subject, detail in find(state)
    ]


# --- runs -------------------------------------------------------------------------------------------------------------


def _going_on(state: PartitionState) -> Found:
    for run in state.live_runs():
        if run.status in STILL or run.pending or run.inbox or run.held is not None:
            continue
        if run.status == "queued" or (run.status == "scheduled" and run.not_before > 0):
            continue
        yield run.id, f"it is {run.status}, and no step, timer, wait, child, start or end of it is pending"


def _placed(state: PartitionState) -> Found:
    for run_id, run in state.runs.items():
        home = routing.run_partition(run_id, state.partitions)
        if home != state.number:
            yield run_id, f"its journal is partition {home}"
        if run.id != run_id:
            yield run_id, f"it is kept under the name of another, {run.id}"


def _counted(state: PartitionState) -> Found:
    for run in state.runs.values():
        if min(run.ops, run.size, run.prev, run.created) < 0:
            yield run.id, f"ops={run.ops}, size={run.size}, prev={run.prev}, created={run.created}"
        for key, pending in run.pending.items():
            if min(pending.attempt, pending.suspect, pending.alone) < 0:
                numbers = f"attempt={pending.attempt}, suspect={pending.suspect}, alone={pending.alone}"
                yield f"{run.id} {key}", numbers


def _timed(state: PartitionState) -> Found:
    for run in state.live_runs():
        for key, pending in run.pending.items():
            if pending.kind == "timer" and pending.due is None:
                yield f"{run.id} {key}", "it would never fire"


def _closed(state: PartitionState) -> Found:
    noted = {run_id for _, run_id, _ in state.ended}
    for run in state.runs.values():
        if run.live:
            continue
        if run.pending or run.inbox or run.history or run.held is not None or run.listeners or run.until:
            left = f"{len(run.pending)} pending, {len(run.inbox)} in the inbox, {len(run.history)} commits"
            yield run.id, f"it is {run.status} and still holds {left}"
        if run.id not in noted:
            yield run.id, f"it is {run.status}, and nothing will ever forget it"


# --- waits ------------------------------------------------------------------------------------------------------------


def _waits(run: Run) -> Iterator[tuple[str, Pending]]:
    return ((key, pending) for key, pending in run.pending.items() if pending.kind == "wait")


def _answered(run: Run, key: str) -> bool:
    """Whether what it waits for has arrived, and only the body's turn is missing."""
    return any(item.body.get("key") == key for item in run.inbox)


def _subscribed(state: PartitionState) -> Found:
    for run in state.live_runs():
        for key, pending in _waits(run):
            where = (pending.name, pending.path, pending.value)
            if run.reuse is not None and key in run.reuse:
                continue
            if routing.cell_partition(*where, state.partitions) != state.number or _answered(run, key):
                continue
            cell = state.cells.get(where)
            if cell is None or (run.id, key) not in cell.subscriptions:
                yield f"{run.id} {key}", f"it waits for {_shown(pending)}, and its cell here does not know it"


def _listened(state: PartitionState) -> Found:
    for run in state.live_runs():
        for key, listener in (run.listeners or {}).items():
            where = (listener.name, listener.path, listener.value)
            if listener.behind:
                continue
            if routing.cell_partition(*where, state.partitions) != state.number:
                continue
            cell = state.cells.get(where)
            if cell is None or (run.id, key) not in cell.subscriptions:
                yield f"{run.id} {key}", f"{listener.name} cancels it, and its cell here does not know it"


def _announced(state: PartitionState) -> Found:
    for run in state.live_runs():
        for key, pending in _waits(run):
            if pending.name and (pending.name, pending.path) not in state.announced:
                yield (
                    f"{run.id} {key}",
                    f"it waits for {_shown(pending)}, and no partition was asked to pair it",
                )
        for key, listener in (run.listeners or {}).items():
            if (listener.name, listener.path) not in state.announced:
                yield f"{run.id} {key}", f"no partition was asked to pair {listener.name}"


def _cells_placed(state: PartitionState) -> Found:
    for name, path, value in state.cells:
        home = routing.cell_partition(name, path, value, state.partitions)
        if home != state.number:
            yield f"cell {name}", f"the cell of {path or 'all'} = {value!r} belongs to partition {home}"


def _shown(pending: Pending) -> str:
    value = pending.value.decode(errors="replace") or "nothing (this run's event has none)"
    condition = f" with {pending.path} = {value}" if pending.path else ""
    return pending.name + condition


# --- channels and events ----------------------------------------------------------------------------------------------


def _contiguous(state: PartitionState) -> Found:
    for target, queue in state.outbox.items():
        last = state.outbound.get(target, 0)
        numbers = [seq for seq, _ in queue]
        if numbers and numbers != list(range(last - len(numbers) + 1, last + 1)):
            yield f"channel to {target}", f"it holds {numbers[0]} to {numbers[-1]} of {last}, with gaps"


def _channels_counted(state: PartitionState) -> Found:
    for name, known in (("to", state.outbound), ("from", state.inbound), ("of events from", state.origins)):
        for other, seq in known.items():
            if seq < 0:
                yield f"channel {name} {other}", f"it stands at {seq}"


def _owned(state: PartitionState) -> Found:
    if state.epoch < 0 or bool(state.epoch) != bool(state.owner):
        yield f"epoch {state.epoch}", f"its owner is {state.owner.hex() or 'nobody'}"


def _delayed(state: PartitionState) -> Found:
    for offset in state.delayed:
        if offset >= state.next:
            yield f"event at {offset}", f"it is kept for later, and was not read: {state.next} is next"


def _settled(state: PartitionState) -> Found:
    if state.local:
        yield "fold", f"{len(state.local)} messages to itself were not taken in the record that made them"


# --- flow control -----------------------------------------------------------------------------------------------------


def _gates_placed(state: PartitionState) -> Found:
    for limit, value in state.gates:
        home = routing.gate_partition(limit, value, state.partitions)
        if home != state.number:
            yield f"limit {limit}", f"its key {value!r} belongs to partition {home}"


def _gates_kept(state: PartitionState) -> Found:
    for (limit, value), gate in state.gates.items():
        room = 1 if gate.limit["kind"] == "singleton" else gate.limit["limit"]
        if gate.limit["kind"] in ("singleton", "concurrency") and gate.waiting and len(gate.held) < room:
            yield (
                f"limit {limit} {value!r}",
                f"{len(gate.waiting)} wait for {room - len(gate.held)} places that are free",
            )
        if gate.limit["kind"] in ("throttle", "debounce", "batch") and gate.waiting and gate.due is None:
            yield f"limit {limit} {value!r}", f"{len(gate.waiting)} wait, and no time is set"


def _places(state: PartitionState) -> Iterator[tuple[str, str, Stage, bool]]:
    """The places that the runs of a partition hold or want: run, step, stage, and whether it is held."""
    for run in state.live_runs():
        admission = run.admission
        if admission is None:
            continue
        for number, stage in enumerate(admission.stages[: admission.at + 1]):
            if number == admission.at or stage.limit["kind"] in HOLDING:
                yield run.id, "", stage, number < admission.at
        for key, pending in run.pending.items():
            if pending.kind == "step" and pending.slots >= 0:
                for number, stage in enumerate(admission.steps[: pending.slots + 1]):
                    yield run.id, key, stage, number < pending.slots


def _known_at_gates(states: Sequence[PartitionState]) -> Iterator[Violation]:
    """No place is lost, on either side."""
    wanted: dict[tuple[str, bytes], dict[tuple[str, str], bool]] = {}
    for state in states:
        for run_id, key, stage, held in _places(state):
            wanted.setdefault((stage.limit["id"], stage.value), {})[run_id, key] = held
    for state in states:
        for name, gate in state.gates.items():
            mine = wanted.get(name, {})
            for run_id, key in gate.held:
                home = states[routing.run_partition(run_id, state.partitions)]
                if (run_id, key) not in mine and (home is state or _calm(state, home)):
                    detail = f"limit {name[0]} {name[1]!r} has a place for it, which it does not hold"
                    yield Violation(
                        state.number, "a place is held by a run", f"{run_id} {key}".strip(), detail
                    )
    for (limit, value), places in wanted.items():
        owner = states[routing.gate_partition(limit, value, states[0].partitions)]
        gate = owner.gates.get((limit, value))
        for (run_id, key), held in places.items():
            home = states[routing.run_partition(run_id, owner.partitions)]
            if home is not owner and not _calm(home, owner):
                continue
            known = gate is not None and (
                (run_id, key) in gate.held if held else (run_id, key) in gate.waiting
            )
            if not known:
                what = "holds" if held else "waits for"
                detail = f"it {what} a place of limit {limit} {value!r}, which partition {owner.number} does not know"
                yield Violation(
                    home.number, "a place is known to its limit", f"{run_id} {key}".strip(), detail
                )


_RULES: dict[str, Callable[[PartitionState], Found]] = {
    "every live run waits for something": _going_on,
    "a run is where its id says": _placed,
    "counters are not negative": _counted,
    "a timer has a time": _timed,
    "an ended run holds nothing": _closed,
    "a wait is subscribed": _subscribed,
    "a run hears of what cancels it": _listened,
    "a match path in use is announced": _announced,
    "a cell is where its name says": _cells_placed,
    "a channel has no gaps": _contiguous,
    "a channel counts up": _channels_counted,
    "a claim has an owner": _owned,
    "a delayed event was read": _delayed,
    "a record is folded as a whole": _settled,
    "a limit is where its key says": _gates_placed,
    "who waits at a limit has to": _gates_kept,
}


# --- between partitions -----------------------------------------------------------------------------------------------


def check_between(states: Sequence[PartitionState]) -> list[Violation]:
    """What partitions say of each other: all of a log, in order. A pair with messages under way is not judged.

    The states need not be of one moment: whatever was read of one and not yet of the other is a message under way.
    """
    found: list[Violation] = []
    for state in states:
        for run in state.live_runs():
            for key, pending in run.pending.items():
                fault = _elsewhere(states, state, run, key, pending)
                if fault is not None:
                    found.append(Violation(state.number, *fault))
    found += _known_at_gates(states)
    return found


def _elsewhere(
    states: Sequence[PartitionState], state: PartitionState, run: Run, key: str, pending: Pending
) -> tuple[str, str, str] | None:
    if _answered(run, key) or (run.reuse is not None and key in run.reuse):
        return None
    if pending.kind == "wait":
        where = (pending.name, pending.path, pending.value)
        other = states[routing.cell_partition(*where, state.partitions)]
        if other is state or not _calm(state, other):
            return None  # one partition's own affairs are `check`'s
        cell = other.cells.get(where)
        if cell is not None and (run.id, key) in cell.subscriptions:
            return None
        detail = f"it waits for {_shown(pending)}, and the cell in partition {other.number} does not know it"
        return "a wait is subscribed", f"{run.id} {key}", detail
    if pending.kind == "child":
        other = states[routing.run_partition(pending.name, state.partitions)]
        child = other.runs.get(pending.name)
        if (other is not state and not _calm(state, other)) or (child is not None and child.live):
            return None
        what = "is not there" if child is None else f"is {child.status}"
        return "an awaited child is live", f"{run.id} {key}", f"its child {pending.name} {what}"
    return None


def _calm(one: PartitionState, other: PartitionState) -> bool:
    """Whether each has everything that the other sent it."""
    return all(
        a.outbound.get(routing.journal_target(b.number), 0) == b.inbound.get(a.origin, 0)
        for a, b in ((one, other), (other, one))
    )
