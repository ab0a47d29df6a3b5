"""A disk that gives back something else than it was given: it is seen, and said, and what is whole goes on."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.client.letters import Letter, dead_letters
from perdure.errors import LogDamaged
from perdure.logs.contract import Topic
from perdure.logs.sqlite import SqliteLog, rows
from perdure.testing.log_contract import append
from tests.crash import ledger, verdict
from tests.crash.lives import ends_of
from tests.crash.processes import Zygote, until
from tests.faults.aged import ITEMS, KILLED_AFTER, PARTITIONS, Found, copied, find, flip, lived
from tests.faults.conftest import FaultyPlace

SEED = int(os.environ.get("PERDURE_FLIPS_SEED", "11"))
FLIPS = int(os.environ.get("PERDURE_FLIPS", "100"))
PAGE = 4096


@pytest.fixture(scope="module")
def whole(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that was closed: all of it is in the one file."""
    return lived(zygote, tmp_path_factory.mktemp("whole") / "place", None)


@pytest.fixture(scope="module")
def killed(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log whose processes were killed: its end is in the write-ahead log."""
    file = lived(zygote, tmp_path_factory.mktemp("killed") / "place", KILLED_AFTER)
    assert file.with_name("log.db-wal").stat().st_size > 20 * PAGE
    return file


def found_in_copy(file: Path) -> Found:
    """What is in it; the file itself stays as it is."""
    copy = copied(file, file.parent.with_name("copy"))
    try:
        return find(copy)
    finally:
        shutil.rmtree(copy.parent)


def outcome(file: Path, before: Found) -> str:
    """What a reader finds in a damaged log; AssertionError when it is something wrong, without a word."""
    found = find(file)
    if found.refused is not None:
        return type(found.refused).__name__
    if found.damaged():
        return "damaged entries"
    assert found.entries == before.entries
    assert found.states == before.states
    return "harmless"


def bits(file: Path, count: int) -> Iterator[int]:
    """Bits of a file: everywhere, and more at its two ends and at the beginnings of its pages."""
    draw = random.Random(SEED)
    size = file.stat().st_size
    for _ in range(count):
        place = draw.choice(
            [
                draw.randrange(size),
                draw.randrange(size),
                draw.randrange(size // PAGE) * PAGE + draw.randrange(100),
                draw.randrange(100),
                size - 1 - draw.randrange(PAGE),
            ]
        )
        yield place * 8 + draw.randrange(8)


@pytest.mark.parametrize("part", ["log.db", "log.db-wal"])
def test_a_flipped_bit_is_seen_or_harmless(whole: Path, killed: Path, ground: Path, part: str) -> None:
    original = whole if part == "log.db" else killed
    before = found_in_copy(original)
    assert before.refused is None
    outcomes: Counter[str] = Counter()
    for bit in bits(original.with_name(part), FLIPS):
        copy = copied(original, ground / "flipped")
        flip(copy.with_name(part), bit)
        try:
            outcomes[outcome(copy, before)] += 1
        except AssertionError as error:
            raise AssertionError(f"bit {bit} of {part}: {error}"[:2_000]) from None
        shutil.rmtree(copy.parent)
    print(dict(outcomes))
    assert outcomes["LogDamaged"] > FLIPS // 10
    if part == "log.db":
        assert outcomes["harmless"] > 0, "there is always some free room in pages"


def cut(file: Path, part: str, size: int) -> None:
    with file.with_name(part).open("r+b") as content:
        content.truncate(size)


@pytest.mark.parametrize("left", [0.0, 0.3, 0.7, 0.99])
def test_a_write_ahead_log_that_was_cut_is_refused_until_somebody_says_so(
    killed: Path, ground: Path, zygote: Zygote, left: float
) -> None:
    """The message says what is lost and what to delete; then the service goes on from what is left."""
    before = found_in_copy(killed)
    copy = copied(killed, ground / "cut")
    cut(copy, "log.db-wal", int(copy.with_name("log.db-wal").stat().st_size * left))
    place = FaultyPlace(zygote, copy.parent, partitions=PARTITIONS, items=ITEMS)
    refused = place.start("whole")
    assert refused.wait() == 1
    told = refused.errors()
    assert "entries before what it has acknowledged" in told
    mark = copy.with_name("log.db.shared") / "acknowledged"
    assert f"delete {mark}" in told

    mark.unlink()
    found = find(copy)
    assert found.refused is None
    assert found.begins(before)
    (
        copy.parent / "accepted"
    ).unlink()  # what the senders took for accepted is lost, and they are told: they send again
    again = place.start("whole")
    assert again.wait() == 0, again.errors()
    lines = [line for line in ledger.read(copy.parent) if line.pid == again.pid]
    story = verdict.read(copy.parent)
    assert not story.faults
    assert story.ends() == ends_of(ITEMS)
    assert len(lines) > 10


def test_a_file_that_was_cut_is_refused(whole: Path, ground: Path) -> None:
    whole = copied(whole, ground / "vacuumed")
    vacuum = sqlite3.connect(whole, isolation_level=None)
    vacuum.execute(
        "VACUUM"
    )  # a page that is free can be lost, and what SQLite takes for zeros when they were
    vacuum.close()
    size, last = whole.stat().st_size, len(whole.read_bytes().rstrip(b"\0")) - 1
    before = found_in_copy(whole)
    for left in (0, 1, 50, PAGE, PAGE + 1, size // 2, size - PAGE, last):
        copy = copied(whole, ground / "cut")
        cut(copy, "log.db", left)
        assert outcome(copy, before) in ("LogDamaged", "LogError"), left
        shutil.rmtree(copy.parent)


def test_an_older_copy_in_its_place_is_refused(whole: Path, killed: Path, ground: Path) -> None:
    copy = copied(killed, ground / "older")
    assert find(copy).refused is None  # and closed: all is in the file
    older = copy.read_bytes()
    place = copied(copy, ground / "place")
    asyncio.run(_append(place))
    place.write_bytes(older)
    refused = find(place).refused
    assert isinstance(refused, LogDamaged)
    assert "an older copy was put in its place" in str(refused)


async def _append(file: Path) -> None:
    log = SqliteLog(file)
    await log.open()
    assert await append(log.producer(), Topic.DEAD_LETTERS, 0, b"x") == [0]
    await log.close()


def test_a_damaged_journal_is_left_alone_and_the_others_go_on(
    whole: Path, ground: Path, zygote: Zygote
) -> None:
    """When its bytes are as they were again, it goes on, too."""
    copy = copied(whole, ground / "place")
    ill, sound = _damage(copy)
    place = FaultyPlace(zygote, copy.parent, partitions=PARTITIONS)
    worker = place.start("work")
    more = [("sequence", n) for n in range(100, 130)]
    sender = place.start("send_all", items=more)
    assert sender.wait() == 0, sender.errors()
    until(lambda: "is left alone, and the others go on" in worker.errors(), "it is said")
    until(lambda: _ended_since(place, worker.pid) >= 5, "runs of other partitions end")
    assert worker.stop() == 0
    assert f"of the journal of partition {PARTITIONS - 1} is not what was appended" in worker.errors()
    with pytest.raises(LogDamaged, match="Restore the log from a backup"):
        verdict.read(copy.parent)

    connection = sqlite3.connect(copy, isolation_level=None)  # the backup that has all
    connection.execute("UPDATE entries SET value = ? WHERE id = ?", (sound, ill))
    connection.close()
    worker = place.start("work")
    wanted = ends_of([*ITEMS, *more])
    until(lambda: verdict.read(copy.parent).ends() == wanted, f"all runs end\n{worker.errors()}")
    assert worker.stop() == 0
    verdict.check(verdict.read(copy.parent), ledger.read(copy.parent), wanted, kills=1)


def _damage(file: Path) -> tuple[int, bytes]:
    """Changes a bit in the middle of the journal of the last partition; which row, and its sound value."""
    low = rows.first_id(rows.slot_numbers(PARTITIONS)[Topic.JOURNAL, PARTITIONS - 1])
    connection = sqlite3.connect(file, isolation_level=None)
    count, first = connection.execute(
        "SELECT count(*), min(id) FROM entries WHERE id >= ? AND id < ?", (low, low + rows.OFFSET_MASK)
    ).fetchone()
    row = first + count // 2
    (sound,) = connection.execute("SELECT value FROM entries WHERE id = ?", (row,)).fetchone()
    ill = sound[:-1] + bytes([sound[-1] ^ 1])
    connection.execute("UPDATE entries SET value = ? WHERE id = ?", (ill, row))
    connection.close()
    return row, sound


def _ended_since(place: FaultyPlace, pid: int) -> int:
    return sum(
        line.what == "end" and line.pid == pid and line.key.endswith("/four")
        for line in ledger.read(place.folder)
    )


def test_a_damaged_event_is_buried(ground: Path, zygote: Zygote) -> None:
    """It was accepted, and the disk has lost it: the loss is said, and those behind it are routed."""
    folder = ground / "place"
    folder.mkdir()
    place = FaultyPlace(zygote, folder, partitions=1)
    items = [("sequence", n) for n in range(1, 6)]
    assert place.start("send_all", items=items).wait() == 0
    connection = sqlite3.connect(folder / "log.db", isolation_level=None)
    connection.execute("UPDATE entries SET value = x'00' WHERE id = ?", (rows.first_id(0) + 2,))
    connection.close()
    worker = place.start("work")
    wanted = ends_of([item for item in items if item[1] != 3])
    until(lambda: verdict.read(folder).ends() == wanted, "the others end")
    (letter,) = asyncio.run(_letters(folder / "log.db"))
    assert letter.offset == 2
    assert "this event is not what was appended" in letter.reason
    assert (
        place.start("send_all", items=items).wait() == 0
    )  # they count once each, and the lost one counts now
    until(lambda: verdict.read(folder).ends() == ends_of(items), "it ends as well")
    assert worker.stop() == 0
    verdict.check(verdict.read(folder), ledger.read(folder), ends_of(items), kills=0)


async def _letters(file: Path) -> list[Letter]:
    log = SqliteLog(file)
    await log.open()
    try:
        return list(await dead_letters(log))
    finally:
        await log.close()
