"""What a partition's state is made of: runs and what they wait for, the cells where waits and events meet, searches.

Plain data, changed by the fold alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, cast

from perdure.core.ops import EventData, Failure, Op

PendingKind = Literal["step", "timer", "wait", "signal", "child"]
Status = Literal[
    "queued", "scheduled", "running", "paused", "parked", "completed", "failed", "cancelled", "skipped"
]  # fmt: skip
ENDED: frozenset[str] = frozenset({"completed", "failed", "cancelled", "skipped"})
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
    """Failed attempts of a step; how often a wait was told of again to its cell; 1 for a timer that a record says is
    due."""
    name: str = ""
    """The event or signal waited for; the child's run id."""
    path: str = ""
    value: bytes = b""
    since: int = 0
    """A wait's reference: it wants no events before this time (µs)."""
    close: str = ""
    condition: str | None = None
    """What a wait asks of each event beside its value: CEL over `event` and `async`; empty for a predicate in code."""
    behind: bool = False
    """Events came that its run had no room for: it asks for them again when it has."""
    passed: dict[str, int] = field(default_factory=_dict)
    """Those that it let pass since then, and the time of each (µs): it is not to be given them again."""
    suspect: int = 0
    """Unclean takeovers at which this step was in flight (A8)."""
    alone: int = 0
    slots: int = 0
    """Of a step under flow control: the places that it has; -1 before it has asked again."""


class Stage(NamedTuple):
    """A limit (`perdure.Limit`) as it holds for one run, whose event has this value as its key."""

    limit: dict[str, Any]
    value: bytes


@dataclass(slots=True)
class Admission:
    """How far a run under flow control has come."""

    at: int = -1
    """The stage that it waits for; -1 before its keys are known, and their count once it is through."""
    rank: int = 0
    """Its place in queues: a time (µs), moved by its priority."""
    config: int = 0
    stages: list[Stage] = field(default_factory=list[Stage])
    steps: list[Stage] = field(default_factory=list[Stage])
    """What each attempt of a step has to pass."""
    events: list[EventData] = field(default_factory=list[EventData])
    """Of a run that was made of several: all of them, its own included, in order."""

    @property
    def open(self) -> bool:
        """Whether the run may start."""
        return self.at >= len(self.stages)


@dataclass(slots=True)
class Listener:
    """An event by which a run is cancelled."""

    key: str
    name: str
    path: str
    value: bytes
    since: int
    """When the event that began the run was appended: earlier ones are not wanted (µs)."""
    until: int = 0
    """Nor later ones; 0 when there is no end (µs)."""
    position: dict[str, int] | None = None
    """Where that event lies; None when no event began the run."""
    seen: list[str] = field(default_factory=list[str])
    """Earlier events of the same time, by their ids."""
    cel: str = ""
    """What is asked of each event that comes, over `event` and `async`; empty when all cancel."""
    behind: bool = False
    """Events were turned away, since too many wait to be judged."""


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


@dataclass(slots=True)
class Request:
    """A signal whose sender waits for an answer."""

    client: str
    answer: bytes | None = None
    """JSON."""
    refused: str | None = None

    @property
    def open(self) -> bool:
        return self.answer is None and self.refused is None


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
    listeners: dict[str, Listener] | None = None
    """The events by which it is cancelled, by their keys."""
    until: int = 0
    """When it is cancelled if it has not begun, or has not ended (µs); 0 for never."""
    repeats: str = ""
    """The run that this one repeats; empty for none."""
    reuse: dict[str, Op | None] | None = None
    """By their keys, how things ended there that this run has not come to yet. None for what only sends."""
    held: Op | None = None
    """How it ends once the attempts that its body gave up are over (B2). A new owner has none of these."""
    restarts: int = 0
    """How often it has begun anew."""
    begun: int = 0
    """When it began anew last (µs); 0 when it has not."""
    depth: int = 0
    """How many runs above it wait for it."""
    requests: dict[str, Request] = field(default_factory=_dict)
    """The last ones, by the ids of their commands; the oldest first."""
    admission: Admission | None = None
    """Its flow control, if its function has any."""
    result: bytes | None = None
    error: Failure | None = None
    reason: str = ""
    ended: int = 0

    @property
    def live(self) -> bool:
        return self.status not in ENDED

    @property
    def seed(self) -> str:
        """What tells one life of a run from the next: what must differ between these derives from it."""
        return f"{self.id}~{self.restarts}" if self.restarts else self.id

    @property
    def may_start(self) -> bool:
        """Whether no limit is between it and its start."""
        return self.admission is None or self.admission.open

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
    stays: bool = False
    """It stays when an event was delivered: the run's owner decides whether the wait takes it."""


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
    where: CellKey = ("", "", b"")
    """Its own name."""


@dataclass(slots=True)
class Scan:
    """A search of earlier events: entries of the events partition from `cursor` up to `to`."""

    name: str
    path: str
    value: bytes | None
    since: int
    cursor: int
    to: int
