"""How entries lie in the file, and the statements that write and read them.

One row per entry. Its id holds the slot (topic and partition) above the offset, so that a partition is one
range of the table and the primary key makes an offset unique: two writers can never both use one.

SQLite does not see that a bit of a value has changed on the disk, and takes a row that it cannot find for one that was
never there. So each row has a checksum, and a partition is read without gaps or not at all. Each row also has its
number in the whole log: when the highest is beyond what the partitions hold, some of them have lost their ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final
from zlib import crc32

from perdure.logs.contract import DAMAGED, NO_HEADERS, Entry, Topic, partition_count

OFFSET_BITS: Final = 44
OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1
PARTITION_BITS: Final = 12
PARTITIONS_MAX: Final = 1 << PARTITION_BITS
STATEMENT_ROWS_MAX: Final = 256
COLUMNS: Final = 7
ADD_CHECKS: Final = (
    "ALTER TABLE entries ADD COLUMN crc INTEGER",
    "ALTER TABLE entries ADD COLUMN number INTEGER",
)
"""What files of format 1 lack; their rows have neither, and are taken as they are."""

TOPIC_CODES: Final[Mapping[Topic, int]] = {
    Topic.EVENTS: 0,
    Topic.JOURNAL: 1,
    Topic.REGISTRY: 2,
    Topic.REPLIES: 3,
    Topic.DEAD_LETTERS: 4,
}

SCHEMA: Final = (
    """
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, key BLOB NOT NULL, headers BLOB, value BLOB NOT NULL,
        crc INTEGER, number INTEGER
    )
    """,
    "CREATE TABLE heads (slot INTEGER PRIMARY KEY, first INTEGER NOT NULL, next INTEGER NOT NULL)",
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE snapshots (
        id INTEGER PRIMARY KEY AUTOINCREMENT, partition INTEGER NOT NULL, name TEXT NOT NULL, chunks INTEGER
    )
    """,
    """
    CREATE TABLE snapshot_chunks (
        snapshot INTEGER NOT NULL, number INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (snapshot, number)
    )
    """,
)

_ROWS: Final = (
    "SELECT id, ts, key, headers, value, crc, number FROM entries WHERE id >= ? AND id < ? ORDER BY id"
)
_READ: Final = f"{_ROWS} LIMIT ?"
_LAST_ROW: Final = f"{_ROWS} DESC LIMIT 1"
_U32: Final = 0xFFFFFFFF
_LAST: Final = "SELECT max(id) FROM entries WHERE id >= ? AND id < ?"
_KEEP_HEAD: Final = (
    "INSERT INTO heads (slot, first, next) VALUES (?, ?, ?)"
    " ON CONFLICT (slot) DO UPDATE SET first = excluded.first, next = excluded.next"
)


def slot_numbers(partitions: int) -> dict[tuple[Topic, int], int]:
    """Every partition of a log of `partitions` journal partitions, and its number in the file."""
    return {
        (topic, partition): (code << PARTITION_BITS) | partition
        for topic, code in TOPIC_CODES.items()
        for partition in range(partition_count(topic, (partitions,)))
    }


def first_id(slot: int) -> int:
    return slot << OFFSET_BITS


def _statement_sizes() -> list[int]:
    """For each number of rows the size of the statement that takes them: few sizes, so that all stay
    prepared.
    """
    sizes = [0]
    for rows in range(1, STATEMENT_ROWS_MAX + 1):
        grain = max(1, (1 << rows.bit_length()) // 8)
        sizes.append(min(-(-rows // grain) * grain, STATEMENT_ROWS_MAX))
    return sizes


def _insert_statement(rows: int) -> str:
    row = f"({','.join('?' * COLUMNS)})"
    values = ",".join([row] * rows)
    return f"INSERT INTO entries SELECT * FROM (VALUES {values}) WHERE column1 >= 0"


_SIZES: Final = _statement_sizes()
_INSERTS: Final = {size: _insert_statement(size) for size in set(_SIZES[1:])}


_NO_ROW: Final = -1
"""Fills a statement that takes more rows than there are. An int, since for None `sqlite3` would look for an adapter."""


def insert(connection: sqlite3.Connection, params: list[Any], rows: int) -> None:
    """Commit these rows (`COLUMNS` params each) in one transaction.

    Usually in one statement, which is then its own transaction: `sqlite3` lets go of the interpreter's lock
    at every step, and under a busy event loop each of these may cost a whole switch interval to win it back.
    """
    if rows <= STATEMENT_ROWS_MAX:
        _insert_part(connection, params, rows)
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for start in range(0, rows, STATEMENT_ROWS_MAX):
            part = params[start * COLUMNS : (start + STATEMENT_ROWS_MAX) * COLUMNS]
            _insert_part(connection, part, len(part) // COLUMNS)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _insert_part(connection: sqlite3.Connection, params: list[Any], rows: int) -> None:
    size = _SIZES[rows]
    if size != rows:
        params = params + [_NO_ROW] * ((size - rows) * COLUMNS)
    connection.execute(_INSERTS[size], params)


def next_offset(connection: sqlite3.Connection, slot: int) -> int:
    """The offset that the next entry of `slot` gets."""
    low = first_id(slot)
    (last,) = connection.execute(_LAST, (low, low + OFFSET_MASK)).fetchone()
    return (last & OFFSET_MASK) + 1 if last is not None else _kept(connection, slot)[1]


def first_offset(connection: sqlite3.Connection, slot: int) -> int:
    """The first retained offset of `slot`."""
    return _kept(connection, slot)[0]


def _kept(connection: sqlite3.Connection, slot: int) -> tuple[int, int]:
    """First and next offset as the last trim left them."""
    row = connection.execute("SELECT first, next FROM heads WHERE slot = ?", (slot,)).fetchone()
    return (row[0], row[1]) if row is not None else (0, 0)


def last_of(connection: sqlite3.Connection, slot: int) -> tuple[int, int]:
    """When the last entry of `slot` was appended, and how many the whole log had then.

    0 when there is none, or when it is damaged: who reads it is told.
    """
    low = first_id(slot)
    found = connection.execute(_LAST_ROW, (low, low + OFFSET_MASK)).fetchone()
    if found is None or not _sound(*found):
        return 0, 0
    _, ts, _, _, _, _, number = found
    return ts, 0 if number is None else number + 1


def read(
    connection: sqlite3.Connection, slot: int, offset: int, entries_max: int, bytes_max: int
) -> tuple[list[Entry], int]:
    """The entries from `offset` on, and their size; at least one if there is one, else within the two
    bounds. For one that is damaged, and for those that are missing before another, there is one that says so.
    """
    low = first_id(slot)
    expected = low + max(offset, 0)
    end = low + next_offset(connection, slot)  # first: what stands by now is there, or trimmed, or lost
    cursor = connection.execute(_READ, (expected, low + OFFSET_MASK, entries_max))
    entries: list[Entry] = []
    size = 0
    for row, ts, key, headers, value, crc, number in cursor:
        try:  # `checksum`, without the calls: this is done for each record of a recovery
            seen = crc32(key, (row ^ row >> 32 ^ ts ^ ts >> 32 ^ number ^ number >> 32) & _U32)
            sound = crc32(value, crc32(headers, seen) if headers else seen) == crc & _U32
            size += len(value) + len(key)
        except TypeError:
            sound = _sound(row, ts, key, headers, value, crc, number)
        if size > bytes_max and entries:
            cursor.close()
            return entries, size
        if row < expected:  # of a copy whose pages were read at different times
            cursor.close()
            entries.append(_damaged(expected, 0, "is not where it belongs"))
            return entries, size
        if row != expected:
            _tell_missing(connection, slot, expected, row, entries)
        expected = row + 1
        if not sound:
            entries.append(_damaged(row, 0, "is not what was appended"))
            continue
        entries.append(
            Entry(row & OFFSET_MASK, ts, key, value, decode_headers(headers) if headers else NO_HEADERS)
        )
    if expected < end and len(entries) < entries_max:
        _tell_missing(connection, slot, expected, end, entries)
    return entries, size


def _tell_missing(
    connection: sqlite3.Connection, slot: int, expected: int, row: int, entries: list[Entry]
) -> None:
    """From `expected` on nothing was found below `row`: trimmed meanwhile, or lost."""
    missing = max(expected, first_id(slot) + first_offset(connection, slot))
    if missing < row:
        last = (row - 1) & OFFSET_MASK
        what = "is missing" if missing == row - 1 else f"is missing, and so are all up to {last}"
        entries.append(_damaged(missing, 0, what))


def _sound(row: Any, ts: Any, key: Any, headers: Any, value: Any, crc: Any, number: Any) -> bool:
    """Whether a row is what was inserted."""
    try:
        if crc is None:
            return number is None and type(ts) is int and type(key) is type(value) is bytes
        return crc == checksum(row, ts, number, key, headers, value)
    except TypeError:
        return False  # not even of the kinds that were inserted


def _damaged(row: int, ts: int, what: str) -> Entry:
    return Entry(row & OFFSET_MASK, ts, b"", b"", {DAMAGED: what.encode()})


def checksum(row: int, ts: int, number: int, key: bytes, headers: bytes | None, value: bytes) -> int:
    """Of all that a row holds, as a number that takes four bytes in the file."""
    crc = crc32(key, (row ^ row >> 32 ^ ts ^ ts >> 32 ^ number ^ number >> 32) & _U32)
    if headers:
        crc = crc32(headers, crc)
    crc = crc32(value, crc)
    return crc - (crc >> 31 << 32)


def offset_at(connection: sqlite3.Connection, slot: int, ts: int) -> int:
    """The first offset whose time is at or after `ts`, else the next one. Times never go back, so: by
    halving.
    """
    low, high = first_offset(connection, slot), next_offset(connection, slot)
    while low < high:
        middle = (low + high) // 2
        row = connection.execute("SELECT ts FROM entries WHERE id = ?", (first_id(slot) + middle,)).fetchone()
        if row is None or row[0] < ts:
            low = middle + 1
        else:
            high = middle
    return low


def trim(connection: sqlite3.Connection, slot: int, before: int, entries_max: int) -> bool:
    """Delete up to `entries_max` entries below `before`, in one transaction; whether some are left to
    delete.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        first, end = first_offset(connection, slot), next_offset(connection, slot)
        until = min(before, end, first + entries_max)
        if until > first:
            low = first_id(slot)
            connection.execute("DELETE FROM entries WHERE id >= ? AND id < ?", (low, low + until))
            connection.execute(_KEEP_HEAD, (slot, until, end))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return until < min(before, end)


def encode_headers(headers: Mapping[str, bytes]) -> bytes:
    """`6 3 sourceapi`: the lengths of name and value, then both, for each header."""
    return b"".join([_prefix(text, len(value)) + value for text, value in headers.items()])


@lru_cache(maxsize=1024)
def _prefix(text: str, value_bytes: int) -> bytes:
    name = text.encode()
    return b"%d %d %b" % (len(name), value_bytes, name)


def decode_headers(blob: bytes) -> dict[str, bytes]:
    return dict(_decoded(blob))


def _decoded(blob: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    while at < len(blob):
        name_end = blob.index(b" ", at)
        value_end = blob.index(b" ", name_end + 1)
        start = value_end + 1
        middle = start + int(blob[at:name_end])
        at = middle + int(blob[name_end + 1 : value_end])
        yield blob[start:middle].decode(), blob[middle:at]


def data_version(connection: sqlite3.Connection) -> int:
    """Changes when another connection has committed."""
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    return version
