"""Real workers on a real broker, killed with -9 and stopped: nothing lost, nothing doubled (promises 1 to 3)."""

from __future__ import annotations

import random
import signal

import pytest

from perdure.core import ids
from tests.crash import ledger, verdict
from tests.crash.lives import ends_of
from tests.crash.processes import pause, until
from tests.crash.sending import send_event
from tests.crash.test_kill_points import Death, judged
from tests.crash.test_random_kills import PATIENT, SEED, all_accepted, known_items, run_dry
from tests.kafka.conftest import MakePlace

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

KILLS = 6
N = 5


@pytest.mark.parametrize("heard", [False, True], ids=["before-the-engine-hears", "after-it-was-read-back"])
def test_promise_2_kill_after_every_append(place: MakePlace, heard: bool) -> None:
    deaths = [Death(place, [("sequence", N)], number, heard=heard) for number in range(12)]
    kills = judged(deaths)
    assert kills[:6] == [1] * 6, "it died at each of its first appends"


def test_promise_1_2_3_under_random_kills(place: MakePlace) -> None:
    draw = random.Random(SEED)
    here = place(partitions=4, limits=PATIENT)
    workers = [here.start("work") for _ in range(2)]
    sender = here.start("produce", seed=SEED)
    for _ in range(KILLS):
        grown = ledger.size(here.folder) + draw.randrange(1, 8_000)
        until(lambda grown=grown: ledger.size(here.folder) >= grown, "steps run", 40)
        pause(draw.uniform(0, 0.3))
        victim = draw.randrange(2)
        assert workers[victim].kill() == -9, workers[victim].errors()
        workers[victim] = here.start("work")
    (here.folder / "enough").touch()
    assert sender.wait() == 0, sender.errors()
    run_dry(here)
    assert [worker.stop() for worker in workers] == [0, 0], workers[0].errors()

    story, lines = verdict.read(here.folder), ledger.read(here.folder)
    try:
        assert all_accepted(here.folder)
        verdict.check(story, lines, ends_of(known_items(here.folder)), kills=None)
    except AssertionError as error:
        raise AssertionError(f"PERDURE_CRASH_SEED={SEED}: {error}") from None


@pytest.mark.parametrize("before", [True, False], ids=["before-the-effect", "after-the-effect"])
def test_promise_3_appends_of_a_paused_zombie_are_void(place: MakePlace, before: bool) -> None:
    here = place(partitions=2)
    zombie = here.start("work", zombie=True)
    send_event(here, "crash/paused", {"n": N, "before": before}, id="paused")
    until(zombie.stopped, f"the worker is paused in its step\n{zombie.errors()}")

    successor = here.start("work", zombie=True)
    ended = [("paused", "completed", 2 * N + 1)]
    until(lambda: list(verdict.read(here.folder).ends()) == ended, "the successor ends the run")
    assert not verdict.read(here.folder).voids()["commit of a former owner"]

    zombie.signal(signal.SIGCONT)
    until(
        lambda: verdict.read(here.folder).voids()["commit of a former owner"], "the zombie appends its commit"
    )
    send_event(here, "crash/sequence", {"n": 1}, id="later")
    both = dict.fromkeys([*ended, ("sequence", "completed", 3)], 1)
    until(lambda: verdict.read(here.folder).ends() == both, "a later run ends")
    assert [zombie.stop(), successor.stop()] == [0, 0], zombie.errors()

    story, lines = verdict.read(here.folder), ledger.read(here.folder)
    assert not story.faults  # two readers agree, no step has two outcomes
    assert story.ends() == both
    (run,) = [run for run in story.runs() if run.function == "paused"]
    executed = [line for line in lines if line.key == ids.idempotency_key(run.id, "/pausing", "crash")]
    assert {line.pid for line in executed if line.what == "begin"} == {zombie.pid, successor.pid}
    assert len({(line.args, line.attempt) for line in executed}) == 1


def test_a_worker_that_leaves_hands_over_without_a_pause(place: MakePlace) -> None:
    """SIGTERM: it gives its partitions back, and the other has them long before a session would have ended."""
    here = place(partitions=4, lease_s=30.0)
    first = here.start("work")
    first.started()
    second = here.start("work")
    second.started()
    assert first.stop() == 0, first.errors()
    for number in range(8):
        send_event(here, "crash/sequence", {"n": number}, id=f"event-{number}")
    until(lambda: verdict.read(here.folder).ends().total() == 8, "the other takes them up", 20)
    until(lambda: not any(run.live for run in verdict.read(here.folder).runs()), "all runs end", 20)
    assert second.stop() == 0, second.errors()
    assert not verdict.read(here.folder).faults
