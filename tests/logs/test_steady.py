"""The clock of a log when the machine's is set back."""

from __future__ import annotations

import pytest

from perdure.logs import steady
from perdure.logs.steady import SLOWER, SteadyClock

SECOND = 1_000_000
HOUR = 3_600 * SECOND


class Machine:
    """The two clocks of a machine, in µs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = 1_800_000_000 * SECOND
        self.up = 77 * SECOND
        monkeypatch.setattr(steady.time, "time_ns", lambda: self.wall * 1_000)
        monkeypatch.setattr(steady.time, "monotonic_ns", lambda: self.up * 1_000)

    def passes(self, us: int) -> None:
        self.wall += us
        self.up += us


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_it_is_the_wall_clock(machine: Machine) -> None:
    clock = SteadyClock()
    for _ in range(3):
        assert clock() == machine.wall
        machine.passes(SECOND)
    machine.wall += HOUR
    assert clock() == machine.wall


def test_set_back_it_goes_on_slowly_until_the_wall_clock_has_caught_up(machine: Machine) -> None:
    clock = SteadyClock()
    begun = clock()
    machine.wall -= SECOND
    assert clock() == begun
    for seconds in range(1, SLOWER):
        for _ in range(10):
            machine.passes(SECOND // 10)
            assert clock() >= machine.wall
        assert clock() == pytest.approx(begun + seconds * SECOND * (SLOWER - 1) // SLOWER, abs=10)
    machine.passes(SECOND)
    assert clock() == machine.wall


def test_it_may_be_set_back_again(machine: Machine) -> None:
    clock = SteadyClock()
    for _ in range(3):
        machine.passes(HOUR)
        before = clock()
        machine.wall -= 100 * HOUR
        readings: list[int] = []
        for _ in range(10):
            machine.passes(SECOND)
            readings.append(clock())
        assert readings == sorted(set(readings))
        assert readings[0] >= before
        assert 9 * SECOND <= (readings[-1] - before) * SLOWER / (SLOWER - 1) <= 10 * SECOND + 20
