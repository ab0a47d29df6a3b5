"""Snapshots in a topic of their own: chunks, then one entry that says that the set is whole.

Entries carry the set's name as key. An entry of kind `end` makes the chunks before it, of the same put, a set; one of
kind `drop` unmakes it. Two writers may mix their entries (a worker that was thought dead, and its successor), so each
put has a random mark.

Ends, and entries of kind `topics` before there is any, also say which ids the topics had: one that was deleted and made
anew has another, and no run may begin anew on it unnoticed.

What lies here and is not ours is passed over.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

from perdure.errors import LogError
from perdure.logs.contract import Entry

__all__ = [
    "Put",
    "Sets",
    "chunk_headers",
    "drop_headers",
    "end_headers",
    "end_value",
    "ids_headers",
    "ids_value",
]

log = logging.getLogger("perdure.kafka")

KIND: Final = "kind"
MARK: Final = "put"
CHUNK, END, DROP, IDS = b"chunk", b"end", b"drop", b"topics"


@dataclass(frozen=True, slots=True)
class Put:
    """A whole set: where its chunks lie."""

    name: str
    mark: bytes
    first: int
    end: int
    chunks: int
    crc: int


def chunk_headers(mark: bytes) -> dict[str, bytes]:
    return {KIND: CHUNK, MARK: mark}


def end_headers(mark: bytes) -> dict[str, bytes]:
    return {KIND: END, MARK: mark}


def drop_headers() -> dict[str, bytes]:
    return {KIND: DROP}


def end_value(first: int, chunks: Sequence[bytes], ids: Mapping[str, str]) -> bytes:
    """`first` is the offset of the first chunk, -1 without any; `ids` those of the topics, as far as they are known."""
    return json.dumps(
        {"first": first, "chunks": len(chunks), "crc": _crc(chunks), "topics": dict(ids)}
    ).encode()


def ids_headers() -> dict[str, bytes]:
    return {KIND: IDS}


def ids_value(ids: Mapping[str, str]) -> bytes:
    return json.dumps({"topics": dict(ids)}).encode()


class Sets:
    """The sets of one partition of the topic, as far as it was read."""

    def __init__(self) -> None:
        self.next = 0
        """The offset from which on it is not yet read."""
        self.found: dict[str, Put] = {}
        self.ids: dict[str, str] = {}
        """The ids of the topics that they go with, by name, as far as they are known."""

    def take(self, entries: Sequence[Entry]) -> None:
        """Reads on."""
        for entry in entries:
            self.next = entry.offset + 1
            try:
                self._take(entry)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                log.warning("an entry among the snapshots, at %d, is not ours: %r", entry.offset, error)

    def _take(self, entry: Entry) -> None:
        name, kind = entry.key.decode("utf-8", "replace"), entry.headers.get(KIND)
        if kind == DROP:
            self.found.pop(name, None)
        elif kind == END:
            told: dict[str, Any] = json.loads(entry.value)
            first = int(told["first"]) if told["first"] >= 0 else entry.offset
            mark = entry.headers.get(MARK, b"")
            put = Put(name, mark, first, entry.offset, int(told["chunks"]), int(told["crc"]))
            self.found.pop(name, None)  # the newest is the last
            self.found[name] = put
            self.ids |= told.get("topics", {})
        elif kind == IDS:
            self.ids |= json.loads(entry.value)["topics"]

    def names(self, first: int) -> list[str]:
        """Those of which nothing is gone yet, oldest first; `first` is the first retained offset."""
        return [put.name for put in self.found.values() if put.first >= first]


def chunks_of(put: Put, read: Callable[[int], Sequence[Entry]]) -> list[bytes]:
    """The chunks of a set; `read` gives the next entries from an offset on. Raises LogError when it is damaged."""
    chunks: list[bytes] = []
    at = put.first
    while at < put.end:
        entries = read(at)
        if not entries:
            break
        chunks += [entry.value for entry in entries if entry.offset < put.end and _is_chunk(entry, put)]
        at = entries[-1].offset + 1
    if len(chunks) != put.chunks or _crc(chunks) != put.crc:
        raise LogError(
            f"the snapshot {put.name!r} is damaged: {len(chunks)} of {put.chunks} chunks are there"
            + ("" if len(chunks) != put.chunks else ", and their checksum differs")
        )
    return chunks


def _is_chunk(entry: Entry, put: Put) -> bool:
    return entry.headers.get(KIND) == CHUNK and entry.headers.get(MARK) == put.mark


def _crc(chunks: Sequence[bytes]) -> int:
    crc = 0
    for chunk in chunks:
        crc = crc32(chunk, crc)
    return crc
