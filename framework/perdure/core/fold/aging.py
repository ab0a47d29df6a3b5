"""What the fold forgets, by partition time and by its bounds: ended runs, event ids, kept events (B8)."""

from __future__ import annotations

from perdure.core.ids import GENERATED
from perdure.core.state import PartitionState


def remember(state: PartitionState, event_id: str, time: int) -> None:
    """Notes that an event of this id was routed."""
    (state.made_ids if event_id.startswith(GENERATED) else state.event_ids)[event_id] = time


def is_known(state: PartitionState, event_id: str, time: int) -> bool:
    """Whether an event of this id was routed lately enough to make one at this time (µs) a duplicate."""
    made = event_id.startswith(GENERATED)
    then = (state.made_ids if made else state.event_ids).get(event_id)
    keep = state.limits.generated_id_time_max if made else state.limits.event_id_time_max
    return then is not None and time - then < keep


def forget(state: PartitionState) -> None:
    """Drops what is too old or too many. Costs next to nothing when nothing is due."""
    if state.ended:
        _ended_runs(state)
    if state.kept:
        _kept_events(state)
    if state.event_ids:
        _event_ids(state.event_ids, state.time - state.limits.event_id_time_max, state.limits.event_ids_max)
    if state.made_ids:
        _event_ids(
            state.made_ids, state.time - state.limits.generated_id_time_max, state.limits.event_ids_max
        )


def _ended_runs(state: PartitionState) -> None:
    limits, ended = state.limits, state.ended
    before = state.time - limits.ended_run_time_max
    while ended and (ended[0][0] < before or len(ended) > limits.ended_runs_max):
        run_id = ended.popleft()[1]
        if state.run(run_id) is not None:
            del state.runs[run_id]


def _kept_events(state: PartitionState) -> None:
    before = state.time - state.limits.kept_event_time_max
    while state.kept and state.kept[0][0] < before:
        where = state.kept.popleft()[1]
        cell = state.cell(where)
        if cell is None:
            continue
        while cell.kept and cell.kept[0][0] < before:
            cell.kept.popleft()
        if not cell.kept and not cell.subscriptions:
            del state.cells[where]


def _event_ids(known: dict[str, int], before: int, known_max: int) -> None:
    while known:
        oldest = next(iter(known))
        if known[oldest] > before and len(known) <= known_max:
            return
        del known[oldest]
