"""Claims and commits, exhaustively at small depth: the real fold holds, and each rule is needed (A6)."""

from __future__ import annotations

import pytest

from perdure.core.fold import journal
from tests.model.claims import Bounds, Claims, Rules


def test_A6_late_lost_and_reordered_appends_never_count_on_another_state():
    found = Claims().model().explore(60_000)
    assert found.trouble is None, str(found)
    assert found.complete
    assert found.states > 40_000


def test_A6_three_claims_and_two_commits():
    found = Claims(bounds=Bounds(claims=3, commits=2)).model().explore(25_000)
    assert found.trouble is None, str(found)


def test_A6_random_walks_with_three_workers_seven_claims_four_failures():
    bounds = Bounds(workers=3, claims=7, commits=12, failures=4, lives=4)
    found = Claims(bounds=bounds).model().walk(150, 120, seed=6)
    assert found.trouble is None, str(found)


def test_A6_a_transition_over_two_runs_is_one_record():
    found = Claims(bounds=Bounds(pairs=True, commits=2)).model().explore(10_000)
    assert found.trouble is None, str(found)
    assert found.complete


# Either half alone would do: offsets as `prev`, or a new claim after each failure. Both together cost nothing more.


@pytest.mark.parametrize("rules", [Rules(guard="revision"), Rules(after_failure="same")], ids=str)
def test_A6_either_half_of_the_rule_holds_alone(rules: Rules):
    found = Claims(rules).model().explore(12_000)
    assert found.trouble is None, str(found)


# Planted: what the review shows to fail. If one of these passes, the model could not have found it.


def test_A6_planted_owners_that_know_their_records_by_revision_are_caught():
    found = Claims(Rules(after_failure="same", match="revision")).model().explore(60_000)
    assert "the fold accepted" in str(found)


def test_A6_planted_revisions_that_begin_again_are_caught():
    found = Claims(Rules(after_failure="same", guard="revision")).model().explore(60_000)
    assert "decided on one state and applied to another" in str(found)


def test_A6_planted_transitions_in_two_records_are_caught():
    found = Claims(Rules(transition="two records"), Bounds(pairs=True, commits=2)).model().explore(60_000)
    assert "half of a transition" in str(found)


def test_A6_planted_commits_without_a_guard_are_caught():
    def unguarded(state, fact):
        if fact.kind == "Commit":
            for change in fact.body["changes"]:
                run = state.runs.get(change["entity"])
                change["prev"] = run.prev if run is not None else -1
        return journal.fold(state, fact)

    found = Claims(Rules(after_failure="same"), planted=unguarded).model().explore(60_000)
    assert "decided on one state and applied to another" in str(found)


def test_A6_planted_owners_that_are_not_fenced_are_caught(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "_owned", lambda _state, _fact: True)
    found = Claims().model().explore(60_000)
    assert "two owners count" in str(found)
