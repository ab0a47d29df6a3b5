"""Every error that perdure raises: typed, few, each with a stable `code`.

A message says what is wrong, where, and what to do about it. Errors of the libraries underneath
(SQLite, fastavro, Kafka) are translated once, at the edge that met them, and kept as `__cause__`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any, ClassVar, Final

__all__ = [
    "NOTHING",
    "AppendFailed",
    "EncodingError",
    "EntryTooLarge",
    "IncompatibleSchema",
    "InvalidEvent",
    "LevelTooNew",
    "LogDamaged",
    "LogError",
    "NonDeterminismError",
    "NonRetriableError",
    "PayloadDamaged",
    "PayloadError",
    "PayloadLocked",
    "PayloadMissing",
    "PayloadStoreError",
    "PayloadTooLarge",
    "PerdureError",
    "RequestRefused",
    "RetryAfterError",
    "RunCancelled",
    "RunEnded",
    "RunFailed",
    "RunNotFound",
    "RunSkipped",
    "StepError",
    "StepProcessDied",
    "StepStopped",
    "StepTimeout",
    "Stuck",
    "UsageError",
]

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
"""No fields."""


class PerdureError(Exception):
    """The base of all errors of perdure; `code` is stable and meant for programs."""

    code: ClassVar[str] = "perdure"


class UsageError(PerdureError):
    """The code that uses perdure asked for something that cannot work; the message says what to write instead."""

    code = "usage"


class InvalidEvent(UsageError):
    """An event was refused before it was appended: its name, envelope or data."""

    code = "invalid-event"


class EncodingError(PerdureError):
    """A value cannot be written as JSON, or recorded JSON does not fit the type that it is read as."""

    code = "encoding"


class PayloadTooLarge(PerdureError):
    """A value is larger than a record may be; it was refused before any append."""

    code = "payload-too-large"


class PayloadError(PerdureError):
    """A recorded payload cannot be opened here now. A run that needs it is parked, and goes on when it is resumed."""

    code = "payload"


class PayloadLocked(PayloadError):
    """A payload was encrypted with a key, or written by a codec, that this process has not; the message names it."""

    code = "payload-locked"


class PayloadDamaged(PayloadError):
    """The bytes of a payload are not those that were written, or the key of that id is another one here."""

    code = "payload-damaged"


class PayloadMissing(PayloadError):
    """An object that a record refers to is not in the store of payloads."""

    code = "payload-missing"


class PayloadStoreError(PayloadError):
    """The store of payloads cannot be reached, or refuses to be read or written."""

    code = "payload-store"


class NonDeterminismError(PerdureError):
    """The code of a run asked for something else than its log says; the message names both sides."""

    code = "non-determinism"


class Stuck(PerdureError):
    """A body waits for something that no recorded input can ever bring; the message names the line."""

    code = "stuck"


class NonRetriableError(PerdureError):
    """Raised in a step: stop at once, without further attempts."""

    code = "non-retriable"


class RetryAfterError(PerdureError):
    """Raised in a step: try again, and not before `delay` (seconds, a string such as "5m", or a timedelta).

    A delay below a second counts as one, one above 24 hours as these.
    """

    code = "retry-after"

    def __init__(self, delay: float | str | timedelta, message: str = "") -> None:
        super().__init__(message or f"retry after {delay}")
        self.delay = delay


class StepTimeout(PerdureError):
    """An attempt of a step took longer than its timeout."""

    code = "step-timeout"


class StepProcessDied(PerdureError):
    """The process in which a step ran ended under it: killed, crashed, or by os._exit. The attempt has failed."""

    code = "step-process-died"


class StepStopped(PerdureError):
    """Nobody waits for the step any more, so it was stopped."""

    code = "step-stopped"


class StepError(PerdureError):
    """A step is out of attempts. Caught in the function, the run goes on; not caught, the run fails.

    `cause` is the original exception, rebuilt from the record when its class is already loaded, else None. `fields` are
    the original's own attributes, as far as JSON can hold them; `causes` the errors that led to it, the nearest first,
    as dicts with `type`, `message` and, when they have some, `fields`.
    """

    code = "step-failed"

    def __init__(
        self,
        message: str,
        *,
        type_name: str,
        step_id: str,
        attempts: int,
        traceback: str = "",
        cause: BaseException | None = None,
        fields: Mapping[str, Any] = NOTHING,
        causes: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(f"{step_id}: {type_name}: {message}")
        self.message = message
        self.type_name = type_name
        self.step_id = step_id
        self.attempts = attempts
        self.traceback = traceback
        self.cause = cause
        self.fields = fields
        self.causes = causes


class RunFailed(PerdureError):
    """The run that was awaited failed; `type_name`, `message` and `traceback` are those of the error that left it, and
    `fields` and `causes` as in StepError."""

    code = "run-failed"

    def __init__(
        self,
        run_id: str,
        *,
        type_name: str,
        message: str,
        traceback: str = "",
        fields: Mapping[str, Any] = NOTHING,
        causes: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(f"run {run_id} failed: {type_name}: {message}")
        self.run_id = run_id
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        self.fields = fields
        self.causes = causes


class RunCancelled(PerdureError):
    """The run that was awaited was cancelled."""

    code = "run-cancelled"

    def __init__(self, run_id: str, reason: str = "") -> None:
        super().__init__(f"run {run_id} was cancelled" + (f": {reason}" if reason else ""))
        self.run_id = run_id
        self.reason = reason


class RunSkipped(PerdureError):
    """The run that was awaited never began: flow control dropped its start, and `reason` says why."""

    code = "run-skipped"

    def __init__(self, run_id: str, reason: str = "") -> None:
        super().__init__(f"run {run_id} was skipped" + (f": {reason}" if reason else ""))
        self.run_id = run_id
        self.reason = reason


class RunEnded(PerdureError):
    """A signal or request was sent to a run that has ended: nobody will take it."""

    code = "run-ended"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(f"run {run_id} is {status}, and takes no signals any more")
        self.run_id = run_id
        self.status = status


class RequestRefused(PerdureError):
    """A request was refused by the run's code, or not answered before it ended; or the run has no room for it."""

    code = "request-refused"

    def __init__(self, run_id: str, name: str, reason: str) -> None:
        super().__init__(f"run {run_id} refused {name!r}: {reason}")
        self.run_id = run_id
        self.name = name
        self.reason = reason


class RunNotFound(PerdureError):
    """No run of that id is known: it never started, or it ended and its result is not kept any more."""

    code = "run-not-found"


class LogError(PerdureError):
    """The log could not do what was asked of it."""

    code = "log"


class LogDamaged(LogError):
    """Bytes that stood in the log are lost or changed: by its disk, or by whoever cut, replaced or copied its files."""

    code = "log-damaged"


class AppendFailed(LogError):
    """An append did not (or may not) have reached the log. The outcome is unknown: it may still land."""

    code = "append-failed"


class EntryTooLarge(LogError):
    """An entry is larger than the log takes. It was refused locally and was never sent."""

    code = "entry-too-large"


class IncompatibleSchema(PerdureError):
    """An event class has changed in a way that the Schema Registry does not allow under its subject."""

    code = "incompatible-schema"


class LevelTooNew(PerdureError):
    """The log holds a record of a kind that this version does not know; the owner stops instead of guessing."""

    code = "level-too-new"
