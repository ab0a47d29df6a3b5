"""Results through `replies`, from processes that are no workers (A13)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from perdure import App, RunCancelled, RunFailed, RunNotFound
from tests.crash import ledger, verdict
from tests.crash.processes import Child, Place, until
from tests.crash.sending import as_client
from tests.kafka.conftest import MakePlace

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

COUNT, OVERLAP = 150, 50


def noted(here: Place, what: str, child: Child) -> bool:
    return any(line.what == what and line.pid == child.pid for line in ledger.read(here.folder))


def heard(here: Place, child: Child) -> dict[int, int]:
    lines = [json.loads(line) for line in (here.folder / "heard").read_bytes().splitlines()]
    return {line["n"]: line["result"] for line in lines if line["pid"] == child.pid}


def test_a13_hundreds_of_results_reach_two_clients_one_of_which_was_killed(place: MakePlace) -> None:
    """Both ask before there is a worker, and for some of the same runs."""
    here = place(partitions=4)
    first = here.start("ask", first=0, count=COUNT)
    second = here.start("ask", first=COUNT - OVERLAP, count=COUNT)
    until(lambda: noted(here, "asking", first), f"all runs are started\n{first.errors()}")
    assert first.kill() == -9, "it heard nothing yet: nobody works"
    first = here.start("ask", first=0, count=COUNT)
    workers = [here.start("work") for _ in range(2)]
    assert first.wait(120) == 0, first.errors()
    assert second.wait(120) == 0, second.errors()
    assert heard(here, first) == {n: 2 * n for n in range(COUNT)}
    assert heard(here, second) == {n: 2 * n for n in range(COUNT - OVERLAP, 2 * COUNT - OVERLAP)}

    again = here.start("ask", first=0, count=COUNT)  # all have ended: each is answered from the fold
    assert again.wait(120) == 0, again.errors()
    assert heard(here, again) == {n: 2 * n for n in range(COUNT)}
    assert [worker.stop() for worker in workers] == [0, 0], workers[0].errors()
    story = verdict.read(here.folder)
    assert story.ends().total() == 2 * COUNT - OVERLAP, "the second start of an id starts nothing"
    assert not story.faults


def test_a13_an_owner_that_dies_between_the_end_and_the_answer(place: MakePlace) -> None:
    here = place(partitions=2)
    mute = here.start("work", mute=True)
    client = here.start("ask", first=7, count=1)
    assert mute.wait() == -9, mute.errors()
    story = verdict.read(here.folder)
    assert story.ends() == {("child", "completed", 14): 1}, "the end is durable, and nobody was told"
    assert not client.ended()
    worker = here.start("work")
    assert client.wait() == 0, client.errors()
    assert heard(here, client) == {7: 14}
    assert worker.stop() == 0, worker.errors()


def test_a13_failures_are_typed_and_a_deadline_leaves_the_run_alone(place: MakePlace) -> None:
    here = place(partitions=2)

    async def asks(app: App) -> None:
        def function(name: str) -> Any:
            return app.functions.get(name)

        waits = await app.start(function("approval"), {"n": 3})
        with pytest.raises(TimeoutError, match="it goes on, and result"):
            await waits.result(timeout=0.2)  # nobody works yet
        worker = await asyncio.to_thread(here.start, "work")
        await asyncio.to_thread(worker.started)
        failing = await app.start(function("failing"), {"n": 4})
        with pytest.raises(RunFailed, match="never 4") as failed:
            await failing.result(timeout=60)
        assert failed.value.code == "run-failed"
        with pytest.raises(RunNotFound):
            await app.handle(function("approval"), "1p1-nosuchrun").result(timeout=60)
        await waits.signal("approve", 5)
        assert await waits.result(timeout=60) == 8
        gone = await app.start(function("approval"), {"n": 1})
        await gone.cancel(reason="changed my mind", force=True)
        with pytest.raises(RunCancelled, match="changed my mind"):
            await gone.result(timeout=60)
        assert await gone.status() == "cancelled"
        late = app.handle(function("approval"), waits.run_id)
        assert await asyncio.gather(*(late.result(timeout=60) for _ in range(200))) == [8] * 200
        assert await asyncio.to_thread(worker.stop) == 0

    as_client(here, asks)
