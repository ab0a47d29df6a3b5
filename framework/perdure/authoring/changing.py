"""A limit of flow control from what the log has of it: by its model, what is changed is checked as what is declared."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, Literal, cast

from perdure.authoring.limits import (
    Batch,
    Concurrency,
    Debounce,
    Idempotency,
    Limit,
    LimitSpec,
    RateLimit,
    Throttle,
)

__all__ = ["FIELDS", "model_of"]

FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "concurrency": ("limit",),
    "throttle": ("limit", "period", "burst"),
    "rate": ("limit", "period"),
    "debounce": ("period", "timeout"),
    "batch": ("limit", "period", "bytes"),
    "idempotency": ("period",),
}
"""The numbers of each kind of limit that has some, by their names in the log."""


def model_of(spec: LimitSpec) -> Limit:
    """The limit that has this spec, for a kind in `FIELDS`. Raises UsageError for numbers that cannot be."""
    return _MODELS[spec["kind"]](spec)


def _us(time: int) -> timedelta:
    return timedelta(microseconds=time)


def _concurrency(spec: LimitSpec) -> Limit:
    scope: Literal["function", "app"] = "app" if spec["id"].startswith("concurrency::") else "function"
    unit = cast('Literal["step", "run"]', spec["mode"])
    return Concurrency(spec["limit"], key=spec["key"] or None, unit=unit, scope=scope)


def _throttle(spec: LimitSpec) -> Limit:
    return Throttle(spec["limit"], _us(spec["period"]), burst=spec["burst"], key=spec["key"] or None)


def _rate(spec: LimitSpec) -> Limit:
    return RateLimit(spec["limit"], _us(spec["period"]), key=spec["key"] or None)


def _debounce(spec: LimitSpec) -> Limit:
    timeout = _us(spec["timeout"]) if spec["timeout"] else None
    keep: Any = spec["mode"]
    return Debounce(_us(spec["period"]), key=spec["key"] or None, timeout=timeout, keep=keep)


def _batch(spec: LimitSpec) -> Limit:
    return Batch(
        spec["limit"],
        _us(spec["period"]),
        key=spec["key"] or None,
        max_bytes=spec["bytes"],
        if_=spec["only"] or None,
    )


def _idempotency(spec: LimitSpec) -> Limit:
    return Idempotency(spec["key"], ttl=_us(spec["period"]))


_MODELS: Final[dict[str, Callable[[LimitSpec], Limit]]] = {
    "concurrency": _concurrency,
    "throttle": _throttle,
    "rate": _rate,
    "debounce": _debounce,
    "batch": _batch,
    "idempotency": _idempotency,
}
