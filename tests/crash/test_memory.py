"""Steps that eat memory: refused by the system, which is a failure like others. What its OOM killer does is SIGKILL."""

from __future__ import annotations

from collections.abc import Callable

from tests.crash import ledger, verdict
from tests.crash.lives import end_of
from tests.crash.misbehaving import CODE
from tests.crash.processes import Place, until
from tests.crash.sending import send_event
from tests.crash.test_suspects import all_ended


def test_a_step_that_eats_memory_fails_and_its_neighbours_go_on(place: Callable[..., Place]) -> None:
    here = place(partitions=2, code=CODE)
    worker = here.start("work")
    send_event(here, "crash/eating", {}, id="eats")
    for n in range(5):
        send_event(here, "crash/neighbour", {"n": n, "nap": 0.05}, id=f"n{n}")
    until(
        lambda: len(verdict.read(here.folder).runs()) == 6 and all_ended(here), f"all end\n{worker.errors()}"
    )
    assert worker.stop() == 0, worker.errors()
    story = verdict.read(here.folder)
    (eater,) = [run for run in story.runs() if run.function == "eating"]
    assert eater.error is not None
    assert eater.error["type"] == "MemoryError"
    ends = {("neighbour", "completed", n): 1 for n in range(5)}
    wanted = type(story.ends())({**ends, end_of(eater): 1})
    verdict.check(story, ledger.read(here.folder), wanted, kills=0)
