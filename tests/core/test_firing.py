"""Timers of packed runs that fire: it is noted beside the bytes, and is state all the same."""

from __future__ import annotations

import pytest

from perdure.core import codec, snapshot
from perdure.core.bodies import fired
from perdure.core.effects import TimerDue
from perdure.core.facts import Fact, read_fact
from perdure.core.fold import fold
from perdure.core.state import PartitionState
from perdure.errors import EncodingError
from tests.core.journal import Journal, portrait
from tests.core.test_packing import Packed, sleeping


def fire(j: Journal, *numbers: int, due: int = 9_000) -> Fact:
    j.append("Fired", {"timers": [{"run": f"f/{n}", "key": "/nap", "due": due} for n in numbers]}, j.stamp())
    return read_fact(j.last, *j.entries[j.last])


def packed_sleepers(j: Journal) -> Packed:
    packed = Packed(PartitionState(0, 1, limits=j.state.limits))
    packed.fold([read_fact(n, *entry) for n, entry in enumerate(j.entries)])
    return packed


def test_a_timer_that_fires_leaves_its_run_packed_and_is_noted():
    j = sleeping(10)
    state = packed_sleepers(j).state
    assert fold(state, fire(j, 2, 5)) is None
    assert [effect for effect in state.effects if isinstance(effect, TimerDue)] == [
        TimerDue("f/2", "/nap", 9_000),
        TimerDue("f/5", "/nap", 9_000),
    ]
    assert (state.runs.packed, state.runs.fired) == (10, 2)
    assert [run.id for run in state.runs.values() if fired(run.pending["/nap"])] == ["f/2", "f/5"]
    assert portrait(state) == portrait(j.state)
    looked_at = state.runs.peek("f/2")
    assert looked_at is not None
    assert fired(looked_at.pending["/nap"])
    run = state.run("f/2")
    assert run is not None
    assert fired(run.pending["/nap"])
    assert (state.runs.packed, state.runs.fired) == (9, 1)
    assert len(state.runs.due(9_000, 100)) == 8  # neither of the two is due once more


def test_a_timer_of_another_time_does_not_fire_and_of_nobody_neither():
    j = sleeping(3)
    state = packed_sleepers(j).state
    for fact in (fire(j, 1, due=8_999), fire(j, 7)):
        fold(state, fact)
    assert portrait(state) == portrait(j.state)
    run = state.run("f/1")
    assert run is not None
    assert not fired(run.pending["/nap"])


def test_A10_a_cut_and_who_leads_find_no_run_packed_whose_timer_has_fired():
    j = sleeping(6)
    state = packed_sleepers(j).state
    fold(state, fire(j, 0, 3))
    chunks = snapshot.take(state, len(j.entries))
    assert (state.runs.packed, state.runs.fired) == (4, 0)
    restored, _ = snapshot.restore(chunks)
    assert portrait(restored) == portrait(j.state)


def test_A10_a_timer_that_fires_while_a_cut_is_written_is_not_in_it():
    j = sleeping(6)
    packed = packed_sleepers(j)
    before = portrait(j.state)
    cut = snapshot.SnapshotCut(packed.state, len(j.entries))
    packed.fold([fire(j, 0, 3)])
    while not cut.advance(1):
        pass
    restored, _ = snapshot.restore(cut.chunks)
    assert portrait(restored) == before
    assert portrait(packed.state) == portrait(j.state)


def test_A10_columns_that_are_not_in_order_are_refused():
    j = sleeping(6)
    chunks = snapshot.take(packed_sleepers(j).state, len(j.entries))
    name, body = codec.decode(chunks[1][:-4])
    assert name == "PackedState"
    body["digests"] = body["digests"][8:16] + body["digests"][:8] + body["digests"][16:]
    chunks[1] = snapshot._seal(codec.encode(name, body))
    with pytest.raises(EncodingError, match="not in order"):
        snapshot.restore(chunks)
