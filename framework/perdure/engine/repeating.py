"""A run that repeats another: what it comes to again ends as it ended there, and is not done again."""

from __future__ import annotations

from perdure.core.state import STILL
from perdure.engine.driver import Driver
from perdure.engine.opening import give
from perdure.engine.resident import Resident


def soon(driver: Driver, resident: Resident) -> None:
    """Gives the body what is known of what it waits for, one after the other.

    Each has a go of the event loop of its own: a long history would nest too deeply.
    """
    run = driver.state.runs.get(resident.run_id)
    if run is not None and run.reuse is not None:
        driver.services.soon(lambda: _give(driver, resident))


def _give(driver: Driver, resident: Resident) -> None:
    run = driver.state.runs.get(resident.run_id)
    if run is None or run.status in STILL or not driver.life.acting:
        return
    if resident.dead or resident.ended or resident.busy:
        return  # a thread that computes takes its turn afterwards, and then this is done again
    for key, op in (run.reuse or {}).items():
        if op is not None and resident.execution.awaits(key):
            name, body = op
            give(driver, resident, (name, body | {"time": driver.tick(resident)}))
            return
