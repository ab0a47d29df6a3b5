"""From the log to a coroutine: a run's first turn, or its recorded ones once more."""

from __future__ import annotations

from collections.abc import Callable

from perdure.core import codec, ids
from perdure.core.facts import Fact
from perdure.core.state import STILL, Run
from perdure.engine.driver import Driver
from perdure.engine.executions import execution_for
from perdure.engine.resident import Resident
from perdure.errors import PerdureError
from perdure.execution.conditions import BodyRaised
from perdure.execution.model import RunStart

SLICE = 100
"""Runs woken in one go of the event loop after a takeover."""


class Waking:
    """Makes residents."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._todo: list[str] = []
        self._careful = False
        self._noting = False
        self._held: list[Callable[[], None]] = []

    # ------------------------------------------------------------------ after a claim

    def begin(self) -> None:
        """Wakes what has something to do now; what only waits stays in the log until it is due."""
        state = self._driver.state
        busy = [run for run in state.live_runs() if self._has_work(run)]
        in_flight = [
            {"run": run.id, "key": key, "alone": False}
            for run in busy
            for key, pending in run.pending.items()
            if pending.kind == "step" and (pending.due is None or pending.due <= state.time)
        ]
        self._todo = [run.id for run in reversed(busy)]
        self._careful = state.unclean
        if state.unclean and in_flight:
            self._noting = True
            self._driver.life.append("Resumed", {"steps": in_flight}, self._noted)
        else:
            self._slice()

    @property
    def busy(self) -> bool:
        """Whether runs are still to be woken."""
        return bool(self._todo or self._held)

    def hold(self, later: Callable[[], None]) -> bool:
        """Whether nothing may be woken yet, since what was in flight is not noted (A8); then it is done after that."""
        if self._noting:
            self._held.append(later)
        return self._noting

    def _noted(self, _fact: Fact, _void: str | None) -> None:
        self._noting = False
        held, self._held = self._held, []
        for later in held:
            later()
        self._slice()

    def _has_work(self, run: Run) -> bool:
        if run.status in STILL or run.status == "scheduled":
            return bool(run.inbox)
        return (
            not run.started
            or bool(run.inbox)
            or any(pending.kind == "step" for pending in run.pending.values())
            or not run.pending
        )

    def _slice(self) -> None:
        life = self._driver.life
        for _ in range(SLICE):
            if not self._todo or not life.acting:
                return
            self._driver.activate(self._todo.pop())
        self._driver.services.soon(self._slice)

    # ------------------------------------------------------------------ one run

    def wake(self, run: Run) -> Resident | None:
        """The run's coroutine, as its log left it; None when its code is not here."""
        driver = self._driver
        services = driver.services
        function = services.functions.get(run.function)
        if function is None:
            driver.absent(run.id)
            return None
        generation, partitions = driver.state.generation, driver.state.partitions

        def child_run_id(key: str) -> str:
            spread = int(ids.fraction("child", run.id, key) * partitions)
            return ids.placed_run(generation, spread, "child", run.id, key)

        start = RunStart(run.id, run.function, (run.event,), max(run.created, run.not_before), run.tags)
        execution = execution_for(
            function,
            start,
            limits=services.limits,
            functions=services.functions,
            child_run_id=child_run_id,
            strict=services.strict,
        )
        resident = Resident(run.id, function, execution, max(run.time, run.created, run.not_before))
        resident.careful = self._careful and run.prev < driver.life.since
        driver.residents[run.id] = resident
        if not run.history:
            services.observers.begun(run)
            driver.compute(resident, None, execution.begin)
        else:
            services.observers.woken(run)
            self._replay(run, resident)
        return None if resident.dead else resident

    def _replay(self, run: Run, resident: Resident) -> None:
        driver = self._driver
        history = [codec.ops_of(part) for part in run.history]
        execution = resident.execution
        if resident.function.is_async:
            try:
                execution.replay(history)
            except PerdureError as error:
                self._unfit(run, resident, error)
            else:
                driver.resume_steps(run, resident)
            return
        resident.busy = True

        def replayed(result: BaseException | None) -> None:
            resident.busy = False
            if resident.dead:
                execution.teardown()
            elif isinstance(result, BodyRaised):
                driver.body_raised(run, resident, result.__cause__ or result)
            elif isinstance(result, PerdureError):
                self._unfit(run, resident, result)
            elif isinstance(result, BaseException):
                driver.services.trouble(f"replay of run {run.id}", result)
                driver.let_go(resident)
            else:
                driver.resume_steps(run, resident)
                driver.caught_up(resident)

        driver.services.steps.compute(lambda: execution.replay(history), replayed)

    def _unfit(self, run: Run, resident: Resident, error: PerdureError) -> None:
        """The code of the day does not fit the log: parked, once, until other code or a person comes (A12)."""
        driver = self._driver
        driver.let_go(resident)
        if run.status in STILL:
            return
        parked = driver.parked(resident, error.code, str(error))
        driver.plain_commit(run, [parked])
