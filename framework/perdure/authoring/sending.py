"""What a user sends, turned into the event that is recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from datetime import datetime
from typing import Any, Final, cast

from pydantic import BaseModel

from perdure.authoring.events import Event, event_codec, event_name, key_path
from perdure.authoring.names import event_name_fault, text_fault
from perdure.authoring.payloads import codec_of
from perdure.core import ids, payload
from perdure.core.durations import DAY_US, from_us, instant_us
from perdure.core.limits import DEFAULT_LIMITS
from perdure.core.ops import EventData
from perdure.core.paths import path_value
from perdure.errors import EncodingError, InvalidEvent, UsageError

__all__ = ["EventInput", "checked_tags", "to_event"]

EventInput = Event | str | Mapping[str, Any]
"""A typed event, a name (with data beside it), or {"name", "data", "id", "key", "ts", "v"}."""

_TAGS_MAX: Final = 64
_TS_MIN: Final = 365 * DAY_US  # 1971
_TS_END: Final = 84_006 * DAY_US  # 2200
_FIELDS: Final = ("name", "data", "id", "key", "ts", "v")


def to_event(
    event: EventInput,
    data: object = None,
    *,
    id: str | None = None,  # noqa: A002
    key: str | None = None,
    ts: datetime | str | float | None = None,
    v: str | None = None,
    now_us: int,
    make_id: Callable[[], str],
    data_bytes_max: int = DEFAULT_LIMITS.event_bytes_max,
    internal: bool = False,
) -> EventData:
    """The event to record for what a user sends; all of it is checked here, before anything is appended.

    The time is `now_us` (microseconds since the epoch) unless `ts` is given, the id is `make_id()`, the key is the
    value of the class's key path, else the id. `internal` lets the engine use its reserved names. Raises
    InvalidEvent, which says what is wrong, where, and what to do.
    """
    given: dict[str, Any] = {"id": id, "key": key, "ts": ts, "v": v}
    if isinstance(event, Mapping):
        event, data = _unpacked(event, data, given)
    name, data = _named(event, data)
    if fault := event_name_fault(name, sent=not internal):
        raise InvalidEvent(f"the event name {_shown(name)} {fault}")
    for field in ("id", "key", "v"):
        if given[field] is not None and (fault := text_fault(given[field])):
            raise InvalidEvent(f"the {field} {_shown(given[field])} of event {name!r} {fault}")
    if not internal and given["id"] is not None and given["id"].startswith(ids.GENERATED):
        raise InvalidEvent(
            f"the id {_shown(given['id'])} of event {name!r} begins with {ids.GENERATED}, which marks ids that were "
            "made up for a sender; leave it out, or choose another"
        )
    encoded = _encoded(name, data, data_bytes_max)
    event_id = make_id() if given["id"] is None else given["id"]
    key = given["key"]
    if key is None and isinstance(data, Event) and (path := key_path(type(data))) is not None:
        key = _key_at(name, path, encoded)
    return {
        "name": name,
        "id": event_id,
        "ts": now_us if given["ts"] is None else _time(name, given["ts"]),
        "key": event_id if key is None else key,
        "v": given["v"],
        "data": encoded,
        "trace": None,
    }


def checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a run. Raises UsageError for too many of them, and for what is not a short text."""
    if len(tags) > _TAGS_MAX:
        raise UsageError(
            f"a run may have {_TAGS_MAX} tags, not {len(tags)}; put the rest into the event's data"
        )
    for name, value in tags.items():
        for text in (name, value):
            if fault := text_fault(text):
                raise UsageError(f"the tag {name!r:.80}={value!r:.80}: {text!r:.80} {fault}")
    return dict(tags)


def _unpacked(event: Mapping[str, Any], data: object, given: dict[str, Any]) -> tuple[Any, object]:
    """The name or typed event of the dict form, and its data; the envelope is added to `given`."""
    fields: dict[Any, Any] = dict(event)
    if unknown := [name for name in fields if name not in _FIELDS]:
        raise InvalidEvent(
            f"an event has no field {_shown(unknown[0])}; it has {', '.join(_FIELDS)}, and your own go into data"
        )
    if data is not None:
        raise InvalidEvent('this event holds its data itself, under "data"; leave the second argument out')
    for field, argument in given.items():
        if argument is not None and fields.get(field) is not None:
            raise InvalidEvent(f"{field} is given twice, in the event and as an argument; keep one of them")
        given[field] = fields.get(field) if argument is None else argument
    name, data = fields.get("name"), fields.get("data")
    if isinstance(data, Event):
        own = _name_of(data)
        if name is not None and name != own:
            raise InvalidEvent(
                f"the event is named {_shown(name)}, but its data, a {type(data).__name__}, is {own!r}; leave name out"
            )
        return data, None
    if name is None:
        raise InvalidEvent('the event has no name; write {"name": "user/created", "data": {...}}')
    return name, data


def _named(event: object, data: object) -> tuple[str, object]:
    if isinstance(event, Event):
        if data is not None:
            raise InvalidEvent(f"{type(event).__name__} holds its data itself; leave the second argument out")
        return _name_of(event), event
    if isinstance(event, type):
        raise InvalidEvent(f"{event.__name__} is a class; send an instance of it: {event.__name__}(...)")
    return cast("str", event), data


def _name_of(event: Event) -> str:
    try:
        return event_name(type(event))
    except UsageError as error:
        raise InvalidEvent(str(error)) from None


def _encoded(name: str, data: object, data_bytes_max: int) -> bytes:
    what = f"the data of event {name!r}"
    try:
        if data is None:
            encoded = b"{}"
        elif isinstance(data, Event):
            encoded = event_codec(type(data), name).encode(data)
        elif isinstance(data, BaseModel) or (is_dataclass(data) and not isinstance(data, type)):
            encoded = codec_of(type(cast("object", data)), what, by_alias=True).encode(data)
        elif isinstance(data, Mapping):
            encoded = payload.dumps(dict(cast("Mapping[str, Any]", data)), what=what)
        else:
            raise InvalidEvent(
                f'{what} is a {type(data).__qualname__}; use a dict, such as {{"value": ...}}, or an Event'
            )
    except EncodingError as error:
        raise InvalidEvent(str(error)) from error
    if len(encoded) > data_bytes_max:
        raise InvalidEvent(
            f"{what} has {len(encoded):,} bytes of JSON, more than Limits.event_bytes_max = {data_bytes_max:,}; store "
            "it elsewhere, and send where it is"
        )
    if not encoded.startswith(b"{"):
        raise InvalidEvent(f"{what} is written as {encoded[:20]!r}, which is no JSON object; wrap it in one")
    return encoded


def _time(name: str, ts: datetime | str | float) -> int:
    try:
        us = instant_us(ts, what=f"the ts of event {name!r},")
    except UsageError as error:
        raise InvalidEvent(str(error)) from None
    if not _TS_MIN <= us < _TS_END:
        # Of 1970: a number that is no time, or days. Of 2300: one that would lie in the log for centuries.
        raise InvalidEvent(
            f"the ts of event {name!r} is {from_us(us).isoformat()}; an event happened after 1970 and before 2200. A "
            "number is seconds since the epoch"
        )
    return us


def _key_at(name: str, path: str, encoded: bytes) -> str:
    found, value = path_value({"data": payload.loads(encoded)}, path)
    key = payload.loads(value) if found else None
    if isinstance(key, int) and not isinstance(key, bool):
        key = str(key)
    if not isinstance(key, str):
        what = "is missing" if not found else f"is {value[:40].decode(errors='replace')}"
        raise InvalidEvent(
            f"the key of event {name!r}, at {path}, {what}; it must be a string or an integer, or give key="
        )
    if fault := text_fault(key):
        raise InvalidEvent(f"the key {_shown(key)} of event {name!r}, at {path}, {fault}")
    return key


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | None) else f"<{type(value).__qualname__}>"
    return text if len(text) <= 80 else text[:80] + "…"
