"""What the Schema Registry says of the schemas that producers write by, in one process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from perdure.authoring.foreign import schema_id_of
from perdure.authoring.written import ReadBody, WriterSchema, reader_of
from perdure.errors import InvalidEvent

__all__ = ["SchemaSource", "Schemas"]

log = logging.getLogger("perdure.registry")

ABSENT_S: Final = 1.0
"""For so long an id that the registry does not know is not asked for again; then it may have been made."""
SAID_S: Final = 30.0
"""While the registry is away, it is said this often."""


class SchemaSource(Protocol):
    """A Schema Registry."""

    async def fetch(self, schema_id: int) -> WriterSchema | None:
        """The schema; None when the registry says that there is none. Raises LogError when it does not say."""
        ...


class Schemas:
    """Asks a registry for each schema once, and keeps what it said for ever: an id never changes its meaning."""

    def __init__(
        self, source: SchemaSource | None = None, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._now = monotonic_s
        self._known: dict[int, ReadBody | str] = {}
        """How to read what was written by a schema, or why that cannot be."""
        self._absent: dict[int, float] = {}
        """Ids that the registry does not know, and until when that is taken as said."""
        self._asking: dict[int, asyncio.Task[bool]] = {}
        self._said_at: float | None = None

    @property
    def asks(self) -> bool:
        """Whether there is a registry."""
        return self._source is not None

    def unknown(self, value: bytes) -> int | None:
        """The id of the schema that must be learned before this entry can be read; None when it can be."""
        schema_id = schema_id_of(value)
        if schema_id is None or schema_id in self._known or self._source is None:
            return None
        return None if self._absent.get(schema_id, 0.0) > self._now() else schema_id

    def read(self, schema_id: int, body: bytes) -> tuple[str | None, object]:
        """What was written by a schema: its name, and what it says. Raises InvalidEvent."""
        reader = self._known.get(schema_id)
        if callable(reader):
            try:
                return reader(body)
            except InvalidEvent as error:
                raise InvalidEvent(f"this was written by the schema {schema_id}, and {error}") from error
        if reader is not None:
            raise InvalidEvent(f"this was written by the schema {schema_id}, and {reader}")
        if self._source is None:
            raise InvalidEvent(
                f"this was written by the schema {schema_id} of a Schema Registry, and none is configured; set "
                "PERDURE_SCHEMA_REGISTRY_URL, or send JSON"
            )
        raise InvalidEvent(
            f"this was written by the schema {schema_id}, and the Schema Registry knows no such schema"
        )

    async def learn(self, schema_id: int) -> bool:
        """Asks the registry. False when it does not say, and has to be asked again."""
        asking = self._asking.get(schema_id)
        if asking is None:
            asking = self._asking[schema_id] = asyncio.get_running_loop().create_task(self._ask(schema_id))
            asking.add_done_callback(lambda _done: self._asking.pop(schema_id, None))
        return await asyncio.shield(asking)

    async def _ask(self, schema_id: int) -> bool:
        assert self._source is not None
        try:
            schema = await self._source.fetch(schema_id)
        except Exception as error:  # noqa: BLE001 - whatever it is, events wait for an answer and are not lost
            self._say(schema_id, error)
            return False
        if self._said_at is not None:
            log.warning("the Schema Registry answers again; the events that waited for it go on")
            self._said_at = None
        if schema is None:
            self._absent[schema_id] = self._now() + ABSENT_S
            return True
        try:
            self._known[schema_id] = reader_of(schema)
        except InvalidEvent as error:
            self._known[schema_id] = str(error)
        return True

    def _say(self, schema_id: int, error: Exception) -> None:
        now = self._now()
        if self._said_at is None or now - self._said_at >= SAID_S:
            self._said_at = now
            log.warning(
                "events of the schema %d wait, and those behind them: %s",
                schema_id,
                str(error) or repr(error),
            )
