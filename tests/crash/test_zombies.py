"""A worker that is stopped for longer than its lease, and comes back (promise 3, A6, B6)."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from perdure.core import ids
from tests.crash import ledger, verdict
from tests.crash.processes import Place, until
from tests.crash.sending import send_event

N = 5
LEASE_S = 0.8


@pytest.mark.parametrize("before", [True, False], ids=["before-the-effect", "after-the-effect"])
def test_promise_3_appends_of_a_paused_zombie_are_void(place: Callable[..., Place], before: bool) -> None:
    here = place(lease_s=LEASE_S, partitions=2)
    zombie = here.start("work", zombie=True)
    send_event(here, "crash/paused", {"n": N, "before": before}, id="paused")
    until(zombie.stopped, f"the worker is paused in its step\n{zombie.errors()}")

    successor = here.start("work", zombie=True)
    ended = [("paused", "completed", 2 * N + 1)]
    until(lambda: list(verdict.read(here.folder).ends()) == ended, "the successor ends the run")
    before_return = verdict.read(here.folder)
    assert not before_return.voids()["commit of a former owner"]

    zombie.signal(signal.SIGCONT)
    until(
        lambda: verdict.read(here.folder).voids()["commit of a former owner"], "the zombie appends its commit"
    )
    # It lives on: it learns what happened, and takes its share again.
    send_event(here, "crash/sequence", {"n": 1}, id="later")
    ended.append(("sequence", "completed", 3))
    until(lambda: set(verdict.read(here.folder).ends()) == set(ended), "a later run ends")
    assert [zombie.stop(), successor.stop()] == [0, 0], zombie.errors()

    story, lines = verdict.read(here.folder), ledger.read(here.folder)
    assert sum(state.voids.get("commit of a former owner", 0) for state in story.states) == 1
    assert not story.faults  # two readers agree, no step has two outcomes
    assert story.ends() == dict.fromkeys(ended, 1)
    (run,) = [run for run in story.runs() if run.function == "paused"]
    executed = [line for line in lines if line.key == ids.idempotency_key(run.id, "/pausing", "crash")]
    begins = [line for line in executed if line.what == "begin"]
    assert {line.pid for line in begins} == {zombie.pid, successor.pid}
    assert len(begins) == 2
    assert (
        len({(line.args, line.attempt) for line in executed}) == 1
    )  # the same, so that the outside world can tell
    assert all(line.pid == successor.pid for line in lines if line.key.endswith("/last"))


def test_b6_a_zombie_that_nobody_succeeded_goes_on(place: Callable[..., Place]) -> None:
    """Stopped beyond its lease while no other worker was there: it still leads, and its work counts."""
    here = place(lease_s=0.3, partitions=2)
    alone = here.start("work", zombie=True)
    send_event(here, "crash/paused", {"n": N, "before": False}, id="paused")
    until(alone.stopped, "the worker is paused in its step")
    alone.signal(signal.SIGCONT)
    until(lambda: verdict.read(here.folder).ends()["paused", "completed", 2 * N + 1], "the run ends")
    assert alone.stop() == 0
    story = verdict.read(here.folder)
    assert not story.voids()
    assert verdict.reruns(ledger.read(here.folder)) == 0
