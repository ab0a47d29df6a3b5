"""Waits and cells: an event appended after a wait is never missed, and none is given twice (promise 6, A2)."""

from __future__ import annotations

from typing import Any

from perdure.core.decide import ingest
from perdure.core.decide.ingest import Incoming
from tests.core.journal import SECOND, Journal, asked, event, same, started

HOUR = 3600 * SECOND


def waiting(path: str | None = None, value: bytes | None = None, **fields: Any) -> Journal:
    j = Journal()
    j.claim()
    j.config(("f", ["user/created"]))
    j.start("r")
    j.ts = 10
    open_wait(j, "/w", path, value, **fields)
    return j


def open_wait(
    j: Journal, key: str, path: str | None = None, value: bytes | None = None, **fields: Any
) -> None:
    body = {"key": key, "event": "payment/done", "signal": None, "path": path, "value": value}
    body |= {"due": None, "lookback": None} | fields
    ops = [started()] if not j.state.runs["r"].started else []
    assert j.commit("r", *ops, ("perdure.WaitOpened", body)) is None


def arrive(j: Journal, offset: int, id: str = "p1", data: bytes = b"{}", ts: int | None = None) -> None:  # noqa: A002
    entry = Incoming(offset, j.ts + 1 if ts is None else ts, event("payment/done", id, data))
    assert j.append("Ingest", ingest.ingest(j.state, [entry]), j.stamp()) is None


def given(j: Journal) -> list[str]:
    return [item.body["event"]["id"] for item in j.state.runs["r"].inbox]


def give(j: Journal, key: str) -> None:
    (item,) = j.state.runs["r"].inbox
    body = {"key": key, "time": 20, "position": item.body["position"], "event": item.body["event"]}
    assert j.commit("r", ("perdure.EventGiven", body)) is None


def test_A2_an_event_after_the_wait_is_given():
    j = waiting()
    arrive(j, 0)
    assert given(j) == ["p1"]
    assert same(j.state, j.refolded())


def test_A2_only_the_event_with_the_same_value_is_given():
    j = waiting("data.id", b'"7"')
    arrive(j, 0, "p1", b'{"id":7}')
    arrive(j, 1, "p2", b'{"id":"8"}')
    arrive(j, 2, "p3", b"{}")
    assert given(j) == []
    arrive(j, 3, "p4", b'{"id":"7"}')
    assert given(j) == ["p4"]


def test_A2_one_event_does_not_answer_two_waits_in_a_row():
    j = waiting()
    arrive(j, 0)
    give(j, "/w")
    open_wait(j, "/w:1")
    assert given(j) == []
    arrive(j, 1, "p2")
    assert given(j) == ["p2"]


def test_A2_two_waits_at_once_get_two_events():
    j = waiting()
    open_wait(j, "/w2")
    arrive(j, 0, "p1")
    assert given(j) == ["p1"]
    arrive(j, 1, "p2")
    assert sorted(given(j)) == ["p1", "p2"]


def test_A2_an_event_that_was_ingested_before_the_path_was_armed_is_found_by_a_search():
    j = Journal()
    j.claim()
    j.config(("f", ["user/created"]))
    j.start("r")
    j.append("Ingest", ingest.ingest(j.state, [Incoming(0, 2, event("payment/done", "early"))]), j.stamp())
    late = Incoming(1, 100, event("payment/done", "late"))
    j.append("Ingest", ingest.ingest(j.state, [late]), j.stamp())
    j.ts = 50  # the wait's record is appended before the event, and read after it
    open_wait(j, "/w")
    assert given(j) == []
    (scan_id, scan), *_ = j.state.scans.items()
    body = ingest.scanned(j.state, scan_id, scan, [Incoming(0, 2, event("payment/done", "early")), late], 2)
    assert body["done"]
    assert j.append("Scanned", body, j.stamp()) is None
    assert given(j) == ["late"]
    assert j.state.scans == {}
    assert j.append("Scanned", body, j.stamp()) == "search from another position"


def test_A2_a_wait_that_reaches_its_cell_late_finds_what_the_cell_kept():
    j = waiting()
    arrive(j, 0, "p1")
    cell = next(iter(j.state.cells.values()))
    assert [kept["event"]["id"] for _, kept in cell.kept] == ["p1"]
    subscribe = {"name": "payment/done", "path": "", "value": b"", "run": "x", "key": "/k", "since": 11}
    j.message("1p9", 1, "Subscribe", subscribe | {"seen": [], "scan": False})
    assert [body for name, body in j.state.local] == []
    assert ("x", "/k") not in cell.subscriptions


def test_B9_a_closed_wait_leaves_nothing_behind():
    j = waiting()
    assert j.commit("r", ("perdure.WaitClosed", {"key": "/w"}), asked("/a")) is None
    assert j.state.cells == {}


def test_kept_events_are_forgotten_after_ten_minutes_of_partition_time():
    j = waiting()
    arrive(j, 0)
    j.ts += HOUR
    j.command("r", "SignalSend", {"name": "s", "data": b"1"})
    assert j.state.cells == {}
    assert j.state.kept == type(j.state.kept)()


def test_a_delayed_event_is_shown_to_waits_when_it_is_due():
    j = waiting()
    entry = Incoming(0, j.ts + 1, event("payment/done", "p1", ts=HOUR))
    assert j.append("Ingest", ingest.ingest(j.state, [entry]), j.stamp()) is None
    assert given(j) == []
    assert j.due_by(HOUR - 1) is None
    due = j.due_by(HOUR)
    assert due is not None
    assert j.append("Due", due, j.stamp()) is None
    assert given(j) == ["p1"]
    assert j.append("Due", due, j.stamp()) == "due twice"


def test_an_event_with_a_time_in_the_future_makes_a_scheduled_run_at_once():
    j = Journal()
    j.claim()
    j.config(("f", ["user/created"]))
    j.append("Ingest", ingest.ingest(j.state, [Incoming(0, 2, event(ts=HOUR))]), j.stamp())
    (run,) = j.state.runs.values()
    assert (run.status, run.not_before) == ("scheduled", HOUR)
