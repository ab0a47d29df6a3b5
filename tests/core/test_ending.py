"""What ends a run from outside, as the fold sees it: events that cancel it, and its time."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.core import effects, invariants
from perdure.core.decide import ingest
from perdure.core.decide.ingest import Incoming
from perdure.core.dormant import Dormant
from perdure.core.fold.ending import command_of
from tests.core.journal import SECOND, Journal, asked, event, same, started

MATCH = {"event": "order/cancelled", "path": "data.id", "own": "data.id", "timeout": 0}


def journal(*cancels: dict[str, Any], partitions: int = 1, **terms: Any) -> Journal:
    j = Journal(partitions=partitions)
    j.claim()
    configure(j, *cancels, **terms)
    return j


def configure(j: Journal, *cancels: dict[str, Any], **terms: Any) -> None:
    function = {
        "id": "f",
        "triggers": ["order/placed"],
        "code": "1",
        "handler": None,
        "cancels": list(cancels),
    }
    config = {"version": j.state.config["version"] + 1, "functions": [function | terms]}
    assert j.append("Config", config, j.stamp()) is None


def arrive(j: Journal, offset: int, name: str, data: bytes = b'{"id":1}', ts: int = 5, **fields: Any) -> None:
    entry = Incoming(offset, ts, event(name, f"e{offset}", data, **fields))
    assert j.append("Ingest", ingest.ingest(j.state, [entry]), j.stamp()) is None


def run_of(j: Journal) -> Any:
    (run,) = (run for run in j.state.runs.values() if run.function == "f")
    return run


def cancels(j: Journal) -> list[str]:
    return [item.body["reason"] for item in run_of(j).inbox if item.name == "perdure.CancelAsk"]


def whole(j: Journal) -> None:
    assert invariants.check(j.state) == []
    assert same(j.state, j.refolded())


def test_an_event_with_the_same_value_cancels():
    j = journal(MATCH)
    arrive(j, 0, "order/placed")
    whole(j)
    arrive(j, 1, "order/cancelled", b'{"id":2}', ts=6)
    assert cancels(j) == []
    arrive(j, 2, "order/cancelled", ts=7)
    assert cancels(j) == ["the event order/cancelled e2 came"]
    assert effects.Activate(run_of(j).id) in j.effects
    whole(j)
    arrive(j, 3, "order/cancelled", ts=8)  # a second one would be by force
    assert len(cancels(j)) == 1
    assert all(not cell.subscriptions for cell in j.state.cells.values())


def test_what_came_before_the_event_that_began_it_cancels_nothing():
    j = journal(MATCH)
    j.start("other")  # its path is armed from now on
    arrive(j, 0, "order/cancelled", ts=10)
    arrive(j, 1, "order/cancelled", ts=11)  # of the same time as what begins the run, and before it
    arrive(j, 2, "order/placed", ts=11)
    (run,) = (run for run in j.state.runs.values() if run.id != "other")
    assert run.inbox == []
    whole(j)
    arrive(j, 3, "order/cancelled", ts=11)
    assert [item.name for item in run.inbox] == ["perdure.CancelAsk"]
    whole(j)


def test_an_event_that_came_after_the_one_that_began_it_and_was_routed_before_cancels():
    """Its partition was idle, and the other one had a backlog (A2)."""
    j = journal(MATCH)
    correlate = {"name": "order/cancelled", "path": "data.id", "value": b"1", "time": 6}
    correlate |= {
        "position": {"partition": 1, "offset": 0},
        "event": event("order/cancelled", "c", b'{"id":1}'),
    }
    assert j.message("1p1", 1, "Correlate", correlate) is None
    arrive(j, 0, "order/placed", ts=5)
    assert cancels(j) == ["the event order/cancelled c came"]
    whole(j)


def test_an_older_one_of_another_partition_cancels_nothing():
    j = journal(MATCH)
    correlate = {"name": "order/cancelled", "path": "data.id", "value": b"1", "time": 4}
    correlate |= {
        "position": {"partition": 1, "offset": 9},
        "event": event("order/cancelled", "c", b'{"id":1}'),
    }
    assert j.message("1p1", 1, "Correlate", correlate) is None
    arrive(j, 0, "order/placed", ts=5)
    assert cancels(j) == []


def test_the_event_that_began_it_cancels_nothing():
    j = journal({"event": "order/placed", "path": "", "own": "", "timeout": 0})
    arrive(j, 0, "order/placed")
    assert cancels(j) == []
    arrive(j, 1, "order/placed", ts=6)
    first, second = j.state.runs.values()
    assert ([i.name for i in first.inbox], [i.name for i in second.inbox]) == (["perdure.CancelAsk"], [])


@pytest.mark.parametrize("data", [b"{}", b"no JSON", b'{"id":"1"}'])
def test_a_value_that_is_not_there_is_equal_to_none(data: bytes):
    j = journal(MATCH)
    arrive(j, 0, "order/placed", data)
    arrive(j, 1, "order/cancelled", b"{}", ts=6)
    arrive(j, 2, "order/cancelled", b'{"id":1}', ts=6)
    assert cancels(j) == []
    whole(j)


def test_it_counts_for_a_time():
    j = journal(MATCH | {"timeout": 100})
    arrive(j, 0, "order/placed")
    arrive(j, 1, "order/cancelled", ts=run_of(j).created + 101)
    assert cancels(j) == []
    assert run_of(j).listeners is None
    whole(j)


def test_a_delayed_event_cancels_when_it_is_due():
    j = journal(MATCH)
    arrive(j, 0, "order/placed")
    arrive(j, 1, "order/cancelled", ts=6)
    j = journal(MATCH)
    j.append(
        "Ingest",
        ingest.ingest(j.state, [Incoming(0, 5, event("order/cancelled", "later", b'{"id":1}', ts=90))]),
        j.stamp(),
    )
    entry = Incoming(1, 6, event("order/placed", "e1", b'{"id":1}'))
    assert j.append("Ingest", ingest.ingest(j.state, [entry]), j.stamp()) is None
    assert cancels(j) == []
    due = j.due_by(90)
    assert due is not None
    assert j.append("Due", due, j.stamp()) is None
    assert cancels(j) == ["the event order/cancelled later came"]


def test_an_event_that_waits_for_its_time_begins_a_run_that_can_be_cancelled():
    j = journal(MATCH)
    arrive(j, 0, "order/placed", ts=5)
    j = journal(MATCH)
    entry = Incoming(0, 5, event("order/placed", "e0", b'{"id":1}', ts=10**6))
    assert j.append("Ingest", ingest.ingest(j.state, [entry]), j.stamp()) is None
    assert run_of(j).status == "scheduled"
    arrive(j, 1, "order/cancelled", ts=6)
    assert len(cancels(j)) == 1


def test_the_end_of_a_run_leaves_nothing_behind():
    j = journal(MATCH, MATCH | {"event": "user/left"})
    arrive(j, 0, "order/placed")
    run = run_of(j)
    assert len(j.state.cells) == 2
    assert j.commit(run.id, started(), ("perdure.RunDone", {"time": 9, "result": b"null"})) is None
    assert j.state.cells == {}
    whole(j)


def test_a_run_that_was_made_before_its_function_was_known_gets_its_terms():
    j = Journal()
    j.claim()
    j.start("r")
    configure(j, MATCH | {"path": "", "own": ""}, start_within=SECOND)
    run = j.state.runs["r"]
    assert (run.listeners is not None, run.until) == (True, run.created + SECOND)
    whole(j)
    configure(j, MATCH, start_within=5 * SECOND)  # a deploy changes what is made from then on
    assert run.until == run.created + SECOND


def test_a_snapshot_has_it_and_so_has_a_packed_run():
    j = journal(MATCH, finish_within=7 * SECOND)
    arrive(j, 0, "order/placed")
    run = run_of(j)
    dormant = Dormant(j.state)
    assert j.commit(run.id, started(), ("perdure.TimerSet", {"key": "/nap", "due": 9 * SECOND})) is None
    until = run.until
    assert until == j.ts + 7 * SECOND
    dormant.pack(keep=0, count_max=9, bytes_max=10**6, spare=())
    assert (j.state.runs.packed, j.state.runs.due(2**60, 1)[0][0]) == (1, until)
    again = j.state.runs[run.id]
    assert (again.until, again.listeners) == (until, run.listeners)
    arrive(j, 1, "order/cancelled", ts=6)
    assert len(cancels(j)) == 1


# --- time -------------------------------------------------------------------------------------------------------------


def test_the_time_to_begin_ends_with_the_beginning():
    j = journal(start_within=SECOND)
    arrive(j, 0, "order/placed")
    run = run_of(j)
    assert run.until == run.created + SECOND
    assert effects.Arm(run.id, "/~until", run.until) in j.effects
    late = command_of(run.until)
    assert j.commit(run.id, started(), asked("/a")) is None
    assert run.until == 0
    j.command(run.id, "CancelAsk", {"reason": "late", "force": False}, id=late)
    assert cancels(j) == []
    whole(j)


def test_time_that_is_up_cancels_once():
    j = journal(start_within=SECOND)
    arrive(j, 0, "order/placed")
    run = run_of(j)
    command = command_of(run.until)
    j.command(run.id, "CancelAsk", {"reason": "late", "force": False}, id=command)
    j.command(run.id, "CancelAsk", {"reason": "late", "force": False}, id=command)
    assert (cancels(j), run.until) == (["late"], 0)
    whole(j)


def test_time_that_is_up_forces_nobody_who_cleans_up():
    j = journal(finish_within=SECOND)
    arrive(j, 0, "order/placed")
    run = run_of(j)
    assert j.commit(run.id, started(), asked("/a")) is None
    j.command(run.id, "CancelAsk", {"reason": "by hand", "force": False})
    j.command(run.id, "CancelAsk", {"reason": "late", "force": False}, id=command_of(run.until))
    assert cancels(j) == ["by hand"]
    whole(j)
