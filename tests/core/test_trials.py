"""A8: which bodies are suspected of having killed their owner, and which are let off."""

from __future__ import annotations

import pytest

from perdure.core import snapshot
from perdure.core.trials import Deaths, Trials
from perdure.errors import EncodingError
from tests.core.journal import Journal, portrait

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


def waking(j: Journal, *runs: str) -> None:
    """The owner names whom it wakes; nobody: all were."""
    steps = [{"run": run, "key": "", "alone": len(runs) == 1} for run in runs]
    assert j.append("Resumed", {"steps": steps}, j.stamp()) is None


def taken_over(j: Journal, owner: bytes, was: bytes = b"") -> Trials:
    """Another claim, without a word of the owner before."""
    epoch = j.state.epoch + 1
    assert j.append("Claim", {"epoch": epoch, "worker": was.hex()}, j.stamp(owner, epoch)) is None
    return j.state.trials


def test_only_who_was_being_woken_is_suspected() -> None:
    j = Journal()
    taken_over(j, A)
    assert taken_over(j, B) == Trials(unclean=1)
    assert taken_over(j, C).careful
    waking(j, "one", "two")
    waking(j, "three", "four")
    assert taken_over(j, A).deaths == {"three": Deaths(1), "four": Deaths(1)}
    waking(j, "three")
    assert taken_over(j, B).deaths["three"] == Deaths(2, 1)
    waking(j, "four")
    waking(j, "three")
    assert taken_over(j, C).deaths == {"three": Deaths(3, 2)}
    assert j.state.trials.woken == ()


def test_an_owner_that_has_woken_all_and_lives_ends_it() -> None:
    j = Journal()
    for owner in (A, B, C):
        taken_over(j, owner)
    waking(j, "one")
    taken_over(j, A)
    waking(j, "one")
    waking(j)
    assert j.state.trials == Trials()
    assert taken_over(j, B) == Trials(unclean=1)


def test_an_owner_that_leaves_ends_nothing_and_blames_nobody() -> None:
    j = Journal()
    for owner in (A, B, C):
        taken_over(j, owner)
    waking(j, "one")
    assert j.append("Released", {"reason": "leave"}, j.stamp()) is None
    assert taken_over(j, A) == Trials(unclean=2)


def test_a_process_that_claims_again_has_not_died() -> None:
    """An append of it failed. The run that it named is to be named again, and nobody is blamed."""
    j = Journal()
    for owner in (A, B, C):
        taken_over(j, owner)
    waking(j, "one")
    assert taken_over(j, A, was=C) == Trials(unclean=2)
    assert not j.state.unclean
    assert taken_over(j, B, was=C) == Trials(unclean=3), "somebody was between"


def test_groups_shrink_with_suspicion_and_the_most_suspicious_come_first() -> None:
    trials = Trials(deaths={"r1": Deaths(1), "r2": Deaths(2), "r3": Deaths(4, 2), "r4": Deaths(1)})
    groups = trials.groups([f"r{n}" for n in range(130)])
    assert groups[:3] == [["r3"], ["r2"], ["r1", "r4"]]
    assert list(map(len, groups[3:])) == [64, 62]
    assert Trials().groups([]) == []


def test_a_snapshot_has_it() -> None:
    j = Journal()
    for owner in (A, B, C):
        taken_over(j, owner)
    waking(j, "one")
    taken_over(j, A)
    waking(j, "one", "two")
    restored, _ = snapshot.restore(snapshot.take(j.state, j.last + 1))
    assert restored.trials == j.state.trials
    assert portrait(restored) == portrait(j.state)


@pytest.mark.parametrize("packed", [b"", b"{}", b"[1,2]", b"[1,2,3]", b'[1,[],{"r":1}]', b"\xff"])
def test_a_damaged_one_is_refused(packed: bytes) -> None:
    state = Journal().state
    with pytest.raises(EncodingError, match="trials that are none"):
        snapshot._take_trials(state, packed)
