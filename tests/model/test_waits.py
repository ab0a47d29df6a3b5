"""Waits and cells, exhaustively at small depth: no event missed, none given twice (promise 6, A2, B9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from perdure.core.facts import Fact
from perdure.core.fold import fold, messages
from perdure.core.state import PartitionState
from tests.model.waits import Bounds, Waits

HERE = (1,)
SIDE_BY_SIDE = Bounds(together=True, events=1, homes=HERE, closes=1)


@pytest.mark.parametrize(
    ("bounds", "complete"),
    [
        pytest.param(Bounds(), True, id="two waits in a row, events in two partitions"),
        pytest.param(SIDE_BY_SIDE, True, id="two waits side by side, one is given up"),
        pytest.param(Bounds(together=True, homes=HERE, closes=1), False, id="two events, side by side"),
        pytest.param(Bounds(together=True), False, id="side by side, events in two partitions"),
        pytest.param(Bounds(partitions=3, homes=(2,)), True, id="run, cell and events in three partitions"),
        pytest.param(
            Bounds(partitions=3, homes=(2,), events=1, waits=1, lookback=2), True, id="a wait that looks back"
        ),
        pytest.param(Bounds(lookback=2), False, id="two that look back"),
    ],
)
def test_A2_no_event_is_missed_and_none_answers_two_waits(bounds: Bounds, complete: bool):
    found = Waits(bounds).model().explore(18_000)
    assert found.trouble is None, str(found)
    assert found.complete or not complete
    assert found.states > 5_000


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(events=4, waits=4, closes=2, together=True),
        Bounds(events=4, waits=4, closes=2, together=True, partitions=3, homes=(0, 1, 2), lookback=3),
    ],
    ids=["two partitions", "three partitions, looking back"],
)
def test_A2_random_walks_with_four_waits_and_four_events(bounds: Bounds):
    found = Waits(bounds).model().walk(100, 150, seed=2)
    assert found.trouble is None, str(found)


# Planted: what the review shows to fail, and what the model found in the first fold.


def dropping(state: PartitionState, fact: Fact) -> str | None:
    """A cell keeps nothing: who subscribes late has missed what came before."""
    void = fold(state, fact)
    for cell in state.cells.values():
        cell.kept.clear()
    state.kept.clear()
    return void


def forgetful(state: PartitionState, fact: Fact) -> str | None:
    """A run does not remember which events it had."""
    void = fold(state, fact)
    for run in state.runs.values():
        run.seen.clear()
    return void


def by_another_clock(state: PartitionState, fact: Fact) -> str | None:
    """A wait's reference is a clock that is ahead of the log's."""
    return fold(state, replace(fact, ts=fact.ts + 2) if fact.kind == "Commit" else fact)


def never_searching(state: PartitionState, fact: Fact) -> str | None:
    """Arming a path does not look at what was ingested before."""
    void = fold(state, fact)
    state.scans.clear()
    return void


def under_other_paths(state: PartitionState, fact: Fact) -> str | None:
    """An `Ingest` counts although a path was armed since it was decided."""
    if fact.kind == "Ingest":
        fact = replace(fact, body=fact.body | {"armed": len(state.armed)})
    return fold(state, fact)


def since_the_event(state: PartitionState, fact: Fact) -> str | None:
    """A wait that must go on waiting does so from the event that another wait took, not from its own beginning."""
    if fact.kind == "Message" and fact.body["body"][0] == "perdure.EventMatched":
        matched = fact.body["body"][1]
        pending = state.runs[matched["run"]].pending.get(matched["key"])
        if pending is not None:
            pending.since = matched["time"]
    return fold(state, fact)


@pytest.mark.parametrize(
    ("planted", "bounds", "trouble"),
    [
        (dropping, Bounds(events=1, waits=1, homes=HERE), "missed it"),
        (forgetful, Bounds(events=1, homes=HERE, lookback=3), "answered two waits"),
        (by_another_clock, Bounds(events=1, waits=1, homes=HERE), "missed it"),
        (never_searching, Bounds(events=1, waits=1, homes=HERE), "missed it"),
        (under_other_paths, Bounds(events=1, waits=1, homes=HERE), "missed it"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_A2_planted_rules_are_caught(planted: Callable[..., Any], bounds: Bounds, trouble: str):
    found = Waits(bounds, planted).model().explore(60_000)
    assert trouble in str(found)


def test_A2_planted_waits_that_go_on_from_another_waits_event_are_caught():
    found = Waits(Bounds(together=True), since_the_event).model().walk(500, 80, seed=0)
    assert "missed it" in str(found)


def test_A2_planted_waits_that_are_told_an_event_is_taken_and_never_hear_of_it_again_are_caught(
    monkeypatch: pytest.MonkeyPatch,
):
    from perdure.core.fold import waits

    def clear(_state: Any, run: Any, key: str, _given: str | None) -> None:
        run.inbox = [item for item in run.inbox if item.body.get("key") != key]

    monkeypatch.setattr(waits, "_clear_inbox", clear)
    found = Waits(SIDE_BY_SIDE).model().explore(60_000)
    assert "missed it" in str(found)


def test_A2_planted_searches_that_overtake_the_arming_of_their_path_are_caught(
    monkeypatch: pytest.MonkeyPatch,
):
    def scan(state: Any, _fact: Any, _name: str, body: dict[str, Any]) -> None:
        messages._search(state, body, body["value"])

    monkeypatch.setitem(messages._MESSAGES, "perdure.Scan", scan)
    bounds = Bounds(partitions=3, homes=(2,), events=1, waits=1, lookback=2)
    found = Waits(bounds).model().explore(60_000)
    assert "missed it" in str(found)
