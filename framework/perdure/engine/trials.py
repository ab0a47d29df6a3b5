"""Waking what may have killed the owners before, group by group (A8).

After a second death in a row the owner names in the journal whom it wakes, waits until that is read back, wakes these,
and goes on when they have come to rest. Meanwhile nothing else in the partition begins: no other run is woken, and no
step starts. So a body that kills its worker is found out, and those that only stood beside it are not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from perdure.core import ids, ops
from perdure.core.facts import Fact
from perdure.core.ids import BODY
from perdure.core.ops import Failure, Op
from perdure.core.state import STILL, Run
from perdure.core.trials import NONE
from perdure.engine.driver import Driver
from perdure.engine.suspects import blamed
from perdure.execution.execution import PYTHON

_log = logging.getLogger("perdure.worker")
REST_US = 5_000_000
"""How long the `def` bodies of a group may compute; what dies later is not known to be theirs."""


def killed(times: int) -> Failure:
    """The error of a run whose body is not woken again."""
    return blamed(times, "it woke this run, and no other beside it", "woken", "its body")


class Trials:
    """The trials of one claim's life."""

    def __init__(self, driver: Driver, wake: Callable[[str], None]) -> None:
        self._driver = driver
        self._wake = wake
        self._over: Callable[[], None] = lambda: None
        self._groups: list[list[str]] = []
        self._now: list[str] = []
        """Those who are being woken."""
        self._all = False
        """Whether all of these were."""
        self._round = 0
        self.busy = False

    def holds(self, run_id: str) -> bool:
        """Whether this run may not be woken yet. Without a run: whether no step may start."""
        return self.busy and run_id not in self._now

    def begin(self, run_ids: list[str], over: Callable[[], None]) -> None:
        """Wakes these runs; `over` is called when all have come to rest and the journal says so."""
        trials, services = self._driver.state.trials, self._driver.services
        if run_ids:
            # Two deaths in a row are what deploys and machines come to; a third one has a cause.
            _log.log(
                logging.WARNING if trials.unclean > 2 else logging.INFO,
                "the last %d owners of partition %d died; %d runs that had something to do are woken in groups",
                trials.unclean,
                self._driver.state.number,
                len(run_ids),
            )
        self.busy, self._over = True, over
        left = [run_id for run_id in run_ids if not self._convicted(run_id)]
        self._groups = trials.groups(left)[::-1]
        # Its turn may come because another claim ends, in the midst of all of them ending.
        services.suspects.hold(self._driver.life, lambda: services.soon(self._begin))

    def _begin(self) -> None:
        if self._driver.life.acting:
            self._next()

    def _next(self) -> None:
        """Names the next group; with none left, the empty one, which says that all are over."""
        self._now, self._all = [], False
        group = self._groups.pop() if self._groups else []
        steps: list[dict[str, Any]] = [
            {"run": run, "key": ids.WAKING, "alone": len(group) == 1} for run in group
        ]

        def named(_fact: Fact, void: str | None) -> None:
            if void is None and self._driver.life.acting:
                self._try(group)

        self._driver.life.append("Resumed", {"steps": steps}, named)

    def _try(self, group: list[str]) -> None:
        if not group:
            self.busy = False
            self._driver.services.suspects.release(self._driver.life)
            self._over()
            return
        clock = self._driver.services.clock
        self._now, self._round, self._all = group, self._round + 1, False
        for run_id in group:
            self._wake(run_id)
            self._fire(run_id)
        self._all, this = True, self._round
        if not self._at_rest():
            clock.call_at(clock.now() + REST_US, lambda: self._next_after(this))
        self.look()

    def _fire(self, run_id: str) -> None:
        try:
            for key, due in self._dues(run_id):
                self._driver.fire(run_id, key, due)
        except Exception as error:  # noqa: BLE001 - of this run alone; its timers ring again
            self._driver.services.trouble(f"what was due of run {run_id} is tried again", error)

    def look(self) -> None:
        """A body may have come to rest: goes on when all of the group have."""
        if self._all and self._at_rest():
            self._next_after(self._round)

    def _next_after(self, number: int) -> None:
        if self._all and number == self._round and self._driver.life.acting:
            self._next()

    def _at_rest(self) -> bool:
        residents = map(self._driver.residents.get, self._now)
        return not any(resident is not None and (resident.busy or resident.queue) for resident in residents)

    def _dues(self, run_id: str) -> list[tuple[str, int]]:
        """What has come due and makes its body go on; attempts of steps are none of that."""
        run = self._driver.state.runs.get(run_id)
        now = self._driver.services.clock.now()
        if run is None or run.status in STILL:
            return []
        dues = [
            (pending.due, key)
            for key, pending in run.pending.items()
            if pending.due is not None and pending.due <= now and pending.kind != "step" and key != BODY
        ]
        return [(key, due) for due, key in sorted(dues)]

    def _convicted(self, run_id: str) -> bool:
        """Whether it was the only one at so many deaths that it is not woken again. Then it fails, or is parked."""
        driver, services = self._driver, self._driver.services
        deaths = driver.state.trials.deaths.get(run_id, NONE)
        run = driver.state.runs[run_id]
        function = services.functions.get(run.function)
        if deaths.alone < services.limits.takeovers_alone_max or function is None:
            return False
        error, time = killed(deaths.alone), max(services.clock.now(), run.time)
        _log.error("run %s of %s: %s", run.id, run.function, error["message"])
        handler = function.on_failure.id if function.on_failure is not None else None
        end: Op = ops.RUN_FAILED, {"time": time, "error": error, "handler": handler}
        if function.on_error == "pause":
            reason = {"reason": error["type"], "detail": error["message"]}
            end = ops.PARKED, {"time": time, "code": function.code, **reason}
        driver.plain_commit(run, [*_begun(run, function.code), end])
        return True


def _begun(run: Run, code: str) -> list[Op]:
    return [] if run.started else [(ops.STARTED, {"time": run.time, "code": code, "python": PYTHON})]
