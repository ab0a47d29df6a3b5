"""Two workers and a sender on a broker that is about to fail, and what must be true in the end."""

from __future__ import annotations

import random
from collections.abc import Set

from tests.crash import ledger, verdict
from tests.crash.lives import ends_of
from tests.crash.processes import WITHIN_S, Child, Place, pause, until
from tests.crash.test_random_kills import SEED, all_accepted, known_items, run_dry

STEP_BYTES = 4_000
"""About what the steps of ten runs write into the ledger."""
BACK_WITHIN_S = 30.0


class Load:
    """Runs from the first line on; `settle` ends it and judges."""

    def __init__(self, place: Place, workers: int = 2) -> None:
        self.place = place
        self.draw = random.Random(SEED)
        self.workers: list[Child] = [place.start("work") for _ in range(workers)]
        self.sender = place.start("produce", seed=SEED, pause_s=0.03)
        for worker in self.workers:
            worker.started()  # what fails is a broker under load, not one that a worker only now looks for
        self.goes_on("the first steps run")

    def goes_on(self, what: str = "steps run again", within_s: float = BACK_WITHIN_S) -> None:
        """Waits until some more steps have run."""
        grown = ledger.size(self.place.folder) + STEP_BYTES
        until(lambda: ledger.size(self.place.folder) >= grown, f"{what}\n{self.errors()}", within_s)

    def stands(self, seconds: float = 1.0) -> bool:
        """Whether nothing happens for so long."""
        before = ledger.size(self.place.folder)
        pause(seconds)
        return ledger.size(self.place.folder) == before

    def errors(self) -> str:
        return self.sender.errors()[-3_000:]

    def settle(self, within_s: float = WITHIN_S, zombies: Set[int] = frozenset()) -> verdict.Story:
        """All that was sent has been accepted, each run ends, each step has one outcome, and the workers leave well."""
        (self.place.folder / "enough").touch()
        assert self.sender.wait() == 0, self.errors()
        run_dry(self.place, within_s)
        assert [worker.stop() for worker in self.workers] == [0] * len(self.workers), self.errors()
        story, lines = verdict.read(self.place.folder), ledger.read(self.place.folder)
        assert all_accepted(self.place.folder)
        verdict.check(story, lines, ends_of(known_items(self.place.folder)), kills=None, zombies=zombies)
        return story
