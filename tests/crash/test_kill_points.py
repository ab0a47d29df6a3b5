"""kill -9 after every durable write of a run's life: the next process brings it to the same end (promises 1, 2, 7)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.crash import ledger, verdict
from tests.crash.lives import ends_of
from tests.crash.processes import Child, Place
from tests.crash.scenarios import SCENARIOS, End

KILLED = -9
N = 5
SIDE_BY_SIDE = 6
"""Lives at once; most of the time each waits for its disk."""
SEED = 20

MakePlace = Callable[..., Place]
Items = list[tuple[str, int]]


class Death:
    """A life that ends after its n-th write, and the lives that follow until one comes to its end."""

    life = "whole"

    def __init__(
        self, make: MakePlace, items: Items, *kill_at: int, heard: bool, partitions: int = 2
    ) -> None:
        self.place = make(items=items, partitions=partitions)
        self.items = items
        self.kill_at = kill_at
        self._left = list(kill_at)
        self._heard = heard
        self.kills = 0
        self._child = self._start()

    def _start(self) -> Child:
        if not self._left:
            return self.place.start(self.life)
        return self.place.start(self.life, kill_at=self._left.pop(0), heard=self._heard)

    def live_on(self) -> None:
        """Until a life is whole."""
        while (code := self._child.wait()) == KILLED:
            self.kills += 1
            self._child = self._start()
        assert code == 0, self._child.errors()

    def judge(self) -> int:
        """Checks what is left; how many attempts were executed again."""
        lines = ledger.read(self.place.folder)
        try:
            story = verdict.read(self.place.folder)
            verdict.check(story, lines, self.wanted(story), kills=self.kills)
        except AssertionError as error:
            what = f"killed after write {self.kill_at} of {self.items}, heard={self._heard}"
            raise AssertionError(f"{what}:\n{error}\n{self._child.errors()}") from None
        return verdict.reruns(lines)

    def wanted(self, story: verdict.Story) -> Counter[End]:
        """How all runs must end. Raises AssertionError when there is more that is not as it should be."""
        del story
        return ends_of(self.items)


def judged(deaths: Sequence[Death]) -> list[int]:
    """Lets each live on to its end, and judges it; how often each was killed."""
    for death in deaths:
        death.live_on()
        death.judge()
    return [death.kills for death in deaths]


@pytest.mark.parametrize("heard", [False, True], ids=["before-the-engine-hears", "after-it-was-read-back"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_promise_2_kill_after_every_write(
    place: MakePlace, scenario: str, heard: bool, record_property: Callable[[str, object], None]
) -> None:
    points = kills = reruns = 0
    whole = False
    while not whole:
        wave = range(points, points + SIDE_BY_SIDE)
        deaths = [Death(place, [(scenario, N)], number, heard=heard) for number in wave]
        for death in deaths:
            death.live_on()
            reruns += death.judge()
            kills += death.kills
            whole = whole or not death.kills
        points += SIDE_BY_SIDE
    assert kills > 10, "this life has too few writes to be true"
    record_property("kills", kills)
    record_property("reruns", reruns)
    print(f"{scenario}: {kills} points, {reruns} attempts executed again")


def test_promise_1_killed_again_in_its_recovery(place: MakePlace) -> None:
    """The whole service at once: killed somewhere, and again while the next process recovers, and the next."""
    draw = random.Random(SEED)
    items = [(name, n) for n, name in enumerate(SCENARIOS, 1)]
    deaths = 0
    for _ in range(4):
        wave = [
            Death(
                place,
                items,
                draw.randrange(250),
                *(draw.randrange(5, 60) for _ in range(2)),
                heard=draw.random() < 0.5,
                partitions=3,
            )
            for _ in range(SIDE_BY_SIDE)
        ]
        deaths += sum(judged(wave))
    assert deaths > 24, "too few of the processes died"
