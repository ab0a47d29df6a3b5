"""Workers whose event loop never comes back: they end by themselves, and others go on (B6)."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from perdure.worker.held import EXIT_HELD
from tests.crash import ledger, verdict
from tests.crash.misbehaving import CODE
from tests.crash.processes import Place, pause, until
from tests.crash.sending import send_event
from tests.crash.test_suspects import all_ended, died, live_on

IMPATIENT = {"held_time_max": 1_000_000}
NEIGHBOURS = 10


@pytest.fixture
def here(place: Callable[..., Place]) -> Place:
    return place(partitions=2, code=CODE, limits=IMPATIENT)


def test_b6_a_body_that_holds_the_loop_for_ever_ends_its_worker(here: Place) -> None:
    worker = here.start("work")
    send_event(here, "crash/locked", {}, id="locked")
    assert worker.wait() == EXIT_HELD
    (run,) = verdict.read(here.folder).runs()
    told = worker.errors()
    assert f"the body of run {run.id} of locked has held the event loop for 1 s" in told
    assert "held.acquire()" in told


def test_b6_a_step_that_holds_the_loop_for_ever_is_found_out(here: Place) -> None:
    for n in range(NEIGHBOURS):
        send_event(here, "crash/neighbour", {"n": n, "nap": 0.2}, id=f"n{n}")
    send_event(here, "crash/spinning", {}, id="spins")
    worker, deaths = live_on(here, dies_of=EXIT_HELD)
    assert worker.stop() == 0, worker.errors()
    told = worker.errors()
    assert told.count("has held the event loop for 1 s") == deaths
    assert "step 'spin' of run " in told
    assert " of spinning has held" in told
    assert "misbehaving.py" in told

    story, lines = verdict.read(here.folder), ledger.read(here.folder)
    assert not story.faults
    assert died(story) == ["spinning"]
    ends = [("neighbour", "completed", n) for n in range(NEIGHBOURS)]
    assert all(story.ends()[end] == 1 for end in ends), story.ends()
    begun = [line for line in lines if line.what == "begin" and line.key.endswith("/spin")]
    assert len(begun) == deaths


def test_b6_a_worker_that_was_stopped_has_held_nothing(here: Place) -> None:
    """The time that it was stopped for is not its own."""
    worker = here.start("work")
    worker.started()
    worker.signal(signal.SIGSTOP)
    until(worker.stopped, "it is stopped")
    pause(1.5 * IMPATIENT["held_time_max"] / 1e6)
    worker.signal(signal.SIGCONT)
    send_event(here, "crash/neighbour", {"n": 1, "nap": 0.01}, id="later")
    until(lambda: all_ended(here), "it goes on")
    assert worker.stop() == 0, worker.errors()
