"""Events from producers that know nothing of perdure: any Kafka client, a connector, a tool. Pure.

An entry of the events topic that is not one of our own records is taken as the first of these that it fits:

*The Confluent wire format*: a zero byte, the schema's id in the Schema Registry, and Avro or JSON written by it.
*JSON*: one object, UTF-8.

What they say is taken as the first of these that it fits:

*A named entry*: a header `event`, or `ce_type` of CloudEvents' Kafka binding, has the event's name; all of the entry is
its data. Headers `id` (`ce_id`) and `ts` (`ce_time`) may be beside it.
*A CloudEvent in structured mode*: an object with `specversion`; its `type` is the name, `data` the data.
*An event as a client sends it*: an object with a text `name` and `data`, and perhaps `id`, `key`, `ts`, `v`.
*Anything else that has a schema*: the full name of an Avro record, or the title of a JSON Schema, is the event's name,
and all of it is the data.

Without an id an event gets one from its place in the log, so that each reader of the log sees the same.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, cast
from uuid import UUID

from perdure.authoring.sending import to_event
from perdure.core import payload
from perdure.core.ops import EventData
from perdure.errors import EncodingError, InvalidEvent

__all__ = ["ReadRecord", "foreign_event", "schema_id_of"]

ReadRecord = Callable[[int, bytes], tuple[str | None, object]]
"""From a schema's id and the bytes behind it to the schema's name, if any, and what they say. Raises InvalidEvent."""

_MAGIC: Final = b"\x00"
_PREFIX_BYTES: Final = 5
_ENVELOPE: Final = frozenset({"name", "data", "id", "key", "ts", "v"})


def schema_id_of(value: bytes) -> int | None:
    """The id of the schema of an entry in the Confluent wire format; None for any other."""
    if value[:1] != _MAGIC or len(value) < _PREFIX_BYTES:
        return None
    return int.from_bytes(value[1:_PREFIX_BYTES], "big")


def foreign_event(
    value: bytes,
    headers: Mapping[str, bytes],
    key: bytes,
    *,
    place: str,
    ts_us: int,
    read_record: ReadRecord,
    data_bytes_max: int,
) -> EventData:
    """The event that an entry says; `place` is where it lies in the log, `ts_us` when it landed.

    Raises InvalidEvent, which says what is wrong and how to send it instead.
    """
    schema_id = schema_id_of(value)
    if schema_id is not None:
        record, said = read_record(schema_id, value[_PREFIX_BYTES:])
        try:
            said = _plain(said)
        except RecursionError:
            raise InvalidEvent(f"this record {record or ''} nests too deeply") from None
    else:
        record, said = None, _json(value)
    name, data, given = _meant(record, said, headers)
    if given.get("key") is None and key:
        given["key"] = _text(key, "the key of the entry")
    event = to_event(
        name,
        data,
        **given,
        now_us=ts_us,
        make_id=lambda: place,
        data_bytes_max=data_bytes_max,
    )
    trace = headers.get("traceparent")
    return event if trace is None else {**event, "trace": _text(trace, "the header traceparent")}


def _json(value: bytes) -> object:
    if value.lstrip()[:1] not in (b"{", b"["):
        raise InvalidEvent(
            "this is neither an event of perdure, nor JSON, nor Avro in the Confluent wire format; send JSON: "
            '{"name": "user/created", "data": {...}}'
        )
    try:
        return payload.loads(value, what="the entry")
    except EncodingError as error:
        raise InvalidEvent(f"this is not JSON: {error}") from error


def _meant(
    record: str | None, said: object, headers: Mapping[str, bytes]
) -> tuple[str, object, dict[str, Any]]:
    """The event's name, its data, and what else is given."""
    given: dict[str, Any]
    for name, prefix in (("event", ""), ("ce_type", "ce_")):
        if name in headers:
            given = {
                "id": _header(headers, f"{prefix}id"),
                "ts": _header(headers, "ce_time" if prefix else "ts"),
            }
            return _text(headers[name], f"the header {name}"), said, given
    fields = _object(said)
    if fields is not None:
        if "specversion" in fields:
            given = {"id": fields.get("id"), "ts": fields.get("time"), "key": fields.get("partitionkey")}
            return fields.get("type", ""), fields.get("data"), given
        if isinstance(fields.get("name"), str) and "data" in fields and fields.keys() <= _ENVELOPE:
            return fields["name"], fields["data"], {f: fields.get(f) for f in ("id", "key", "ts", "v")}
    if record is not None:
        return record, said, {}
    raise InvalidEvent(
        'this has no event name: send {"name": "user/created", "data": {...}}, a CloudEvent, or name it in a header '
        "`event`"
    )


def _object(said: object) -> dict[str, Any] | None:
    return cast("dict[str, Any]", said) if isinstance(said, dict) else None


def _header(headers: Mapping[str, bytes], name: str) -> str | None:
    value = headers.get(name)
    return None if value is None else _text(value, f"the header {name}")


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"{what} is not UTF-8: {value[:40]!r}") from error


def _plain(said: object) -> object:
    """What Avro has and JSON has not, as text: bytes in base64, times in ISO 8601."""
    if isinstance(said, dict):
        return {name: _plain(value) for name, value in cast("dict[str, object]", said).items()}
    if isinstance(said, list):
        return [_plain(value) for value in cast("list[object]", said)]
    if isinstance(said, bytes):
        return base64.b64encode(said).decode()
    if isinstance(said, datetime | date | time):
        return said.isoformat()
    if isinstance(said, Decimal | UUID):
        return str(said)
    return said
