"""What senders asked for and what was acknowledged, what readers saw, and what steps did to the world outside."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from typing import Any

from perdure import current_step
from tests.crash import ledger


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that a sender wants. It is sent again under its id until it is acknowledged."""

    id: str
    workload: str
    """ "set", "register", "counter", or "close" for a register that gets no more writes."""
    key: str
    """Which set, register or counter."""
    value: int
    """The element, the value, the amount."""
    acknowledged: bool = False


@dataclass(frozen=True, slots=True)
class Effect:
    """What a step did outside of the engine: appended durably, the oldest first."""

    workload: str
    key: str
    value: int
    token: str
    """The idempotency key: what comes twice under one of these counts once, as in any system that is given it."""
    pid: int


@dataclass(frozen=True, slots=True)
class Read:
    """The value of a register as a client was told it; times in µs."""

    key: str
    value: int
    asked: int
    answered: int


@dataclass(frozen=True, slots=True)
class History:
    """All of it."""

    operations: list[Operation]
    effects: list[Effect]
    reads: list[Read]


def begin(operation: Operation) -> None:
    """A sender is about to send this for the first time."""
    fields = {name: getattr(operation, name) for name in ("id", "workload", "key", "value")}
    ledger.write("operations", {"what": "begin"} | fields)


def acknowledged(operation: Operation) -> None:
    """All of it is accepted."""
    ledger.write("operations", {"what": "acknowledged", "id": operation.id})


def effect(workload: str, key: str, value: int) -> None:
    """The step that runs does this to the world outside."""
    token, pid = current_step().idempotency_key, os.getpid()
    ledger.write("outside", {"workload": workload, "key": key, "value": value, "token": token, "pid": pid})


def seen(key: str, value: int, asked: int) -> None:
    """A client was told the value of a register."""
    ledger.write("reads", {"key": key, "value": value, "asked": asked, "answered": now()})


def now() -> int:
    """The true time in µs."""
    return time_ns() // 1_000


def operations(folder: Path) -> list[Operation]:
    """All that were begun, in that order."""
    begun: dict[str, dict[str, Any]] = {}
    for line in _lines(folder / "operations"):
        if line.pop("what") == "begin":
            begun[line["id"]] = line
        else:
            begun[line["id"]]["acknowledged"] = True
    return [Operation(**fields) for fields in begun.values()]


def read(folder: Path) -> History:
    """What the files of a folder say."""
    effects = [Effect(**line) for line in _lines(folder / "outside")]
    reads = [Read(**line) for line in _lines(folder / "reads")]
    return History(operations(folder), effects, reads)


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return
    for line in text[: text.rfind(b"\n") + 1].splitlines():  # one may be under way
        yield json.loads(line)
