"""A log that a service has lived on, copies of it, and what a reader finds in one."""

from __future__ import annotations

import asyncio
import shutil
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perdure.errors import PerdureError
from perdure.index.reader import JournalReader
from perdure.logs.contract import Entry, Topic, damage_of
from perdure.logs.sqlite import SqliteLog
from tests.crash.processes import Zygote
from tests.crash.scenarios import SCENARIOS
from tests.crash.verdict import everything, portrait

ITEMS = [(name, n) for n, name in enumerate(SCENARIOS, 1)]
PARTITIONS = 3
KILLED_AFTER = 110
LIVES_MAX = 10
Slot = tuple[Topic, int]


@dataclass
class Found:
    """All entries of a log, by topic and partition, and its folded states; or why there are none."""

    entries: dict[Slot, list[Entry]] = field(default_factory=dict[Slot, list[Entry]])
    states: list[Any] = field(default_factory=list[Any])
    refused: PerdureError | None = None

    def damaged(self) -> list[Entry]:
        return [
            entry for entries in self.entries.values() for entry in entries if damage_of(entry) is not None
        ]

    def begins(self, whole: Found) -> bool:
        """Whether this is what `whole` was at some time: the entries of all partitions up to one of them."""
        if any(mine != whole.entries[slot][: len(mine)] for slot, mine in self.entries.items()):
            return False
        newest = max((entry.ts for mine in self.entries.values() for entry in mine), default=0)
        missing = (
            entry.ts for slot, mine in self.entries.items() for entry in whole.entries[slot][len(mine) :]
        )
        return newest <= min(missing, default=newest)


def find(file: Path) -> Found:
    """Reads all of a log, as an outsider does."""
    return asyncio.run(_find(file))


async def _find(file: Path) -> Found:
    log = SqliteLog(file)
    found = Found()
    try:
        await log.open()
    except PerdureError as error:
        return Found(refused=error)
    try:
        for topic, partition in log._slots:
            found.entries[topic, partition] = await everything(log, topic, partition)
        reader = JournalReader(log)
        await reader.read()
        found.states = [portrait(partition.state) for partition in reader.partitions]
    except PerdureError as error:
        found.refused = error
    finally:
        await log.close()
    return found


def lived(zygote: Zygote, folder: Path, kill_at: int | None) -> Path:
    """The file of a log on which a service has lived: until it had done everything, or was killed after some writes.

    Killed, it leaves its write-ahead log; and once in a while a last transaction that it has not acknowledged yet,
    which may be lost without a word. Then another has to live, so that all of the log is promised.
    """
    from tests.faults.conftest import FaultyPlace

    for number in range(LIVES_MAX):
        life = folder / f"{number}"
        life.mkdir(parents=True)
        place = FaultyPlace(zygote, life, partitions=PARTITIONS, items=ITEMS)
        code = place.start("whole", kill_at=kill_at).wait()
        assert code == (0 if kill_at is None else -9), place.children[-1].errors()
        if acknowledged(life / "log.db"):
            return life / "log.db"
    raise AssertionError(f"{LIVES_MAX} services were killed before they acknowledged what they had written")


def acknowledged(file: Path) -> bool:
    """Whether all that a reader finds in a log was acknowledged."""
    copy = copied(file, file.parent.with_name(f"{file.parent.name}-read"))
    assert find(copy).refused is None
    found, sure = struct.unpack("<QQ", (copy.with_name("log.db.shared") / "acknowledged").read_bytes())
    return found == sure


def copied(file: Path, folder: Path) -> Path:
    """A copy of a log that nobody has open, with everything that lies beside it."""
    shutil.copytree(file.parent, folder, ignore=shutil.ignore_patterns("bells"))
    return folder / file.name


def flip(file: Path, bit: int) -> None:
    """Changes one bit of a file."""
    with file.open("r+b") as content:
        content.seek(bit // 8)
        (byte,) = content.read(1)
        content.seek(bit // 8)
        content.write(bytes([byte ^ (1 << bit % 8)]))
