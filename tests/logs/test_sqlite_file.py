"""The file of the SQLite log: where it may lie, what is refused and why, and its bounds."""

import asyncio
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.errors import AppendFailed, LevelTooNew, LogError, UsageError
from perdure.logs import LogFull, Topic
from perdure.logs.sqlite import SqliteLog, rows
from perdure.logs.sqlite import file as files
from perdure.testing.log_contract import Recorder, append, until

JOURNAL = Topic.JOURNAL


def on_log(path: object, body: Callable[[SqliteLog], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def run() -> None:
        log = SqliteLog(path, **options)  # type: ignore[arg-type]
        await log.open()
        try:
            await body(log)
        finally:
            await log.close()

    asyncio.run(run())


async def nothing(log: SqliteLog) -> None:
    pass


async def one(log: SqliteLog) -> None:
    assert isinstance((await append(log.producer(), JOURNAL, 0, b"x"))[0], int)


@pytest.mark.parametrize(
    "name", ["plain.db", "with space", "ö€.db", "a?b#c%20", "-dash", "quo'te\"", "deep/er/x.db"]
)
def test_odd_paths(tmp_path: Path, name: str) -> None:
    on_log(tmp_path / name, one)
    assert (tmp_path / name).is_file()


def test_a_relative_path_and_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    on_log("x.db", one)
    (tmp_path / "link.db").symlink_to(tmp_path / "x.db")

    async def same(log: SqliteLog) -> None:
        assert log.path == tmp_path / "x.db"
        assert await log.bounds(JOURNAL, 0) == (0, 1)

    on_log("link.db", same)
    assert not (tmp_path / "link.db.shared").exists()


def test_a_path_too_long_for_a_socket_still_has_a_bell(tmp_path: Path) -> None:
    async def body(log: SqliteLog) -> None:
        assert log.committer.bell.heard
        other = SqliteLog(log.path or "")
        await other.open()
        got: list[bytes] = []
        other.follow(JOURNAL, 0, 0, lambda batch: got.extend(entry.value for entry in batch))
        await append(log.producer(), JOURNAL, 0, b"x")
        await until(lambda: got == [b"x"], "it is rung")
        await other.close()

    on_log(tmp_path / ("long" * 40) / "x.db", body)


def refused(path: object, error: type[Exception], words: str, **options: Any) -> None:
    with pytest.raises(error, match=words):
        on_log(path, nothing, **options)


def test_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is some text, and longer than a header of a page" * 100)
    refused(tmp_path / "x.db", LogError, "not even a SQLite database")


def test_somebody_elses_database(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "x.db")
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    refused(tmp_path / "x.db", LogError, "something else than perdure")


def test_a_newer_format(tmp_path: Path) -> None:
    on_log(tmp_path / "x.db", nothing)
    connection = sqlite3.connect(tmp_path / "x.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    refused(tmp_path / "x.db", LevelTooNew, "upgrade perdure")


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    refused(tmp_path, UsageError, "is a directory")
    refused("/proc/no/such/place/x.db", LogError, "cannot make the directory")
    refused("nul\0", UsageError, "not a path")
    refused("/proc/x.db", LogError, "cannot make the directory")


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory that this process may read and not write, for root too: it is somebody else meanwhile."""
    place = Path(tempfile.mkdtemp())
    on_log(place / "there.db", one)  # so that all modules are loaded
    for path in (place, place / "there.db", place / "there.db.shared"):
        path.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield place
    finally:
        os.seteuid(user)
        for path in (place, place / "there.db.shared"):
            path.chmod(0o700)
        shutil.rmtree(place)


def test_a_place_that_may_not_be_written(unprivileged: Path) -> None:
    refused(unprivileged / "new.db", LogError, "writable")
    refused(unprivileged / "there.db", LogError, "writable")
    refused(unprivileged / "deeper" / "new.db", LogError, "cannot make the directory")


def test_partitions_are_those_of_the_file(tmp_path: Path) -> None:
    on_log(tmp_path / "x.db", nothing, partitions=3)
    refused(tmp_path / "x.db", UsageError, "has 3 partitions, not 4", partitions=4)
    refused(tmp_path / "y.db", UsageError, "from 1 to", partitions=0)

    async def body(log: SqliteLog) -> None:
        assert log.partitions == 3

    on_log(tmp_path / "x.db", body)


def test_after_a_refusal_the_log_can_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"not a database, and longer than a header of a page" * 100)
    log = SqliteLog(path)

    async def body() -> None:
        with pytest.raises(LogError):
            await log.open()
        path.unlink()
        await log.open()
        await one(log)
        await log.close()

    asyncio.run(body())


def test_damage_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "x.db"

    async def fill(log: SqliteLog) -> None:
        await append(log.producer(), JOURNAL, 0, *[bytes(1_000)] * 200)

    on_log(path, fill)
    content = bytearray(path.read_bytes())
    content[8 * 4096 :] = b"\xff" * (len(content) - 8 * 4096)
    path.write_bytes(content)
    with pytest.raises(LogError, match="damaged"):
        on_log(path, fill)


def test_a_full_disk_fails_the_append_and_a_new_producer_goes_on(tmp_path: Path) -> None:
    async def body(log: SqliteLog) -> None:
        committer = log.committer
        pages = lambda number: committer.call(  # noqa: E731
            lambda: committer._connection.execute(f"PRAGMA max_page_count = {number}")
        )
        producer = log.producer()
        assert await append(producer, JOURNAL, 0, b"before") == [0]
        pages(1)
        outcomes = await append(producer, JOURNAL, 0, *[bytes(10_000)] * 3)
        assert all(isinstance(outcome, AppendFailed) for outcome in outcomes)
        assert "free space" in str(outcomes[0])
        pages(1 << 30)
        assert isinstance((await append(producer, JOURNAL, 0, b"poisoned"))[0], AppendFailed)
        assert await append(log.producer(), JOURNAL, 0, b"after") == [1]

    on_log(tmp_path / "x.db", body)


def test_a_full_queue_refuses_locally(tmp_path: Path) -> None:
    async def body(log: SqliteLog) -> None:
        producer, outcomes = log.producer(), []

        def flood() -> None:
            for _ in range(10_000):
                producer.append(JOURNAL, 0, b"x" * 100, done=outcomes.append)

        with pytest.raises(LogFull):
            flood()
        sent = len(outcomes)
        await until(lambda: len(outcomes) > sent, "there is room again")
        assert isinstance((await append(producer, JOURNAL, 0, b"y"))[0], int)
        assert all(isinstance(outcome, int) for outcome in outcomes)

    on_log(tmp_path / "x.db", body, waiting_bytes_max=5_000)


def test_the_write_ahead_log_is_bounded_while_somebody_reads_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "WAL_BYTES_MAX", 100_000)
    monkeypatch.setattr(files, "WAL_BYTES_LIMIT", 200_000)
    monkeypatch.setattr(files, "BUSY_MS", 50)

    async def body(log: SqliteLog) -> None:
        path = log.path or Path()
        await append(log.producer(), JOURNAL, 0, b"x")
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchone()
        producer, outcomes = log.producer(), []
        sent = 0
        while not log.committer._wal.over:
            producer.append(JOURNAL, 0, bytes(2_000), done=outcomes.append)
            sent += 1
            await asyncio.sleep(0.001)
        producer.append(JOURNAL, 0, b"waits", done=outcomes.append)
        before = len(outcomes)
        await until(lambda: log.committer.waiting >= 1, "the queue is not taken")
        assert len(outcomes) == before
        assert files.wal_bytes(path) < 3_000_000
        reader.close()
        await until(lambda: len(outcomes) == sent + 1, "it goes on when the reader is gone")

    on_log(tmp_path / "x.db", body)


def test_checkpoints_keep_the_write_ahead_log_small(tmp_path: Path) -> None:
    async def body(log: SqliteLog) -> None:
        producer = log.producer()
        for _ in range(20):
            await append(producer, JOURNAL, 0, *[bytes(10_000)] * 100)
        assert files.wal_bytes(log.path or Path()) < 16_000_000

    on_log(tmp_path / "x.db", body)


def test_another_writer_at_the_same_offsets_is_noticed(tmp_path: Path) -> None:
    """Offsets are unique by the primary key: even a writer that ignores the queue cannot make two of one."""

    async def body(log: SqliteLog) -> None:
        assert await append(log.producer(), JOURNAL, 0, b"0") == [0]
        stranger = sqlite3.connect(log.path or "", isolation_level=None)
        slot = rows.slot_numbers(log.partitions)[JOURNAL, 0]
        stranger.execute(
            "INSERT INTO entries VALUES (?, 1, x'', NULL, x'31', NULL, NULL)", (rows.first_id(slot) + 1,)
        )
        stranger.close()
        got: list[bytes] = []
        log.follow(JOURNAL, 0, 0, lambda batch: got.extend(entry.value for entry in batch))
        assert await append(log.producer(), JOURNAL, 0, b"2") == [2]
        await until(lambda: got == [b"0", b"1", b"2"], "without a gap")

    on_log(tmp_path / "x.db", body)


def test_a_damaged_snapshot_is_refused(tmp_path: Path) -> None:
    async def body(log: SqliteLog) -> None:
        await log.put_snapshot(0, "s", [b"one", b"two"])
        stranger = sqlite3.connect(log.path or "", isolation_level=None)
        stranger.execute("UPDATE snapshot_chunks SET data = x'00' WHERE number = 1")
        stranger.close()
        with pytest.raises(LogError, match="damaged"):
            await log.get_snapshot(0, "s")

    on_log(tmp_path / "x.db", body)


def test_an_unfinished_snapshot_is_not_seen_and_cleared_away(tmp_path: Path) -> None:
    async def body(log: SqliteLog) -> None:
        stranger = sqlite3.connect(log.path or "", isolation_level=None)
        stranger.execute("INSERT INTO snapshots (partition, name) VALUES (0, 'half')")
        stranger.execute("INSERT INTO snapshot_chunks VALUES (1, 0, 0, x'00')")
        assert list(await log.snapshots(0)) == []
        await log.put_snapshot(0, "whole", [b"x"])
        assert stranger.execute("SELECT count(*) FROM snapshots").fetchone() == (1,)
        assert stranger.execute("SELECT count(*) FROM snapshot_chunks").fetchone() == (1,)
        stranger.close()

    on_log(tmp_path / "x.db", body)


def test_a_follower_that_takes_slowly_gets_all_within_bounds(tmp_path: Path) -> None:
    async def body(log: SqliteLog) -> None:
        got: list[int] = []

        def slow(batch: Any) -> None:
            time.sleep(0.002)
            got.extend(entry.offset for entry in batch)

        log.follow(JOURNAL, 0, 0, slow)
        producer = log.producer()
        for _ in range(100):
            for _ in range(20):
                producer.append(JOURNAL, 0, b"x" * 2_000)
            await asyncio.sleep(0)
        await until(lambda: len(got) == 2_000, "all arrive")
        assert got == list(range(2_000))

    on_log(tmp_path / "x.db", body)


def test_a_pause_holds_back_in_the_file(tmp_path: Path) -> None:
    async def body(log: SqliteLog) -> None:
        recorder = Recorder()
        recorder.member = member = log.member(recorder)
        await member.join()
        await until(lambda: len(recorder.held) == log.partitions, "all are assigned")
        member.pause(JOURNAL, 0)
        await append(log.producer(), JOURNAL, 0, *[bytes(10_000)] * 500)
        assert recorder.values(JOURNAL, 0) == []
        member.resume(JOURNAL, 0)
        await until(lambda: len(recorder.values(JOURNAL, 0)) == 500, "all arrive")

    on_log(tmp_path / "x.db", body)


def test_a_loop_that_ends_without_close_ends_the_thread(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "x.db")

    async def leave_open() -> None:
        await log.open()
        await one(log)

    asyncio.run(leave_open())
    thread = log.committer._thread
    thread.join(10)
    assert not thread.is_alive()
    on_log(tmp_path / "x.db", one)


def test_a_revoke_that_takes_too_long_is_cut_off(tmp_path: Path) -> None:
    async def body(log: SqliteLog) -> None:
        recorder = Recorder()
        recorder.member = member = log.member(recorder)
        await member.join()
        await until(lambda: len(recorder.held) == log.partitions, "all are assigned")
        recorder.may_revoke.clear()
        await member.leave()
        assert sum(kind == "lost" for kind, _ in recorder.told) == log.partitions
        assert recorder.held == set()

    on_log(tmp_path / "x.db", body, revoke_us=100_000)


def test_headers_as_bytes() -> None:
    for headers in ({}, {"a": b""}, {"": b"x", "1 2": b"3 4 5", "ü" * 300: bytes(range(256))}):
        assert rows.decode_headers(rows.encode_headers(headers)) == headers


def test_a_log_left_open_by_a_loop_that_ended_can_be_closed(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "x.db")
    asyncio.run(log.open())
    asyncio.run(log.close())
    on_log(tmp_path / "x.db", one)
