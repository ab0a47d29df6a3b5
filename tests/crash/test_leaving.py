"""A worker that is asked to leave in the middle of its steps (A8: `Released`)."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from tests.crash import ledger, verdict
from tests.crash.processes import Place, until
from tests.crash.sending import send_event


def begun(folder: Path, key: str) -> int:
    """How many executions of steps with this id have begun."""
    return sum(line.what == "begin" and f"/{key}" in line.key for line in ledger.read(folder))


def noted(folder: Path, what: str) -> int:
    return sum(line.what == what for line in ledger.read(folder))


def test_promise_2_sigterm_in_a_step_lets_it_finish(place: Callable[..., Place]) -> None:
    here = place(partitions=2)
    first = here.start("work")
    send_event(here, "crash/door", {"gate": "a"}, id="door")
    until(lambda: begun(here.folder, "gate"), "the step is under way")
    first.signal(signal.SIGTERM)
    until(lambda: noted(here.folder, "draining"), "the worker drains")
    (here.folder / "a").touch()
    assert first.wait() == 0, first.errors()

    left = verdict.read(here.folder)
    assert {record.partition for record in left.kinds("Released")} == {0, 1}
    assert [key for _, key in left.settled] == ["/before", "/gate"]
    assert begun(here.folder, "after") == 0

    second = here.start("work")
    until(lambda: verdict.read(here.folder).ends()["door", "completed", "a"], "the next worker ends the run")
    assert second.stop() == 0, second.errors()
    story, lines = verdict.read(here.folder), ledger.read(here.folder)
    assert verdict.reruns(lines) == 0
    assert not story.voids()
    assert not story.kinds("Resumed")
    assert [line.pid for line in lines if line.what == "begin"] == [first.pid, first.pid, second.pid]


def test_promise_2_several_steps_that_end_during_the_drain_are_all_recorded(
    place: Callable[..., Place],
) -> None:
    here = place(partitions=2)
    gates = [f"g{n}" for n in range(12)]
    first = here.start("work")
    send_event(here, "crash/doors", {"gates": gates}, id="doors")
    until(lambda: begun(here.folder, "gate") == len(gates), "the steps are under way")
    first.signal(signal.SIGTERM)
    until(lambda: noted(here.folder, "draining"), "the worker drains")
    for gate in gates:
        (here.folder / gate).touch()
    assert first.wait() == 0, first.errors()
    assert len(verdict.read(here.folder).settled) == len(gates)
    second = here.start("work")
    until(lambda: verdict.read(here.folder).ends()["doors", "completed", " ".join(gates)], "the run ends")
    assert second.stop() == 0
    assert verdict.reruns(ledger.read(here.folder)) == 0


def test_a8_a_drain_that_was_cut_short_makes_no_suspects(place: Callable[..., Place]) -> None:
    here = place(partitions=2)
    first = here.start("work", drain_s=0.2)
    send_event(here, "crash/door", {"gate": "a"}, id="door")
    until(lambda: begun(here.folder, "gate"), "the step is under way")
    assert first.stop() == 0, first.errors()

    second = here.start("work")
    until(lambda: begun(here.folder, "gate") == 2, "the step runs again")
    (here.folder / "a").touch()
    until(lambda: verdict.read(here.folder).ends()["door", "completed", "a"], "the run ends")
    assert second.stop() == 0
    story, lines = verdict.read(here.folder), ledger.read(here.folder)
    assert len({record.partition for record in story.kinds("Released")}) == 2
    assert not story.kinds("Resumed")
    executed = [line for line in lines if line.key.endswith("/gate") and line.what == "begin"]
    assert len({(line.args, line.attempt) for line in executed}) == 1
