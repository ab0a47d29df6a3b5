"""Which URL gives which log."""

import asyncio
from pathlib import Path

import pytest

from perdure.errors import UsageError
from perdure.logs import open_log
from perdure.logs.memory import MemoryLog
from perdure.logs.sqlite import SqliteLog


def opened(url: str) -> SqliteLog:
    log = open_log(url)
    assert isinstance(log, SqliteLog)

    async def run() -> None:
        await log.open()
        await log.close()

    asyncio.run(run())
    return log


def test_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert opened("sqlite:///rel/x.db").path == tmp_path / "rel" / "x.db"
    assert opened(f"sqlite:///{tmp_path}/abs.db").path == tmp_path / "abs.db"
    assert opened("sqlite:///odd%3Fname.db?synchronous=NORMAL").path == tmp_path / "odd?name.db"
    assert opened("sqlite:///three.db?partitions=3&synchronous=full").partitions == 3


def test_memory() -> None:
    log = open_log("memory:")
    assert isinstance(log, MemoryLog)
    assert log.partitions == 8
    assert open_log("memory:?partitions=2").partitions == 2


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x.db",
        "/tmp/x.db",
        "postgres://host/db",
        "sqlite:",
        "sqlite:///",
        "sqlite://host/x.db",
        "sqlite:///x.db?synchronous=off",
        "sqlite:///x.db?partitions=0",
        "sqlite:///x.db?partitions=many",
        "sqlite:///x.db?what=1",
        "memory:?what=1",
        "memory://somewhere",
        "sqlite://[x",
    ],
)
def test_nonsense_is_refused_with_the_forms(url: str) -> None:
    with pytest.raises(UsageError):
        open_log(url)
