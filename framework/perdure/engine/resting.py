"""Which coroutines are let go to save memory, and when (B11)."""

from __future__ import annotations

from collections import OrderedDict

from perdure.core.state import Run
from perdure.engine.driver import Driver
from perdure.engine.resident import Resident

SLICE = 100
"""Coroutines let go in one go of the event loop."""


class Resting:
    """Lets go of runs that only wait: made again from the log, they cost the replay of their history.

    One that sleeps goes at once, since it is known when it comes back. One to which something may come at any time goes
    when nothing has come for a while. Both can go earlier, when there are too many.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._idle: OrderedDict[str, tuple[int, Resident]] = OrderedDict()
        """Since when nothing has happened to a run; the longest first."""
        self._armed = False

    def consider(self, run: Run, resident: Resident) -> None:
        """Something of the run was accepted."""
        if not resident.function.is_async or not resident.idle():  # most are not, and the time costs a call
            return
        now = self._driver.services.clock.now()
        if not self._rests(run, resident, now):
            return
        if all(pending.kind == "timer" for pending in run.pending.values()):
            self._evict(run, resident)
            return
        self._idle.pop(run.id, None)
        self._idle[run.id] = now, resident
        self._arm(now)

    def forget(self, resident: Resident) -> None:
        known = self._idle.get(resident.run_id)
        if known is not None and known[1] is resident:
            del self._idle[resident.run_id]

    def crowd(self) -> None:
        """Keeps the coroutines within their bound: of those that only wait, the ones that have waited longest go."""
        driver = self._driver
        excess = len(driver.residents) - driver.services.limits.resident_runs_max
        while excess > 0 and self._idle:
            excess -= self._evict_oldest()
        if excess <= 0:
            return
        for resident in [r for r in driver.residents.values() if r.idle() and not r.ended][:excess]:
            run = driver.state.runs[resident.run_id]
            if all(pending.kind != "step" or pending.due is not None for pending in run.pending.values()):
                self._evict(run, resident)

    def _arm(self, now: int) -> None:
        if not self._armed:
            self._armed = True
            idle_us = self._driver.services.limits.resident_idle_us_max
            since = next(iter(self._idle.values()))[0]
            self._driver.services.clock.call_at(max(since + idle_us, now), self._sweep)

    def _sweep(self) -> None:
        self._armed = False
        services = self._driver.services
        if not self._driver.life.acting:
            return
        now = services.clock.now()
        for _ in range(SLICE):
            if not self._idle:
                return
            if next(iter(self._idle.values()))[0] > now - services.limits.resident_idle_us_max:
                break
            self._evict_oldest()
        if self._idle:
            self._arm(now)

    def _evict_oldest(self) -> bool:
        run_id = next(iter(self._idle))
        _, resident = self._idle.pop(run_id)
        run = self._driver.state.runs.get(run_id)
        rests = run is not None and self._rests(run, resident, self._driver.services.clock.now())
        if rests and run is not None:
            self._evict(run, resident)
        return rests

    def _rests(self, run: Run, resident: Resident, now: int) -> bool:
        """Whether nothing of the run is under way, nor due soon."""
        soon = now + self._driver.services.limits.resident_idle_us_max
        return (
            resident.idle()
            and bool(run.pending)
            and run.reuse is None
            and all(
                pending.due > soon if pending.due is not None else pending.kind in ("wait", "signal", "child")
                for pending in run.pending.values()
            )
        )

    def _evict(self, run: Run, resident: Resident) -> None:
        """Lets the coroutine go, and a long history to the spill file. A short one is packed with its run."""
        driver = self._driver
        driver.let_go(resident)
        if driver.state.dormant is not None:
            driver.state.dormant.run(run)
        if run.size < driver.services.limits.spilled_history_bytes_min:
            return
        try:
            run.history = driver.life.spill.put(run.history)
        except OSError as error:
            driver.services.trouble(
                "the histories of runs that wait do not fit the disk, and stay in memory", error
            )
