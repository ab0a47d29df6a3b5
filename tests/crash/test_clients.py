"""Clients, which are no workers, while workers and senders are killed (promise 1, A13)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from perdure import App
from tests.crash import ledger, verdict
from tests.crash.lives import ends_of
from tests.crash.processes import Place, until
from tests.crash.scenarios import SCENARIOS
from tests.crash.sending import as_client
from tests.crash.test_leaving import begun

KILLED = -9


def test_a13_a_result_comes_across_the_death_of_the_worker(place: Callable[..., Place]) -> None:
    here = place(partitions=2)
    worker = here.start("work")

    async def client(app: App) -> str:
        door = app.functions.get("door")
        assert door is not None
        run = await app.start(door, {"gate": "a"}, id="one")
        result = asyncio.create_task(run.result(timeout=30))
        await asyncio.to_thread(until, lambda: begun(here.folder, "gate"), "the step is under way")
        worker.kill()
        here.start("work").kill()  # before or after it has begun anything
        here.start("work")
        await asyncio.to_thread(until, lambda: begun(here.folder, "gate") >= 2, "it runs again")
        (here.folder / "a").touch()
        late = app.handle(door, run.run_id)  # who has not started it gets the answer too
        assert await late.result(timeout=30) == "a"
        assert await late.status() == "completed"
        return await result

    assert as_client(here, client) == "a"
    assert here.children[-1].stop() == 0
    verdict.check(
        verdict.read(here.folder),
        ledger.read(here.folder),
        verdict.Counter({("door", "completed", "a"): 1}),
        kills=2,
    )


def test_a13_an_answer_that_died_with_its_owner_is_asked_for_again(place: Callable[..., Place]) -> None:
    """The worker dies right after the end of the run is durable, before it could answer anybody."""
    items = [("sequence", 3)]
    kill_at = 15
    here = place()
    while here.start("whole", items=items, kill_at=kill_at).wait() == KILLED:
        if verdict.read(here.folder).ended:
            break
        kill_at += 1
        here = place()
    story = verdict.read(here.folder)
    assert story.ended
    assert not story.kinds("Released")
    (run_id,) = story.ended

    async def client(app: App) -> int:
        sequence = app.functions.get("sequence")
        assert sequence is not None
        result = asyncio.create_task(app.handle(sequence, run_id).result(timeout=30))
        here.start("work")
        return await result

    assert as_client(here, client) == 7
    assert here.children[-1].stop() == 0


def test_promise_1_started_twice_under_one_id_is_one_run(place: Callable[..., Place]) -> None:
    here = place(partitions=2)

    async def start(app: App) -> str:
        sequence = app.functions.get("sequence")
        assert sequence is not None
        return (await app.start(sequence, {"n": 4}, id="once")).run_id

    async def start_and_wait(app: App) -> int:
        sequence = app.functions.get("sequence")
        assert sequence is not None
        first = await app.start(sequence, {"n": 4}, id="once")
        again = await app.start(sequence, {"n": 99}, id="once")
        return await first.result(timeout=30) + await again.result(timeout=30)

    assert as_client(here, start) == as_client(here, start) == "sequence/once"
    worker = here.start("work")
    assert as_client(here, start_and_wait) == 18
    worker.kill()
    here.start("work")
    assert as_client(here, start_and_wait) == 18  # after its end, too, and from another owner
    assert here.children[-1].stop() == 0
    story = verdict.read(here.folder)
    verdict.check(
        story, ledger.read(here.folder), verdict.Counter({("sequence", "completed", 9): 1}), kills=1
    )
    assert story.voids()["run exists"] == 5


@pytest.mark.parametrize("workers", [0, 1], ids=["alone", "beside-a-worker"])
def test_promise_1_a_sender_that_died_sends_again(place: Callable[..., Place], workers: int) -> None:
    """Killed after each of its writes, it sends everything once more under the same ids: one run for each."""
    items = [("sequence", n) for n in range(4)] + [("fan-out", n) for n in range(2)]
    kill_at = 0
    code = KILLED
    while code == KILLED:
        here = place(partitions=2)
        for _ in range(workers):
            here.start("work").started()
        code = here.start("send_all", items=items, kill_at=kill_at).wait()
        acknowledged = {line["id"] for line in ledger.accepted(here.folder)}
        again = here.start("send_all", items=items)
        assert again.wait() == 0, again.errors()
        worker = here.children[0] if workers else here.start("work")
        wanted = ends_of(items)
        until(lambda here=here, wanted=wanted: verdict.read(here.folder).ends() == wanted, "all runs end")
        assert worker.stop() == 0, worker.errors()
        story = verdict.read(here.folder)
        verdict.check(story, ledger.read(here.folder), wanted, kills=0)
        assert acknowledged <= {run.event["id"] for run in story.runs()}
        kill_at += 1
    assert kill_at > 2 * len([event for name, _ in items for event in SCENARIOS[name].events])
