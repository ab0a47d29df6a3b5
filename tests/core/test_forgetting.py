"""What a partition remembers, and for how long: ids, ended runs, kept events (B8, B12, A2)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perdure.core import effects, limits, snapshot
from perdure.core.decide import ingest
from perdure.core.decide.ingest import Incoming
from perdure.core.facts import read_fact
from perdure.core.fold import fold
from perdure.core.limits import DAY_US, DEFAULT_LIMITS
from perdure.core.oldids import SHARDS, WIDTH, OldIds
from perdure.core.state import PartitionState
from tests.core.journal import SECOND, Journal, event, run_done, same, started

MINUTE = 60 * SECOND


def led(**bounds: int) -> Journal:
    j = Journal(**bounds)
    j.claim()
    j.config(("f", ["user/created"]))
    return j


def end(j: Journal, run: str, result: bytes = b"1") -> None:
    assert j.commit(run, started(), run_done(result)) is None


def arrive(j: Journal, offset: int, id: str, name: str = "door", data: bytes = b"{}") -> None:  # noqa: A002
    entry = Incoming(offset, j.ts + 1, event(name, id, data))
    assert j.append("Ingest", ingest.ingest(j.state, [entry]), j.stamp()) is None


def open_wait(
    j: Journal, key: str, path: str | None = None, value: bytes | None = None, **fields: Any
) -> None:
    body = {"key": key, "event": "door", "signal": None, "path": path, "value": value, "due": None}
    begun = [] if j.state.runs["r"].started else [started()]
    assert j.commit("r", *begun, ("perdure.WaitOpened", body | {"lookback": None} | fields)) is None


def give(j: Journal) -> str:
    """Gives the first event that waits in the inbox to its wait; its id."""
    item = j.state.runs["r"].inbox[0]
    body = {
        "key": item.body["key"],
        "time": 20,
        "position": item.body["position"],
        "event": item.body["event"],
    }
    assert j.commit("r", ("perdure.EventGiven", body)) is None
    return body["event"]["id"]


def from_snapshot(j: Journal, at: int | None = None) -> PartitionState:
    """The same state, from a snapshot before entry `at` and the entries after it."""
    at = len(j.entries) if at is None else at
    state = PartitionState(0, 1, limits=j.state.limits)
    for offset, (ts, value, headers) in enumerate(j.entries):
        if offset == at:
            state, _ = snapshot.restore(snapshot.take(state, at), j.state.limits)
        fold(state, read_fact(offset, ts, value, headers))
        state.effects.clear()
    return snapshot.restore(snapshot.take(state, at), j.state.limits)[0] if at == len(j.entries) else state


# --- ids as digests ---------------------------------------------------------------------------------------------------


def test_old_ids_are_found_with_their_last_time_and_travel_in_parts():
    ids = OldIds()
    for n in range(5_000):
        ids.add(f"id-{n}", n * 1_000_000, 1_000_000)
    ids.add("id-7", 9_000_000_000, 1_000_000)
    again = OldIds()
    for part in ids.parts():
        again.take(part)
    for known in (ids, again):
        assert [known.time_of(f"id-{n}") for n in (0, 1, 4_999)] == [0, 1_000_000, 4_999_000_000]
        assert known.time_of("id-7") == 9_000_000_000
        assert known.time_of("id-5000") is None
        assert len(known) == 5_001
    assert sum(map(len, ids.parts())) == 5_001 * WIDTH


def test_B12_old_ids_are_bounded_and_the_oldest_go_first():
    ids = OldIds()
    for n in range(20_000):
        ids.add(f"id-{n}", n, 2_560)
    assert len(ids) == 2_560 == 10 * SHARDS
    assert ids.time_of("id-19999") is not None
    assert ids.time_of("id-0") is None


# --- runs that ended --------------------------------------------------------------------------------------------------


def test_a_run_of_a_chosen_id_starts_once_although_it_is_forgotten_itself():
    j = led(ended_runs_max=3)
    j.start("f/order-1")
    end(j, "f/order-1")
    for n in range(5):
        j.start(f"f/other-{n}")
        end(j, f"f/other-{n}")
    assert "f/order-1" not in j.state.runs
    assert j.start("f/order-1", client="me", command="again") == "run ended before"
    assert j.effects == [effects.Answer("me", "again", "f/order-1")]
    assert len(j.state.ended_ids) == 3
    assert "f/order-1" not in from_snapshot(j).runs
    assert from_snapshot(j, len(j.entries) - 1).voids["run ended before"] == 1
    j.ts += DEFAULT_LIMITS.ended_id_time_max - MINUTE
    assert j.start("f/order-1") == "run ended before"
    j.ts += MINUTE
    j.start("f/other")
    assert j.start("f/order-1") is None


def test_a_run_that_ended_a_day_ago_is_not_started_again():
    j = led()
    j.start("f/order-1")
    end(j, "f/order-1")
    j.ts += 2 * DAY_US
    j.start("f/other")
    assert "f/order-1" not in j.state.runs
    assert j.start("f/order-1") == "run ended before"


def test_B12_ended_runs_are_bounded_by_what_they_hold():
    j = led(ended_bytes_max=50_000)
    for n in range(20):
        j.start(f"f/{n}")
        end(j, f"f/{n}", b'"' + b"x" * 10_000 + b'"')
        assert f"f/{n}" in j.state.runs  # who waits for its end is answered from it
    assert len(j.state.runs) == len(j.state.ended) == 4
    assert 40_000 < j.state.ended_bytes <= 50_000
    assert from_snapshot(j).ended_bytes == j.state.ended_bytes
    assert same(from_snapshot(j, 15), j.state)
    j.ts += 2 * DAY_US
    j.start("f/other")
    assert (len(j.state.ended), j.state.ended_bytes) == (0, 0)


# --- events of one id -------------------------------------------------------------------------------------------------


def test_an_event_id_counts_once_a_day_however_many_others_there_are():
    j = led(event_ids_max=5)
    for n in range(50):
        arrive(j, n, f"e{n}", "user/created")
    assert len(j.state.event_ids) == 5
    assert len(j.state.runs) == 50
    arrive(j, 50, "e0", "user/created")
    assert len(j.state.runs) == 50
    at = len(j.entries)
    arrive(j, 51, "e1", "user/created")
    assert len(j.state.runs) == 50 == len(from_snapshot(j, at).runs)
    j.ts += DAY_US
    arrive(j, 52, "e1", "user/created")
    assert len(j.state.runs) == 51


def test_what_an_event_said_is_remembered_as_long_as_its_id_as_it_is():
    j = led(event_ids_max=5)
    for n in range(50):
        arrive(j, n, f"e{n}", "user/created", b'{"a": 1, "b": [2]}')
    assert j.state.event_digests.keys() == j.state.event_ids.keys()

    def skipped(id: str, data: bytes) -> list[str]:  # noqa: A002
        entry = Incoming(j.state.next, j.ts + 1, event("user/created", id, data))
        return [skip["reason"] for skip in ingest.ingest(j.state, [entry])["skipped"]]

    assert skipped("e49", b'{"b":[2],"a":1}') == [ingest.REPEATED], "the same, spelled otherwise"
    assert skipped("e49", b'{"b":[2],"a":2}') == [ingest.CONFLICT]
    assert skipped("e0", b'{"b":[2],"a":2}') == [ingest.REPEATED], "of so old an id nobody can tell"
    assert from_snapshot(j, len(j.entries)).event_digests == j.state.event_digests
    one, other = event("user/created", "x", b'{"a":1}'), event("user/created", "x", b'{"a":2}')
    batch = [Incoming(j.state.next, j.ts + 1, one), Incoming(j.state.next + 1, j.ts + 1, other)]
    assert [skip["reason"] for skip in ingest.ingest(j.state, batch)["skipped"]] == [ingest.CONFLICT]


def test_an_id_that_a_client_made_up_counts_once_for_some_minutes_however_many_others_there_are():
    j = led(event_ids_max=5)
    for n in range(50):
        arrive(j, n, f"~{n}", "user/created")
    assert (len(j.state.made_ids), len(j.state.old_made_ids)) == (5, 45)
    arrive(j, 50, "~0", "user/created")
    at = len(j.entries)
    arrive(j, 51, "~1", "user/created")
    assert len(j.state.runs) == 50 == len(from_snapshot(j, at).runs)
    j.ts += j.state.limits.generated_id_time_max
    arrive(j, 52, "~1", "user/created")
    assert len(j.state.runs) == 51


# --- what a run has had -----------------------------------------------------------------------------------------------


def test_A2_a_wait_is_told_of_no_event_that_is_older_than_what_it_wants():
    j = led()
    j.start("r")
    for n in range(20):
        open_wait(j, f"/w{n}")
        arrive(j, n, f"e{n}")
        assert give(j) == f"e{n}"
        open_wait(j, f"/x{n}", "data.id", b"7")
        (cell,) = (cell for where, cell in j.state.cells.items() if where[1])
        assert list(cell.subscriptions["r", f"/x{n}"].seen) == []
    assert len(j.state.runs["r"].seen) == 21
    open_wait(j, "/last", lookback=10 * MINUTE)
    assert j.state.runs["r"].inbox == []  # of what it had, nothing comes again
    assert same(j.state, j.refolded())
    assert same(from_snapshot(j, 12), j.state)


@pytest.mark.parametrize("waiting", [False, True], ids=["given", "still in the inbox"])
def test_A2_an_event_that_was_sent_twice_is_given_once_also_when_a_search_finds_the_second(waiting: bool):
    j = led()
    j.start("r")
    open_wait(j, "/w")
    arrive(j, 0, "e1")
    if not waiting:
        assert give(j) == "e1"
    open_wait(j, "/again")
    since = j.state.runs["r"].pending["/again"].since
    twice = {"name": "door", "path": "", "value": b"", "time": since + 5, "event": event("door", "e1")}
    twice["position"] = {"partition": 0, "offset": 9}
    j.message("1p9", 1, "Correlate", twice)
    j.message("1p9", 2, "Correlate", twice | {"position": {"partition": 0, "offset": 10}})
    assert [item.body["key"] for item in j.state.runs["r"].inbox] == ["/w"] * waiting
    arrive(j, 1, "e2")
    if waiting:
        assert give(j) == "e1"
    assert give(j) == "e2"
    assert same(j.state, j.refolded())


# --- what cells keep --------------------------------------------------------------------------------------------------


def test_B12_what_all_cells_keep_is_bounded_and_what_they_dropped_is_searched_for():
    j = led(kept_bytes_max=60_000)
    j.start("r")
    open_wait(j, "/w", "data.id", b"-1")
    for scan_id in list(j.state.scans):
        body = {"scan": scan_id, "from": -1, "to": 0, "done": True, "found": []}
        assert j.append("Scanned", body, j.stamp()) is None
    opened = j.ts
    for n in range(40):
        arrive(j, n, f"e{n}", data=b'{"id":%d,"text":"%s"}' % (n, b"x" * 5_000))
        assert j.state.kept_bytes <= 60_000
    assert len(j.state.kept) == len(j.state.cells) - 1 == 8
    assert j.state.forgotten > opened
    for at in range(6, len(j.entries), 5):
        assert same(from_snapshot(j, at), j.state)
    assert from_snapshot(j).kept_bytes == j.state.kept_bytes
    late = {"name": "door", "path": "data.id", "value": b"3", "run": "x", "key": "/k", "since": opened}
    j.message("1p9", 1, "Subscribe", late | {"seen": [], "scan": False})
    (scan,) = j.state.scans.values()  # its event is gone from its cell, which is gone too: it is not missed
    assert (scan.value, scan.since) == (b"3", opened)
    j.message("1p9", 2, "Subscribe", late | {"key": "/k2", "since": j.ts, "seen": [], "scan": False})
    assert len(j.state.scans) == 1  # none that lies so near can have been dropped


# --- limits -----------------------------------------------------------------------------------------------------------


def test_what_folds_depend_on_is_in_the_log_and_nothing_else_is():
    """Two readers with other limits of their own come to the same state."""
    here = Path(limits.__file__).parent
    sources = [*sorted((here / "fold").glob("*.py")), here / "decide" / "ingest.py"]
    used = {name for path in sources for name in re.findall(r"limits\.(\w+_max)", path.read_text())}
    assert used == set(limits.FOLDED)


def test_a_reader_folds_by_the_limits_in_the_log_whatever_its_own_are():
    j = Journal()
    j.claim()
    config: dict[str, Any] = {"version": 1, "functions": [], "limits": {"ended_runs_max": 2, "unknown": 1}}
    assert j.append("Config", config, j.stamp()) is None
    for n in range(5):
        j.start(f"f/{n}")
        end(j, f"f/{n}")
    assert len(j.state.runs) == 2
    other = PartitionState(0, 1, limits=replace(DEFAULT_LIMITS, ended_runs_max=4, inbox_max=1))
    for offset, (ts, value, headers) in enumerate(j.entries):
        fold(other, read_fact(offset, ts, value, headers))
    assert list(other.runs) == list(j.state.runs)
    assert from_snapshot(j).limits.ended_runs_max == 2
