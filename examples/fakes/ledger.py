"""What the outside systems remember: each call, and each effect, in one SQLite file that survives every process.

A call is somebody asking; an effect is something that happened. A system that honours idempotency keys answers a second
call of one key with the effect of the first. Trouble can be ordered, for the next calls only: `ledger.trouble(...)`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FOLDER = "PERDURE_EXAMPLES"
"""The variable that names another folder for the ledger, for a test or a demo."""

_SCHEMA = """
create table if not exists effects (
    id integer primary key, system text, action text, key text, data text, unique (system, action, key));
create table if not exists calls (
    id integer primary key, system text, action text, key text, effect integer, pid integer);
create table if not exists troubles (
    system text, action text, kind text, times integer, primary key (system, action, kind));
"""


class Unavailable(ConnectionError):
    """The system does not answer just now. Another attempt may help."""


@dataclass(frozen=True)
class Effect:
    """Something that happened in an outside system."""

    id: int
    action: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Call:
    """Somebody asked. `effect` is what came of it, None for a call that was turned away."""

    system: str
    action: str
    key: str | None
    effect: int | None
    pid: int


def path() -> Path:
    """Where the ledger is: in the folder that PERDURE_EXAMPLES names, else under `.perdure/` of this checkout."""
    default = Path(__file__).parents[2] / ".perdure" / "fakes"
    return Path(os.environ.get(FOLDER) or default) / "ledger.db"


def act(system: str, action: str, data: dict[str, Any], *, key: str | None = None) -> Effect:
    """A call that has an effect, once for each key; the effect. Raises Unavailable when that trouble was ordered."""
    with _opened() as db:
        down = _troubled(db, system, action, "down")
        effect = None if down else _effect(db, system, action, data, key)
        db.execute(
            "insert into calls (system, action, key, effect, pid) values (?, ?, ?, ?, ?)",
            (system, action, key, effect and effect.id, os.getpid()),
        )
    if effect is None:
        raise Unavailable(f"{system} does not answer")
    return effect


async def answer(system: str, action: str, *, seconds: float = 30) -> None:
    """The answer on its way back. It takes its time when that trouble was ordered: the effect is there, unheard of."""
    with _opened() as db:
        slow = _troubled(db, system, action, "slow")
    await asyncio.sleep(seconds if slow else 0)


def trouble(system: str, action: str, *, kind: Literal["down", "slow"] = "down", times: int = 1) -> None:
    """The next `times` calls find the system down, or its answer very slow."""
    with _opened() as db:
        db.execute("insert or replace into troubles values (?, ?, ?, ?)", (system, action, kind, times))


def effects(system: str, action: str | None = None) -> list[Effect]:
    """What happened in a system, in order."""
    with _opened() as db:
        rows = db.execute(
            "select id, action, data from effects where system = ? and action = coalesce(?, action) order by id",
            (system, action),
        )
        return [Effect(number, name, json.loads(data)) for number, name, data in rows]


def calls(system: str | None = None, action: str | None = None) -> list[Call]:
    """Who asked for what, in order."""
    with _opened() as db:
        rows = db.execute(
            "select system, action, key, effect, pid from calls "
            "where system = coalesce(?, system) and action = coalesce(?, action) order by id",
            (system, action),
        )
        return [Call(*row) for row in rows]


async def until(happened: Callable[[], bool], *, seconds: float = 30) -> None:
    """Returns once something has happened in the outside world. Raises TimeoutError when it does not."""
    async with asyncio.timeout(seconds):
        while not happened():  # noqa: ASYNC110 - other processes do it, and ring no bell
            await asyncio.sleep(0.02)


def _effect(
    db: sqlite3.Connection, system: str, action: str, data: dict[str, Any], key: str | None
) -> Effect:
    done = db.execute(
        "select id, data from effects where system = ? and action = ? and key = ?", (system, action, key)
    ).fetchone()
    if done is not None:
        return Effect(done[0], action, json.loads(done[1]))
    made = db.execute(
        "insert into effects (system, action, key, data) values (?, ?, ?, ?) returning id",
        (system, action, key, json.dumps(data)),
    ).fetchone()
    return Effect(made[0], action, data)


def _troubled(db: sqlite3.Connection, system: str, action: str, kind: str) -> bool:
    used = db.execute(
        "update troubles set times = times - 1 where system = ? and action = ? and kind = ? and times > 0",
        (system, action, kind),
    )
    return used.rowcount > 0


@contextmanager
def _opened() -> Generator[sqlite3.Connection]:
    """A transaction of its own: processes and threads take turns."""
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(file, timeout=10, isolation_level=None)
    try:
        db.executescript(_SCHEMA)
        db.execute("begin immediate")
        yield db
        db.execute("commit")
    finally:
        db.close()
