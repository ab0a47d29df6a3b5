"""A SQLite file of each earlier record level, as a release wrote it, is opened and carried on for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.logs.sqlite import SqliteLog
from tests.golden import logs
from tests.golden.carried_on import carried_on

FILES = sorted(logs.FOLDER.glob("*.db.gz"))


def test_there_is_a_log_of_the_present_level() -> None:
    assert logs.SQLITE in FILES
    assert logs.KAFKA.exists()


@pytest.mark.parametrize("packed", [pytest.param(file, id=file.name) for file in FILES])
def test_promise_4_a_file_of_an_earlier_release_is_carried_on(packed: Path, tmp_path: Path) -> None:
    file = tmp_path / "log.db"
    logs.load_file(packed, file)
    carried_on(lambda: SqliteLog(file))
