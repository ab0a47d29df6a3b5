"""What goes into the execution of a run, and what comes out of each of its turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from perdure.authoring.payloads import Codec
from perdure.authoring.steps import StepOptions
from perdure.core.ops import EventData, Op

__all__ = ["LogLine", "RunStart", "StepAsk", "Turn"]


@dataclass(frozen=True, slots=True)
class RunStart:
    """What a run begins with. It is recorded, so a replay begins with the same."""

    run_id: str
    function_id: str
    events: tuple[EventData, ...]
    created: int
    """Time of the record that made the run, µs since the epoch: the time of its first turn (A9)."""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    seed: str = ""
    """What must differ from run to run, and between the lives of one, derives from it (`Run.seed`)."""
    depth: int = 0
    """How many runs above it wait for it."""
    at: int = 0
    """Which of the events is the run's own: of a batch the first, of a burst the latest."""

    def __post_init__(self) -> None:
        if not self.seed:
            object.__setattr__(self, "seed", self.run_id)

    @property
    def event(self) -> EventData:
        """The run's own event."""
        return self.events[self.at]


class LogLine(NamedTuple):
    """One line of `ctx.log`. The engine writes it once the turn that said it is accepted."""

    level: str
    """"debug", "info", "warning" or "error"."""
    message: str
    fields: Mapping[str, Any]


@dataclass(slots=True)
class StepAsk:
    """A step that a body asked for: what to call, with what, and how."""

    key: str
    step_id: str
    """What people see of the key: the id, and its index when it was used before."""
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: StepOptions
    codec: Codec[Any]
    context: Context
    """A copy of the body's context at the ask; the step runs in it."""
    asked_at: int
    """Time of the turn that asked, µs since the epoch."""
    snapshot: bytes | None = None
    """The arguments as they were at the ask, when arguments are watched for changes (A9)."""


@dataclass(slots=True)
class Turn:
    """What a body did between one recorded input and the next."""

    ops: list[Op]
    """The consequences in canonical order: Asked first, what was opened, sent and dropped, and an end last."""
    steps: list[StepAsk]
    """The steps among them."""
    lines: list[LogLine]
    values: dict[str, bytes]
    """What `ctx.set_value` published: name → JSON."""
    ended: bool = False
    """Whether the run's end is the last of `ops`."""
    error: BaseException | None = None
    """What left the body, when the run failed by it; for whoever decides about retries of a `def` body."""
