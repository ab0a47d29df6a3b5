"""Several real processes on one SQLite log (B10)."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.logs import Topic
from perdure.logs.sqlite import SqliteLog
from perdure.testing.log_contract import Recorder, append, until

PROCESS = Path(__file__).with_name("process.py")
JOURNAL = Topic.JOURNAL


class Child:
    """A running `process.py`, and what it has told so far."""

    def __init__(self, *args: object) -> None:
        self.told: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, str(PROCESS), *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(PROCESS.parents[2] / "framework")},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):
                self.told.append(json.loads(line))

    def count(self, kind: str) -> int:
        return sum(kind in what for what in tuple(self.told))

    def held(self) -> set[int]:
        held: set[int] = set()
        for what in tuple(self.told):
            if "assigned" in what:
                held.add(what["assigned"])
            held.discard(what.get("revoked", what.get("lost", -1)))
        return held

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        if number is signal.SIGSTOP:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def wait(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(30)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.send_signal(signal.SIGCONT)
        self.wait()


@pytest.fixture
def spawn() -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def start(*args: object) -> Child:
        children.append(Child(*args))
        return children[-1]

    yield start
    for child in children:
        if child.process.stdin is not None and not child.process.stdin.closed:
            child.end()


def on_log(path: Path, body: Callable[[SqliteLog], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def run() -> None:
        log = SqliteLog(path, **options)
        await log.open()
        try:
            await body(log)
        finally:
            await log.close()

    asyncio.run(run())


async def everything(log: SqliteLog, partition: int) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    while batch := await log.read(JOURNAL, partition, len(found), 1_000):
        found += [(entry.offset, entry.value.decode()) for entry in batch]
    return found


@pytest.mark.parametrize("processes", [2, 3])
def test_b10_processes_append_without_loss_or_gap(
    tmp_path: Path, spawn: Callable[..., Child], processes: int
) -> None:
    path = tmp_path / "log.db"
    got: dict[int, list[int]] = {0: [], 1: [], 2: []}

    async def body(log: SqliteLog) -> None:
        for partition in got:
            log.follow(
                JOURNAL, partition, 0, lambda batch, p=partition: got[p].extend(e.offset for e in batch)
            )
        children = [spawn("append", path, f"c{index}", 300) for index in range(processes)]
        await until(lambda: all(child.count("acked") == 300 for child in children), "all are acked", 30)
        assert [child.wait() for child in children] == [0] * processes
        for partition in range(3):
            entries = await everything(log, partition)
            assert [offset for offset, _ in entries] == list(range(100 * processes))
            for index, child in enumerate(children):
                mine = [(offset, value) for offset, value in entries if value.startswith(f"c{index}:")]
                told = [what for what in child.told if what["partition"] == partition]
                assert mine == [(what["offset"], f"c{index}:{what['acked']}") for what in told]
            await until(lambda p=partition: len(got[p]) == 100 * processes, "the follower got all")
            assert got[partition] == list(range(100 * processes))

    on_log(path, body)


def test_b10_what_was_acked_survives_kill_9(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    path = tmp_path / "log.db"
    for life in range(3):
        child = spawn("append", path, f"c{life}", 1_000_000)

        async def body(log: SqliteLog, child: Child = child, life: int = life) -> None:
            await until(lambda: child.count("acked") >= 200, "some are acked", 30)
            child.signal(signal.SIGKILL)
            child.wait()
            entries = {p: dict(await everything(log, p)) for p in range(3)}
            for what in child.told:
                assert entries[what["partition"]][what["offset"]] == f"c{life}:{what['acked']}"
            for partition in range(3):
                assert list(entries[partition]) == list(range(len(entries[partition])))
            assert isinstance((await append(log.producer(), JOURNAL, 0, b"goes on"))[0], int)

        on_log(path, body)


def test_b10_kill_9_of_a_member_frees_its_partitions_at_once(
    tmp_path: Path, spawn: Callable[..., Child]
) -> None:
    async def body(log: SqliteLog) -> None:
        recorder = Recorder()
        recorder.member = log.member(recorder)
        await recorder.member.join()
        child = spawn("member", log.path, 60_000, 60_000)
        await until(lambda: len(recorder.held) == len(child.held()) == 4, "they share", 20)
        child.signal(signal.SIGKILL)
        killed = time.monotonic()
        await until(lambda: len(recorder.held) == 8, "all are taken over")
        assert time.monotonic() - killed < 1.0
        assert not any(kind == "lost" for kind, _ in recorder.told)

    on_log(tmp_path / "log.db", body)


def test_b10_a_stopped_member_loses_its_partitions_when_its_lease_is_over(
    tmp_path: Path, spawn: Callable[..., Child]
) -> None:
    async def body(log: SqliteLog) -> None:
        child = spawn("member", log.path, 1_000, 60_000)
        await until(lambda: len(child.held()) == 8, "all are the child's", 20)
        child.signal(signal.SIGSTOP)
        recorder = Recorder()
        recorder.member = log.member(recorder)
        stopped = time.monotonic()
        await recorder.member.join()
        await until(lambda: len(recorder.held) == 8, "all are taken over")
        assert time.monotonic() - stopped > 0.5
        child.signal(signal.SIGCONT)
        await until(lambda: child.count("lost") == 8, "it is told when it wakes")
        await until(lambda: len(child.held()) == len(recorder.held) == 4, "and it shares again")

    on_log(tmp_path / "log.db", body, lease_us=1_000_000)


def test_a_member_whose_loop_hangs_loses_its_partitions(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    """B6: the thread lives, but it stops renewing the lease when the loop takes nothing."""

    async def body(log: SqliteLog) -> None:
        child = spawn("member", log.path, 600, 300)
        await until(lambda: len(child.held()) == 8, "all are the child's", 20)
        child.say("hang 3")
        recorder = Recorder()
        recorder.member = log.member(recorder)
        await recorder.member.join()
        await until(lambda: len(recorder.held) == 8, "all are taken over")
        assert child.count("awake") == 0
        await until(lambda: child.count("lost") >= 4, "it is told when it wakes")

    on_log(tmp_path / "log.db", body, lease_us=600_000)


def test_two_workers_follow_what_clients_append(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    async def body(log: SqliteLog) -> None:
        children = [spawn("member", log.path, 10_000, 5_000) for _ in range(2)]
        await until(lambda: [len(child.held()) for child in children] == [4, 4], "they share", 20)
        producer = log.producer()
        for partition in range(8):
            await append(producer, JOURNAL, partition, f"for {partition}".encode())
        for child in children:
            await until(lambda c=child: c.count("got") == 4, "each got those of its partitions")
            assert {what["partition"] for what in child.told if "got" in what} == child.held()
        assert children[0].wait() == 0
        await until(lambda: len(children[1].held()) == 8, "the other took over")

    on_log(tmp_path / "log.db", body)


@pytest.mark.parametrize("deaf", [False, True])
def test_b10_entries_of_others_arrive_by_the_bell_or_without(
    tmp_path: Path, spawn: Callable[..., Child], monkeypatch: pytest.MonkeyPatch, deaf: bool
) -> None:
    if deaf:
        monkeypatch.setattr("perdure.logs.sqlite.doorbell.Doorbell._address", lambda self, name: "\0" * 200)

    async def body(log: SqliteLog) -> None:
        got: list[float] = []
        log.follow(JOURNAL, 0, 0, lambda batch: got.extend([time.monotonic()] * len(batch)))
        assert log.committer.bell.heard is not deaf
        child = spawn("append", log.path, "c", 30)
        await until(lambda: len(got) == 10, "they arrive", 20)
        child.wait()

    on_log(tmp_path / "log.db", body)


def test_bells_of_the_dead_are_taken_down(tmp_path: Path, spawn: Callable[..., Child]) -> None:
    async def body(log: SqliteLog) -> None:
        bells = tmp_path / "log.db.shared" / "bells"
        child = spawn("append", log.path, "c", 1_000_000)
        await until(lambda: len(os.listdir(bells)) == 2, "both have one", 20)
        child.signal(signal.SIGKILL)
        child.wait()
        producer = log.producer()
        for _ in range(3):
            await append(producer, JOURNAL, 0, b"x")
        assert len(os.listdir(bells)) == 1

    on_log(tmp_path / "log.db", body)
