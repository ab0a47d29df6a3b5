"""Entries of the events topic, read: our own records, and what producers sent that know nothing of us."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from perdure.authoring.foreign import foreign_event
from perdure.authoring.names import event_name_fault
from perdure.core import codec
from perdure.core.decide.ingest import Incoming
from perdure.core.facts import CHANNEL, REDRIVEN, unpack_channel, unpack_redriven
from perdure.core.limits import KB, Limits
from perdure.core.ops import EventData
from perdure.engine.pauses import SHORT_US, jittered
from perdure.engine.schemas import Schemas
from perdure.engine.services import Services
from perdure.errors import EncodingError, InvalidEvent, PayloadError
from perdure.logs.contract import Entry, damage_of
from perdure.payloads.records import Opener, seal_event
from perdure.payloads.vault import Vault

__all__ = ["ENVELOPE_BYTES_MAX", "Arrivals", "incoming"]

ENVELOPE_BYTES_MAX = 4 * KB
"""What an event's name, id, key, version and trace may take beside its data."""


class Arrivals:
    """Lets entries through in the order of the log, each as soon as the schema that it was written by is known.

    Behind one whose schema cannot be had, since the registry does not answer, all wait: it is asked again and again.
    """

    def __init__(
        self, services: Services, through: Callable[[Sequence[Entry]], None], acting: Callable[[], bool]
    ) -> None:
        self._services = services
        self._through = through
        self._acting = acting
        self._held: list[Entry] = []
        self._failures = 0

    def __len__(self) -> int:
        """How many entries wait."""
        return len(self._held)

    def take(self, batch: Sequence[Entry]) -> None:
        """Entries, in order."""
        if self._held:
            self._held.extend(batch)
        elif self._services.schemas.asks:
            self._let_through(list(batch))
        else:
            self._through(batch)

    def close(self) -> None:
        self._held.clear()

    def _let_through(self, batch: list[Entry]) -> None:
        schemas = self._services.schemas
        for index, entry in enumerate(batch):
            schema_id = schemas.unknown(entry.value)
            if schema_id is not None:
                self._held = batch[index:]
                self._services.spawn(self._learn(schema_id), f"asking for the schema {schema_id}")
                batch = batch[:index]
                break
        if batch:
            self._through(batch)

    async def _learn(self, schema_id: int) -> None:
        services = self._services
        if await services.schemas.learn(schema_id):
            self._failures = 0
            self._go_on()
        elif self._acting():
            pause = min(jittered(self._failures, services.entropy), SHORT_US)
            self._failures += 1
            services.clock.call_at(services.clock.now() + pause, self._go_on)

    def _go_on(self) -> None:
        held, self._held = self._held, []
        if held and self._acting():
            self._let_through(held)


def incoming(
    entry: Entry, partition: int, limits: Limits, app: str, schemas: Schemas, vault: Vault
) -> Incoming:
    """An entry of this partition of the events topic. What cannot be read has no event, and the reason.

    Events that another app sent from a run have ids that derive from that run's, whose like may be here too (A12).
    What is sent again to another app has neither event nor reason: here it was taken before.
    """
    channel = unpack_channel(entry.headers.get(CHANNEL))
    redriven = unpack_redriven(entry.headers.get(REDRIVEN))
    if redriven is not None and redriven.app != app:
        return Incoming(entry.offset, entry.ts, None, None, len(entry.value))
    event, plain, reason = None, None, ""
    # The time is in it, since a topic made anew begins at 0 again.
    place = (partition, entry.offset, entry.ts) if redriven is None else redriven[1:]
    try:
        event = _event(entry, place, limits, schemas, internal=channel is not None)
        plain = Opener(vault).event(event)
        event = seal_event(vault, event)
    except (EncodingError, InvalidEvent, PayloadError) as error:
        event, reason = None, str(error)
    if event is not None and channel is not None:
        sender = channel[0].rpartition("/")[0]
        if sender != app:
            event["id"] = f"{sender}/{event['id']}"
    if redriven is not None:
        channel = None  # its number in the channel was counted when it was buried
    return Incoming(entry.offset, entry.ts, event, channel, len(entry.value), reason, plain)


def _event(
    entry: Entry, place: tuple[int, ...], limits: Limits, schemas: Schemas, *, internal: bool
) -> EventData:
    value = entry.value
    if not value and (damage := damage_of(entry)) is not None:
        raise InvalidEvent(f"this event {damage}: the disk of the log has lost or changed it; send it again")
    if len(value) > limits.event_bytes_max + ENVELOPE_BYTES_MAX:
        # Records that it went into would not fit an entry (A7).
        raise InvalidEvent(
            f"this event has {len(value):,} bytes, its data may have {limits.event_bytes_max:,}"
        )
    if value[:2] != codec.MARKER:
        partition, offset, ts = place
        return foreign_event(
            value,
            entry.headers,
            entry.key,
            place=f"entry {partition}:{offset}:{ts}",
            ts_us=ts,
            read_record=schemas.read,
            data_bytes_max=limits.event_bytes_max,
        )
    name, body = codec.decode(value)
    if name != "Event":
        raise InvalidEvent(f"this is a record of kind {name}, which is no event")
    if not internal and (fault := event_name_fault(body["name"], sent=True)):
        raise InvalidEvent(f"the event name {body['name']!r:.80} {fault}")
    return body  # type: ignore[return-value]
