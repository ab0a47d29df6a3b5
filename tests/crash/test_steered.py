"""kill -9 at every write while a run is rerun, a function paused, a schedule made: the outcome is the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.crash.processes import Zygote
from tests.crash.scenarios import End
from tests.crash.steered import STEERING, N
from tests.crash.test_kill_points import SIDE_BY_SIDE, Death, MakePlace
from tests.crash.verdict import Story


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    made = Zygote(modules=["tests.crash.steered"])
    yield made
    made.close()


@pytest.mark.parametrize("heard", [False, True], ids=["before-the-engine-hears", "after-it-was-read-back"])
@pytest.mark.parametrize("what", ["rerun", "pause", "schedule", "by-hand"])
def test_promise_2_steering_is_the_same_wherever_the_worker_is_killed(
    place: MakePlace, what: str, heard: bool
) -> None:
    points = kills = 0
    whole = False
    while not whole:
        deaths = [
            SteeredDeath(place, [(what, N)], number, heard=heard)
            for number in range(points, points + SIDE_BY_SIDE)
        ]
        for death in deaths:
            death.live_on()
            death.judge()
            kills += death.kills
            whole = whole or not death.kills
        points += SIDE_BY_SIDE
    assert kills > 10, "this life has too few writes to be true"


class SteeredDeath(Death):
    """The death of a worker and of who steers it, and the lives that follow."""

    life = "steered"

    def wanted(self, story: Story) -> Counter[End]:
        ((what, _),) = self.items
        return STEERING[what][1](story)
