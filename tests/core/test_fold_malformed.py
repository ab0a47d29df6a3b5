"""Records that make no sense, and data that users may send: void, or harmless, and never the end of a reader."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.core import ids
from perdure.core.decide import ingest
from perdure.core.decide.ingest import Incoming
from perdure.core.facts import CHANNEL, read_fact, unpack_channel
from perdure.core.snapshot import restore, take
from tests.core.journal import Journal, asked, event, portrait, run_done, started

WAIT: dict[str, Any] = {
    "key": "/w",
    "event": "paid",
    "signal": None,
    "path": None,
    "value": None,
    "due": None,
}
ERROR = {"type": "E", "message": "m", "traceback": "", "data": ""}


def led(partitions: int = 1, **limits: int) -> Journal:
    j = Journal(0, partitions, **limits)
    j.claim()
    j.config(("f", ["user/created"]))
    j.start("r")
    return j


def opened(j: Journal, lookback: int | None = None, **fields: Any) -> str | None:
    return j.commit("r", started(), ("perdure.WaitOpened", WAIT | {"lookback": lookback} | fields))


def armed(j: Journal, name: str = "paid") -> None:
    j.message("1p9", j.state.inbound.get("1p9", 0) + 1, "Arm", {"name": name, "path": "", "since": 0})


# --- records that contradict themselves -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"starts": [{"run": "x", "function": "f", "event": 1}]},
        {"starts": [{"run": "x", "function": "f", "event": -1}]},
        {"correlates": [{"event": 7, "path": "", "value": b""}]},
        {"delayed": [1]},
        {"to": 0},
        {"to": -5},
    ],
    ids=str,
)
def test_an_ingest_that_names_events_that_it_has_not_is_void(fault: dict[str, Any]):
    j = led()
    body = ingest.ingest(j.state, [Incoming(0, 5, event())])
    before = portrait(j.state)[1:]
    assert j.append("Ingest", body | fault, j.stamp()) == "ingest that contradicts itself"
    assert portrait(j.state)[1:] == before
    assert j.state.next == 0
    assert j.append("Ingest", body, j.stamp()) is None


def test_a_due_that_names_an_event_twice_or_one_that_it_has_not_is_void():
    j = led()
    j.append("Ingest", ingest.ingest(j.state, [Incoming(0, 5, event(ts=50))]), j.stamp())
    pairing = {"event": 1, "path": "", "value": b""}
    for fault in ({"offsets": [0, 0]}, {"correlates": [pairing]}):
        body = {"offsets": [0], "armed": 0, "correlates": []} | fault
        assert j.append("Due", body, j.stamp()) == "due that contradicts itself"
    assert 0 in j.state.delayed


def test_a_commit_that_changes_a_run_twice_or_goes_on_after_its_end_is_void():
    j = led()
    change = {"entity": "r", "prev": j.state.runs["r"].prev, "ops": [started()]}
    twice = {"changes": [change, change], "acks": []}
    assert j.append("Commit", twice, j.stamp()) == "commit that contradicts itself"
    assert j.commit("r", started(), run_done(), asked("/a")) == "commit that contradicts itself"
    assert j.commit("r", started(), run_done(), run_done()) == "commit that contradicts itself"
    assert j.state.runs["r"].status == "queued"


def test_a_search_that_does_not_move_is_void():
    j = led()
    armed(j)
    body = {"scan": 1, "from": -1, "to": -1, "done": False, "found": []}
    assert j.append("Scanned", body, j.stamp()) == "search that contradicts itself"


def test_a_child_without_its_parents_key_has_no_parent():
    j = Journal(0, 2)
    j.claim()
    start = {"run": "child", "function": "f", "event": event(), "parent": "r", "parent_key": None}
    assert j.message("1p1", 1, "StartChild", start) is None
    assert j.message("1p1", 2, "StartChild", start) is None
    assert j.state.runs["child"].parent is None


# --- what was decided before a path was armed -----------------------------------------------------------------------


def test_A2_an_ingest_that_was_decided_before_a_path_was_armed_is_void():
    j = led()
    body = ingest.ingest(j.state, [Incoming(0, 5, event("paid"))])
    armed(j)
    assert j.append("Ingest", body, j.stamp()) == "ingest under other match paths"
    again = ingest.ingest(j.state, [Incoming(0, 5, event("paid"))])
    assert [pairing["path"] for pairing in again["correlates"]] == [""]
    assert j.append("Ingest", again, j.stamp()) is None


def test_A2_a_due_that_was_decided_before_a_path_was_armed_is_void():
    j = led()
    armed(j, "another")
    j.append("Ingest", ingest.ingest(j.state, [Incoming(0, 5, event("user/created", ts=50))]), j.stamp())
    body = j.due_by(60)
    assert body is not None
    armed(j, "user/created")
    assert j.append("Due", body, j.stamp()) == "due under other match paths"
    assert j.append("Due", j.due_by(60) or {}, j.stamp()) is None


# --- what users send ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"no json", b"\xff\xfe", b"[1e999]", b"[" * 199 + b"]" * 199], ids=lambda d: d[:8]
)
def test_a_failed_run_whose_event_is_no_json_still_starts_its_handler(data: bytes):
    j = led()
    start = {"function": "f", "event": event(data=data), "tags": {}}
    j.append("Command", {"id": "c", "run": "x", "client": None, "body": ("perdure.StartRun", start)})
    failed = ("perdure.RunFailed", {"time": 2, "error": ERROR, "handler": "f:on-failure"})
    assert j.commit("x", started(), failed) is None
    (handler,) = (run for run in j.state.runs.values() if run.function == "f:on-failure")
    assert b'"function_id":"f"' in handler.event["data"]


def test_a_value_that_is_no_text_has_a_cell_like_any_other():
    j = led(partitions=4)
    assert opened(j, path="data.id", value=b"\xff") is None
    assert j.state.runs["r"].pending["/w"].value == b"\xff"


@pytest.mark.parametrize("lookback", [-(2**63), -1, 2**63 - 1])
def test_a_wait_that_looks_back_too_far_looks_back_to_the_beginning(lookback: int):
    j = led(partitions=4)
    assert opened(j, lookback) is None
    since = j.state.runs["r"].pending["/w"].since
    assert since == (0 if lookback > 0 else j.ts)
    assert portrait(restore(take(j.state, 1))[0]) == portrait(j.state)


def test_numbers_without_end_in_headers_and_ids_are_not_numbers():
    long = b"1p1:" + b"9" * 5_000
    assert unpack_channel(long) is None
    assert read_fact(0, 1, b"?", {CHANNEL: long}).channel is None
    assert ids.placement("1p" + "9" * 5_000 + "-" + "a" * 20) is None


# --- what is forgotten ----------------------------------------------------------------------------------------------


def _correlate(offset: int, time: int) -> dict[str, Any]:
    position = {"partition": 0, "offset": offset}
    return {
        "name": "paid",
        "path": "",
        "value": b"",
        "time": time,
        "position": position,
        "event": event(id=f"e{offset}"),
    }


def test_A2_a_cell_remembers_the_newest_time_that_it_has_forgotten():
    j = led(kept_events_max=1)
    for offset, time in enumerate((90, 50, 60)):
        j.message("1p9", offset + 1, "Correlate", _correlate(offset, time))
    (cell,) = j.state.cells.values()
    assert cell.forgotten == 91


def test_A10_events_are_forgotten_alike_after_a_snapshot_when_the_logs_clock_went_back():
    j = led(kept_event_time_max=50)
    j.ts = 100
    j.message("1p9", 1, "Correlate", _correlate(0, 1))
    j.ts = 40
    j.message("1p9", 2, "Correlate", _correlate(1, 1) | {"path": "data.id"})
    restored, _ = restore(take(j.state, len(j.entries)), j.state.limits)
    assert portrait(restored) == portrait(j.state)
    assert [arrived for arrived, _ in j.state.kept] == [101, 101]
