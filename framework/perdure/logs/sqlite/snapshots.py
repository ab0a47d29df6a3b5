"""Snapshots in the file: chunks with a checksum each, visible when the last of them is there."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence

from perdure.errors import LogError
from perdure.logs.sqlite.neighbours import WriterQueue


def put(
    connection: sqlite3.Connection, queue: WriterQueue, partition: int, name: str, chunks: Sequence[bytes]
) -> None:
    """Each chunk is a transaction of its own, so that appends wait for one chunk at most."""
    with queue:
        cursor = connection.execute(
            "INSERT INTO snapshots (partition, name) VALUES (?, ?)", (partition, name)
        )
        snapshot = cursor.lastrowid
    for number, data in enumerate(chunks):
        with queue:
            connection.execute(
                "INSERT INTO snapshot_chunks VALUES (?, ?, ?, ?)", (snapshot, number, zlib.crc32(data), data)
            )
    with queue:
        connection.execute("UPDATE snapshots SET chunks = ? WHERE id = ?", (len(chunks), snapshot))
    _delete(
        connection,
        queue,
        "partition = ? AND id < ? AND (name = ? OR chunks IS NULL)",
        (partition, snapshot, name),
    )


def names(connection: sqlite3.Connection, partition: int) -> Sequence[str]:
    found = connection.execute(
        "SELECT name, max(id) FROM snapshots WHERE partition = ? AND chunks IS NOT NULL GROUP BY name ORDER BY 2",
        (partition,),
    )
    return tuple(name for name, _ in found)


def get(connection: sqlite3.Connection, partition: int, name: str) -> Sequence[bytes]:
    """Raises `LogError` when there is none, or when a chunk is missing or is not what was put."""
    connection.execute("BEGIN")
    try:
        row = connection.execute(
            "SELECT id, chunks FROM snapshots WHERE partition = ? AND name = ? AND chunks IS NOT NULL"
            " ORDER BY id DESC LIMIT 1",
            (partition, name),
        ).fetchone()
        if row is None:
            raise LogError(f"partition {partition} has no snapshot {name!r}")
        found = connection.execute(
            "SELECT number, crc, data FROM snapshot_chunks WHERE snapshot = ? ORDER BY number", (row[0],)
        ).fetchall()
    finally:
        connection.execute("COMMIT")
    if len(found) != row[1] or any(zlib.crc32(data) != crc for _, crc, data in found):
        raise LogError(
            f"snapshot {name!r} of partition {partition} is damaged: use an older one, or the journal"
        )
    return tuple(data for _, _, data in found)


def drop(connection: sqlite3.Connection, queue: WriterQueue, partition: int, name: str) -> None:
    _delete(connection, queue, "partition = ? AND name = ?", (partition, name))


def _delete(
    connection: sqlite3.Connection, queue: WriterQueue, where: str, params: tuple[int | str | None, ...]
) -> None:
    found = connection.execute(f"SELECT id FROM snapshots WHERE {where}", params).fetchall()
    for (snapshot,) in found:
        with queue:
            connection.execute("DELETE FROM snapshots WHERE id = ?", (snapshot,))
        with queue:
            connection.execute("DELETE FROM snapshot_chunks WHERE snapshot = ?", (snapshot,))
