"""Routing, exhaustively at small depth: nothing lost, nothing doubled, each event under the config in force (A1)."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.core.decide import ingest as decide
from tests.model.routing import Bounds, Routing, Rules, accepts_any, accepts_newer, unpinned, unplaced


@pytest.mark.parametrize(
    ("bounds", "complete"),
    [
        pytest.param(Bounds(events=1, deploy=True), True, id="a deploy between send and re-send"),
        pytest.param(Bounds(events=2, deploy=True), False, id="the same with two events"),
        pytest.param(Bounds(delayed=frozenset({0}), acks=0), True, id="the first event is delayed"),
        pytest.param(Bounds(acks=2, losses=2), False, id="two losses, two acks"),
        pytest.param(
            Bounds(channel="e1", events=3, losses=2, acks=2, claims=3), False, id="a channel into events"
        ),
    ],
)
def test_A1_nothing_is_lost_and_nothing_doubled(bounds: Bounds, complete: bool):
    found = Routing(bounds=bounds).model().explore(60_000 if complete else 15_000)
    assert found.trouble is None, str(found)
    assert found.complete or not complete
    assert found.states > 3_000


@pytest.mark.parametrize("channel", ["j1", "e1"])
def test_A1_random_walks_with_six_takeovers_and_four_losses(channel: str):
    bounds = Bounds(
        events=4, claims=6, losses=4, acks=4, deploy=True, delayed=frozenset({1}), channel=channel
    )
    found = Routing(bounds=bounds).model().walk(120, 150, seed=1)
    assert found.trouble is None, str(found)


# Planted: what the review shows to fail.


def test_A1a_planted_positions_that_must_only_be_newer_are_caught():
    found = Routing(at_target=accepts_newer).model().explore(22_000)
    assert "lost for ever" in str(found)


def test_A1b_planted_receivers_that_take_what_they_had_are_caught():
    found = Routing(bounds=Bounds(losses=0), at_target=accepts_any).model().explore(22_000)
    assert "doubled" in str(found)


def test_A1_planted_ingest_under_another_config_is_caught():
    found = Routing(bounds=Bounds(deploy=True), planted=unpinned).model().explore(22_000)
    assert "which are in force" in str(found)


def test_A1_planted_ingest_of_anybody_from_anywhere_is_caught():
    found = Routing(bounds=Bounds(losses=0), planted=unplaced).model().explore(22_000)
    assert "ingest 0" in str(found)


def test_A1d_planted_senders_that_go_on_after_a_failure_are_caught():
    found = Routing(Rules(after_failure="go on")).model().explore(22_000)
    assert "lost for ever" in str(found)


def test_A1_planted_acks_of_what_was_only_handed_over_are_caught():
    found = Routing(Rules(acks="handed over")).model().explore(22_000)
    assert "lost for ever" in str(found)


def test_A1d_planted_channels_into_events_that_must_only_be_newer_are_caught(monkeypatch: pytest.MonkeyPatch):
    def newer(self: Any, origin: str, seq: int) -> bool:
        before = self._origins.get(origin, self._state.origins.get(origin, 0))
        self._origins[origin] = max(seq, before)
        return seq > before

    monkeypatch.setattr(decide._Routing, "_advance", newer)
    found = Routing(bounds=Bounds(channel="e1")).model().explore(22_000)
    assert "lost for ever" in str(found)
