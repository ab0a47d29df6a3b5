"""What is read from the log: an entry, decoded, with its place and its stamp."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from perdure.core import codec
from perdure.errors import EncodingError

APP = "app"
KIND = "kind"
STAMP = "stamp"
CHANNEL = "channel"
MESSAGES = "messages"
"""How many messages an entry holds, when these are more than one. Its channel has the number of the first."""
TRACE = "traceparent"
REDRIVEN = "redriven"
SIZE = "size"
NEEDS = "needs"
EVENTS_ROUTED = "perdure/events-routed"
"""The value by which the owner of a partition is asked for the first event that it has not routed."""
"""On a record above the first level: its level, and the first version of perdure that knows it, as in "2 0.4.0"."""
UNDECODABLE = "undecodable"

_STAMP = struct.Struct(">16sQQ")
_DIGITS_MAX = 19


class Stamp(NamedTuple):
    """Who wrote a record: the producer instance, its epoch, and the record's number in that producer's life."""

    owner: bytes
    epoch: int
    seq: int

    def pack(self) -> bytes:
        return _STAMP.pack(self.owner, self.epoch, self.seq)


def unpack_stamp(data: bytes | None) -> Stamp | None:
    """The stamp of a header; None when there is none or it is not one."""
    if data is None or len(data) != _STAMP.size:
        return None
    return Stamp(*_STAMP.unpack(data))


@dataclass(slots=True)
class Fact:
    """One entry as the fold takes it. `offset` is its place, `ts` its append time by the log's clock (µs)."""

    offset: int
    ts: int
    kind: str
    body: dict[str, Any]
    stamp: Stamp | None
    raw: bytes
    channel: tuple[str, int] | None = None
    """Origin and seq of a message, also when its body cannot be read."""
    messages: int = 1
    """How many messages it is, also when its body cannot be read."""
    parts: list[bytes] | None = None
    """The bytes of each change of a commit, when whoever made the fact has them."""


def pack_channel(origin: str, seq: int) -> bytes:
    return f"{origin}:{seq}".encode()


def unpack_channel(data: bytes | None) -> tuple[str, int] | None:
    if data is None:
        return None
    origin, _, seq = data.decode("ascii", "replace").rpartition(":")
    return (origin, int(seq)) if origin and seq.isdecimal() and len(seq) < _DIGITS_MAX else None


class Redriven(NamedTuple):
    """Where an event that is sent again lay at first, and which app it is sent to again: others have had it."""

    app: str
    partition: int
    offset: int
    ts: int

    def pack(self) -> bytes:
        return f"{self.app}:{self.partition}:{self.offset}:{self.ts}".encode()


def unpack_redriven(data: bytes | None) -> Redriven | None:
    """The place of a header; None when there is none or it is not one."""
    app, *numbers = (data or b"").decode("ascii", "replace").split(":")
    if len(numbers) != 3 or not all(n.isdecimal() and len(n) < _DIGITS_MAX for n in numbers):
        return None
    return Redriven(app, *map(int, numbers))


def unpack_needs(data: bytes | None) -> tuple[int, str]:
    """The level and the version of a header; level 0 for none."""
    level, _, version = (data or b"").decode("ascii", "replace").partition(" ")
    return (int(level), version[:64]) if level.isdecimal() and len(level) < _DIGITS_MAX else (0, "")


def read_fact(offset: int, ts: int, value: bytes, headers: Mapping[str, bytes]) -> Fact:
    """Decodes an entry of the journal. What cannot be decoded becomes a fact too: every reader sees the same void."""
    stamp = unpack_stamp(headers.get(STAMP))
    channel = unpack_channel(headers.get(CHANNEL))
    try:
        kind, body, parts = codec.decode_parted(value)
    except EncodingError as error:
        body = {"reason": str(error), "needs": unpack_needs(headers.get(NEEDS))}
        messages = unpack_messages(headers.get(MESSAGES))
        return Fact(offset, ts, UNDECODABLE, body, stamp, value, channel, messages)
    if kind == "Level":
        body["needs"] = unpack_needs(headers.get(NEEDS))
    return Fact(offset, ts, kind, body, stamp, value, channel, parts=parts)


def message_fact(entry: Fact, value: bytes, channel: tuple[str, int] | None) -> Fact:
    """One of several messages in an entry, as it were alone there."""
    try:
        kind, body = codec.decode(value)
    except EncodingError as error:
        return Fact(entry.offset, entry.ts, UNDECODABLE, {"reason": str(error)}, None, value, channel)
    return Fact(entry.offset, entry.ts, kind, body, None, value, channel)


def unpack_messages(data: bytes | None) -> int:
    """How many messages a header says that there are; 1 where it says nothing."""
    told = (data or b"").decode("ascii", "replace")
    return max(int(told), 1) if told.isdecimal() and len(told) < _DIGITS_MAX else 1
