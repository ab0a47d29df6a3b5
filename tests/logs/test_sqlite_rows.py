"""Rows of a file whose pages do not fit together: a copy that was made while it was written to."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perdure.logs import Topic
from perdure.logs.contract import damage_of
from perdure.logs.sqlite import SqliteLog, rows


class Mixed:
    """A connection to such a file: behind the first row of a partition comes one that lies before it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, *params: Any) -> Any:
        found = self._connection.execute(statement, *params)
        return Scan(found.fetchall()) if statement == rows._READ else found


class Scan:
    def __init__(self, found: list[tuple[Any, ...]]) -> None:
        first, *rest = found
        self._rows = [first, first, *rest]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._rows)

    def close(self) -> None: ...


def test_a_row_that_is_not_where_it_belongs_is_damage(tmp_path: Path) -> None:
    file = tmp_path / "log.db"

    async def fill() -> None:
        log = SqliteLog(file, partitions=1)
        await log.open()
        for n in range(4):
            log.producer().append(Topic.JOURNAL, 0, b"%d" % n)
        await log.close()

    asyncio.run(fill())
    slot = rows.slot_numbers(1)[Topic.JOURNAL, 0]
    connection = sqlite3.connect(file)
    whole, _ = rows.read(connection, slot, 0, 100, 10_000)
    assert [entry.value for entry in whole] == [b"0", b"1", b"2", b"3"]
    mixed: Any = Mixed(connection)
    found, _ = rows.read(mixed, slot, 0, 100, 10_000)
    assert [(entry.offset, damage_of(entry)) for entry in found] == [
        (0, None),
        (1, "is not where it belongs"),
    ]
    connection.close()
