"""What the steps of the service did, kept outside of the engine: one line before each effect and one after it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time_ns  # a test may set time.time_ns of its process: the ledger keeps the true one
from typing import Any

from perdure import current_step

_folder: Path | None = None
on_written: list[Callable[[], None]] = []
"""Called after each line that stands."""


def keep_in(folder: Path) -> None:
    """From now on this process writes its ledger here."""
    global _folder
    _folder = folder


def folder() -> Path:
    assert _folder is not None, "no ledger was opened"
    return _folder


def write(file: str, line: dict[str, Any]) -> None:
    """Appends one line that stands when this returns, whatever becomes of the process."""
    fd = os.open(folder() / file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(fd, json.dumps(line).encode() + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)
    for call in on_written:
        call()


@contextmanager
def effect(run: str, *args: object) -> Iterator[None]:
    """The side effect of the step that runs: what is inside."""
    step = current_step()
    digest = hashlib.blake2b(json.dumps([run, *args]).encode(), digest_size=8).hexdigest()
    line = {
        "run": run,
        "key": step.idempotency_key,
        "attempt": step.attempt,
        "args": digest,
        "pid": os.getpid(),
    }
    write("ledger", line | {"what": "begin", "at": time_ns() // 1_000})
    yield
    write("ledger", line | {"what": "end", "at": time_ns() // 1_000})


def note(what: str, **fields: Any) -> None:
    """Something else of note, in the same file."""
    line = {"run": "", "key": "", "attempt": 0, "args": "", "pid": os.getpid()}
    write("ledger", line | {"what": what, "at": time_ns() // 1_000} | fields)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the ledger. `at` is in µs by the wall clock, as the log's times are."""

    what: str
    run: str
    key: str
    attempt: int
    args: str
    pid: int
    at: int


def read(folder: Path) -> list[Line]:
    """The ledger so far, oldest line first."""
    try:
        text = (folder / "ledger").read_bytes()
    except FileNotFoundError:
        return []
    whole = text[: text.rfind(b"\n") + 1]  # a line may be under way
    return [Line(**json.loads(line)) for line in whole.splitlines()]


def size(folder: Path) -> int:
    """How many bytes the ledger has."""
    try:
        return (folder / "ledger").stat().st_size
    except FileNotFoundError:
        return 0


def accepted(folder: Path) -> list[dict[str, Any]]:
    """What senders know to be durable."""
    try:
        return [json.loads(line) for line in (folder / "accepted").read_bytes().splitlines()]
    except FileNotFoundError:
        return []
