"""The limits of flow control, one model for each kind: what a user writes, checked when it is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, TypedDict, cast, get_args

from perdure.authoring import cel
from perdure.core import paths
from perdure.core.durations import DAY_US, SECOND_US, Duration, named_us
from perdure.errors import UsageError

__all__ = [
    "Batch",
    "Concurrency",
    "Debounce",
    "Idempotency",
    "Limit",
    "LimitSpec",
    "Priority",
    "RateLimit",
    "Singleton",
    "Throttle",
    "plain_path",
]

COUNT_MAX: Final = 10_000
PERIOD_US_MAX: Final = 7 * DAY_US
BATCH_BYTES_MAX: Final = 512 * 1024
BATCH_BYTES: Final = 256 * 1024


class LimitSpec(TypedDict):
    """A limit as the log knows it (`perdure.Limit`)."""

    id: str
    kind: str
    key: str
    limit: int
    period: int
    burst: int
    timeout: int
    bytes: int
    mode: str
    only: str


class Limit:
    """What the models have in common."""

    __slots__ = ()
    kind: ClassVar[str]
    key: str

    def shown(self) -> str:
        """What it is called in errors."""
        key = f"key={self.key!r}" if self.key else ""
        return f"{type(self).__name__}({key})"

    def spec(self, function_id: str) -> LimitSpec:
        """What stands in the log."""
        raise NotImplementedError

    def texts(self) -> Iterator[tuple[str, str]]:
        """The expressions over the event: what each is called, and its text."""
        if self.key:
            yield "key", self.key

    def _made(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _count(self, name: str, value: object, *, least: int = 1, most: int = COUNT_MAX) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            hint = "; to let nothing start, pause the function" if value == 0 and least else ""
            raise UsageError(
                f"{type(self).__name__}({name}={value!r:.40}): a whole number from {least:,} to {most:,}{hint}"
            )

    def _period(
        self, name: str, value: Duration, *, least: int = SECOND_US, most: int = PERIOD_US_MAX
    ) -> int:
        what = f"{type(self).__name__}({name}={value!r:.40})"
        us = named_us(what, value)
        if not least <= us <= most:
            raise UsageError(f"{what}: a time from {least / SECOND_US:g} s to {most / DAY_US:g} days")
        return us

    def _choice(self, name: str, value: object, known: Any) -> None:
        if value not in get_args(known):
            choices = ", ".join(map(repr, get_args(known)))
            raise UsageError(f"{type(self).__name__}({name}={value!r:.40}): use {choices}")

    def _key(self, name: str, value: object, *, needed: bool = False) -> str:
        if value is None and not needed:
            return ""
        what = f"{type(self).__name__}({name}={value!r:.80})"
        if not isinstance(value, str) or not value.strip():
            raise UsageError(f'{what}: use a path such as "event.data.account_id", or CEL')
        if plain_path(value) is None:
            if value.startswith("data.") and plain_path(f"event.{value}") is not None:
                raise UsageError(f'{what}: a path begins with event; write "event.{value}"')
            try:
                cel.check_value(value)
            except UsageError as error:
                raise UsageError(f"{what}: {error}") from None
        return value

    def _spec(self, function_id: str, **fields: Any) -> LimitSpec:
        made: dict[str, Any] = {
            "id": f"{self.kind}:{function_id}:{self.key}",
            "kind": self.kind,
            "key": self.key,
            "limit": 1,
            "period": 0,
            "burst": 0,
            "timeout": 0,
            "bytes": 0,
            "mode": "",
            "only": "",
        }
        return cast("LimitSpec", made | fields)


@dataclass(frozen=True, slots=True, init=False)
class Concurrency(Limit):
    """At most `limit` at once: steps that execute (`unit="step"`), or runs from their start to their end (`"run"`).

    A run that sleeps or waits executes no step, so it holds no place of a limit on steps; nor does one whose step
    pauses before its next attempt. With `key`, a path into the event or CEL, each value has a limit of its own.
    `scope="app"` shares the limit among all functions that name the same key and unit there. Others wait their turn,
    the oldest first (see `Priority`). A limit on steps costs two messages before each attempt.

    `limit` is 1 to 10,000. Raises UsageError for what cannot be.
    """

    kind: ClassVar[str] = "concurrency"
    limit: int
    key: str
    unit: Literal["step", "run"]
    scope: Literal["function", "app"]

    def __init__(
        self,
        limit: int,
        *,
        key: str | None = None,
        unit: Literal["step", "run"] = "step",
        scope: Literal["function", "app"] = "function",
    ) -> None:
        self._count("limit", limit)
        self._choice("unit", unit, Literal["step", "run"])
        self._choice("scope", scope, Literal["function", "app"])
        self._made("limit", limit)
        self._made("key", self._key("key", key))
        self._made("unit", unit)
        self._made("scope", scope)

    def spec(self, function_id: str) -> LimitSpec:
        owner = function_id if self.scope == "function" else ""
        return self._spec(
            function_id, id=f"concurrency:{owner}:{self.unit}:{self.key}", limit=self.limit, mode=self.unit
        )


@dataclass(frozen=True, slots=True, init=False)
class Throttle(Limit):
    """Starts runs at a pace, and lets the others wait: `limit` in each `period`, evenly (GCRA).

    After a quiet time `limit` and `burst` more start at once, then one in each `period` / `limit`. Nothing is dropped.
    With `key` each value has a pace of its own. `period` is 1 s to 7 days. Raises UsageError for what cannot be.
    """

    kind: ClassVar[str] = "throttle"
    limit: int
    period_us: int
    burst: int
    key: str

    def __init__(self, limit: int, period: Duration, *, burst: int = 0, key: str | None = None) -> None:
        self._count("limit", limit)
        self._count("burst", burst, least=0)
        self._made("limit", limit)
        self._made("period_us", self._period("period", period))
        self._made("burst", burst)
        self._made("key", self._key("key", key))

    def spec(self, function_id: str) -> LimitSpec:
        return self._spec(function_id, limit=self.limit, period=self.period_us, burst=self.burst)


@dataclass(frozen=True, slots=True, init=False)
class RateLimit(Limit):
    """At most `limit` starts in any `period`; what comes beyond is dropped, and recorded as skipped.

    What is dropped does not count. With `key` each value has a limit of its own. `period` is 1 s to 7 days. Raises
    UsageError for what cannot be.
    """

    kind: ClassVar[str] = "rate"
    limit: int
    period_us: int
    key: str

    def __init__(self, limit: int, period: Duration, *, key: str | None = None) -> None:
        self._count("limit", limit)
        self._made("limit", limit)
        self._made("period_us", self._period("period", period))
        self._made("key", self._key("key", key))

    def spec(self, function_id: str) -> LimitSpec:
        return self._spec(function_id, limit=self.limit, period=self.period_us)


@dataclass(frozen=True, slots=True, init=False)
class Debounce(Limit):
    """Starts one run for a burst of events, when no more have come for `period`: that of the latest event.

    The latest is the one that happened last, by its `ts`; one that happened before and comes late is dropped. `timeout`
    is the longest that a burst may put the run off. `keep="all"` hands all events of the burst to the run, in
    `ctx.events`, by their `ts`; it starts early once their data have 256 KB. Raises UsageError for what cannot be.
    """

    kind: ClassVar[str] = "debounce"
    period_us: int
    key: str
    timeout_us: int
    keep: Literal["last", "all"]

    def __init__(
        self,
        period: Duration,
        *,
        key: str | None = None,
        timeout: Duration | None = None,
        keep: Literal["last", "all"] = "last",
    ) -> None:
        self._made("period_us", self._period("period", period))
        self._made("key", self._key("key", key))
        self._made("timeout_us", 0 if timeout is None else self._period("timeout", timeout))
        self._choice("keep", keep, Literal["last", "all"])
        self._made("keep", keep)
        if 0 < self.timeout_us < self.period_us:
            raise UsageError(
                f"Debounce(period={period!r}, timeout={timeout!r}): the timeout is shorter than the quiet period, so"
                " that nothing would be waited for; make it longer, or leave it out"
            )

    def spec(self, function_id: str) -> LimitSpec:
        return self._spec(
            function_id, period=self.period_us, timeout=self.timeout_us, mode=self.keep, bytes=BATCH_BYTES
        )


@dataclass(frozen=True, slots=True, init=False)
class Batch(Limit):
    """One run for many events, in `ctx.events`, in the order in which they were routed.

    It starts with `max_size` events (up to 1,000), with `max_bytes` of data (up to 512 KB), or `timeout` after the
    first. With `key` each value has batches of its own. `if_` says, in CEL over `event`, which events are collected;
    the others start runs of their own at once. Raises UsageError for what cannot be.
    """

    kind: ClassVar[str] = "batch"
    max_size: int
    timeout_us: int
    key: str
    max_bytes: int
    if_: str

    def __init__(
        self,
        max_size: int,
        timeout: Duration,
        *,
        key: str | None = None,
        max_bytes: int = BATCH_BYTES,
        if_: str | None = None,
    ) -> None:
        self._count("max_size", max_size, least=2, most=1_000)
        self._made("max_size", max_size)
        self._made("timeout_us", self._period("timeout", timeout))
        self._made("key", self._key("key", key))
        self._count("max_bytes", max_bytes, most=BATCH_BYTES_MAX)
        self._made("max_bytes", max_bytes)
        if if_ is not None:
            try:
                cel.check(if_)
            except UsageError as error:
                raise UsageError(f"Batch(if_={if_!r:.80}): {error}") from None
        self._made("if_", if_ or "")

    def texts(self) -> Iterator[tuple[str, str]]:
        if self.key:
            yield "key", self.key
        if self.if_:
            yield "if_", self.if_

    def spec(self, function_id: str) -> LimitSpec:
        return self._spec(
            function_id, limit=self.max_size, period=self.timeout_us, bytes=self.max_bytes, only=self.if_
        )


@dataclass(frozen=True, slots=True, init=False)
class Priority(Limit):
    """Moves a run that waits forward by so many seconds, or back: CEL over `event`, from -600 to 600.

    With `Priority('has(event.data.plan) && event.data.plan == "pro" ? 120 : 0')` the runs of such events start before
    others that came up to two minutes earlier. It counts where runs wait: at a `throttle` and for `concurrency`. A
    value beyond 600 counts as 600. Raises UsageError for what cannot be.
    """

    kind: ClassVar[str] = "priority"
    key: str

    def __init__(self, expression: str) -> None:
        self._made("key", self._key("expression", expression, needed=True))

    def shown(self) -> str:
        return f"Priority({self.key!r})"

    def texts(self) -> Iterator[tuple[str, str]]:
        yield "expression", self.key

    def spec(self, function_id: str) -> LimitSpec:
        return self._spec(function_id)


@dataclass(frozen=True, slots=True, init=False)
class Singleton(Limit):
    """One live run at a time, or one for each value of `key`.

    A run lives until it has ended: while it sleeps, waits and retries, too. `mode="skip"` drops a start meanwhile;
    `"cancel"` cancels the run, and the new one starts when that has ended. Of several that come meanwhile the newest
    starts, the others are dropped. What is dropped is recorded as skipped. Raises UsageError for what cannot be.
    """

    kind: ClassVar[str] = "singleton"
    mode: Literal["skip", "cancel"]
    key: str

    def __init__(self, *, mode: Literal["skip", "cancel"] = "skip", key: str | None = None) -> None:
        self._choice("mode", mode, Literal["skip", "cancel"])
        self._made("mode", mode)
        self._made("key", self._key("key", key))

    def spec(self, function_id: str) -> LimitSpec:
        return self._spec(function_id, mode=self.mode)


@dataclass(frozen=True, slots=True, init=False)
class Idempotency(Limit):
    """One start for each value of `key` within `ttl` of the first; others are dropped, and recorded as skipped.

    The first uses the key up, whatever becomes of its run, a later limit that drops it included. `ttl` is 1 s to 7
    days. A million keys are remembered in each partition. Raises UsageError for what cannot be.
    """

    kind: ClassVar[str] = "idempotency"
    key: str
    ttl_us: int

    def __init__(self, key: str, *, ttl: Duration = "24h") -> None:
        self._made("key", self._key("key", key, needed=True))
        self._made("ttl_us", self._period("ttl", ttl))

    def spec(self, function_id: str) -> LimitSpec:
        return self._spec(function_id, period=self.ttl_us)


def plain_path(text: str) -> str | None:
    """The path that a key is, when it is no more than one; None when it is CEL."""
    try:
        segments = paths.parse_path(text)
    except UsageError:
        return None
    if not text.startswith("event.") or segments[0] == "ts":
        return None
    return text if all(segment.isidentifier() for segment in segments) else None
