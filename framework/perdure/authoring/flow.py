"""A function's flow control: its limits, in the order in which a start passes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from perdure.authoring.events import Event, path_fault
from perdure.authoring.limits import (
    Batch,
    Concurrency,
    Debounce,
    Idempotency,
    Limit,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
)
from perdure.core import conditions
from perdure.errors import UsageError

__all__ = ["Flow", "check_ends", "check_flow", "flow_of"]

Flow = tuple[Limit, ...]
"""A function's flow control, in the order in which a start passes it."""


def flow_of(
    what: str,
    *,
    concurrency: object = None,
    throttle: object = None,
    rate_limit: object = None,
    debounce: object = None,
    batch: object = None,
    priority: object = None,
    singleton: object = None,
    idempotency: object = None,
) -> Flow:
    """The limits of a function, in the order of admission. Raises UsageError, naming `what`, for what is none, and for
    those that make no sense together."""
    many = _several(what, concurrency)
    keywords = {
        "idempotency": (idempotency, Idempotency),
        "rate_limit": (rate_limit, RateLimit),
        "debounce": (debounce, Debounce),
        "batch": (batch, Batch),
        "singleton": (singleton, Singleton),
        "throttle": (throttle, Throttle),
        "priority": (priority, Priority),
    }
    given: dict[str, Limit] = {}
    for name, (value, wanted) in keywords.items():
        if isinstance(value, wanted):
            given[name] = value
        elif value is not None:
            raise UsageError(f"{what}: {name}={value!r:.80}; use {wanted.__name__}(...)")
    _check_together(what, given, many)
    _check_batch(what, given, many)
    ordered = sorted(many, key=lambda c: (c.unit == "step", not c.key, c.scope == "app", c.key))
    return (*given.values(), *ordered)


def _several(what: str, given: object) -> list[Concurrency]:
    if given is None:
        return []
    items = cast("Sequence[object]", given) if isinstance(given, list | tuple) else [given]
    found = [item for item in items if isinstance(item, Concurrency)]
    if len(found) < len(items):
        raise UsageError(f"{what}: concurrency={given!r:.80}; use Concurrency(10), or a list of these")
    return found


_APART: Final = (
    ("debounce", "batch", "both make one run of many events; keep one of them"),
    ("batch", "priority", "a batch has no event of its own to be weighed by; leave priority out"),
    (
        "batch",
        "idempotency",
        "an event that is dropped would be missing in its batch; give events an id instead",
    ),
    ("batch", "rate_limit", "it would drop events and not runs; use throttle, which lets batches wait"),
)


def _check_together(what: str, given: Mapping[str, Limit], many: Sequence[Concurrency]) -> None:
    for one, other, why in _APART:
        if one in given and other in given:
            raise UsageError(f"{what}: {one}= and {other}= do not go together: {why}")
    if "priority" in given and "throttle" not in given and not many:
        raise UsageError(
            f"{what}: priority= moves runs that wait, and none does here; it goes with throttle= or concurrency="
        )
    seen: dict[tuple[str, str, str], Concurrency] = {}
    for item in many:
        other = seen.setdefault((item.unit, item.scope, item.key), item)
        if other is not item:
            key = f"key {item.key!r}" if item.key else "no key"
            raise UsageError(
                f"{what}: concurrency= has two limits of {item.unit}s with scope {item.scope!r} and {key}; keep the"
                " smaller one"
            )


def _check_batch(what: str, given: Mapping[str, Limit], many: Sequence[Concurrency]) -> None:
    """A run of a batch is counted by its first event: by a key, the others have to say the same."""
    batch, singleton = given.get("batch"), given.get("singleton")
    if batch is None:
        return
    if isinstance(singleton, Singleton) and singleton.mode == "skip":
        raise UsageError(
            f'{what}: batch= and singleton= with mode="skip" do not go together: it would drop a batch and all of its'
            ' events; use Concurrency(1, unit="run"), which lets batches wait'
        )
    for name, limit in (*given.items(), *(("concurrency", one) for one in many)):
        if limit.key not in ("", batch.key):
            raise UsageError(
                f"{what}: {name}= counts by {limit.key!r:.80}, in which the events of one batch may differ; give the"
                " batch the same key=, or count without one"
            )


def check_ends(what: str, flow: Flow, *, cancels: bool, start_us: int) -> None:
    """Raises UsageError, naming `what`, when what ends its runs makes no sense under its flow control."""
    for limit in flow:
        if isinstance(limit, Batch) and cancels:
            raise UsageError(
                f"{what}: batch= and cancel_on= do not go together: an event that cancels is about one event, and would"
                " end the run of all; look for it in the body"
            )
        if not isinstance(limit, Batch | Debounce):
            continue
        gathers_us = limit.timeout_us if isinstance(limit, Batch) else limit.period_us
        if 0 < start_us <= gathers_us:
            raise UsageError(
                f"{what}: Timeouts(start=) is over before {limit.kind}= lets a run begin, so that none ever would; make"
                " it longer, or leave it out"
            )


def check_flow(what: str, flow: Flow, models: Sequence[type[Event]]) -> None:
    """Raises UsageError, naming `what`, when an event of the function cannot have what a limit asks for."""
    for limit in flow:
        for name, text in limit.texts():
            for path in _reads(text):
                for model in models:
                    if len(path) > 1 and (fault := path_fault(model, ".".join(path))):
                        raise UsageError(f"{what}: {type(limit).__name__}({name}={text!r:.80}): {fault}")


def _reads(text: str) -> Sequence[tuple[str, ...]]:
    condition = conditions.parse(text)
    return [*(path for path, _ in condition.equals), *condition.reads]
