"""What goes wrong around the SQLite log for a while: a full disk, a reader, a fork, a stopped neighbour, a clock."""

import asyncio
import errno
import fcntl
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.errors import LogError
from perdure.logs import Topic
from perdure.logs.memory import MemoryLog
from perdure.logs.sqlite import SqliteLog, membership, rows
from perdure.logs.sqlite import file as files
from perdure.logs.sqlite.neighbours import SharedClock, SharedDirectory
from perdure.testing.log_contract import Recorder, append, until
from tests.logs.test_sqlite_file import on_log

JOURNAL = Topic.JOURNAL


def failing_first(times: int, error: Exception, call: Callable[..., Any]) -> Callable[..., Any]:
    left: Iterator[int] = iter(range(times))

    def flaky(*args: Any) -> Any:
        if next(left, None) is not None:
            raise error
        return call(*args)

    return flaky


def sqlite_error(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(f"as it is with {name}")
    error.sqlite_errorname = name
    return error


# ------------------------------------------------------------------------------------------------ errors that go by


def test_a_checkpoint_without_room_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(files, "WAL_BYTES_MAX", 20_000)
    restart = failing_first(2, sqlite_error("SQLITE_FULL"), files.restart_wal)
    monkeypatch.setattr(files, "restart_wal", restart)
    monkeypatch.setattr("perdure.logs.sqlite.wal._EVERY_NS", 0)

    async def body(log: SqliteLog) -> None:
        await append(log.producer(), JOURNAL, 0, bytes(100_000))
        await until(lambda: files.wal_bytes(log.path or Path()) < 20_000, "it is moved in the end")
        assert await append(log.producer(), JOURNAL, 0, b"x") == [1]
        assert log.committer.failure is None

    with caplog.at_level(logging.WARNING, "perdure.logs"):
        on_log(tmp_path / "x.db", body)
    assert [record.message.split(": ")[-1] for record in caplog.records] == [
        "free space on its disk, then go on",
        "that is over",
    ]


def test_a_read_that_fails_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(log: SqliteLog) -> None:
        monkeypatch.setattr(rows, "read", failing_first(2, sqlite_error("SQLITE_IOERR_READ"), rows.read))
        got: list[bytes] = []
        await append(log.producer(), JOURNAL, 0, b"0", b"1")
        log.follow(JOURNAL, 0, 0, lambda batch: got.extend(entry.value for entry in batch))
        await until(lambda: got == [b"0", b"1"], "it is read in the end")
        assert log.committer.failure is None

    on_log(tmp_path / "x.db", body)


def test_an_assignment_that_cannot_be_written_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "replace", failing_first(3, full, os.replace))

    async def body(log: SqliteLog) -> None:
        recorder = Recorder()
        recorder.member = log.member(recorder)
        await recorder.member.join()
        await until(lambda: len(recorder.held) == log.partitions, "it is written in the end")
        assert recorder.told == [("assigned", partition) for partition in range(log.partitions)]
        assert log.committer.failure is None

    on_log(tmp_path / "x.db", body)


def test_damage_ends_the_log_and_its_members_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(log: SqliteLog) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        recorder = Recorder()
        recorder.member = log.member(recorder)
        await recorder.member.join()
        await until(lambda: len(recorder.held) == log.partitions, "all are assigned")
        monkeypatch.setattr(rows, "read", failing_first(9, sqlite_error("SQLITE_CORRUPT"), rows.read))
        await append(log.producer(), JOURNAL, 0, b"x")
        log.follow(JOURNAL, 0, 0, lambda _batch: None)
        await until(lambda: recorder.told[-1] == ("ended", -1), "it is told")
        assert [kind for kind, _ in recorder.told[-log.partitions - 1 :]] == ["lost"] * log.partitions + [
            "ended"
        ]
        with pytest.raises(LogError, match="damaged"):
            await log.member(Recorder()).join()

    on_log(tmp_path / "x.db", body)


# ------------------------------------------------------------------------------------------------ neighbours


def test_a_reader_that_reads_on_is_named_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(files, "WAL_BYTES_MAX", 100_000)
    monkeypatch.setattr(files, "CHECKPOINT_MS", 1)
    monkeypatch.setattr("perdure.logs.sqlite.wal._EVERY_NS", 0)

    async def body(log: SqliteLog) -> None:
        path = log.path or Path()
        await append(log.producer(), JOURNAL, 0, b"x")
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchone()
        while not caplog.records:
            await append(log.producer(), JOURNAL, 0, bytes(50_000))
        assert files.wal_bytes(path) > 100_000
        reader.close()
        await until(lambda: files.wal_bytes(path) < 100_000, "it is emptied when the reader is gone")

    with caplog.at_level(logging.WARNING, "perdure.logs"):
        on_log(tmp_path / "x.db", body)
    assert "keeps a read transaction open" in caplog.text


KILLED_IN_A_WRITE = """
import asyncio, os, signal, sys
from perdure.logs.sqlite import SqliteLog
from perdure.testing.log_contract import Recorder

async def main():
    log = SqliteLog(sys.argv[1])
    await log.open()
    recorder = Recorder()
    recorder.member = log.member(recorder)
    await recorder.member.join()
    while len(recorder.held) < log.partitions:
        await asyncio.sleep(0.001)
    with log._queue:
        child = os.fork()
        if child == 0:
            os.closerange(1, 3)
            signal.alarm(60)
            signal.pause()
        print(child, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_a_forked_child_keeps_no_lock_of_a_killed_process(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_IN_A_WRITE, str(tmp_path / "x.db")],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    orphan = int(killed.stdout)

    async def body(log: SqliteLog) -> None:
        async with asyncio.timeout(10):
            assert await append(log.producer(), JOURNAL, 0, b"x") == [0]
            recorder = Recorder()
            recorder.member = log.member(recorder)
            await recorder.member.join()
            await until(
                lambda: len(recorder.held) == log.partitions, "the dead member's partitions are free", 5.0
            )

    try:
        os.kill(orphan, 0)
        on_log(tmp_path / "x.db", body)
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_leaving_is_bounded_while_a_stopped_process_holds_the_groups_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "PATIENCE_NS", 50_000_000)

    async def body(log: SqliteLog) -> None:
        recorder = Recorder()
        recorder.member = log.member(recorder)
        await recorder.member.join()
        await until(lambda: len(recorder.held) == log.partitions, "all are assigned")
        with open(f"{log.path}.shared/assignment.lock") as stopped:
            fcntl.flock(stopped, fcntl.LOCK_EX)
            async with asyncio.timeout(10):
                await recorder.member.leave()
        assert sum(kind == "revoked" for kind, _ in recorder.told) == log.partitions
        other = Recorder()
        other.member = log.member(other)
        await other.member.join()
        await until(lambda: len(other.held) == log.partitions, "its partitions are free")

    on_log(tmp_path / "x.db", body)


# ------------------------------------------------------------------------------------------------ the clock


class Clocks:
    """The machine's two clocks (ns), set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.monotonic = time.time_ns(), 10**12
        monkeypatch.setattr(time, "time_ns", lambda: self.wall)
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.monotonic)

    def go(self, seconds: float, *, wall_too: float = 0.0) -> None:
        """Time passes; the wall clock is set by `wall_too` seconds beside."""
        self.monotonic += int(seconds * 1e9)
        self.wall += int((seconds + wall_too) * 1e9)


def test_a_wall_clock_that_is_set_back_stops_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    shared = SharedDirectory(tmp_path / "x.db")
    one, other = SharedClock(shared), SharedClock(shared)
    clocks.go(1, wall_too=3_600)
    ahead = one.stamp()
    assert ahead == clocks.wall // 1_000
    clocks.go(0, wall_too=-3_600)
    assert other.now() == ahead
    clocks.go(8)
    assert other.now() - ahead == 7_000_000
    for _ in range(100):
        stamp = other.stamp()
        assert stamp <= one.now()
        clocks.go(0.001)
    assert one.now() - ahead == pytest.approx(7_087_500, abs=200)
    clocks.go(9 * 3_600)
    assert one.stamp() == clocks.wall // 1_000, "the wall clock has caught up"
    other.at_least(clocks.wall // 1_000 + 5)
    assert one.now() == clocks.wall // 1_000 + 5


def test_what_a_clock_has_shown_is_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer that was due by `now` is not stamped before it, when the wall clock is set back just between the two."""
    clocks = Clocks(monkeypatch)
    clock = SharedClock(SharedDirectory(tmp_path / "x.db"))
    clock.stamp()
    clocks.go(1, wall_too=3_600)
    shown = clock.now()
    clocks.go(0, wall_too=-3_600)
    assert clock.now() == shown
    assert clock.stamp() == shown
    clocks.go(8)
    assert clock.now() - shown == 7_000_000


def test_a_log_in_memory_goes_on_too(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    log = MemoryLog(1)
    clocks.go(0, wall_too=3_600)
    ahead = log.now()
    clocks.go(8, wall_too=-3_600)
    assert log.now() - ahead == 7_000_000
