"""Bodies that kill their interpreter, and those that only stood beside them (A8)."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Callable

import pytest

from tests.crash import ledger, verdict
from tests.crash.lives import end_of
from tests.crash.misbehaving import CODE, KILLING
from tests.crash.processes import Place, pause
from tests.crash.sending import as_client, send_event
from tests.crash.test_suspects import live_on
from tests.crash.verdict import End

CRASHED = -signal.SIGSEGV
NEIGHBOURS = 200
MakePlace = Callable[..., Place]


def send_neighbours(here: Place, count: int, nap: float) -> Counter[End]:
    """So many innocent runs; how they must end."""
    events = [{"name": "crash/neighbour", "data": {"n": n, "nap": nap}, "id": f"n{n}"} for n in range(count)]
    as_client(here, lambda app: app.send(events))
    return Counter(("neighbour", "completed", n) for n in range(count))


def judge(here: Place, wanted: Counter[End], *killers: str, deaths: int) -> verdict.Story:
    """The killers failed, nobody else did, and each step was executed once more at most for each death."""
    story, lines = verdict.read(here.folder), ledger.read(here.folder)
    failed = [run for run in story.runs() if run.error is not None]
    assert sorted(run.function for run in failed) == sorted(killers), [end_of(run) for run in failed]
    assert all(run.error["type"] == "perdure.WorkerDied" for run in failed if run.error is not None)
    verdict.check(story, lines, wanted + Counter(map(end_of, failed)), kills=deaths)
    return story


def woken(story: verdict.Story) -> list[list[str]]:
    """The runs that were named before they were woken, group by group."""
    records = [record.fact.body["steps"] for record in story.kinds("Resumed")]
    return [[step["run"] for step in steps] for steps in records if steps and not steps[0]["key"]]


def test_a8_of_one_killer_beside_200_neighbours_the_killer_is_found(place: MakePlace) -> None:
    here = place(partitions=1, code=CODE)
    wanted = send_neighbours(here, NEIGHBOURS, 0.3)
    send_event(here, "crash/killing", {}, id="kills")
    worker, deaths = live_on(here, dies_of=CRASHED)
    assert worker.stop() == 0, worker.errors()
    story = judge(here, wanted, "killing", deaths=deaths)
    (killer,) = [run for run in story.runs() if run.function == "killing"]
    assert deaths <= 7, "two before anybody is careful, one in a group of each size, and three alone"
    assert woken(story).count([killer.id]) == 3
    assert "died 3 times while it woke this run" in (killer.error or {"message": ""})["message"]
    assert story.states[0].trials.pack() == b"", "what was suspected is over"


@pytest.mark.parametrize("body", KILLING[1:], ids=lambda body: body.__name__)
def test_a8_a_body_that_kills_later_is_found(place: MakePlace, body: Callable[..., object]) -> None:
    here = place(partitions=2, code=CODE)
    wanted = send_neighbours(here, 10, 0.1)
    send_event(here, f"crash/{body.__name__}", {"n": 1}, id="kills")
    if "told" in body.__name__:
        send_event(here, "crash/tell", {"n": 1}, id="tells")
    worker, deaths = live_on(here, dies_of=CRASHED)
    assert worker.stop() == 0, worker.errors()
    judge(here, wanted, body.__name__.replace("_", "-"), deaths=deaths)


def test_a8_two_killers_are_found_and_a_handler_is_told(place: MakePlace) -> None:
    here = place(partitions=2, code=CODE)
    wanted = send_neighbours(here, 10, 0.1)
    for number in range(2):
        send_event(here, "crash/mourned", {}, id=f"kills {number}")
    worker, deaths = live_on(here, dies_of=CRASHED, deaths_max=20)
    assert worker.stop() == 0, worker.errors()
    wanted["mourned:on-failure", "completed", "perdure.WorkerDied"] = 2
    judge(here, wanted, "mourned", "mourned", deaths=deaths)


def test_a8_five_rolling_deploys_and_what_comes_between_accuse_nobody(place: MakePlace) -> None:
    here = place(partitions=2, code=CODE)
    wanted = send_neighbours(here, NEIGHBOURS, 2.0)
    for _ in range(5):
        worker = here.start("work", drain_s=0.1)
        worker.started()
        pause(0.1)
        assert worker.stop() == 0, worker.errors()
    worker, deaths = live_on(here)
    assert (worker.stop(), deaths) == (0, 0)
    judge(here, wanted, deaths=0)


def test_a8_workers_that_others_kill_all_the_time_accuse_nobody(place: MakePlace) -> None:
    """Most of them while they wake what those before them left; what they had named is suspected, and let off."""
    here = place(partitions=4, code=CODE)
    wanted = send_neighbours(here, NEIGHBOURS, 0.5)
    draw, kills = random.Random(8), 20
    for _ in range(kills):
        worker = here.start("work")
        worker.started()
        pause(draw.uniform(0, 0.05))
        worker.kill()
    worker, deaths = live_on(here)
    assert (worker.stop(), deaths) == (0, 0)
    assert woken(judge(here, wanted, deaths=kills)), "they were careful"
