"""Both logs keep the contract."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from perdure.logs import Log, Topic
from perdure.logs.memory import Fault, MemoryLog
from perdure.logs.sqlite import SqliteLog
from perdure.testing.log_contract import LogContract


class TestMemoryLog(LogContract):
    @pytest.fixture
    def connect(self) -> Callable[[], Log]:
        log = MemoryLog(partitions=4)
        return log.connect

    @pytest.fixture
    def fail_next_append(self) -> Callable[[MemoryLog, Topic, int], None]:
        return lambda log, topic, partition: log.arm(Fault.FAIL, topic, partition)

    @pytest.fixture
    def take_away(self) -> Callable[[MemoryLog, int], None]:
        return lambda log, partition: log.force_lost(partition)


class SqliteContract(LogContract):
    @pytest.fixture
    def fail_next_append(self) -> Callable[[SqliteLog, Topic, int], None]:
        def arm(log: SqliteLog, topic: Topic, partition: int) -> None:
            """The disk is full for one transaction, by a trigger that raises as a full disk does: the insert fails."""
            committer = log.committer
            write = committer._write

            def fail_once(group):
                committer._write = write
                import sqlite3

                raise sqlite3.OperationalError("database or disk is full")

            committer.call(lambda: setattr(committer, "_write", fail_once))

        return arm

    @pytest.fixture
    def take_away(self) -> Callable[[SqliteLog, int], None]:
        def rewrite(log: SqliteLog, partition: int) -> None:
            assert log.path is not None
            path = log.path.with_name(log.path.name + ".shared") / "assignment"
            owners = json.loads(path.read_text())
            owners[str(partition)] = "somebody else"
            path.write_text(json.dumps(owners))

        return rewrite


class TestSqliteLog(SqliteContract):
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Callable[[], Log]:
        return lambda: SqliteLog(tmp_path / "log.db", partitions=4)


class TestSqliteLogNotSynced(SqliteContract):
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Callable[[], Log]:
        return lambda: SqliteLog(tmp_path / "a directory" / "ö ?#%.db", partitions=4, full=False)
