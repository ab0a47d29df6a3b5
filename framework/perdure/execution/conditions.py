"""What may come out of driving a run's code, beside its turns."""

from __future__ import annotations

from perdure.errors import PerdureError

__all__ = ["BodyExited", "BodyRaised", "Evicted"]


class Evicted(BaseException):
    """Unwinds a coroutine or a `def` body whose run is no longer driven here. Nothing that follows it is recorded."""


class BodyExited(PerdureError):
    """A body raised SystemExit or KeyboardInterrupt. Its run was dropped and nothing of this turn is recorded.

    The exception itself is the `__cause__`; whoever drives the run decides what it means for the process.
    """

    code = "body-exited"


class BodyRaised(PerdureError):
    """On replay a `def` body raised before it came to where its record ends. Its code between steps may do I/O.

    The exception is the `__cause__`. Nothing is wrong with the record: replay again later.
    """

    code = "body-raised"
