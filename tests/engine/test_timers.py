"""The heap of due times: one that fails, and those that are stale."""

from __future__ import annotations

from collections.abc import Callable

from perdure.engine.timers import Due, Timers
from perdure.testing.clock import VirtualClock


class Heap:
    """Timers of a partition that is a list."""

    def __init__(self, fire: Callable[[str, str, int], None], tick_max: int = 1_000) -> None:
        self.clock = VirtualClock(0)
        self.live: list[Due] = []
        self.told: list[BaseException] = []
        self.timers = Timers(
            self.clock, fire, tick_max, lambda: self.live, lambda _where, error: self.told.append(error)
        )


def test_a_timer_that_fails_is_told_comes_again_and_holds_up_nobody() -> None:
    fired: list[str] = []
    fails = iter([True, True, False])

    def fire(run: str, _key: str, _due: int) -> None:
        if run == "bad" and next(fails):
            raise OSError(5, "Input/output error")
        fired.append(run)

    heap = Heap(fire)
    for run in ("bad", "good", "late"):
        heap.timers.arm(run, "k", 2_000 if run == "late" else 1_000)
    while heap.clock.step(1_000_000_000):
        pass
    assert fired == ["good", "late", "bad"]
    assert len(heap.told) == 2
    assert len(heap.timers) == 0


def test_a_timer_that_fails_at_the_end_of_a_tick_leaves_the_others_armed() -> None:
    fired: list[int] = []

    def fire(_run: str, _key: str, due: int) -> None:
        fired.append(due)
        if due == 2 and fired.count(2) == 1:
            raise ValueError("a bug")

    heap = Heap(fire, tick_max=2)
    for due in range(1, 6):
        heap.timers.arm("r", "k", due)
    while heap.clock.step(1_000_000_000):
        pass
    assert fired == [1, 2, 3, 4, 5, 2]


def test_what_is_armed_twice_fires_once() -> None:
    fired: list[int] = []
    heap = Heap(lambda _run, _key, due: fired.append(due))
    for _ in range(3):
        heap.timers.arm("", "", 7)
    heap.clock.step(10)
    assert fired == [7]


def test_stale_timers_are_dropped_and_live_ones_are_not() -> None:
    fired: list[str] = []
    heap = Heap(lambda run, _key, _due: fired.append(run))
    heap.live = [(100 + n, f"live{n}", "k") for n in range(50)]
    heap.timers.begin()
    for n in range(20_000):
        heap.timers.arm(f"stale{n}", "k", 1_000_000)
        assert len(heap.timers) <= 1_200
    heap.clock.step(200)
    while heap.clock.step(200):
        pass
    assert fired == [f"live{n}" for n in range(50)]
