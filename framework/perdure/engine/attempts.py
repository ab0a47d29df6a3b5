"""Attempts of steps: starting them, and what their outcomes become."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from perdure.authoring.retry import Retry, next_delay
from perdure.core import failures, ids, ops
from perdure.core.ops import Op
from perdure.core.state import STILL, Pending, Run
from perdure.engine import repeating, suspects
from perdure.engine.driver import Driver
from perdure.engine.resident import Resident, Running, Step
from perdure.engine.storing import Storing
from perdure.errors import PerdureError, StepError
from perdure.execution.failures import failure_of
from perdure.execution.model import StepAsk
from perdure.execution.ports import Attempt, Outcome
from perdure.payloads.records import Sealer, seal_failure

UNKNOWN = failures.of_parts("perdure.Unknown", "the attempt ended without an error")


class Attempts:
    """The attempts of one claim's life."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._services = driver.services
        self._vault = driver.services.vault
        self._storing = Storing(driver)

    # ------------------------------------------------------------------ starting

    def start_all(self, resident: Resident, asks: Iterable[StepAsk]) -> None:
        """Starts the first attempts of steps whose ask counts, as far as the body still wants them."""
        run = self._driver.state.runs.get(resident.run_id)
        if run is None or run.status in STILL:
            return  # they start when the run is resumed
        execution = resident.execution
        for ask in asks:
            if ask.key not in resident.running and execution.awaits(ask.key):
                self.start(run, resident, ask)

    def start(self, run: Run, resident: Resident, ask: StepAsk) -> None:
        if self._services.draining:
            return  # the next owner starts it
        if run.reuse is not None and ask.key in run.reuse:
            return  # its outcome is known from the run before
        if run.admission is not None and run.admission.steps and not self._has_places(run, resident, ask.key):
            return
        if self._driver.hold(lambda: self._start_held(run, resident, ask)):
            return
        pending = run.pending.get(ask.key)
        if pending is not None and (pending.suspect or pending.alone):
            self._start_noted(run, resident, ask, pending)
        else:
            self._run(run, resident, ask)

    def _has_places(self, run: Run, resident: Resident, key: str) -> bool:
        """Whether an attempt may start, under limits on steps. It asks for its places, if it has not."""
        pending, admission = run.pending.get(key), run.admission
        if pending is None or admission is None:
            return False  # no record names it yet; the one that does asks
        if pending.slots < 0:
            op: Op = ops.SLOT_ASKED, {"key": key, "limit": ""}
            resident.turns.append(Step([op], [], [], 64))
            self._driver.mark(resident)
        return pending.slots == len(admission.steps)

    def granted(self, run_id: str, key: str) -> None:
        """A step of a run has all the places that its attempt needs."""
        resident = self._driver.residents.get(run_id)
        if resident is None:
            self._driver.activate(run_id)  # which starts all that may be started
            return
        run = self._driver.state.runs[run_id]
        ask = None if resident.ended or run.status in STILL else resident.execution.asked(key)
        if ask is not None and key not in resident.running:
            self.start(run, resident, ask)

    def _start_held(self, run: Run, resident: Resident, ask: StepAsk) -> None:
        """Something may have come between; and it may have been wanted twice."""
        over = resident.dead or resident.ended or ask.key in resident.running or run.status in STILL
        if not over and resident.execution.awaits(ask.key):
            self.start(run, resident, ask)

    def _start_noted(self, run: Run, resident: Resident, ask: StepAsk, pending: Pending) -> None:
        """A step that was in flight when an owner vanished (A8)."""
        if suspects.is_convicted(pending, self._services.limits):
            time = self._driver.tick(resident)
            body = {"key": ask.key, "time": time, "attempt": pending.attempt + 1, "took": 0}
            self._driver.release(
                resident, (ops.STEP_FAILED, body | {"error": suspects.worker_died(pending.alone)})
            )
        elif suspects.is_suspect(pending):
            life, key = self._driver.life, ask.key
            failed = self.failed(run, resident, key)
            self._services.suspects.admit(
                life, run.id, key, lambda: self._start_suspect(run, resident, ask, failed)
            )
        else:
            self._run(run, resident, ask)

    def _start_suspect(self, run: Run, resident: Resident, ask: StepAsk, failed: int) -> None:
        key = ask.key
        # It may have come twice, of its run and of its timer: then this attempt is over, and the next has its time.
        over = key in resident.running or self.failed(run, resident, key) != failed or run.status in STILL
        if over or resident.dead or resident.ended or not resident.execution.awaits(key):
            self._services.suspects.finished(run.id, ask.key)
        else:
            self._run(run, resident, ask)

    def _run(self, run: Run, resident: Resident, ask: StepAsk) -> None:
        policy = self.policy(resident, ask)
        number = self.failed(run, resident, ask.key) + 1
        resident.running[ask.key] = Running(number)
        self._services.running += 1
        self._services.observers.attempt(run, ask.key, number)
        attempt = Attempt(
            run_id=run.id,
            function_id=run.function,
            key=ask.key,
            step_id=ask.step_id,
            idempotency_key=ids.idempotency_key(run.seed, ask.key, self._services.app),
            number=number,
            attempts_max=policy.limit + 1,
            fn=ask.fn,
            args=ask.args,
            kwargs=ask.kwargs,
            options=ask.options,
            codec=ask.codec,
            context=ask.context,
            traceparent=self._services.observers.traceparent(run, ask.key, number),
            snapshot=ask.snapshot,
        )
        self._services.steps.start(attempt, lambda outcome: self._finished(resident, ask, number, outcome))

    def failed(self, run: Run, resident: Resident, key: str) -> int:
        """Failed attempts of a step so far."""
        known = resident.attempts.get(key)
        if known is not None:
            return known
        pending = run.pending.get(key)
        return pending.attempt if pending is not None else 0

    def policy(self, resident: Resident, ask: StepAsk) -> Retry:
        return ask.options.retry if ask.options.retry is not None else resident.function.retry

    def retry(self, run: Run, resident: Resident, key: str) -> None:
        """The pause after a failed attempt is over."""
        ask = resident.execution.asked(key)
        if ask is not None and key not in resident.running:
            self.start(run, resident, ask)

    # ------------------------------------------------------------------ stopping

    def heed(self, resident: Resident, changes: Iterable[Op]) -> None:
        """What a turn did that attempts are concerned with: stops those that nobody waits for, hands on the trace."""
        if resident.repeats:
            repeating.soon(self._driver, resident)
        for op in changes:
            name, body = op
            if name == ops.STEP_ABANDONED:
                self.abandon(resident, body["key"])
            elif name in ops.SENDS:
                self._services.observers.stamp(self._driver.state.runs[resident.run_id], op)

    def abandon(self, resident: Resident, key: str) -> None:
        """Nobody waits for this step any more: its outcome will be void, so it may stop."""
        running = resident.running.get(key)
        if running is not None:
            running.abandoned = True
            self._services.steps.cancel(resident.run_id, key)

    def drop(self, resident: Resident) -> None:
        """The run is let go: whatever its attempts still do, nobody listens."""
        for key in list(resident.running):
            self._services.steps.cancel(resident.run_id, key)

    # ------------------------------------------------------------------ outcomes

    def _finished(self, resident: Resident, ask: StepAsk, number: int, outcome: Outcome) -> None:
        self._services.running -= 1
        self._services.suspects.finished(resident.run_id, ask.key)
        data = outcome.result
        if data is None or len(data) <= self._vault.plain_max or resident.dead:
            self._landed(resident, ask, number, outcome)
            return

        def stored(found: bytes | PerdureError) -> None:
            if isinstance(found, bytes):
                self._landed(resident, ask, number, outcome, found)
            else:
                resident.running.pop(ask.key, None)
                self._driver.park(resident, found)

        self._storing.result(resident, data, f"the result of step {ask.step_id!r}", stored)

    def _landed(
        self, resident: Resident, ask: StepAsk, number: int, outcome: Outcome, recorded: bytes | None = None
    ) -> None:
        """An attempt is over; `recorded` is what a record holds for its result, when that is not the result itself."""
        running = resident.running.pop(ask.key, None)
        if resident.dead or running is None or not self._driver.life.acting:
            return
        if running.abandoned or resident.execution.ended or not resident.execution.awaits(ask.key):
            self._driver.end_if_quiet(resident)
            return
        given = op = self._outcome_op(resident, ask, number, outcome)
        if recorded is not None:
            op = op[0], {**op[1], "result": recorded}
        elif outcome.failure is not None:
            op = Sealer(self._vault).op(op)
        if op[0] == ops.ATTEMPT_FAILED:
            resident.attempts[ask.key] = number
            resident.turns.append(
                Step([op], [], [], 64 + (failures.size_of(outcome.failure) if outcome.failure else 0))
            )
            self._driver.mark(resident)
            return
        resident.attempts.pop(ask.key, None)
        if op[0] == ops.STEP_FAILED and not outcome.final and self.policy(resident, ask).then == "pause":
            self._pause(resident, ask, op)
            return
        self._driver.release(resident, op, given)

    def _pause(self, resident: Resident, ask: StepAsk, failed: Op) -> None:
        """Out of attempts, and the policy wants a person: the run is parked, and a resume gives one more attempt."""
        body = failed[1]
        error = body["error"]
        parked = self._driver.parked(
            resident, "a step is out of attempts", f"{ask.step_id}: {error['type']}: {error['message']}"
        )
        attempt: Op = ops.ATTEMPT_FAILED, {**body, "retry_at": body["time"]}
        resident.turns.append(Step([attempt, parked], [], [], 256 + failures.size_of(error)))
        resident.ended = True
        self._driver.mark(resident)

    def _outcome_op(self, resident: Resident, ask: StepAsk, number: int, outcome: Outcome) -> Op:
        time = self._driver.tick(resident)
        body: dict[str, Any] = {"key": ask.key, "time": time, "attempt": number, "took": outcome.took}
        if outcome.result is not None:
            body["result"] = outcome.result
            return ops.STEP_DONE, body
        body["error"] = outcome.failure or UNKNOWN
        delay = self._delay(resident, ask, number, time, outcome)
        if delay is None:
            return ops.STEP_FAILED, body
        body["retry_at"] = time + delay
        return ops.ATTEMPT_FAILED, body

    def body_failed(self, resident: Resident, error: BaseException) -> Op | None:
        """What follows when an exception left a `def` body: another try under the function's policy, or None.

        The failure of a step, wait or child is recorded: the next try would meet the same one.
        """
        if isinstance(error, StepError):
            return None
        run = self._driver.state.runs[resident.run_id]
        number = self.failed(run, resident, ids.BODY) + 1
        time = self._driver.tick(resident)
        unit = ids.fraction("jitter", run.id, ids.BODY, number)
        delay = next_delay(resident.function.retry, number, time - max(run.started, run.created), error, unit)
        if delay is None:
            return None
        resident.attempts[ids.BODY] = number
        body = {"key": ids.BODY, "attempt": number, "took": 0, "time": time, "retry_at": time + delay}
        return ops.ATTEMPT_FAILED, body | {"error": seal_failure(self._vault, failure_of(error))}

    def _delay(
        self, resident: Resident, ask: StepAsk, number: int, time: int, outcome: Outcome
    ) -> int | None:
        """How long until the next attempt (µs); None when there is none."""
        if outcome.final or outcome.exception is None:
            return None
        policy = self.policy(resident, ask)
        unit = ids.fraction("jitter", resident.run_id, ask.key, number)
        return next_delay(policy, number, time - ask.asked_at, outcome.exception, unit)
