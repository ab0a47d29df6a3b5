"""A snapshot is a cut: one point of the log, written while the log goes on (A10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from perdure.core import codec, snapshot
from perdure.core.decide import ingest
from perdure.core.decide.ingest import Incoming
from perdure.core.facts import Fact, read_fact
from perdure.core.fold import fold
from perdure.core.routing import event_partition
from perdure.core.state import PartitionState
from perdure.errors import EncodingError, LevelTooNew
from tests.core.journal import Journal, asked, done, event, portrait, run_done, started

CHILD = {
    "key": "/pay",
    "run": "child",
    "function": "pay",
    "event": event(id="x"),
    "due": 50,
    "detached": False,
}
WAIT = {"key": "/w", "event": "paid", "signal": None, "path": "data.id", "value": b'"7"', "due": None}


def busy(**limits: int) -> Journal:
    """A journal with one of everything that a snapshot holds, of a partition that has a neighbour."""
    j = Journal(0, 2, **limits)
    j.claim()
    j.config(("f", ["user/created"]))
    for run in ("r", "s", "t"):
        j.start(run, client="me", command=f"start {run}")
    j.commit("r", started(), asked("/a"), ("perdure.WaitOpened", WAIT | {"lookback": 5}))
    j.commit("s", started(), ("perdure.ChildIssued", CHILD | {"parent_close": "cancel"}))
    j.commit("s", ("perdure.ValueSet", {"name": "progress", "value": b"1"}))
    j.command("r", "SignalSend", {"name": "go", "data": b"1"}, id="signal")
    later = event(id="later", ts=1_000)
    events = [event(), later, event("paid", "p1", b'{"id":"7"}'), event("paid", "p2", b'{"id":"8"}')]
    batch = [Incoming(offset, j.ts, e) for offset, e in enumerate(events)]
    j.append("Ingest", ingest.ingest(j.state, batch), j.stamp())
    for scan_id, scan in list(j.state.scans.items()):
        j.append("Scanned", ingest.scanned(j.state, scan_id, scan, batch, scan.to), j.stamp())
    j.message("1p1", 1, "Correlate", _correlate("p9", 9))
    j.commit("r", done("/a"), asked("/b"))
    j.append("Snapshotted", {"set": "1", "covers": 5, "crc": 1}, j.stamp())
    j.commit("s", run_done(b"2"), acks=[{"target": "j1", "seq": 1}])
    j.append_value(b"no record", {})
    j.append("Due", _due(j), j.stamp())
    j.commit("t", ("perdure.RunCancelled", {"time": 9, "reason": "enough"}))
    j.claim(b"n" * 16)
    j.commit("r", done("/b"), run_done())
    j.start("s2")
    return j


def _correlate(id_: str, offset: int) -> dict[str, Any]:
    where = {"name": "paid", "path": "data.id", "value": b'"7"', "time": 9}
    return where | {"position": {"partition": 1, "offset": offset}, "event": event("paid", id_)}


def _due(j: Journal) -> dict[str, Any]:
    body = j.due_by(2_000)
    assert body is not None
    return body


def facts(j: Journal) -> list[Fact]:
    return [read_fact(offset, *entry) for offset, entry in enumerate(j.entries)]


def folded(state: PartitionState, entries: list[Fact]) -> PartitionState:
    for fact in entries:
        fold(state, fact)
    state.effects.clear()
    return state


def cuts(j: Journal, pace: int) -> Iterator[tuple[int, PartitionState, list[bytes], PartitionState]]:
    """A cut at every offset, encoded by so many entities between any two records that follow."""
    entries = facts(j)
    for at in range(len(entries) + 1):
        live = folded(PartitionState(0, 2, limits=j.state.limits), entries[:at])
        as_it_was = folded(PartitionState(0, 2, limits=j.state.limits), entries[:at])
        cut, over = snapshot.SnapshotCut(live, at), False
        for fact in entries[at:]:
            folded(live, [fact])
            over = over or cut.advance(pace)
        while not over:
            over = cut.advance(1)
        assert live.cut is None
        yield at, as_it_was, cut.chunks, live


@pytest.mark.parametrize("pace", [0, 1, 2, 100])
@pytest.mark.parametrize("chunk_bytes", [1, 1_500, 1_000_000])
def test_A10_a_cut_at_every_offset_while_commits_flow(pace: int, chunk_bytes: int):
    j = busy(snapshot_chunk_bytes_max=chunk_bytes, ended_runs_max=1)
    entries = facts(j)
    for at, as_it_was, chunks, live in cuts(j, pace):
        restored, covers = snapshot.restore(chunks, j.state.limits)
        assert covers == at
        assert portrait(restored) == portrait(as_it_was), at
        assert portrait(folded(restored, entries[at:])) == portrait(live) == portrait(j.state), at


def test_A10_everything_that_a_successor_needs_is_in_it():
    j = busy()
    state, covers = snapshot.restore(snapshot.take(j.state, len(j.entries)))
    assert covers == len(j.entries)
    for name in (
        "epoch",
        "owner",
        "next",
        "inbound",
        "outbound",
        "config",
        "time",
        "sets",
        "armed",
        "unclean",
    ):
        assert getattr(state, name) == getattr(j.state, name) != type(getattr(state, name))(), name


def test_A10_chunks_are_cut_by_size_and_the_first_carries_the_partition():
    j = Journal(snapshot_chunk_bytes_max=5_000)
    j.claim()
    for n in range(100):
        j.start(f"r{n}", command=f"c{n}")
        j.commit(f"r{n}", started(), asked(*(f"/step {k}" for k in range(20))))
    chunks = snapshot.take(j.state, 1)
    assert 10 < len(chunks) < 60
    assert max(map(len, chunks)) < 10_000
    bodies = [codec.decode(chunk[:-4])[1] for chunk in chunks]
    assert [body["partition"] is not None for body in bodies] == [True] + [False] * (len(chunks) - 1)
    assert [body["index"] for body in bodies] == list(range(len(chunks)))
    assert bodies[-1]["count"] == len(chunks)


def test_A10_a_new_run_is_not_in_a_cut_that_was_made_before_it():
    j = busy()
    cut = snapshot.SnapshotCut(j.state, len(j.entries))
    j.start("new")
    while not cut.advance(1):
        pass
    assert "new" not in snapshot.restore(cut.chunks)[0].runs
    assert "new" in j.state.runs


@pytest.fixture(scope="module")
def chunks() -> list[bytes]:
    made = snapshot.take(busy(snapshot_chunk_bytes_max=600).state, 7)
    assert len(made) > 3
    return made


def test_A10_a_chunk_with_a_flipped_bit_is_refused(chunks: list[bytes]):
    for place in range(0, len(chunks[1]), 7):
        damaged = bytearray(chunks[1])
        damaged[place] ^= 1 << place % 8
        with pytest.raises(EncodingError):
            snapshot.restore([chunks[0], bytes(damaged), *chunks[2:]])


def test_A10_a_chunk_that_is_cut_short_or_runs_on_is_refused(chunks: list[bytes]):
    for damaged in (chunks[0][:-1], chunks[0][:3], b"", chunks[0] + b"\0"):
        with pytest.raises(EncodingError):
            snapshot.restore([damaged, *chunks[1:]])


def test_A10_a_set_that_lacks_a_chunk_is_refused_whichever_it_is(chunks: list[bytes]):
    for lost in range(len(chunks)):
        with pytest.raises(EncodingError):
            snapshot.restore(chunks[:lost] + chunks[lost + 1 :])
    with pytest.raises(EncodingError):
        snapshot.restore([])


def test_A10_chunks_of_two_sets_and_chunks_out_of_order_are_refused(chunks: list[bytes]):
    other = snapshot.take(busy(snapshot_chunk_bytes_max=600).state, 8)
    for mixed in (
        [chunks[0], *other[1:]],
        [*chunks[:-1], other[-1]],
        [chunks[0], chunks[2], chunks[1], *chunks[3:]],
    ):
        with pytest.raises(EncodingError):
            snapshot.restore(mixed)


def test_A10_a_zombies_older_set_does_not_count():
    j = busy()
    newer = {"set": "9", "covers": 9, "crc": 1}
    assert j.append("Snapshotted", newer, j.stamp()) is None
    assert j.append("Snapshotted", {"set": "8", "covers": 8, "crc": 1}, j.stamp()) == "older snapshot"
    zombie = j.stamp(b"o" * 16, 1)
    assert (
        j.append("Snapshotted", {"set": "99", "covers": 99, "crc": 1}, zombie) == "snapshot of a former owner"
    )
    assert j.state.sets[-1] == newer


def test_A10_channels_stand_in_the_order_of_the_whole_after_one_was_acked_and_used_again():
    here, there = (next(str(n) for n in range(99) if event_partition(str(n), 2) == p) for p in (0, 1))

    def sends(key: str) -> tuple[str, dict[str, Any]]:
        return "perdure.EventsSent", {"key": f"/{key}", "events": [event(id=key, key=key)]}

    j = Journal(0, 2)
    j.claim()
    j.start("r")
    j.commit("r", started(), sends(here), sends(there))
    j.append("Commit", {"changes": [], "acks": [{"target": "e0", "seq": 1}]}, j.stamp())
    chunks, covers = snapshot.take(j.state, len(j.entries)), len(j.entries)
    j.commit("r", sends(here))
    restored, _ = snapshot.restore(chunks, j.state.limits)
    assert portrait(folded(restored, facts(j)[covers:])) == portrait(j.state)


def test_a_snapshot_of_a_newer_version_is_refused_and_not_taken_for_a_damaged_one():
    """A reader that took it would go on behind the record that says which level is in force."""
    j = busy()
    j.state.level = 2
    with pytest.raises(LevelTooNew, match="record level 2 in its snapshot"):
        snapshot.restore(list(snapshot.take(j.state, 0)))
    unknown = snapshot._seal(b"\xc3\x01newer...body")
    with pytest.raises(LevelTooNew, match="written by another version"):
        snapshot.restore([unknown])
