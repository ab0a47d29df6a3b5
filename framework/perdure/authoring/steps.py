"""How a step runs: its retries, its timeout, its heartbeat, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, overload

from perdure.authoring.annotations import display_name, target_of
from perdure.authoring.retry import Retry, retry_of
from perdure.core.durations import Duration, named_us
from perdure.errors import UsageError

__all__ = ["DEFAULT_OPTIONS", "Executor", "StepOptions", "make_options", "options_of", "step"]

Executor = Literal["thread", "process"]

F = TypeVar("F", bound=Callable[..., Any])

_ATTRIBUTE: Final = "__perdure_step__"


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How a step runs. None means: as the function says, or the worker, or not at all."""

    retry: Retry | None = None
    timeout_us: int | None = None
    """For each attempt, in microseconds."""
    heartbeat_us: int | None = None
    """An attempt that is silent for longer counts as dead."""
    executor: Executor | None = None
    """Where a `def` runs (default: a thread); an `async def` runs on the worker's loop unless this says process."""

    def over(self, base: StepOptions) -> StepOptions:
        """These options, and those of `base` where these say nothing."""
        if base is DEFAULT_OPTIONS:
            return self
        return StepOptions(
            retry=base.retry if self.retry is None else self.retry,
            timeout_us=base.timeout_us if self.timeout_us is None else self.timeout_us,
            heartbeat_us=base.heartbeat_us if self.heartbeat_us is None else self.heartbeat_us,
            executor=base.executor if self.executor is None else self.executor,
        )


DEFAULT_OPTIONS: Final = StepOptions()


def make_options(
    *,
    retries: int | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    heartbeat: Duration | None = None,
    executor: Executor | None = None,
    what: str = "step options",
) -> StepOptions:
    """The options that these keywords mean. Raises UsageError, naming `what`, for one out of range."""
    if executor not in (None, "thread", "process"):
        raise UsageError(f'{what}: executor={executor!r}; use "thread" or "process"')
    if retry is not None or retries is not None:
        retry = retry_of(retries=retries, retry=retry, default=Retry(), what=what)
    return StepOptions(
        retry=retry,
        timeout_us=_positive(timeout, "timeout", what),
        heartbeat_us=_positive(heartbeat, "heartbeat", what),
        executor=executor,
    )


@overload
def step(fn: F, /) -> F: ...


@overload
def step(
    *,
    retries: int | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    heartbeat: Duration | None = None,
    executor: Executor | None = None,
) -> Callable[[F], F]: ...


def step(
    fn: F | None = None,
    /,
    *,
    retries: int | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    heartbeat: Duration | None = None,
    executor: Executor | None = None,
) -> F | Callable[[F], F]:
    """Declares with a function how it runs as a step: `@step(retries=5, timeout="30s")`.

    The function stays what it was, and can be called as before. `step.options(...)` at the place of use wins over
    what is declared here, option by option. Raises UsageError for an option out of range.
    """

    def declare(declared: F) -> F:
        # Someone may have forgotten the keyword: @step(3).
        if not callable(declared):
            raise UsageError("@step takes keywords only: @step(retries=3)")
        what = f"@step of {display_name(declared)}"
        options = make_options(
            retries=retries, retry=retry, timeout=timeout, heartbeat=heartbeat, executor=executor, what=what
        )
        try:
            setattr(declared, _ATTRIBUTE, options)
        except AttributeError:
            raise UsageError(
                f"{what}: a {type(declared).__name__} holds no options; wrap it in a def"
            ) from None
        return declared

    return declare if fn is None else declare(fn)


def options_of(fn: Callable[..., Any]) -> StepOptions:
    """What `@step` declared on a function, or on the one inside a partial or bound method; else the defaults."""
    found = getattr(fn, _ATTRIBUTE, None)
    if not isinstance(found, StepOptions):
        found = getattr(target_of(fn), _ATTRIBUTE, None)
    return found if isinstance(found, StepOptions) else DEFAULT_OPTIONS


def _positive(value: Duration | None, name: str, what: str) -> int | None:
    if value is None:
        return None
    us = named_us(f"{what}: {name}={value!r}", value)
    if us == 0:
        raise UsageError(f"{what}: {name}=0 would stop each attempt at once; leave it out for none")
    return us
