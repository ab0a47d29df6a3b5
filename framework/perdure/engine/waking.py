"""From the log to a coroutine: a run's first turn, or its recorded ones once more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from perdure.core import ids, routing
from perdure.core.bodies import fired
from perdure.core.facts import Fact
from perdure.core.ops import CHILD_ISSUED, PARKED, Op
from perdure.core.state import STILL, Run
from perdure.engine import repeating
from perdure.engine.driver import Driver
from perdure.engine.executions import execution_for
from perdure.engine.opening import Opening
from perdure.engine.pauses import growing
from perdure.engine.resident import Opened, Resident
from perdure.engine.trials import Trials
from perdure.errors import (
    NonDeterminismError,
    PayloadDamaged,
    PayloadLocked,
    PayloadMissing,
    PayloadStoreError,
    PerdureError,
)
from perdure.execution.conditions import BodyRaised
from perdure.execution.model import RunStart

STEP_BYTES = 16
TRIED_AGAIN = tuple(
    f"{error.code}: "
    for error in (NonDeterminismError, PayloadLocked, PayloadDamaged, PayloadMissing, PayloadStoreError)
)
"""How the reasons begin of parked runs that may fit the next owner: it has other code, keys, or another disk."""
SLICE = 100
"""Runs woken in one go of the event loop after a takeover."""


class Waking:
    """Makes residents."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._todo: list[str] = []
        self._careful = False
        self._noting = 0
        """Notes that are not read back yet."""
        self._held: list[Callable[[], None]] = []
        self._trials = Trials(driver, self._activate)
        self._opening = Opening(driver)

    # ------------------------------------------------------------------ after a claim

    def begin(self) -> None:
        """Wakes what has something to do now; what only waits stays in the log until it is due."""
        state = self._driver.state
        awake = [run for run in state.runs.plain.values() if run.live]  # packed ones only wait, or have ended
        busy = [run for run in awake if self._has_work(run)]
        in_flight = [
            {"run": run.id, "key": key, "alone": False}
            for run in busy
            for key, pending in run.pending.items()
            if pending.kind == "step" and (pending.due is None or pending.due <= state.time)
        ]
        for run in awake:
            if run.status == "parked" and run.reason.startswith(TRIED_AGAIN):
                self._try_again(run)
        self._todo = [run.id for run in reversed(busy)]
        self._careful = state.unclean
        if state.unclean and in_flight:
            self._note(in_flight)
        else:
            self._begin()

    def _begin(self) -> None:
        """What was in flight is noted."""
        state = self._driver.state
        if not state.trials.careful:
            self._go_on()
            return
        now = self._driver.services.clock.now()
        # Of those that are packed no other is looked at: to unpack all takes a second for each 10,000.
        found = chain(state.runs.plain.values(), state.runs.copies_due(now))
        due = [run.id for run in found if run.live and _is_due(run, now)]
        todo, self._todo = [*reversed(self._todo), *due], []
        self._trials.begin(list(dict.fromkeys(todo)), self._go_on)

    def _try_again(self, run: Run) -> None:
        """A run that did not fit its last owner's code may fit this one's: in a rolling deploy it meets both. Asked
        once, the wish stays with the run, whoever owns it next."""
        if any(item.name == "perdure.ResumeAsk" for item in run.inbox):
            return
        life = self._driver.life
        command = {"id": f"claim:{life.state.epoch}", "run": run.id, "client": None}
        body = {"body": ("perdure.ResumeAsk", {"reason": "another owner"})}
        life.append("Command", command | body, lambda _fact, _void: None, key=run.id)

    def _note(self, steps: list[dict[str, Any]]) -> None:
        """Notes what was in flight, in as many records as it takes; what was alone is in the first, which asks (A8)."""
        life = self._driver.life
        alone = life.state.alone
        steps.sort(key=lambda step: ids.idempotency_key(step["run"], step["key"]) != alone)
        records: list[list[dict[str, Any]]] = [[]]
        size = 0
        for step in steps:
            size += len(step["run"]) + len(step["key"]) + STEP_BYTES
            if records[-1] and size > life.services.limits.commit_bytes_max:
                records.append([])
                size = 0
            records[-1].append(step)
        self._noting = len(records)
        for record in records:
            life.append("Resumed", {"steps": record}, self._noted)

    @property
    def busy(self) -> bool:
        """Whether runs are still to be woken."""
        return bool(self._todo or self._held or self._trials.busy)

    def hold(self, later: Callable[[], None], run_id: str) -> bool:
        """Whether nothing may be woken yet, since what was in flight is not noted, or others are on trial (A8); then it
        is done after that. The same for a step, when no run is named."""
        held = bool(self._noting) or self._trials.holds(run_id)
        if held:
            self._held.append(later)
        return held

    def look(self) -> None:
        """A body that computed in a thread has come to rest."""
        self._trials.look()

    def _noted(self, _fact: Fact, _void: str | None) -> None:
        self._noting -= 1
        if not self._noting and self._driver.life.acting:  # else this claim is over, or about to be
            self._begin()

    def _go_on(self) -> None:
        held, self._held = self._held, []
        for later in held:
            later()
        self._slice()

    def _has_work(self, run: Run) -> bool:
        if run.held is not None:
            return True
        if run.status in STILL or run.status == "scheduled":
            return bool(run.inbox)
        return (
            not run.started
            or bool(run.inbox)
            or any(pending.kind == "step" or fired(pending) for pending in run.pending.values())
            or not run.pending
            or run.reuse is not None
        )

    def _slice(self) -> None:
        life = self._driver.life
        for _ in range(SLICE):
            if not self._todo or not life.acting:
                return
            self._activate(self._todo.pop())
        self._driver.services.soon(self._slice)

    def _activate(self, run_id: str, failures: int = 0) -> None:
        """One that fails is told and comes again after a pause; the others behind it are woken all the same."""
        try:
            self._driver.activate(run_id)
        except Exception as error:  # noqa: BLE001 - of this run alone
            services = self._driver.services
            services.trouble(f"run {run_id} could not be woken and is tried again", error)
            again = services.clock.now() + growing(failures)
            services.clock.call_at(again, lambda: self._activate(run_id, failures + 1))

    # ------------------------------------------------------------------ one run

    def wake(self, run: Run) -> Resident | None:
        """The run's coroutine, as its log left it; None when its code is not here."""
        driver = self._driver
        services = driver.services
        function = services.functions.get(run.function)
        driver.life.replies.unfit.pop(run.id, None)
        if function is None:
            driver.absent(run.id)
            if run.status in STILL:
                self._tell_unfit(run, f"there is no function {run.function!r}")
            return None
        issued: dict[str, str] = {}  # the log may have grown since

        def child_run_id(key: str) -> str:
            if key in issued:
                return issued[key]
            generations = services.log.generations
            spread = int(ids.fraction("child", run.seed, key) * generations[-1])
            return ids.placed_run(routing.generation_of(spread, generations), spread, "child", run.seed, key)

        try:
            opened = self._opening.record(run)
        except PerdureError as error:
            self._unopened(run, function.code, error)
            return None
        if opened is None:
            return None
        start = _start_of(run, opened)
        execution = execution_for(
            function,
            start,
            limits=services.vault.limits,
            functions=services.functions,
            child_run_id=child_run_id,
            strict=services.strict,
        )
        resident = Resident(run.id, function, execution, max(run.time, start.created))
        resident.repeats = run.reuse is not None
        resident.careful = self._careful and run.prev < driver.life.since
        if run.admission is not None and run.admission.steps:
            resident.careful = True  # the record that names a step asks for its places
        driver.residents[run.id] = resident
        try:
            if not run.started:
                services.observers.begun(run)
                driver.compute(resident, None, execution.begin)
            else:
                services.observers.woken(run)
                self._replay(run, resident, opened.history, issued)
        except BaseException:
            driver.let_go(resident)  # or what is half awake would be taken for the run
            raise
        return None if resident.dead else resident

    def _replay(
        self, run: Run, resident: Resident, history: list[Sequence[Op]], issued: dict[str, str]
    ) -> None:
        """`issued` gets the ids of the children that the run has, by the key of their step."""
        driver = self._driver
        issued.update(
            (body["key"], body["run"]) for ops in history for name, body in ops if name == CHILD_ISSUED
        )
        execution = resident.execution
        if resident.function.is_async:
            try:
                execution.replay(history)
            except PerdureError as error:
                self._unfit(run, resident, error)
            else:
                driver.resume_steps(run, resident)
                repeating.soon(driver, resident)
            return

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
                repeating.soon(driver, resident)
                driver.caught_up(resident)

        driver.in_thread(resident, lambda: execution.replay(history), replayed)

    def _unfit(self, run: Run, resident: Resident, error: PerdureError) -> None:
        """The code does not fit the log: parked, once, until other code or somebody comes (A12)."""
        driver = self._driver
        driver.let_go(resident)
        if run.status in STILL:
            self._tell_unfit(run, str(error))
            return
        parked = driver.parked(resident, error.code, str(error))
        driver.plain_commit(run, [parked])

    def _unopened(self, run: Run, code: str, error: PerdureError) -> None:
        """What the log has of it cannot be read here: parked, once, until a key, an object or a store is back."""
        if run.status in STILL:
            self._tell_unfit(run, str(error))
            return
        time = max(self._driver.services.clock.now(), run.time)
        body = {"time": time, "reason": error.code, "code": code, "detail": str(error)}
        self._driver.plain_commit(run, [(PARKED, body)])

    def _tell_unfit(self, run: Run, reason: str) -> None:
        """It is parked already and no record says it again, but a person has asked for it to go on."""
        self._driver.life.replies.unfit[run.id] = reason
        self._driver.services.observers.unfit(run, reason)


def _start_of(run: Run, opened: Opened) -> RunStart:
    events = tuple(opened.events) or (opened.event,)
    own = next((n for n, event in enumerate(events) if event["id"] == run.event["id"]), 0)
    began = run.begun or max(run.created, run.not_before)
    return RunStart(run.id, run.function, events, began, run.tags, run.seed, run.depth, own)


def _is_due(run: Run, now: int) -> bool:
    """Whether its body goes on by something whose time has come."""
    if run.status in STILL:
        return False
    if run.status == "scheduled":
        return run.not_before <= now
    return any(p.due is not None and p.due <= now and p.kind != "step" for p in run.pending.values())
