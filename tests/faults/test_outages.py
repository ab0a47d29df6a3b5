"""A disk that takes nothing for a while, or takes long, under load: nothing is lost, and work goes on by itself."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path

import pytest

from perdure.logs.sqlite.neighbours import SharedClock, SharedDirectory
from tests.crash import ledger, verdict
from tests.crash.lives import ends_of
from tests.crash.processes import pause, until
from tests.faults.conftest import FaultyPlace, MakePlace
from tests.faults.shim import Call, Faults, Kind
from tests.kafka.load import Load

SYNC_S = float(os.environ.get("PERDURE_SYNC_S", "0.8"))
"""How long one fsync takes. Minutes are needed for 30."""


def faulty(place: MakePlace, **options: object) -> tuple[FaultyPlace, Faults]:
    here = place(partitions=4, **options)
    here.everywhere = here.faults()
    return here, here.everywhere


def claims(place: FaultyPlace) -> list[verdict.Record]:
    """All that were ever made."""
    return [record for record in verdict.read(place.folder).records if record.fact.kind == "Claim"]


def said(place: FaultyPlace, words: str) -> Callable[[], bool]:
    return lambda: words in (place.folder / "errors").read_text()


def fill(ballast: FileIO, size: int) -> None:
    with suppress(OSError):
        while True:
            ballast.write(bytes(size))


def test_a_full_disk_that_is_emptied(place: MakePlace, small_disk: Path) -> None:
    here = place(partitions=4)
    (here.folder / "log.db").symlink_to(small_disk / "log.db")
    load = Load(here)
    with (small_disk / "ballast").open("wb", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12, 1):
            fill(ballast, size)
    until(said(here, "free space on its disk"), "it is said")
    until(load.stands, "nothing is taken any more", 30)
    (small_disk / "ballast").unlink()
    load.goes_on(within_s=15)
    load.settle()


def test_what_is_mapped_has_its_room(small_disk: Path) -> None:
    """On a full disk the log is not opened; else the first thing written to that memory would end the process."""
    shared = SharedDirectory(small_disk / "log.db")
    with (small_disk / "ballast").open("wb", buffering=0) as ballast:
        fill(ballast, 1 << 12)
    with pytest.raises(OSError, match="No space left"):
        SharedClock(shared)
    (small_disk / "ballast").unlink()
    clock = SharedClock(shared)
    assert clock.stamp() <= clock.now()


@pytest.mark.parametrize(
    ("files", "calls", "error"),
    [
        (Kind.DATA, Call.CHANGES, errno.EIO),
        (Kind.ALL, Call.ALL & ~Call.LOCK, errno.EIO),
        (Kind.ALL, Call.CHANGES | Call.OPEN, errno.EROFS),
    ],
    ids=["cannot-write", "cannot-anything", "read-only"],
)
def test_a_disk_that_fails_for_a_while(place: MakePlace, files: Kind, calls: Call, error: int) -> None:
    """Read-only as the kernel makes a file system whose device fails: open files stay open, and writes are refused."""
    here, faults = faulty(place)
    load = Load(here)
    faults.fail_now(files, calls, error)
    until(said(here, "look at what the kernel says"), "it is said")
    until(load.stands, "nothing goes on", 30)
    assert faults.failed > 3
    faults.heal()
    load.goes_on(within_s=15)
    load.settle()


def test_a_disk_whose_syncs_take_longer_than_a_lease(place: MakePlace) -> None:
    """Nobody takes over from who waits for the disk that they share: steps run, slowly, and nothing is claimed."""
    here, faults = faulty(place, lease_s=SYNC_S / 2)
    load = Load(here)
    until(lambda: len(claims(here)) >= 4, "all partitions are led")
    faults.slow_sync(SYNC_S)
    pause(2 * SYNC_S)
    before, synced = ledger.size(here.folder), faults.synced
    until(lambda: ledger.size(here.folder) > before, "steps run slowly", 40 * SYNC_S)
    until(lambda: faults.synced >= synced + 6, "some syncs were made", 40 * SYNC_S)
    claimed = len(claims(here))
    faults.slow_sync(0)
    load.goes_on(within_s=15)
    load.settle()
    print(f"{claimed} claims")
    assert claimed <= 8


def test_a_file_system_that_is_read_only_when_a_worker_begins(place: MakePlace, small_disk: Path) -> None:
    """It says so and ends; when it can be written again, the next one goes on."""
    here = place(partitions=1, items=[("sequence", 1)])
    (here.folder / "log.db").symlink_to(small_disk / "log.db")
    assert here.start("whole").wait() == 0
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused = here.start("whole")
    assert refused.wait() == 1
    assert re.search(r"^perdure\.errors\.LogError: .*writable", refused.errors(), re.MULTILINE), (
        refused.errors()
    )
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert here.start("whole").wait() == 0, refused.errors()
    verdict.check(verdict.read(here.folder), ledger.read(here.folder), ends_of([("sequence", 1)]), kills=0)
