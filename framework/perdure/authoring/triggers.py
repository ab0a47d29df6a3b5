"""Which events start a function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perdure.authoring.events import Event, event_name
from perdure.authoring.names import event_name_fault
from perdure.errors import UsageError

__all__ = ["Trigger", "TriggerInput", "event_types", "triggers_of"]


@dataclass(frozen=True, slots=True, init=False)
class Trigger:
    """An event that starts a function: its name, a pattern such as `order/*`, or an `Event` class.

    A `*` stands at the end, after a `/` or `.`, for all that follows, further segments included. Raises UsageError
    for a bad name or pattern.
    """

    name: str
    model: type[Event] | None

    def __init__(self, name: str | type[Event]) -> None:
        model = name if isinstance(name, type) else None
        if isinstance(name, type):
            if not issubclass(name, Event):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise UsageError(
                    f"Trigger({name.__name__}): the class is no Event; write class {name.__name__}(Event, ...)"
                )
            name = event_name(name)
        if fault := _pattern_fault(name):
            raise UsageError(f"the trigger {name!r:.80} {fault}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "model", model)


TriggerInput = str | type[Event] | Trigger
"""What stands for a trigger in `on=`."""


def triggers_of(
    on: TriggerInput | list[TriggerInput] | tuple[TriggerInput, ...] | None, what: str
) -> tuple[Trigger, ...]:
    """The triggers meant by `on=`. Raises UsageError, naming `what`, for what is none, and for one named twice."""
    items = () if on is None else on if isinstance(on, list | tuple) else (on,)
    triggers = list[Trigger]()
    for item in items:
        if not isinstance(item, str | type | Trigger):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                f"{what}: on= has {_shown(item)}; use an event name, an Event class, a Trigger, or a list of these"
            )
        try:
            trigger = item if isinstance(item, Trigger) else Trigger(item)
        except UsageError as error:
            raise UsageError(f"{what}: {error}") from None
        if any(trigger.name == other.name for other in triggers):
            raise UsageError(f"{what}: on= names {trigger.name!r} twice; an event starts a function once")
        triggers.append(trigger)
    return tuple(triggers)


def event_types(triggers: tuple[Trigger, ...]) -> Mapping[str, type[Event] | None]:
    """The model of each event that a trigger names; a pattern has none."""
    return {trigger.name: trigger.model for trigger in triggers}


def _pattern_fault(pattern: object) -> str | None:
    if not isinstance(pattern, str) or "*" not in pattern:
        return event_name_fault(pattern, sent=False)
    prefix = pattern[:-1]
    if "*" in prefix or not pattern.endswith("*"):
        return "has a * before its end; a wildcard stands at the end: 'order/*'"
    if prefix[-1:] not in ("/", ".") or not prefix.strip("/."):
        return "has a * that is not a segment of its own; write it like 'order/*' or 'order/item.*'"
    return event_name_fault(prefix, sent=False)


def _shown(item: object) -> str:
    return repr(item) if isinstance(item, int | float | None) else f"a {type(item).__qualname__}"
