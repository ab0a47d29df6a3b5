"""Entries of the events topic, read: our own records, and what producers sent that know nothing of us."""

from __future__ import annotations

from perdure.authoring.foreign import foreign_event
from perdure.authoring.names import event_name_fault
from perdure.core import codec
from perdure.core.decide.ingest import Incoming
from perdure.core.facts import CHANNEL, unpack_channel
from perdure.core.limits import KB, Limits
from perdure.core.ops import EventData
from perdure.errors import EncodingError, InvalidEvent
from perdure.logs.contract import Entry

__all__ = ["ENVELOPE_BYTES_MAX", "incoming"]

ENVELOPE_BYTES_MAX = 4 * KB
"""What an event's name, id, key, version and trace may take beside its data."""


def incoming(entry: Entry, partition: int, limits: Limits, app: str) -> Incoming:
    """An entry of this partition of the events topic. What cannot be read has no event, and the reason.

    Events that another app sent from a run have ids that derive from that run's, whose like may be here too (A12).
    """
    channel = unpack_channel(entry.headers.get(CHANNEL))
    event, reason = None, ""
    try:
        event = _event(entry, partition, limits, internal=channel is not None)
    except (EncodingError, InvalidEvent) as error:
        reason = str(error)
    if event is not None and channel is not None:
        sender = channel[0].rpartition("/")[0]
        if sender != app:
            event["id"] = f"{sender}/{event['id']}"
    return Incoming(entry.offset, entry.ts, event, channel, len(entry.value), reason)


def _event(entry: Entry, partition: int, limits: Limits, *, internal: bool) -> EventData:
    value = entry.value
    if len(value) > limits.event_bytes_max + ENVELOPE_BYTES_MAX:
        # Records that it went into would not fit an entry (A7).
        raise InvalidEvent(
            f"this event has {len(value):,} bytes, its data may have {limits.event_bytes_max:,}"
        )
    if value[:2] != codec.MARKER:
        return foreign_event(
            value,
            entry.headers,
            entry.key,
            place=f"entry {partition}:{entry.offset}:{entry.ts}",  # the time: a topic made anew begins at 0 again
            ts_us=entry.ts,
            read_record=_no_registry,
            data_bytes_max=limits.event_bytes_max,
        )
    name, body = codec.decode(value)
    if name != "Event":
        raise InvalidEvent(f"this is a record of kind {name}, which is no event")
    if not internal and (fault := event_name_fault(body["name"], sent=True)):
        raise InvalidEvent(f"the event name {body['name']!r:.80} {fault}")
    return body  # type: ignore[return-value]


def _no_registry(schema_id: int, _body: bytes) -> tuple[str, object]:
    raise InvalidEvent(
        f"this is Avro of the schema {schema_id} of a Schema Registry, and none is configured; send JSON, or perdure's "
        "own Event record in Avro's single-object encoding"
    )
