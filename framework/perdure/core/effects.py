"""What a fold asks for. Only the leader that read the record back performs effects; everyone else drops them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Activate:
    """A run has something for its body: its start, or an item in its inbox."""

    run: str


@dataclass(frozen=True, slots=True)
class Arm:
    """Something of a run is due at a time (µs)."""

    run: str
    key: str
    due: int


@dataclass(frozen=True, slots=True)
class Send:
    """A message waits in the outbox for this target."""

    target: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A run reached its end: its clients are answered and its coroutine is let go."""

    run: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """A run begins anew: the coroutine of its life before is let go, and it is begun."""

    run: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A client asked about a run; it is answered from the fold."""

    client: str
    command: str
    run: str
    value: str | None = None
    """The published value that it wants to see."""
    refused: str | None = None
    """Why its command was not taken."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim was accepted: who has written it leads, everyone else stops."""

    owner: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class Delayed:
    """A delayed event is due at a time (µs)."""

    due: int


@dataclass(frozen=True, slots=True)
class TimerDue:
    """The log says that a timer of a run is due."""

    run: str
    key: str
    due: int


@dataclass(frozen=True, slots=True)
class Search:
    """Earlier events are to be searched."""

    scan: int


@dataclass(frozen=True, slots=True)
class Bury:
    """An entry cannot be read or routed; it goes to the dead letters with its reason."""

    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class Configured:
    """A new set of functions is in force."""

    version: int


@dataclass(frozen=True, slots=True)
class Ticked:
    """Ticks of a schedule were decided on."""

    schedule: str


@dataclass(frozen=True, slots=True)
class Granted:
    """A step of a run has all the places that its attempt needs."""

    run: str
    key: str


@dataclass(frozen=True, slots=True)
class GateDue:
    """A limit waits until a time (µs) for one value of its key."""

    limit: str
    value: bytes
    due: int


@dataclass(frozen=True, slots=True)
class Rescheduled:
    """A schedule was made, paused, resumed or deleted."""

    schedule: str


Effect = (
    Activate
    | Arm
    | Send
    | Ended
    | Restarted
    | Answer
    | Claimed
    | Delayed
    | TimerDue
    | Search
    | Bury
    | Configured
    | Ticked
    | Rescheduled
    | Granted
    | GateDue
)
