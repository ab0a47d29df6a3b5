"""DBOS: async workflows and steps in one process, on SQLite or PostgreSQL; workflows are called and awaited."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from importlib.metadata import version
from typing import Any

from dbos import DBOS
from measuring import FANOUT, arguments, measured, report, run


@DBOS.step()
async def plus(number: int) -> int:
    return number + 1


@DBOS.step()
async def total(numbers: list[int]) -> int:
    return sum(numbers)


@DBOS.workflow()
async def one() -> int:
    return await plus(0)


@DBOS.workflow()
async def three() -> int:
    return await plus(await plus(await plus(0)))


@DBOS.workflow()
async def fanned() -> int:
    return await total(list(await asyncio.gather(*(plus(number) for number in range(FANOUT)))))


async def main() -> None:
    args = arguments()
    if args.url.startswith("sqlite"):
        # The file remembers it. With the rollback journal that DBOS leaves it at, a commit takes several times as long.
        with closing(sqlite3.connect(args.url.partition("///")[2])) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    config: Any = {
        "name": "bench",
        "system_database_url": args.url,
        "log_level": "WARNING",
        "enable_otlp": False,
        "sys_db_pool_size": 20,
    }
    DBOS(config=config)
    DBOS.launch()
    cells = await measured({"W1": one, "W2": three, "W3": fanned}, quick=args.quick)
    DBOS.destroy()
    setting = "one process; " + (
        "PostgreSQL 15, fsync"
        if args.url.startswith("postgres")
        else "SQLite with journal_mode=WAL, synchronous=FULL"
    )
    report(version("dbos"), setting, cells)


if __name__ == "__main__":
    run(main())
