"""The state of one partition, as its log folds to it.

Plain data, changed by the fold alone. Everything that a successor needs is here; everything else that an owner holds
(coroutines, tasks, heaps, sockets) can be made again from it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from perdure.core import routing
from perdure.core.bodies import cells_roster, runs_roster
from perdure.core.effects import Effect
from perdure.core.entities import (
    ENDED,
    STILL,
    Cell,
    CellKey,
    History,
    Item,
    Listener,
    Pending,
    PendingKind,
    Request,
    Run,
    Scan,
    Status,
    Subscription,
)
from perdure.core.gates import Gate, GateKey
from perdure.core.limits import DEFAULT_LIMITS, Limits
from perdure.core.oldids import OldIds
from perdure.core.roster import Roster
from perdure.core.trials import Trials

__all__ = [
    "ENDED",
    "STILL",
    "Cell",
    "CellKey",
    "Cut",
    "History",
    "Item",
    "Listener",
    "PartitionState",
    "Pending",
    "PendingKind",
    "Request",
    "Run",
    "Scan",
    "Status",
    "Subscription",
]


_NOTHING: Mapping[str, Any] = {}


@dataclass(slots=True)
class Schedule:
    """What starts a function by the clock, and lives in this partition."""

    last: int
    """Up to then all of its ticks are decided on (µs)."""
    run: str = ""
    """The newest run that it started."""
    waiting: list[int] = field(default_factory=list[int])
    """Ticks (µs) that start when that has ended."""
    paused: bool = False
    put: dict[str, Any] | None = None
    """What it is (`perdure.SchedulePut`), if it was made at run time."""
    reason: str = ""
    """Why it is paused, as somebody said."""


class Cut(Protocol):
    """A snapshot being taken of a state that goes on changing (A10)."""

    def save_run(self, run: Run, /) -> None: ...

    def save_cell(self, where: CellKey, cell: Cell, /) -> None: ...


class Noting(Protocol):
    """Told of what may only wait from now on."""

    def run(self, run: Run, /) -> None: ...

    def cell(self, where: CellKey, /) -> None: ...


@dataclass(slots=True)
class PartitionState:
    """Everything that the journal of one partition says."""

    number: int
    partitions: int
    """Partitions of generation 1: named entities hash over these."""
    generation: int = 1
    limits: Limits = DEFAULT_LIMITS
    level: int = 1
    epoch: int = 0
    owner: bytes = b""
    clean: bool = True
    """The last owner left in good order."""
    unclean: bool = False
    """The present owner took over from one that did not."""
    alone: str = ""
    """The suspect that was started with no other beside it, by its idempotency key (A8)."""
    trials: Trials = field(default_factory=Trials)
    """The runs whose bodies may have killed owners (A8)."""
    time: int = 0
    """Partition time: the largest accepted append time (µs)."""
    config: dict[str, Any] = field(
        default_factory=lambda: {
            "version": 0,
            "functions": [],
            "limits": {},
            "paused": {},
            "encrypts": False,
        }
    )
    next: int = 0
    """The first entry of the events partition that is not routed yet."""
    inbound: dict[str, int] = field(default_factory=dict[str, int])
    outbound: dict[str, int] = field(default_factory=dict[str, int])
    outbox: dict[str, deque[tuple[int, bytes]]] = field(default_factory=dict[str, deque[tuple[int, bytes]]])
    origins: dict[str, int] = field(default_factory=dict[str, int])
    runs: Roster[str, Run] = field(default_factory=runs_roster)
    cells: Roster[CellKey, Cell] = field(default_factory=cells_roster)
    delayed: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    # The first of a dict is found behind all that were taken off before it, and it is looked for at each record.
    event_ids: OrderedDict[str, int] = field(default_factory=OrderedDict[str, int])
    """Ids given by users, and when each was routed; the oldest first."""
    made_ids: OrderedDict[str, int] = field(default_factory=OrderedDict[str, int])
    """The same for ids that clients made up; these are kept for minutes only."""
    event_digests: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """What the events of `event_ids` say, as digests; of some it is not known."""
    ended: deque[tuple[int, str, int]] = field(default_factory=deque[tuple[int, str, int]])
    """When, which run, and about how many bytes it takes in memory."""
    ended_bytes: int = 0
    """What the ended runs take in memory, about."""
    ended_ids: OldIds = field(default_factory=OldIds)
    """Ids given by users whose runs have ended and are forgotten, and when they ended."""
    old_event_ids: OldIds = field(default_factory=OldIds)
    """Of `event_ids`, those that became too many."""
    old_made_ids: OldIds = field(default_factory=OldIds)
    """The same of `made_ids`."""
    kept: deque[tuple[int, CellKey]] = field(default_factory=deque[tuple[int, CellKey]])
    """When events arrived at cells that keep them, and where; the oldest first."""
    kept_bytes: int = 0
    """What the events that cells keep take in memory, about."""
    forgotten: int = 0
    """Events before this time (µs) may have been dropped by a cell, and by cells that are gone, before their age asked
    for it."""
    armed: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    announced: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    schedules: dict[str, Schedule] = field(default_factory=dict[str, Schedule])
    gates: dict[GateKey, Gate] = field(default_factory=dict[GateKey, Gate])
    passed_ids: OldIds = field(default_factory=OldIds)
    """Idempotency keys, and when a run of each was let in."""
    scans: dict[int, Scan] = field(default_factory=dict[int, Scan])
    scan_next: int = 0
    sets: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Accepted `Snapshotted` records, the newest last."""
    voids: dict[str, int] = field(default_factory=dict[str, int])
    """What did not count, by reason."""

    own_limits: bool = False
    """Not state: whether `limits` are this reader's own, whatever the log says; it may want to keep more."""
    effects: list[Effect] = field(default_factory=list[Effect])
    """Not state: what the last folds ask the leader to do. The reader takes and clears it."""
    cut: Cut | None = None
    """Not state: a snapshot being taken; it saves what it has not yet encoded before that changes."""
    dormant: Noting | None = None
    """Not state: who is told of what may be packed."""
    hearing: tuple[object, frozenset[str]] = (None, frozenset())
    """Not state: a config, and which of the engine's own events its functions hear."""
    ending: tuple[object, dict[str, dict[str, Any]]] = (None, {})
    """Not state: a config, and those of its functions whose runs events or the clock may cancel."""
    gates_expiring: list[tuple[int, GateKey]] = field(default_factory=list[tuple[int, GateKey]])
    """Not state: a heap of when gates will be forgotten; some of it is out of date."""
    gates_idle: set[GateKey] = field(default_factory=set[GateKey])
    """Not state: gates where nobody waits and nobody is, which only count what was."""
    limiting: tuple[object, Mapping[str, Any]] = (None, _NOTHING)
    """Not state: a config, and the limits of its functions."""
    local: deque[tuple[str, dict[str, Any]]] = field(default_factory=deque[tuple[str, dict[str, Any]]])
    """Not state: messages of the record being folded to this very partition; empty between records."""

    @property
    def origin(self) -> str:
        """This partition's name as a sender of messages."""
        return f"{self.generation}p{self.number}"

    @property
    def heard(self) -> frozenset[str]:
        """Which of the engine's own events a function hears under the config in force."""
        if self.hearing[0] is not self.config:
            self.hearing = self.config, routing.own_events_heard(self.config["functions"])
        return self.hearing[1]

    @property
    def ends(self) -> dict[str, dict[str, Any]]:
        """The functions of the config in force whose runs are cancelled by events or by the clock, by their ids."""
        if self.ending[0] is not self.config:
            self.ending = (
                self.config,
                {
                    function["id"]: function
                    for function in self.config["functions"]
                    if function.get("cancels")
                    or function.get("start_within")
                    or function.get("finish_within")
                },
            )
        return self.ending[1]

    @property
    def limited(self) -> Mapping[str, Any]:
        """The functions under flow control under the config in force, and the limits of each (`perdure.Limit`)."""
        if self.limiting[0] is not self.config:
            functions = self.config["functions"]
            self.limiting = self.config, {f["id"]: f["flow"] for f in functions if f.get("flow")}
        return self.limiting[1]

    def run(self, run_id: str) -> Run | None:
        """A run that is about to be changed."""
        found = self.runs.plain.get(run_id)
        if found is None:
            found = self.runs.get(run_id)
        if found is not None and self.cut is not None:
            self.cut.save_run(found)
        return found

    def forget_run(self, run_id: str) -> bool:
        """Drops a run that has ended; False when it is not here."""
        found = self.runs.plain.get(run_id)
        if found is not None and self.cut is not None:
            self.cut.save_run(found)
        return self.runs.forget(run_id)

    def cell(self, where: CellKey, *, make: bool = False) -> Cell | None:
        """A cell that is about to be changed."""
        found = self.cells.get(where)
        if found is None:
            if make:
                found = self.cells[where] = Cell(where=where)
        elif self.cut is not None:
            self.cut.save_cell(where, found)
        return found

    def live_runs(self) -> Iterator[Run]:
        """To be looked at: those that are packed are copies."""
        return (run for run in self.runs.values() if run.live)
