"""The step that is being executed, for the step's own function: `perdure.current_step()`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from perdure.errors import UsageError

__all__ = ["StepInfo", "begin_step", "current_step", "in_step", "running_step"]


def _unheard(_details: Any) -> None:
    """A heartbeat of a step that nobody listens to."""


@dataclass(frozen=True, slots=True)
class StepInfo:
    """The attempt that is running. Give `idempotency_key` to the outside system, and it can drop repetitions."""

    idempotency_key: str
    """The same for all attempts of this step, and for no other step."""
    attempt: int
    """From 1."""
    max_attempts: int
    details: Any = None
    """What the last heartbeat of the attempt before said, if any."""
    beat: Callable[[Any], None] = field(default=_unheard, repr=False)
    """Set by the worker; a step calls `heartbeat`."""

    def heartbeat(self, details: Any = None) -> None:
        """Says that the attempt is alive. `details` (JSON) reach the next attempt, should this one fail."""
        self.beat(details)


_current: ContextVar[Callable[[], StepInfo] | None] = ContextVar("perdure_step", default=None)
"""Makes the `StepInfo`: few steps ask for it."""


def current_step() -> StepInfo:
    """The step in which this code runs. Raises UsageError outside of a step."""
    info = _current.get()
    if info is None:
        raise UsageError(
            "current_step() can be used only inside a step: in the function given to ctx.step.run"
        )
    return info()


def in_step() -> bool:
    """Whether this code runs in a step."""
    return _current.get() is not None


class _Running:
    """A context manager by hand: one made of a generator costs three times as much, at each step."""

    __slots__ = ("_info", "_token")

    def __init__(self, info: Callable[[], StepInfo]) -> None:
        self._info = info

    def __enter__(self) -> None:
        self._token = _current.set(self._info)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def running_step(info: StepInfo) -> AbstractContextManager[None]:
    """What runs inside is this step. For workers: to be entered in the step's own context or thread."""
    return _Running(lambda: info)


def begin_step(info: Callable[[], StepInfo]) -> None:
    """From here on this context is that of a step. For workers that give each attempt a context of its own."""
    _current.set(info)
