"""The judges of the nemesis are judged: each bug that is planted in a true history is found by the checker for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from perdure.core.state import Run
from tests.chaos import checkers, history
from tests.chaos.checkers import Progress
from tests.chaos.following import Follower
from tests.chaos.history import Effect, History, Read
from tests.chaos.stage import SENDERS
from tests.chaos.workloads import CODE
from tests.crash import ledger, verdict
from tests.crash.processes import Place, Zygote, until

OPERATIONS = 12


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A short life that nothing disturbs."""
    zygote = Zygote(modules=["tests.chaos.workloads"])
    here = Place(zygote, tmp_path_factory.mktemp("place"), partitions=2)
    try:
        worker = here.start("work_chaos", code=CODE)
        senders = [
            here.start(seed=1, code=CODE, **options)
            for options in (dict(chosen) for _, chosen in SENDERS)
            if options["life"] != "produce"
        ]
        until(lambda: _enough(history.read(here.folder)), "some of each was sent and read")
        (here.folder / "enough").touch()
        assert [sender.wait() for sender in senders] == [0] * len(senders), worker.errors()
        wanted = checkers.ends(history.read(here.folder))
        until(lambda: verdict.read(here.folder).ends() == wanted, "all runs end as foretold")
        assert worker.stop() == 0, worker.errors()
        yield here
    finally:
        here.close()
        zygote.close()


def _enough(past: History) -> bool:
    sent = [sum(o.workload == kind for o in past.operations) for kind in ("set", "register", "counter")]
    return min(sent) >= OPERATIONS and len({read.value for read in past.reads}) > 2


@pytest.fixture(scope="module")
def past(place: Place) -> History:
    return history.read(place.folder)


def _first(past: History, workload: str) -> Effect:
    return next(effect for effect in past.effects if effect.workload == workload)


def _without(past: History, lost: Effect) -> History:
    return replace(past, effects=[effect for effect in past.effects if effect != lost])


def _with(past: History, *more: Effect) -> History:
    return replace(past, effects=[*past.effects, *more])


def test_a_true_history_is_true(place: Place, past: History) -> None:
    assert not checkers.check(past)
    story = verdict.read(place.folder)
    verdict.check(story, ledger.read(place.folder), checkers.ends(past), kills=0)
    assert not checkers.stuck(story.runs())
    assert {effect.workload for effect in past.effects} == {"set", "register", "counter"}
    assert any(operation.workload == "close" for operation in past.operations)


@pytest.mark.parametrize("workload", ["set", "register", "counter"])
def test_a_ledger_that_lost_an_entry_is_found(past: History, workload: str) -> None:
    lost = _first(past, workload)
    faults = checkers.lost_writes(_without(past, lost))
    assert len(faults) == 1
    assert f"{workload} {lost.key}" in faults[0]


def test_what_was_never_acknowledged_is_not_lost(past: History) -> None:
    lost = _first(past, "set")
    unknown = [replace(o, acknowledged=False) if o.value == lost.value else o for o in past.operations]
    assert not checkers.lost_writes(replace(_without(past, lost), operations=unknown))


@pytest.mark.parametrize("workload", ["set", "register", "counter"])
def test_what_was_done_twice_is_found(past: History, workload: str) -> None:
    again = replace(_first(past, workload), token="another")
    (fault,) = checkers.duplicates(_with(past, again))
    assert f"{workload} {again.key}" in fault
    assert not checkers.check(_with(past, _first(past, workload))), "the world outside knows the key"


def test_what_nobody_sent_is_found(past: History) -> None:
    (fault,) = checkers.duplicates(_with(past, Effect("set", "set", -7, "a-key", 1)))
    assert "nobody sent it" in fault


def test_one_key_for_two_things_is_found(past: History) -> None:
    first = _first(past, "counter")
    faults = checkers.duplicates(_with(past, replace(first, value=first.value + 1)))
    assert any("was used for" in fault for fault in faults)


def test_a_register_that_went_back_is_found(past: History) -> None:
    writes = [effect for effect in past.effects if effect.workload == "register"]
    one, other = [effect for effect in writes if effect.key == writes[0].key][1:3]
    swapped = {one: other, other: one}
    faults = checkers.non_monotonic(replace(past, effects=[swapped.get(e, e) for e in past.effects]))
    assert faults == [f"register {one.key} went back from {other.value} to {one.value}"]
    assert not checkers.lost_writes(past)


def test_a_read_that_went_back_is_found(past: History) -> None:
    newest = max(past.reads, key=lambda read: read.value)
    later = newest.answered + 1
    stale = Read(newest.key, newest.value - 1, later, later + 5)
    (fault,) = checkers.non_monotonic(replace(past, reads=[*past.reads, stale]))
    assert f"was read as {stale.value} after" in fault
    overlapping = replace(stale, asked=newest.asked)
    assert not checkers.non_monotonic(replace(past, reads=[*past.reads, overlapping])), "it was asked before"


def test_a_run_that_is_stuck_is_found(tmp_path: Path) -> None:
    """A step that never ends: seen by the follower beside the log, and by who judges it afterwards."""
    zygote = Zygote()
    here = Place(zygote, tmp_path, partitions=2)
    follower = Follower(tmp_path, 2)
    try:
        assert here.start("send_all", items=[("sequence", 1)]).wait() == 0
        worker = here.start("work")
        until(lambda: follower.count(lambda run: not run.live) == 1, "the first run is over")
        from tests.crash.sending import send_event

        send_event(here, "crash/door", {"gate": "never"}, id="door")
        pending: Callable[[Run], bool] = lambda run: "/gate" in run.pending  # noqa: E731
        until(lambda: follower.count(pending) == 1, "the step is under way")
        worker.kill()
        for runs in (follower.live(), verdict.read(tmp_path).runs()):
            (fault,) = checkers.stuck(runs)
            assert "of door is running, and waits for ['/gate']" in fault
    finally:
        follower.stop()
        here.close()
        zygote.close()


def test_a_system_that_stands_still_is_found() -> None:
    progress = Progress(patience_s=10)
    for second in range(10):
        assert progress.look(second, second, hindered=False) is None
    for second in range(10, 40):
        assert progress.look(second, 9, hindered=True) is None, "the broker is away"
    assert progress.look(49, 9, hindered=False) is None
    assert "no step has run for 11 s" in (progress.look(50, 9, hindered=False) or "")
    assert progress.longest_s == 11
