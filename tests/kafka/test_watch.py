"""A topic that is gone, or another one, is told once; one that a broker does not know for a moment is not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from perdure.logs.contract import Entry
from perdure.logs.kafka import snapshots
from perdure.logs.kafka import watch as watching
from perdure.logs.kafka.watch import watch

KNOWN = {"ns.app.journal": "one", "ns.events": "two"}
GONE: dict[str, str | None] = {"ns.app.journal": None, "ns.events": "two"}
OTHER = {"ns.app.journal": "one", "ns.events": "three"}
NOTHING_SEEN: dict[str, str | None] = {}


def told(monkeypatch: pytest.MonkeyPatch, *looks: Mapping[str, str | None]) -> list[str]:
    """What is told when these are found, one look after the other, and then nothing is new for ever."""
    monkeypatch.setattr(watching, "EVERY_S", 0.0)
    monkeypatch.setattr(watching, "AGAIN_S", 0.0)
    said: list[str] = []

    async def watched() -> None:
        left, over = iter(looks), asyncio.Event()

        async def look() -> Mapping[str, str | None]:
            found = next(left, None)
            if found is None:
                over.set()
            return found or KNOWN

        task = asyncio.create_task(watch(KNOWN, look, said.append))
        ended = asyncio.create_task(over.wait())
        await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        for each in (task, ended):
            each.cancel()
        await asyncio.gather(task, ended, return_exceptions=True)

    asyncio.run(watched())
    return said


def test_what_is_missing_for_a_moment_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, KNOWN, GONE, GONE, KNOWN, GONE, GONE, KNOWN, NOTHING_SEEN) == []


def test_what_stays_missing_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    (said,) = told(monkeypatch, GONE, GONE, GONE, GONE, GONE)
    assert said.startswith("ns.app.journal is gone: it was deleted. Restore it from a backup")


def test_another_topic_of_the_name_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    (said,) = told(monkeypatch, KNOWN, OTHER)
    assert said.startswith("ns.events was deleted and made anew: its id is three, and was two. Restore it")


# --- where the ids are kept -------------------------------------------------------------------------------------------


def entry(offset: int, key: bytes, value: bytes, headers: Mapping[str, bytes]) -> Entry:
    return Entry(offset, 0, key, value, headers)


def test_ids_are_kept_beside_the_sets_and_what_is_not_ours_is_passed_over() -> None:
    sets = snapshots.Sets()
    end, headers = snapshots.end_headers(b"mark"), snapshots.ids_headers()
    sets.take(
        [
            entry(0, b"", snapshots.ids_value(KNOWN), headers),
            entry(1, b"a", snapshots.end_value(-1, [], {}), end),  # of a version that knew no ids
            entry(2, b"b", b"by hand", end),
            entry(3, b"c", b'{"first": null, "chunks": 1, "crc": 1}', end),
            entry(4, b"d", b"[]", end),
            entry(5, b"", b"[]", headers),
            entry(6, b"", b"\xff", headers),
            entry(7, b"e", snapshots.end_value(7, [b"x"], {"ns.events": "three"}), end),
        ]
    )
    assert (sets.next, sets.names(0)) == (8, ["a", "e"])
    assert sets.ids == OTHER
