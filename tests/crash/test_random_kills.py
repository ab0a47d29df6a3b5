"""50 times kill -9 at random moments under load: two workers on one file, a sender, nothing lost or doubled."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

from tests.crash import ledger, verdict
from tests.crash.lives import ends_of
from tests.crash.processes import WITHIN_S, Child, Place, pause, until
from tests.crash.scenarios import SCENARIOS

KILLS = 50
PATIENT = {"takeovers_alone_max": 1_000}
"""The workers die of this test: it must not be taken for the doing of whatever step is alone at the moment (A8)."""
SEED = int(os.environ.get("PERDURE_CRASH_SEED", "1"))


def known_items(folder: Path) -> list[tuple[str, int]]:
    """What the senders began to send, all of it accepted by the end."""
    lines = ledger.accepted(folder)
    return sorted({(line["name"], line["n"]) for line in lines})


def all_accepted(folder: Path) -> bool:
    """Whether of each scenario that was begun all was acknowledged."""
    ids = {line["id"] for line in ledger.accepted(folder)}
    return all(
        f"{name} {n} {event}" in ids for name, n in known_items(folder) for event in SCENARIOS[name].events
    )


def run_dry(place: Place, within_s: float = WITHIN_S) -> None:
    """Waits until every run that was accepted has ended, as an outsider sees it."""
    wanted = ends_of(known_items(place.folder))
    story = verdict.Story()

    def dry() -> bool:
        nonlocal story
        story = verdict.read(place.folder)
        return not any(run.live for run in story.runs()) and len(story.runs()) >= wanted.total()

    try:
        until(dry, "all runs end", within_s)
    except AssertionError as error:
        left = [
            f"{run.id} {run.function} {run.status} {list(run.pending)}" for run in story.runs() if run.live
        ]
        told = f"{len(story.runs())} of {wanted.total()} runs are there, {len(left)} live: {left[:20]}"
        raise AssertionError(f"{error}: {told}\n{place.children[-1].errors()[-4_000:]}") from None


def test_promise_1_2_3_under_random_kills(place: Callable[..., Place]) -> None:
    draw = random.Random(SEED)
    here = place(partitions=4, limits=PATIENT)
    workers: list[Child] = [here.start("work") for _ in range(2)]
    sender = here.start("produce", seed=SEED)
    for _ in range(KILLS):
        grown = ledger.size(here.folder) + draw.randrange(8_000)
        until(lambda grown=grown: ledger.size(here.folder) >= grown, "steps run", 20)
        pause(draw.uniform(0, 0.03))
        victim = draw.randrange(2)
        assert workers[victim].kill() == -9, workers[victim].errors()
        if draw.random() < 0.2:  # nobody is at home for a moment
            workers[1 - victim].kill()
            workers[1 - victim] = here.start("work")
        workers[victim] = here.start("work")
    (here.folder / "enough").touch()
    assert sender.wait() == 0, sender.errors()
    run_dry(here)
    assert [worker.stop() for worker in workers] == [0, 0], workers[0].errors()

    story, lines = verdict.read(here.folder), ledger.read(here.folder)
    items = known_items(here.folder)
    try:
        assert all_accepted(here.folder)
        verdict.check(story, lines, ends_of(items), kills=None)
    except AssertionError as error:
        raise AssertionError(f"PERDURE_CRASH_SEED={SEED}: {error}") from None
    print(
        f"{len(items)} scenarios, {len(story.runs())} runs, {len(story.records)} records,"
        f" {verdict.reruns(lines)} attempts executed again, voids {dict(story.voids())}"
    )
