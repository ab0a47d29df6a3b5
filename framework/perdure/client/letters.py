"""Dead letters: what could not be read or routed, why, and sending it again once the cause is mended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from perdure.core import codec
from perdure.core.facts import KIND, REDRIVEN, SIZE, Redriven, unpack_redriven
from perdure.errors import EncodingError, LogError, UsageError
from perdure.logs.contract import Entry, Log, Producer, Topic, damage_of

__all__ = ["Letter", "dead_letters", "redrive"]

_READ_ENTRIES: Final = 500
_MARK: Final = b"Redriven"
"""The kind of what stands behind a letter in its topic once it was sent again."""
_OURS: Final = (KIND, SIZE)


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. `number` names it: its offset among the dead letters."""

    number: int
    buried: int
    """When (µs)."""
    topic: str
    partition: int
    offset: int
    """Where what it is about lies, or lay."""
    reason: str
    value: bytes = field(repr=False)
    """The entry's value, or the beginning of a large one."""
    size: int
    """Bytes of the whole value."""
    key: bytes
    headers: Mapping[str, bytes]
    first: Redriven | None
    """Where it lay before it was sent again for the first time; what it is known by."""
    redriven: int | None = None
    """When it was sent again last (µs)."""

    @property
    def is_event(self) -> bool:
        """Whether it can be sent again: a record of the journal cannot."""
        return self.topic == Topic.EVENTS.value


async def dead_letters(log: Log) -> list[Letter]:
    """All that are kept, the oldest first."""
    found: dict[int, Letter] = {}
    position, end = await log.bounds(Topic.DEAD_LETTERS, 0)
    while position < end and (batch := await log.read(Topic.DEAD_LETTERS, 0, position, _READ_ENTRIES)):
        position = batch[-1].offset + 1
        for entry in batch:
            _take(found, entry)
    return list(found.values())


def _take(found: dict[int, Letter], entry: Entry) -> None:
    if entry.headers.get(KIND) == _MARK:
        number = int(entry.key) if entry.key.isdigit() else -1
        if number in found:
            found[number] = replace(found[number], redriven=entry.ts)
        return
    try:
        kind, body = codec.decode(entry.value)
    except EncodingError:
        return
    if kind != "DeadLetter":
        return
    size = entry.headers.get(SIZE, b"")
    found[entry.offset] = Letter(
        number=entry.offset,
        buried=entry.ts,
        topic=body["topic"],
        partition=body["partition"],
        offset=body["offset"],
        reason=body["reason"],
        value=body["value"],
        size=int(size) if size.isdigit() else len(body["value"]),
        key=entry.key,
        headers={name: value for name, value in entry.headers.items() if name not in (*_OURS, REDRIVEN)},
        first=unpack_redriven(entry.headers.get(REDRIVEN)),
    )


async def redrive(log: Log, letters: Iterable[Letter]) -> dict[int, str]:
    """Sends the events of dead letters again, in their order, to this log's app alone; returns when all are durable.

    Each keeps the id that it had, or that it got from its first place, so that it counts once within 24 h, however
    often it is sent. What still cannot be read becomes a dead letter again. What cannot be sent, since it is no event
    or is not kept whole any more, is left out: by its number, why. Raises LogError.
    """
    refused: dict[int, str] = {}
    producer = log.producer()
    try:
        for letter in letters:
            try:
                entry, first = await _whole(log, letter)
            except UsageError as error:
                refused[letter.number] = str(error)
                continue
            headers = {**entry.headers, REDRIVEN: first.pack()}
            await _append(producer, Topic.EVENTS, letter.partition, entry.value, entry.key, headers)
            # Behind the event: killed in between, it is sent once more, and counts once by its id.
            number = str(letter.number).encode()
            await _append(producer, Topic.DEAD_LETTERS, 0, b"", number, {KIND: _MARK})
    finally:
        producer.close()
    return refused


async def _append(
    producer: Producer, topic: Topic, partition: int, value: bytes, key: bytes, headers: Mapping[str, bytes]
) -> None:
    done: asyncio.Future[int | LogError] = asyncio.get_running_loop().create_future()

    def finished(result: int | LogError) -> None:
        if not done.done():
            done.set_result(result)

    producer.append(topic, partition, value, key=key, headers=headers, done=finished)
    result = await done
    if isinstance(result, LogError):
        raise result


async def _whole(log: Log, letter: Letter) -> tuple[Entry, Redriven]:
    """What is to be sent again: the entry itself, or what the letter has of one that is gone. And its first place.

    Raises UsageError, which says why it cannot be.
    """
    if not letter.is_event:
        raise UsageError(
            f"dead letter {letter.number} is about the {letter.topic}, whose records are never sent again; only events "
            "are"
        )
    if letter.first is None:
        raise UsageError(f"dead letter {letter.number} does not say where its event lay at first")
    batch = await log.read(Topic.EVENTS, letter.partition, letter.offset, 1)
    there = batch and batch[0].offset == letter.offset and damage_of(batch[0]) is None
    if there and batch[0].value.startswith(letter.value):
        return batch[0], letter.first
    if not letter.value or len(letter.value) < letter.size:
        raise UsageError(
            f"dead letter {letter.number} has {len(letter.value):,} of {letter.size:,} bytes, and the events do not "
            "hold the rest any more: send the event anew"
        )
    return Entry(letter.offset, letter.buried, letter.key, letter.value, letter.headers), letter.first
