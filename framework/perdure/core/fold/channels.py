"""From partition to partition: the outbox, and the places where messages go.

A message to another partition gets the next number of its channel and stays in the outbox until an accepted `Ack` says
that it is appended. A message to this very partition is taken in the same fold.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from perdure.core import codec, effects, routing
from perdure.core.ops import EventData
from perdure.core.state import PartitionState

Body = dict[str, Any]


def to_run(state: PartitionState, run_id: str, name: str, body: Body) -> None:
    to_partition(state, routing.run_partition(run_id, state.partitions), name, body)


def to_cell_of(state: PartitionState, name: str, body: Body) -> None:
    to_partition(
        state, routing.cell_partition(body["name"], body["path"], body["value"], state.partitions), name, body
    )


def to_gate(state: PartitionState, name: str, limit: str, value: bytes, body: Body) -> None:
    to_partition(state, routing.gate_partition(limit, value, state.partitions), name, body)


def to_partition(state: PartitionState, partition: int, name: str, body: Body) -> None:
    """Sends a message, here or there."""
    if partition == state.number:
        state.local.append((name, body))
        return
    target = routing.journal_target(partition)
    seq = state.outbound.get(target, 0) + 1
    _queue(
        state,
        target,
        seq,
        codec.encode("Message", {"origin": state.origin, "seq": seq, "body": (name, body)}),
    )


def to_events(state: PartitionState, event: EventData) -> None:
    """Sends an event of the engine's or a run's own into the events topic."""
    target = routing.events_target(routing.event_partition(event["key"], state.partitions))
    _queue(state, target, state.outbound.get(target, 0) + 1, codec.encode("Event", event))


def _queue(state: PartitionState, target: str, seq: int, value: bytes) -> None:
    state.outbound[target] = seq
    queue = state.outbox.get(target)
    if queue is None:
        queue = state.outbox[target] = deque()
    queue.append((seq, value))
    state.effects.append(effects.Send(target))


def announce(state: PartitionState, name: str, path: str, since: int) -> None:
    """At the first use of a match path here, or the first that wants what is older, asks every partition to correlate
    by it from `since` on (A2).

    Channels keep their order, so whatever is asked later on the same path reaches a partition that is armed.
    """
    known = state.announced.get((name, path))
    if known is not None and known <= since:
        return
    state.announced[name, path] = since
    for partition in range(state.partitions):
        to_partition(state, partition, "perdure.Arm", {"name": name, "path": path, "since": since})
