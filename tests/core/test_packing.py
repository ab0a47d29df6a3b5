"""Runs and cells that only wait are kept as bytes: whatever happens to them, they are what they would be as objects."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core import codec, packed, snapshot
from perdure.core.bodies import RUNS, run_body, runs_roster, waits
from perdure.core.dormant import Dormant
from perdure.core.facts import Fact
from perdure.core.fold import fold
from perdure.core.pairs import LEAF, Pairs
from perdure.core.roster import MemoryShelf
from perdure.core.state import PartitionState, Run
from perdure.errors import EncodingError, LevelTooNew
from tests.core.journal import Journal, asked, event, portrait, started
from tests.core.test_fold_properties import STEPS, TIGHT, Drawn, Step, image, pinned
from tests.golden.files import FOLDER, load
from tests.golden.samples import RUN

SLEEP = ("perdure.TimerSet", {"key": "/nap", "due": 9_000})
EVERYTHING = {"keep": 0, "count_max": 1_000, "bytes_max": 1_000_000, "spare": ()}


class Packed:
    """A state of which everything that can be packed is, after each record."""

    def __init__(self, state: PartitionState) -> None:
        self.state = state
        self.dormant = Dormant(state)
        self.most = 0

    def fold(self, facts: list[Fact]) -> PartitionState:
        for fact in facts:
            fold(self.state, fact)
            self.dormant.pack(**EVERYTHING)
            runs = self.state.runs
            runs.pack([run for run in runs.plain.values() if not run.live])
            self.most = max(self.most, self.state.runs.packed + self.state.cells.packed)
        self.state.effects.clear()
        return self.state


def sleeping(count: int, **limits: int) -> Journal:
    j = Journal(0, 1, **limits)
    j.claim()
    for n in range(count):
        j.start(f"f/{n}", command=f"c{n}")
        j.commit(f"f/{n}", started(), SLEEP)
    return j


# --- pairs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [3, 1_000, 2**64])
def test_pairs_are_a_sorted_set(keys: int):
    rnd = random.Random(keys)
    pairs, known = Pairs(), set[tuple[int, int]]()
    for turn in range(3):
        for _ in range(6 * LEAF):
            pair = rnd.randrange(keys), rnd.randrange(2**64)
            if pair not in known:
                pairs.add(*pair)
                known.add(pair)
        for pair in rnd.sample(sorted(known), len(known) if turn == 2 else 2 * len(known) // 3):
            assert pairs.remove(*pair)
            assert not pairs.remove(*pair)
            known.remove(pair)
            if rnd.random() < 0.01:
                assert list(pairs) == sorted(known)
        assert list(pairs) == sorted(known)
        assert len(pairs) == len(known)
        assert pairs.first() == min(known, default=None)
        middle = rnd.randrange(keys)
        assert pairs.up_to(middle, 100) == [pair for pair in sorted(known) if pair[0] <= middle][:100]


def test_pairs_find_the_value_of_a_key():
    pairs = Pairs()
    known = {random.Random(n).randrange(2**64): n for n in range(5_000)}
    for key, value in known.items():
        pairs.add(key, value)
    assert all(pairs.value_of(key) == value for key, value in known.items())
    assert all(pairs.value_of(key + 1) is None for key in known if key + 1 not in known)
    assert pairs.value_of(0) is None


# --- one state --------------------------------------------------------------------------------------------------------


@pinned
@given(STEPS)
def test_a_state_that_is_packed_after_each_record_is_the_same_state(steps: list[Step]):
    j = Drawn(steps, **TIGHT)
    packed = Packed(j.empty())
    assert image(packed.fold(j.facts())) == image(j.state)
    assert packed.state.voids == j.state.voids
    assert set(packed.state.runs) == set(j.state.runs)


@pinned
@given(STEPS, st.integers(0, 100), st.lists(st.integers(0, 3), min_size=1, max_size=5))
def test_A10_a_cut_of_a_packed_state_and_the_tail_make_the_same_state(
    steps: list[Step], at: int, paces: list[int]
):
    j = Drawn(steps, **TIGHT)
    facts = j.facts()
    at %= len(facts) + 1
    packed = Packed(j.empty())
    packed.fold(facts[:at])
    cut, over = snapshot.SnapshotCut(packed.state, at), False
    for n, fact in enumerate(facts[at:]):
        packed.fold([fact])
        over = over or cut.advance(paces[n % len(paces)])
    while not over:
        over = cut.advance(1)
    restored, _ = snapshot.restore(cut.chunks, j.state.limits)
    as_it_was = Packed(j.empty()).fold(facts[:at])
    assert image(restored) == image(as_it_was)
    assert image(Packed(restored).fold(facts[at:])) == image(j.state) == image(packed.state)


@pinned
@given(STEPS)
def test_a_run_is_what_it_was_when_it_is_unpacked(steps: list[Step]):
    for run in Drawn(steps, **TIGHT).state.runs.values():
        again = RUNS.unpack(RUNS.pack(run))
        assert run_body(again) == run_body(run)
        assert (again.live, again.place, waits(again)) == (run.live, run.place, waits(run))


# --- what is packed, and when -----------------------------------------------------------------------------------------


def test_what_waits_longest_is_packed_first_and_so_many_are_left():
    j = sleeping(10)
    dormant = Dormant(j.state)
    assert dormant.pack(keep=4, count_max=100, bytes_max=1_000, spare=()) == 6
    assert list(j.state.runs.plain) == [f"f/{n}" for n in range(6, 10)]
    assert (len(j.state.runs), j.state.runs.packed) == (10, 6)
    assert dormant.pack(keep=0, count_max=3, bytes_max=1_000, spare=()) == 3


def test_what_has_something_to_do_or_is_in_memory_or_is_long_is_not_packed():
    j = sleeping(4)
    dormant = Dormant(j.state)
    j.commit("f/0", asked("/a"))
    j.command("f/1", "SignalSend", {"name": "go", "data": b"1"}, "s1")
    j.state.runs["f/3"].size = 1_001
    assert dormant.pack(keep=0, count_max=100, bytes_max=1_000, spare={"f/2"}) == 0
    assert len(j.state.runs.plain) == 4
    dormant.run(j.state.runs["f/2"])  # its coroutine was let go
    assert dormant.pack(keep=0, count_max=100, bytes_max=1_000, spare=()) == 1


def test_a_run_that_is_looked_at_stays_packed_and_one_that_is_asked_for_is_noted_again():
    j = sleeping(3)
    dormant = Dormant(j.state)
    dormant.pack(**EVERYTHING)
    looked_at = j.state.runs.peek("f/1")
    assert looked_at is not None
    assert looked_at.id == "f/1"
    assert sum(run.live for run in j.state.live_runs()) == 3
    assert j.state.runs.packed == 3
    run = j.state.runs["f/1"]
    assert j.state.runs["f/1"] is run
    assert (j.state.runs.packed, len(dormant)) == (2, 1)
    assert j.state.runs.get("f/9") is None
    assert "f/9" not in j.state.runs
    with pytest.raises(KeyError):
        j.state.runs["f/9"]
    del j.state.runs["f/0"]
    assert len(j.state.runs) == 2
    assert set(j.state.runs) == {"f/1", "f/2"}


def test_packed_runs_are_due_in_order_and_what_was_unpacked_is_not_due_twice():
    j = Journal(0, 1)
    j.claim()
    for n, due in enumerate((70, 20, 50, 20, 900)):
        j.start(f"f/{n}", command=f"c{n}")
        j.commit(f"f/{n}", started(), ("perdure.TimerSet", {"key": "/nap", "due": due}))
    runs = j.state.runs
    Dormant(j.state).pack(**EVERYTHING)
    assert runs.next_due() == 20
    assert [due for due, _ in runs.due(70, 10)] == [20, 20, 50, 70]
    assert sorted(run.id for run in runs.copies_due(50)) == ["f/1", "f/2", "f/3"]
    assert (runs.packed, [*runs.copies_due(19)]) == (5, [])
    assert runs["f/2"].pending["/nap"].due == 50
    woken = [runs.unpack_due(*entry) for entry in runs.due(70, 10)]
    assert {run.id for run in woken if run is not None} == {"f/0", "f/1", "f/3"}
    assert runs.next_due() == 900
    [entry] = runs.due(900, 10)
    runs.postpone(*entry, 2_000)
    assert (runs.due(900, 10), runs.next_due()) == ([], 2_000)
    assert runs["f/4"].pending["/nap"].due == 900
    [stale] = runs.due(2_000, 10)
    assert runs.unpack_due(*stale) is None
    assert runs.next_due() is None


def test_two_names_of_one_digest_do_not_meet(monkeypatch: pytest.MonkeyPatch):
    j = sleeping(3)
    monkeypatch.setattr(type(j.state.runs), "_digest", lambda _roster, _key: 7)
    assert Dormant(j.state).pack(**EVERYTHING) == 1
    assert {run_id for run_id in ("f/0", "f/1", "f/2", "f/3") if run_id in j.state.runs} == {
        "f/0",
        "f/1",
        "f/2",
    }
    assert len(j.state.runs) == 3


class FullShelf(MemoryShelf):
    """A shelf on a full disk."""

    def put(self, items: Sequence[bytes], /) -> list[int]:
        raise OSError(28, "No space left on device")


def test_what_finds_no_place_stays_as_it_is_and_is_tried_again():
    j = sleeping(5)
    dormant, before = Dormant(j.state), portrait(j.state)
    j.state.runs.shelf = FullShelf()
    with pytest.raises(OSError, match="No space left"):
        dormant.pack(**EVERYTHING)
    assert portrait(j.state) == before
    j.state.runs.shelf = MemoryShelf()
    assert dormant.pack(**EVERYTHING) == 5
    assert portrait(j.state) == before


def test_waiters_of_events_are_packed_with_their_cells_and_met_again():
    j = Journal(0, 1)
    j.claim()
    for n in range(20):
        j.start(f"f/{n}", command=f"c{n}")
        wait = {"key": "/w", "event": "paid", "signal": None, "path": "data.id", "value": b"%d" % n}
        j.commit(f"f/{n}", started(), ("perdure.WaitOpened", wait | {"due": None, "lookback": None}))
    Dormant(j.state).pack(**EVERYTHING)
    assert (j.state.runs.packed, j.state.cells.packed) == (20, 20)
    correlate: dict[str, Any] = {"name": "paid", "path": "data.id", "value": b"7", "time": j.ts}
    correlate |= {"position": {"partition": 0, "offset": 1}, "event": event("paid", "p")}
    j.message("1p9", 1, "Correlate", correlate)
    assert [run.id for run in j.state.runs.plain.values() if run.inbox] == ["f/7"]
    assert (j.state.runs.packed, j.state.cells.packed) == (19, 19)


# --- snapshots --------------------------------------------------------------------------------------------------------


def test_A10_packed_runs_go_through_a_snapshot_as_they_are(monkeypatch: pytest.MonkeyPatch):
    j = sleeping(200, snapshot_chunk_bytes_max=4_000)
    before = portrait(j.state)
    Dormant(j.state).pack(**EVERYTHING)

    def never(*_: Any) -> Any:
        raise AssertionError("a packed run was made into an object, or back")

    with monkeypatch.context() as m:
        m.setattr(codec, "pack", never)
        m.setattr(codec, "unpack", never)
        chunks = snapshot.take(j.state, 1)
        restored, _ = snapshot.restore(chunks)
        assert restored.runs.packed == 200
        assert len(restored.runs.due(9_000, 1_000)) == 200
    assert max(map(len, chunks)) < 2 * 4_000
    assert portrait(restored) == before


def _sealed(chunk: bytes, **changed: Any) -> bytes:
    name, body = codec.decode(chunk[:-4])
    return snapshot._seal(codec.encode(name, body | changed))


def test_A10_packed_runs_of_another_version_or_that_do_not_fit_are_refused():
    j = sleeping(3)
    Dormant(j.state).pack(**EVERYTHING)
    head, packed, tail = snapshot.take(j.state, 1)
    with pytest.raises(LevelTooNew, match="packed by another version"):
        snapshot.restore([head, _sealed(packed, form=b"12345678"), tail])
    with pytest.raises(LevelTooNew, match="does not know"):
        snapshot.restore([head, _sealed(packed, of="limits"), tail])
    for changed in ({"sizes": b"\0" * 12}, {"digests": b"\0" * 7}, {"dues": b""}, {"index": 5}):
        with pytest.raises(EncodingError):
            snapshot.restore([head, _sealed(packed, **changed), tail])
    with pytest.raises(EncodingError):
        snapshot.restore([packed, head, tail])
    assert snapshot.restore([head, packed, tail])[0].runs.packed == 3


def test_A10_what_is_unpacked_and_changes_while_a_cut_is_written_is_in_it_as_it_was():
    j = sleeping(50)
    dormant = Dormant(j.state)
    dormant.pack(**EVERYTHING)
    before = portrait(j.state)
    cut = snapshot.SnapshotCut(j.state, 1)
    for n in range(50):
        j.commit(f"f/{n}", ("perdure.TimerFired", {"key": "/nap", "time": 9_000}), SLEEP)
        dormant.pack(**EVERYTHING)
        cut.advance(1)
    while not cut.advance(7):
        pass
    assert portrait(snapshot.restore(cut.chunks)[0]) == before
    assert j.state.runs.packed == 50


def test_the_room_of_what_was_unpacked_is_used_again():
    shelf = MemoryShelf()
    roster = runs_roster()
    roster.shelf = shelf
    for turn in range(5):
        for n in range(10):
            roster[f"f/{n}"] = Run(f"f/{n}", "f", event(), 1, turn)
        roster.pack([*roster.plain.values()])
        assert [roster[f"f/{n}"].prev for n in range(10)] == [turn] * 10
    assert len(shelf._items) == 10


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("PackedState*.json")))
def test_what_an_earlier_release_has_packed_is_read(name: str):
    chunk = load(FOLDER / name).body
    state = PartitionState(3, 8)
    packed.take_over(state, chunk)
    (run,) = state.runs.values()
    assert (run.id, run.status, list(run.pending)) == (RUN, "running", ["/nap"])
