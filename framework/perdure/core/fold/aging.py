"""What the fold forgets, by partition time and by its bounds: ended runs, event ids, kept events (B8)."""

from __future__ import annotations

from typing import Any

from perdure.core import failures
from perdure.core.fold import gates
from perdure.core.ids import GENERATED, placement
from perdure.core.state import PartitionState, Run

TIME_MAX = 2**63 - 1
KEPT_BYTES = 2_000
"""About what a kept event, its cell and its places in them take in memory beside its data."""
RUN_BYTES = 1_000
MADE_PART = 10
"""Ids that clients made up are remembered for minutes, so a tenth of the room for others does."""


def remember(state: PartitionState, event_id: str, time: int, digest: bytes = b"") -> None:
    """Notes that an event of this id was routed, and what it said."""
    (state.made_ids if event_id.startswith(GENERATED) else state.event_ids)[event_id] = time
    if digest:
        state.event_digests[event_id] = digest
    elif state.event_digests:
        state.event_digests.pop(event_id, None)


def is_known(state: PartitionState, event_id: str, time: int) -> bool:
    """Whether an event of this id was routed lately enough to make one at this time (µs) a duplicate."""
    if event_id.startswith(GENERATED):
        then, keep = state.made_ids.get(event_id), state.limits.generated_id_time_max
        if then is None:
            then = state.old_made_ids.time_of(event_id)
    else:
        then, keep = state.event_ids.get(event_id), state.limits.event_id_time_max
        if then is None:
            then = state.old_event_ids.time_of(event_id)
    return then is not None and time - then < keep


def has_ended(state: PartitionState, run_id: str) -> bool:
    """Whether a run of this id is known to have ended, although it is forgotten itself."""
    if placement(run_id) is not None:  # nobody chose that id, so nobody can start it again
        return False
    ended = state.ended_ids.time_of(run_id)
    return ended is not None and state.time - ended < state.limits.ended_id_time_max


def forget(state: PartitionState) -> None:
    """Drops what is too old or too many. Costs next to nothing when nothing is due."""
    if state.ended:
        _ended_runs(state)
    if state.kept:
        _kept_events(state)
    if state.event_ids:
        _event_ids(state)
    if state.made_ids:
        _made_ids(state)
    if state.gates_expiring:
        gates.forget(state)


def run_bytes(run: Run) -> int:
    """About how much memory an ended run takes. It stays the same from its end on."""
    error = run.error
    size = RUN_BYTES + len(run.event["data"]) + len(run.result or b"") + sum(map(len, run.values.values()))
    return size + (failures.size_of(error) if error is not None else 0)


def _ended_runs(state: PartitionState) -> None:
    limits, ended = state.limits, state.ended
    before = state.time - limits.ended_run_time_max
    while ended and (
        ended[0][0] < before
        or len(ended) > limits.ended_runs_max
        # What ended just now is still to be told to those who wait for it.
        or (state.ended_bytes > limits.ended_bytes_max and ended[0][0] < state.time)
    ):
        time, run_id, size = ended.popleft()
        if not state.forget_run(run_id):
            continue
        state.ended_bytes -= size
        if placement(run_id) is None:
            state.ended_ids.add(run_id, time, limits.ended_ids_max)


def kept_bytes(correlate: dict[str, Any]) -> int:
    """About how much memory a kept event takes."""
    event = correlate["event"]
    return KEPT_BYTES + len(event["data"]) + len(event["key"]) + len(event["id"]) + len(correlate["value"])


def drop_oldest(state: PartitionState, kept: Any) -> dict[str, Any]:
    """Takes the oldest event out of what a cell keeps."""
    gone: dict[str, Any] = kept.popleft()[1]
    state.kept_bytes -= kept_bytes(gone)
    return gone


def _kept_events(state: PartitionState) -> None:
    limits = state.limits
    before = state.time - limits.kept_event_time_max
    while state.kept and state.kept[0][0] < before:
        _let_go(state)
    while state.kept and state.kept_bytes > limits.kept_bytes_max:
        state.forgotten = max(state.forgotten, _let_go(state))


def _let_go(state: PartitionState) -> int:
    """Drops all that arrived when the oldest did: within one time, `state.kept` has no order that a snapshot keeps.
    Returns a time that is after all of these events."""
    arrived, after = state.kept[0][0], 0
    while state.kept and state.kept[0][0] == arrived:
        where = state.kept.popleft()[1]
        cell = state.cell(where)
        if cell is None:
            continue
        while cell.kept and cell.kept[0][0] <= arrived:
            after = max(after, min(drop_oldest(state, cell.kept)["time"] + 1, TIME_MAX))
        if cell.kept:
            continue
        if not cell.subscriptions:
            del state.cells[where]
        elif state.dormant is not None:
            state.dormant.cell(where)
    return after


def _event_ids(state: PartitionState) -> None:
    known, limits = state.event_ids, state.limits
    before = state.time - limits.event_id_time_max
    while known:
        oldest = next(iter(known))
        time = known[oldest]
        if time > before:
            if len(known) <= limits.event_ids_max:
                return
            state.old_event_ids.add(oldest, time, limits.old_event_ids_max)
        del known[oldest]
        state.event_digests.pop(oldest, None)


def _made_ids(state: PartitionState) -> None:
    known, limits = state.made_ids, state.limits
    before = state.time - limits.generated_id_time_max
    while known:
        oldest = next(iter(known))
        time = known[oldest]
        if time > before:
            if len(known) <= limits.event_ids_max:
                return
            state.old_made_ids.add(oldest, time, limits.old_event_ids_max // MADE_PART)
        del known[oldest]
