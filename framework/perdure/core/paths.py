"""Paths into an event, such as `data.payment_id`: what waits match by, and what events are keyed by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, cast

from perdure.core import payload
from perdure.core.ops import EventData
from perdure.errors import EncodingError, UsageError

__all__ = [
    "PATH_BYTES_MAX",
    "digested",
    "event_value",
    "event_view",
    "match_value",
    "parse_path",
    "path_value",
]

PATH_BYTES_MAX: Final = 256
MATCH_BYTES_MAX: Final = 1_024

_ROOTS: Final = ("data", "name", "id", "key", "ts", "v")
_SEGMENT: Final = re.compile(r"[^\s.\[\]\"'`]+")
_ABSENT: Final = object()


@lru_cache(maxsize=1024)
def parse_path(path: str) -> tuple[str, ...]:
    """The segments of a path: `data.items.0.sku` is ("data", "items", "0", "sku"). A leading `event.` is dropped.

    Raises UsageError for what is no path into an event.
    """
    segments = tuple(path.split("."))
    if segments[0] == "event":
        segments = segments[1:]
    form = 'write it like "data.payment_id", with dots, and numbers into lists'
    if not segments or segments[0] not in _ROOTS:
        raise UsageError(f"the path {path[:80]!r} does not start at {', '.join(_ROOTS)}; {form}")
    if len(path.encode(errors="replace")) > PATH_BYTES_MAX:
        raise UsageError(f"the path {path[:80]!r}… is longer than {PATH_BYTES_MAX} bytes; {form}")
    if not all(_SEGMENT.fullmatch(segment) for segment in segments) or len(segments) > payload.NESTING_MAX:
        raise UsageError(f"the path {path[:80]!r} cannot be read; {form}")
    return segments


def event_view(event: EventData) -> dict[str, Any]:
    """An event as paths, predicates and expressions see it: `data` decoded, `ts` in microseconds since the epoch.

    Raises EncodingError if the data is not JSON.
    """
    return {
        "name": event["name"],
        "id": event["id"],
        "ts": event["ts"],
        "key": event["key"],
        "v": event["v"],
        "data": payload.loads(event["data"], what=f"the data of event {event['name']!r} {event['id']!r}"),
    }


def path_value(event: Mapping[str, Any], path: str) -> tuple[bool, bytes]:
    """Whether the path exists in an event (an `event_view`), and its value in canonical JSON.

    1, 1.0, "1" and true are four values; null is one too. What is not found, or holds a number that is no finite
    double, is (False, b""), and must not match anything, such a value on the other side included. Raises UsageError
    for what is no path.
    """
    value: Any = event
    for segment in parse_path(path):
        value = _child(value, segment)
        if value is _ABSENT:
            return False, b""
    try:
        return True, payload.canonical(value)
    except EncodingError:
        return False, b""


def match_value(event: Mapping[str, Any], path: str) -> tuple[bool, bytes]:
    """Like `path_value`, as waits and events are matched by it: of a large value it is a digest, so that an event which
    many paths lead into still fits a record (A7). Canonical JSON never begins like a digest."""
    found, value = path_value(event, path)
    return found, digested(value)


def digested(value: bytes) -> bytes:
    """A value in canonical JSON, or the digest of a large one."""
    return value if len(value) <= MATCH_BYTES_MAX else b"#" + blake2b(value).hexdigest().encode()


def event_value(event: EventData, path: str) -> tuple[bool, bytes]:
    """Like `path_value`, of an event as recorded. Never raises: any client may append events, and any JSON."""
    try:
        if parse_path(path)[0] != "data":
            return path_value(event, path)
        return path_value({"data": _decoded(event["data"])}, path)
    except (EncodingError, UsageError):
        return False, b""


@lru_cache(maxsize=4)
def _decoded(data: bytes) -> Any:
    """The data of the last few events: one is asked for each path that waits have armed for its name."""
    return payload.loads(data)


def _child(value: object, segment: str) -> object:
    if isinstance(value, Mapping):
        return cast("Mapping[str, object]", value).get(segment, _ABSENT)
    if isinstance(value, list) and segment.isascii() and segment.isdigit() and len(segment) < 10:
        items = cast("list[object]", value)
        return items[int(segment)] if int(segment) < len(items) else _ABSENT
    return _ABSENT
