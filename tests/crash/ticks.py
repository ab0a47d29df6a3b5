"""What a clock starts while workers are killed: the same on each log."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from tests.crash import ledger, verdict
from tests.crash.clockwork import TICKING
from tests.crash.processes import Place, pause, until

SECOND = timedelta(seconds=1)


def another_tick(here: Place) -> None:
    """Waits until one more run has done its step."""

    def done() -> int:
        return sum(line.what == "end" for line in ledger.read(here.folder))

    before = done()
    until(lambda: done() > before, "a tick starts a run")


def ticks_under_kills(here: Place, kills: int, *, seed: int = 1) -> None:
    """Two workers, of which one is killed now and then, lead a schedule of one tick a second: each has one run."""
    draw = random.Random(seed)
    workers = [here.start("work", code=TICKING) for _ in range(2)]
    for _ in range(kills):
        another_tick(here)
        pause(draw.uniform(0, 1))
        victim = draw.randrange(2)
        workers[victim].kill()
        workers[victim] = here.start("work", code=TICKING)
    another_tick(here)
    assert [worker.stop() for worker in workers] == [0, 0], workers[0].errors()

    story = verdict.read(here.folder)
    ticks = [tick for record in story.kinds("Ticked") for tick in record.fact.body["runs"]]
    planned = [datetime.fromisoformat(tick["event"]["id"].partition("@")[2]) for tick in ticks]
    assert len(planned) > kills
    assert planned == [planned[0] + number * SECOND for number in range(len(planned))]
    assert len({tick["run"] for tick in ticks}) == len(ticks) == len(story.runs())
    ended = {run.id for run in story.runs() if not run.live}
    # What came just before they left may still be under way.
    assert {tick["run"] for tick in ticks[:-3]} <= ended
    assert not story.faults
