"""The state of one partition, as its log folds to it.

Plain data, changed by the fold alone. Everything that a successor needs is here; everything else that an owner holds
(coroutines, tasks, heaps, sockets) can be made again from it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

from perdure.core import routing
from perdure.core.effects import Effect
from perdure.core.limits import DEFAULT_LIMITS, Limits
from perdure.core.oldids import OldIds
from perdure.core.ops import EventData, Failure, Op
from perdure.core.trials import Trials

PendingKind = Literal["step", "timer", "wait", "signal", "child"]
Status = Literal["queued", "scheduled", "running", "paused", "parked", "completed", "failed", "cancelled"]
ENDED: frozenset[str] = frozenset({"completed", "failed", "cancelled"})
STILL: frozenset[str] = frozenset({"paused", "parked"})

# The factories of a run's fields. As `dict[str, int]` they would try, in vain, to note that on each object they make,
# which takes five times as long.
_dict = cast("Callable[[], Any]", dict)
_list = cast("Callable[[], Any]", list)


@dataclass(slots=True)
class Pending:
    """One thing that a run waits for."""

    kind: PendingKind
    due: int | None = None
    """A timer's time, the limit of a wait or child, a step's next attempt (µs)."""
    attempt: int = 0
    """Failed attempts of a step; how often a wait was told of again to its cell."""
    name: str = ""
    """The event or signal waited for; the child's run id."""
    path: str = ""
    value: bytes = b""
    since: int = 0
    """A wait's reference: it wants no events before this time (µs)."""
    close: str = ""
    suspect: int = 0
    """Unclean takeovers at which this step was in flight (A8)."""
    alone: int = 0


@dataclass(slots=True, eq=False)
class Item:
    """Something that waits for a run's next turn: a command or a message.

    Only an item itself is equal to it. Its offset does not tell it apart: one entry may bring several (children that
    end in one commit, events that are ingested together).
    """

    offset: int
    name: str
    body: dict[str, Any]
    command: str = ""


class History(Protocol):
    """The accepted commits of a run, oldest first: a list, or what stands for one that lies elsewhere."""

    def append(self, item: bytes, /) -> None: ...

    def copy(self) -> list[bytes]: ...

    def clear(self) -> None: ...

    def __iter__(self) -> Iterator[bytes]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> bytes: ...


@dataclass(slots=True)
class Run:
    """One execution of a function."""

    id: str
    function: str
    event: EventData
    created: int
    prev: int
    """Offset of the last accepted commit, at first of the record that created it."""
    status: Status = "queued"
    not_before: int = 0
    started: int = 0
    time: int = 0
    """The time of the last release: the body's clock never goes back."""
    tags: dict[str, str] = field(default_factory=_dict)
    parent: str | None = None
    parent_key: str | None = None
    history: History = field(default_factory=_list)
    """What the accepted commits of a live run say of it: their changes, as they were appended."""
    ops: int = 0
    size: int = 0
    pending: dict[str, Pending] = field(default_factory=_dict)
    inbox: list[Item] = field(default_factory=_list)
    commands: dict[str, None] = field(default_factory=_dict)
    """Ids of the last commands, oldest first."""
    seen: dict[str, int] = field(default_factory=_dict)
    """Ids of the events that this run has had, and the time of each (µs), by which waits count it (A2)."""
    watchers: dict[str, str] = field(default_factory=_dict)
    """The clients that wait for the end, and the command of each that is answered then."""
    values: dict[str, bytes] = field(default_factory=_dict)
    cancels: int = 0
    """How often it was asked to cancel itself, and was told so."""
    held: Op | None = None
    """How it ends once the attempts that its body gave up are over (B2). A new owner has none of these."""
    result: bytes | None = None
    error: Failure | None = None
    reason: str = ""
    ended: int = 0

    @property
    def live(self) -> bool:
        return self.status not in ENDED

    @property
    def place(self) -> str:
        return f"run:{self.id}"


CellKey = tuple[str, str, bytes]


@dataclass(slots=True)
class Subscription:
    """A wait that a cell serves: events at or after `since` (µs) that the run has not seen."""

    run: str
    key: str
    since: int
    seen: Collection[str]


@dataclass(slots=True)
class Cell:
    """Where waits and events of one name, path and value meet."""

    subscriptions: dict[tuple[str, str], Subscription] = field(
        default_factory=dict[tuple[str, str], Subscription]
    )
    kept: deque[tuple[int, dict[str, Any]]] = field(default_factory=deque[tuple[int, dict[str, Any]]])
    """`Correlate` records and when they arrived (µs), oldest first."""
    forgotten: int = 0
    """Events before this time (µs) may have been forgotten before their age asked for it."""


@dataclass(slots=True)
class Scan:
    """A search of earlier events: entries of the events partition from `cursor` up to `to`."""

    name: str
    path: str
    value: bytes | None
    since: int
    cursor: int
    to: int


@dataclass(slots=True)
class Schedule:
    """What starts a function by the clock, and lives in this partition."""

    last: int
    """Up to then all of its ticks are decided on (µs)."""
    run: str = ""
    """The newest run that it started."""
    waiting: list[int] = field(default_factory=list[int])
    """Ticks (µs) that start when that has ended."""


class Cut(Protocol):
    """A snapshot being taken of a state that goes on changing (A10)."""

    def save_run(self, run: Run, /) -> None: ...

    def save_cell(self, where: CellKey, cell: Cell, /) -> None: ...


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
    config: dict[str, Any] = field(default_factory=lambda: {"version": 0, "functions": [], "limits": {}})
    next: int = 0
    """The first entry of the events partition that is not routed yet."""
    inbound: dict[str, int] = field(default_factory=dict[str, int])
    outbound: dict[str, int] = field(default_factory=dict[str, int])
    outbox: dict[str, deque[tuple[int, bytes]]] = field(default_factory=dict[str, deque[tuple[int, bytes]]])
    origins: dict[str, int] = field(default_factory=dict[str, int])
    runs: dict[str, Run] = field(default_factory=dict[str, Run])
    cells: dict[CellKey, Cell] = field(default_factory=dict[CellKey, Cell])
    delayed: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    event_ids: dict[str, int] = field(default_factory=dict[str, int])
    """Ids given by users, and when each was routed; the oldest first."""
    made_ids: dict[str, int] = field(default_factory=dict[str, int])
    """The same for ids that clients made up; these are kept for minutes only."""
    ended: deque[tuple[int, str]] = field(default_factory=deque[tuple[int, str]])
    ended_bytes: int = 0
    """What the ended runs take in memory, about."""
    ended_ids: OldIds = field(default_factory=OldIds)
    """Ids given by users whose runs have ended and are forgotten, and when they ended."""
    old_event_ids: OldIds = field(default_factory=OldIds)
    """Of `event_ids`, those that became too many."""
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
    hearing: tuple[object, frozenset[str]] = (None, frozenset())
    """Not state: a config, and which of the engine's own events its functions hear."""
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

    def run(self, run_id: str) -> Run | None:
        """A run that is about to be changed."""
        found = self.runs.get(run_id)
        if found is not None and self.cut is not None:
            self.cut.save_run(found)
        return found

    def cell(self, where: CellKey, *, make: bool = False) -> Cell | None:
        """A cell that is about to be changed."""
        found = self.cells.get(where)
        if found is None:
            if make:
                found = self.cells[where] = Cell()
        elif self.cut is not None:
            self.cut.save_cell(where, found)
        return found

    def live_runs(self) -> Iterator[Run]:
        return (run for run in self.runs.values() if run.live)
