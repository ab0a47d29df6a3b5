"""What the log knows of bodies that may have killed their worker: who was being woken when it died (A8).

An owner whose predecessors died in a row wakes what they had to do in groups, and names each group in the journal
before. So the next death tells something: of the runs in the group, and of no other.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

CAREFUL_FROM = 2
"""Deaths in a row after which an owner names what it wakes. Before, it costs nothing."""
GROUPS = (64, 8, 1)
"""How many runs share a group, by how often their group was woken when an owner died. A group takes a few ms: with
single ones only, workers that others kill every second would not come to the end of some hundred runs."""


class Deaths(NamedTuple):
    """At which deaths of owners a run was being woken."""

    all: int = 0
    alone: int = 0
    """Those at which it was the only one."""


NONE = Deaths()


@dataclass(slots=True)
class Trials:
    """A part of a partition's state. Empty as long as no owner has died."""

    unclean: int = 0
    """Owners that died in a row, and none of which has woken all that there was to do and lived on."""
    woken: tuple[str, ...] = ()
    """The runs that are being woken."""
    deaths: dict[str, Deaths] = field(default_factory=dict[str, Deaths])
    """Of the runs that were, when an owner died. Who is woken and does not kill is let off."""

    @property
    def careful(self) -> bool:
        """Whether an owner names what it wakes."""
        return self.unclean >= CAREFUL_FROM

    def died(self) -> None:
        """An owner has gone without a word."""
        self.unclean += 1
        alone = len(self.woken) == 1
        for run_id in self.woken:
            before = self.deaths.get(run_id, NONE)
            self.deaths[run_id] = Deaths(before.all + 1, before.alone + alone)
        self.woken = ()

    def wake(self, run_ids: Collection[str]) -> None:
        """These are about to be woken; those before them have come to rest. None: they were the last."""
        for run_id in self.woken:
            self.deaths.pop(run_id, None)
        self.woken = tuple(run_ids)
        if not run_ids:
            self.unclean = 0
            self.deaths.clear()

    def groups(self, run_ids: Collection[str]) -> list[list[str]]:
        """How to wake these: the most suspicious first, so that they cannot hide behind others."""
        by_size: dict[int, list[str]] = {size: [] for size in reversed(GROUPS)}
        for run_id in sorted(run_ids, key=lambda run_id: self.deaths.get(run_id, NONE), reverse=True):
            by_size[GROUPS[min(self.deaths.get(run_id, NONE).all, len(GROUPS) - 1)]].append(run_id)
        return [
            found[start : start + size]
            for size, found in by_size.items()
            for start in range(0, len(found), size)
        ]

    def pack(self) -> bytes:
        """For a snapshot; empty when there is nothing to say."""
        if self == Trials():
            return b""
        return json.dumps([self.unclean, list(self.woken), self.deaths]).encode()

    def take(self, packed: bytes) -> None:
        """What `pack` gave. Raises ValueError, TypeError or AttributeError when it is something else."""
        self.unclean, woken, deaths = json.loads(packed)
        self.woken = tuple(woken)
        self.deaths = {run_id: Deaths(*counts) for run_id, counts in deaths.items()}
