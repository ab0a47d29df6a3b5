"""Where things live: which partition holds an entity, which functions an event's name starts."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perdure.core import ids


def partition_of(name: str, partitions: int) -> int:
    """The partition of a named entity: a hash over generation 1, which never moves (A16)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") % partitions


def run_partition(run_id: str, partitions: int) -> int:
    """The partition whose journal holds the run; `partitions` is the count of generation 1."""
    placed = ids.placement(run_id)
    return placed[1] if placed else partition_of(f"run:{run_id}", partitions)


def generation_of(partition: int, generations: Sequence[int]) -> int:
    """The generation that brought a partition, from 1. `generations`: how many there were after each (A16)."""
    return bisect_right(generations, partition) + 1


def new_run(home: int, generations: Sequence[int], *parts: str | int | bytes) -> str:
    """The id of a run of no name that something in a partition of generation 1 starts; the parts are unique in `home`.

    It lives there too, unless there are partitions of later generations: of all runs each of those has its share.
    """
    if len(generations) > 1:
        drawn = int(ids.fraction("spread", home, *parts) * generations[-1])
        if drawn >= generations[0]:  # runs of several homes meet there
            return ids.placed_run(generation_of(drawn, generations), drawn, home, *parts)
    return ids.placed_run(1, home, *parts)


def cell_partition(name: str, path: str, value: bytes, partitions: int) -> int:
    """The partition where waits and events of one name, path and value meet."""
    return partition_of(f"cell:{name}|{path}|{value.decode(errors='backslashreplace')}", partitions)


SCHEDULE = "schedule:"
"""Begins the name of a schedule where runs have theirs. No run's does: the id of a function has no colon."""


def schedule_partition(schedule: str, partitions: int) -> int:
    """The partition where a schedule lives, and the runs that it starts."""
    return partition_of(f"{SCHEDULE}{schedule}", partitions)


def command_partition(entity: str, partitions: int) -> int:
    """The partition whose journal takes commands to a run, or to a schedule."""
    return (
        partition_of(entity, partitions) if entity.startswith(SCHEDULE) else run_partition(entity, partitions)
    )


def scheduled(config: Mapping[str, Any], known: str) -> tuple[str, Mapping[str, Any]] | None:
    """The function of a schedule that code declares, and what it is; None when there is none."""
    for function in config["functions"]:
        for schedule in function.get("schedules", ()):
            if schedule["id"] == known:
                return function["id"], schedule
    return None


def gate_partition(limit: str, value: bytes, partitions: int) -> int:
    """The partition that counts what passes a limit by one value of its key."""
    return partition_of(f"limit:{limit}|{value.decode(errors='backslashreplace')}", partitions)


def event_partition(key: str, partitions: int) -> int:
    """The partition of the events topic for an event's key."""
    return partition_of(f"event:{key}", partitions)


def client_partition(client: str, partitions: int) -> int:
    """The partition of the replies topic that a client reads."""
    return partition_of(f"client:{client}", partitions)


def matches(pattern: str, name: str) -> bool:
    """Whether a trigger's pattern takes an event's name. `*` at the end stands for any rest."""
    if pattern.endswith("*"):
        prefix = pattern[:-1]
        return name.startswith(prefix) and len(name) > len(prefix)
    return pattern == name


FINISHED = "perdure/function.finished"
FAILED = "perdure/function.failed"
"""Also the event that starts a failure handler."""
CANCELLED = "perdure/function.cancelled"
INVOKED = "perdure/function.invoked"
"""Also the event of a run that was invoked or started with plain data."""
TICK = "perdure/scheduled.timer"
"""Also the event of a run that a schedule starts."""
OWN_EVENTS = (FINISHED, FAILED, CANCELLED, INVOKED, TICK)
"""The events that the engine sends, to those who hear them."""


def own_events_heard(functions: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Those of the engine's own events that start a function."""
    patterns = {
        pattern for function in functions for pattern in function["triggers"] if pattern[:8] == "perdure/"
    }
    return frozenset(name for name in OWN_EVENTS if any(matches(pattern, name) for pattern in patterns))


def paused_reason(config: Mapping[str, Any], function: str) -> str:
    """Why nothing is started of a function that a config has paused."""
    reason = config["paused"][function]
    return "the function is paused" + (f": {reason}" if reason else "")


def journal_target(partition: int) -> str:
    return f"j{partition}"


def events_target(partition: int) -> str:
    return f"e{partition}"
