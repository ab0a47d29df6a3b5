"""Snapshots in a topic of their own: chunks, then one entry that says that the set is whole.

Entries carry the set's name as key. An entry of kind `end` makes the chunks before it, of the same put, a set; one of
kind `drop` unmakes it. Two writers may mix their entries (a worker that was thought dead, and its successor), so each
put has a random mark.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from perdure.errors import LogError
from perdure.logs.contract import Entry

__all__ = ["Put", "Sets", "chunk_headers", "drop_headers", "end_headers", "end_value"]

KIND: Final = "kind"
MARK: Final = "put"
CHUNK, END, DROP = b"chunk", b"end", b"drop"


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


def end_value(first: int, chunks: Sequence[bytes]) -> bytes:
    """`first` is the offset of the first chunk, -1 without any."""
    return json.dumps({"first": first, "chunks": len(chunks), "crc": _crc(chunks)}).encode()


class Sets:
    """The sets of one partition of the topic, as far as it was read."""

    def __init__(self) -> None:
        self.next = 0
        """The offset from which on it is not yet read."""
        self.found: dict[str, Put] = {}

    def take(self, entries: Sequence[Entry]) -> None:
        """Reads on."""
        for entry in entries:
            self.next = entry.offset + 1
            name, kind = entry.key.decode("utf-8", "replace"), entry.headers.get(KIND)
            if kind == DROP:
                self.found.pop(name, None)
            elif kind == END:
                told = json.loads(entry.value)
                self.found.pop(name, None)  # the newest is the last
                first = told["first"] if told["first"] >= 0 else entry.offset
                mark = entry.headers.get(MARK, b"")
                self.found[name] = Put(name, mark, first, entry.offset, told["chunks"], told["crc"])

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
