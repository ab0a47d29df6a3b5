"""From Kafka's messages to entries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from confluent_kafka import Message

from perdure.logs.contract import NO_HEADERS, Entry

__all__ = ["entry_of", "headers_of"]

_MS: Final = 1_000
"""Kafka's clock counts in ms, ours in µs."""


def entry_of(message: Message) -> Entry:
    """The entry that a message is. What a foreign producer left out is empty."""
    headers = message.headers()
    return Entry(
        message.offset() or 0,
        message.timestamp()[1] * _MS,
        message.key() or b"",
        message.value() or b"",
        headers_of(headers) if isinstance(headers, list) else NO_HEADERS,
    )


def headers_of(headers: Iterable[tuple[str, bytes | str | None]]) -> dict[str, bytes]:
    """Headers as a mapping; of a name that comes twice the last one counts."""
    return {name: value if isinstance(value, bytes) else (value or "").encode() for name, value in headers}
