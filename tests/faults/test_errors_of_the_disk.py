"""Calls on the log's files that fail: each call of a small life once, and for a while."""

from __future__ import annotations

import errno
import re
from collections import Counter

import pytest

from tests.crash import ledger, verdict
from tests.crash.lives import ends_of
from tests.faults.conftest import FaultyPlace, MakePlace
from tests.faults.shim import HALF_AND_DIE, HALF_AND_FAIL, HALF_AND_SAY_SO, Call, Kind

pytestmark = pytest.mark.timeout(240)

KILLED = -9
ITEMS = [("sequence", 5)]
SIDE_BY_SIDE = 6
TYPED = re.compile(r"^perdure\.errors\.\w+: .*/log\.db.*", re.MULTILINE)
FAILS = Call.ALL & ~Call.LOCK
"""Locks are the kernel's own, not the disk's."""


class Life:
    """A life in which one call fails, and the next one, if it ended of that."""

    def __init__(self, place: FaultyPlace, files: Kind, calls: Call, nth: int, error: int, torn: int) -> None:
        self.place, self.faults = place, place.faults()
        self.faults.count(files, calls)
        self.faults.fail(nth, error=error, torn=torn)
        self._child = place.start("persevering", faults=self.faults)
        self._torn = torn
        self.code = 0

    def live_on(self) -> None:
        """Until all has ended, in a second life if need be."""
        self.code = self._child.wait()
        if self.code:
            told = self._child.errors()
            if self._torn == HALF_AND_DIE:
                assert self.code == KILLED, told
            else:
                assert self.code == 1, told
                assert TYPED.search(told), f"it ended without a word of what to do:\n{told}"
                lines = ledger.read(self.place.folder)
                assert not any(line.what == "started" for line in lines), f"it ended at work:\n{told}"
            second = self.place.start("persevering")
            assert second.wait() == 0, second.errors()

    def judge(self) -> None:
        lines, story = ledger.read(self.place.folder), verdict.read(self.place.folder)
        verdict.check(story, lines, ends_of(ITEMS), kills=1)
        assert len(ledger.accepted(self.place.folder)) == len(ITEMS)


def fail_each(
    place: MakePlace, files: Kind, calls: Call, *, error: int = errno.EIO, torn: int = 0
) -> Counter[str]:
    """Lives the life again and again, with another failing call each time; how the lives ended, by call."""
    number = 1
    ends: Counter[str] = Counter()
    reached = True
    while reached:
        wave = range(number, number + SIDE_BY_SIDE)
        lives = [Life(place(items=ITEMS, partitions=1), files, calls, nth, error, torn) for nth in wave]
        for nth, life in zip(wave, lives, strict=True):
            try:
                life.live_on()
                life.judge()
            except AssertionError as failure:
                what = f"call {nth} ({life.faults.last.name}) of {life.faults.counted} failed"
                raise AssertionError(f"{what}:\n{failure}") from None
            if life.faults.failed:
                ends[f"{life.faults.last.name} {'ended' if life.code else 'survived'}"] += 1
            else:
                reached = False
        number += SIDE_BY_SIDE
    print(dict(ends))
    return ends


def test_any_call_may_fail_once(place: MakePlace) -> None:
    """A life that has begun survives; one that cannot open its log says why, and the next one goes on."""
    ends = fail_each(place, Kind.ALL, FAILS)
    for call in ("WRITE", "SYNC", "READ", "OPEN", "RENAME"):
        assert ends[f"{call} survived"] > 0, ends
        assert ends[f"{call} ended"] > 0, ends
    assert ends.total() > 120


@pytest.mark.parametrize(
    "torn", [HALF_AND_FAIL, HALF_AND_SAY_SO, HALF_AND_DIE], ids=["error", "short", "death"]
)
def test_any_write_may_be_torn(place: MakePlace, torn: int) -> None:
    """Half of it is in the file: with an error, as a short write, or as the last that the process did."""
    ends = fail_each(place, Kind.DATA, Call.WRITE, torn=torn, error=errno.ENOSPC)
    assert ends.total() > 40
    if torn == HALF_AND_DIE:
        assert not ends["WRITE survived"]
    if torn == HALF_AND_SAY_SO:
        assert not ends["WRITE ended"], "a short write is gone on with"
