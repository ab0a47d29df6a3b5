"""A file that is copied while it is written to: what opens is what the log was at some time, or it is refused."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash import ledger
from tests.crash.processes import until
from tests.faults.aged import Found, find
from tests.faults.conftest import MakePlace
from tests.kafka.load import Load

COPIES = 6


def the_file(file: Path, to: Path) -> None:
    shutil.copyfile(file, to)


def file_then_wal(file: Path, to: Path) -> None:
    shutil.copyfile(file, to)
    shutil.copyfile(f"{file}-wal", f"{to}-wal")


def file_long_before_wal(file: Path, to: Path) -> None:
    """In between the write-ahead log is moved into the file, and begun anew."""
    shutil.copyfile(file, to)
    grown = ledger.size(file.parent) + 1_000
    until(lambda: ledger.size(file.parent) > grown, "steps run")
    connection = sqlite3.connect(file)
    until(lambda: not connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0], "it is begun anew")
    connection.close()
    grown = ledger.size(file.parent)
    until(lambda: ledger.size(file.parent) > grown, "steps run")
    shutil.copyfile(f"{file}-wal", f"{to}-wal")


def backup(file: Path, to: Path) -> None:
    """What `sqlite3 log.db ".backup copy.db"` does."""
    source, target = sqlite3.connect(file), sqlite3.connect(to)
    source.backup(target)
    source.close()
    target.close()


def vacuum(file: Path, to: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("VACUUM INTO ?", (str(to),))
    connection.close()


@pytest.mark.parametrize("copy", [the_file, file_then_wal, file_long_before_wal, backup, vacuum])
def test_a_copy_of_a_live_log_is_true_or_refused(
    place: MakePlace, tmp_path: Path, copy: Callable[[Path, Path], None]
) -> None:
    load = Load(place(partitions=3))
    copies = [tmp_path / f"copy-{n}.db" for n in range(COPIES)]
    for made in copies:
        grown = ledger.size(load.place.folder) + 1_000
        until(lambda grown=grown: ledger.size(load.place.folder) > grown, "steps run")
        copy(load.place.folder / "log.db", made)
    load.settle()
    whole = find(load.place.folder / "log.db")
    assert whole.refused is None
    outcomes = Counter(judged(find(made), whole) for made in copies)
    print(dict(outcomes))
    if copy in (backup, vacuum):
        assert set(outcomes) == {"true"}


def judged(found: Found, whole: Found) -> str:
    if found.refused is not None or found.damaged():
        return "refused"
    assert found.begins(whole), "it is neither what the log was at some time, nor refused"
    return "true" if any(found.entries.values()) else "empty"
