"""Driving the runs of a partition: waking, turning, committing, letting go."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from perdure.core import ops
from perdure.core.ids import BODY, UNTIL
from perdure.core.ops import Op
from perdure.core.state import STILL, Run
from perdure.engine import inbox, repeating
from perdure.engine.admission import Admissions
from perdure.engine.attempts import Attempts
from perdure.engine.commits import Commits
from perdure.engine.life import Life
from perdure.engine.resident import Resident, Step, ops_size
from perdure.engine.resting import Resting
from perdure.engine.storing import Storing
from perdure.engine.waking import Waking
from perdure.errors import NonDeterminismError, PerdureError
from perdure.execution.model import Turn
from perdure.execution.ports import NoThread
from perdure.execution.sync_execution import SyncExecution

SEEN_WITHIN_US = 250_000
NO_THREAD_US = 500_000


class Residents:
    """The runs of one claim's life that have a coroutine in memory."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.state = life.state
        self.services = life.services
        self.residents: dict[str, Resident] = {}
        self._absent: dict[str, None] = {}
        self._fresh: deque[tuple[int, Resident]] = deque()
        self.storing = Storing(self)
        self.admission = Admissions(life)
        self.attempts = Attempts(self)
        self.commits = Commits(self)
        self.resting = Resting(self)
        self._waking = Waking(self)

    # ------------------------------------------------------------------ a life

    def begin(self) -> None:
        """After a claim: every run that has something to do goes on."""
        self._waking.begin()

    def close(self) -> None:
        for resident in list(self.residents.values()):
            self.let_go(resident)
        self.commits.close()
        self._fresh.clear()
        self.services.suspects.drop(self.life)

    @property
    def busy(self) -> bool:
        """Whether a turn computes, waits to be committed, or runs are still to be woken."""
        queued = self.commits.waiting or self._waking.busy or self.admission.busy
        return queued or any((r.busy or r.queue) and not r.paused for r in self.residents.values())

    def let_go(self, resident: Resident) -> None:
        """Tears a coroutine down; what it did and no record holds is forgotten, its attempts are cancelled (A3)."""
        resident.dead = True
        self.residents.pop(resident.run_id, None)
        self.commits.forget(resident)
        self.resting.forget(resident)
        self.services.observers.left(resident.run_id)
        self.attempts.drop(resident)
        if not resident.busy:
            resident.execution.teardown()

    # ------------------------------------------------------------------ activation

    def activate(self, run_id: str) -> None:
        """A run has something for its body: wake it, or hand its inbox over."""
        run = self.state.runs.get(run_id)
        if run is None or not run.live or not self.life.acting:
            return
        if self.hold(lambda: self.activate(run_id), run_id):
            return
        if run.inbox and run_id not in self.residents and inbox.passes_all(self, run):
            return
        resident = self._resident(run)
        if resident is not None and run.inbox:
            inbox.deliver(self, run, resident)

    def _resident(self, run: Run) -> Resident | None:
        """The run's coroutine; None when it needs none, or its code is not here."""
        resident = self.residents.get(run.id)
        if inbox.without_body(self, run, resident):
            return None
        return resident or self._waking.wake(run)

    def absent(self, run_id: str) -> None:
        """The code of a run is not here; the run stays as it is and is tried again (A12)."""
        self._absent[run_id] = None

    def resume_steps(self, run: Run, resident: Resident) -> None:
        """Starts what was in flight. A step in its pause between attempts waits for its timer."""
        if run.status in STILL:
            return
        now = self.services.clock.now()
        for key, ask in list(resident.execution.outstanding().items()):
            pending = run.pending.get(key)
            if key not in resident.running and (pending is None or pending.due is None or pending.due <= now):
                self.attempts.start(run, resident, ask)

    def hold(self, later: Callable[[], None], run_id: str = "") -> bool:
        return self._waking.hold(later, run_id)

    def retry_absent(self) -> None:
        absent, self._absent = self._absent, {}
        for run_id in absent:
            self.activate(run_id)

    def fire(self, run_id: str, key: str, due: int) -> None:
        """Something of a run is due."""
        run = self.state.runs.get(run_id)
        if run is None or not run.live:
            return
        if not key:
            if run.status == "scheduled":
                self.activate(run_id)
            return
        if key == UNTIL:
            inbox.time_is_up(self, run, due)
            return
        pending = run.pending.get(key)
        if pending is None or pending.due != due or run.status in STILL:
            return
        if self.hold(lambda: self.fire(run_id, key, due), run_id):
            return
        resident = self._resident(run)
        if resident is None or resident.ended:
            return
        if resident.busy:
            resident.missed.append((key, due))
        elif key == BODY:
            if isinstance(resident.execution, SyncExecution):
                # What came due while the body could not be brought this far waits behind the next try.
                now = self.services.clock.now()
                overdue = [(k, p.due) for k, p in run.pending.items() if p.due is not None and p.due <= now]
                resident.missed += [(k, due) for k, due in overdue if k != BODY]
                self.compute(resident, None, resident.execution.rerun)
        elif pending.kind == "step":
            self.attempts.retry(run, resident, key)
        elif resident.execution.awaits(key):
            time = self.tick(resident, at_least=due)
            self.release(resident, (ops.TIMER_FIRED, {"key": key, "time": time}))

    # ------------------------------------------------------------------ turns

    def tick(self, resident: Resident, *, at_least: int = 0) -> int:
        """The time of the next release: the owner's clock, never going back within the run (A5)."""
        resident.time = max(self.services.clock.now(), resident.time, at_least)
        return resident.time

    def release(self, resident: Resident, op: Op, given: Op | None = None) -> None:
        """Gives one op to the body and books what it did."""
        given = given or op
        if resident.busy:
            resident.queue.append((op, given))
            return
        self.compute(resident, op, lambda: resident.execution.release(given))

    def compute(self, resident: Resident, opening: Op | None, turn: Callable[[], Turn]) -> None:
        """Takes a turn of the body: here, or for a `def` body in a thread."""
        if resident.function.is_async:
            try:
                done = turn()
            except PerdureError as error:
                self._unfit(resident, opening, error)
            else:
                book = self.storing.book if done.ended or self.services.vault.seals else self.turned
                book(resident, opening, done)
            return

        def computed(result: Turn | BaseException) -> None:
            resident.busy = False
            if resident.dead:
                resident.execution.teardown()
            elif isinstance(result, PerdureError):
                self._unfit(resident, opening, result)
            elif isinstance(result, BaseException):
                self.services.trouble(f"run {resident.run_id}", result)
                self.let_go(resident)
            else:
                self.storing.book(resident, opening, result)
                self.commits.flush()
            self.caught_up(resident)

        self.in_thread(resident, turn, computed)

    def in_thread(self, resident: Resident, call: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """A `def` body computes. When the system gives no thread for it, it does so a little later."""
        resident.busy = True

        def computed(result: Any) -> None:
            done(result)
            self._waking.look()

        try:
            self.services.steps.compute(call, computed)
        except NoThread as error:
            self.services.trouble(f"run {resident.run_id} waits for a thread", error)

            def again() -> None:
                if resident.dead:
                    resident.execution.teardown()
                else:
                    self.in_thread(resident, call, done)

            self.services.clock.call_at(self.services.clock.now() + NO_THREAD_US, again)

    def caught_up(self, resident: Resident) -> None:
        """A thread is through with a run: what came meanwhile is given to it now, if the body still waits for it."""
        while resident.queue and not (resident.dead or resident.busy):
            op, given = resident.queue.popleft()
            if not resident.execution.ended and resident.execution.awaits(op[1]["key"]):
                self.release(resident, op, given)
        missed, resident.missed = resident.missed, []
        for key, due in missed:
            if not resident.dead:
                self.fire(resident.run_id, key, due)
        if not (resident.dead or resident.busy):
            self.activate(resident.run_id)

    def turned(self, resident: Resident, opening: Op | None, turn: Turn) -> None:
        step = resident.take(opening, turn)
        self.attempts.heed(resident, turn.ops)
        for name, value in turn.values.items():
            step.ops.insert(len(step.ops) - turn.ended, (ops.VALUE_SET, {"name": name, "value": value}))
        if turn.error is None and not resident.function.is_async:
            resident.attempts[BODY] = 0  # it got on: what it fails at next has all its tries
        if turn.ended:
            self._end(resident, step, turn)
        self.mark(resident)
        if not resident.careful and not resident.must_commit() and not resident.in_flight:
            self._unseen(resident)
            if self.state.runs[resident.run_id].status not in STILL:
                self.attempts.start_all(resident, step.asks)
                step.asks = []

    def _unseen(self, resident: Resident) -> None:
        """A first step needs no record to start; one that takes long gets it, so that people see what runs."""
        due = self.services.clock.now() + SEEN_WITHIN_US
        self._fresh.append((due, resident))
        if len(self._fresh) == 1:
            self.services.clock.call_at(due, self._show)

    def _show(self) -> None:
        now = self.services.clock.now()
        try:
            while self._fresh and self._fresh[0][0] <= now:
                resident = self._fresh.popleft()[1]
                if not (resident.dead or resident.in_flight or resident.must_commit()) and resident.turns:
                    resident.careful = True
                    self.mark(resident)
        finally:
            if self._fresh and self.life.acting:
                # Under load some are due at any moment; one call for all of a short while does.
                again = max(self._fresh[0][0], now + SEEN_WITHIN_US // 10)
                self.services.clock.call_at(again, self._show)

    def _end(self, resident: Resident, step: Step, turn: Turn) -> None:
        """The body has ended. The end counts only when no attempt is in flight."""
        if not resident.function.is_async and turn.error is not None:
            again = self.attempts.body_failed(resident, turn.error)
            if again is not None:
                step.ops[-1] = again
                resident.execution.ended = False
                return
        resident.ended = True
        end = step.ops.pop()
        function = resident.function
        if end[0] == ops.RUN_FAILED:
            if function.on_error == "pause":
                error = end[1]["error"]
                detail = f"{error['type']}: {error['message']}"
                end = self.parked(resident, "an error left the body", detail)
            else:
                end[1]["handler"] = function.on_failure.id if function.on_failure is not None else None
        for key in list(resident.running):
            self.attempts.abandon(resident, key)
        step.ops.append((ops.END_HELD, {"end": end}))
        resident.end = end
        self.end_if_quiet(resident)

    def body_raised(self, run: Run, resident: Resident, error: BaseException) -> None:
        """A `def` body raised on the way to where its record ends: it is tried again, or the run fails."""
        again = self.attempts.body_failed(resident, error)
        time = self.tick(resident)
        self.let_go(resident)
        self.plain_commit(run, [again or self.commits.failed(run, error, time)])

    def end_if_quiet(self, resident: Resident) -> None:
        """Books the end once the last attempt is over: in place of `EndHeld`, as long as no record says that."""
        if resident.end is None or resident.running:
            return
        (name, body), resident.end = resident.end, None
        end = name, body | {"time": max(body["time"], resident.time)}  # what is held is state by now
        last = resident.turns[-1].ops if resident.turns else []
        if last and last[-1][0] == ops.END_HELD:
            last[-1] = end
        else:
            resident.turns.append(Step([end], [], [], ops_size([end])))
        self.mark(resident)

    def _unfit(self, resident: Resident, opening: Op | None, error: PerdureError) -> None:
        """Code and log do not fit, or the body is stuck: the run is parked, visible, and waits for other code."""
        if isinstance(error, NonDeterminismError) and opening is None:
            resident.turns.clear()
        self.park(resident, error, opening)

    def park(self, resident: Resident, error: PerdureError, opening: Op | None = None) -> None:
        parked = self.parked(resident, error.code, str(error))
        opened = [opening] if opening is not None else []
        resident.turns.append(Step([*opened, parked], [], [], 64 + len(str(error))))
        resident.ended = True
        self.mark(resident)

    def parked(self, resident: Resident, reason: str, detail: str) -> Op:
        code = resident.function.code
        return ops.PARKED, {"time": self.tick(resident), "reason": reason, "code": code, "detail": detail}

    def note(self, resident: Resident, op: Op) -> None:
        resident.turns.append(Step([op], [], [], ops_size([op])))
        self.mark(resident)

    # ------------------------------------------------------------------ commits

    def mark(self, resident: Resident) -> None:
        self.commits.mark(resident)

    def plain_commit(self, run: Run, changes: list[Op]) -> None:
        self.commits.plain_commit(run, changes)

    def accepted(self, run: Run, resident: Resident, steps: Sequence[Step]) -> None:
        """Turns of the run count now: what they asked for starts."""
        if resident.delivered:
            resident.delivered.intersection_update(run.inbox)
        if run.status in STILL and resident.ended and resident.end is None and not resident.due():
            self.let_go(resident)
            self.activate(run.id)  # a cancel or a resume may have come while it was being parked
            return
        last = steps[-1].ops
        if last and last[-1][0] == ops.RUN_RESTARTED:
            return  # nothing of this life goes on
        for step in steps:
            if step.asks:
                self.attempts.start_all(resident, step.asks)
        if not run.live:
            return
        if run.status not in STILL and ops.RESUMED_BY_USER in [step.opened_by for step in steps]:
            self._resumed(run, resident)
        if run.inbox:
            self.activate(run.id)
        if not resident.dead:
            self._check_bounds(run, resident)
            self.resting.consider(run, resident)

    def _resumed(self, run: Run, resident: Resident) -> None:
        """The run goes on: its timers count again, and so do its steps."""
        for key, pending in run.pending.items():
            if pending.due is not None and pending.kind != "step":
                self.life.timers.arm(run.id, key, pending.due)
        for key, ask in list(resident.execution.outstanding().items()):
            if key in run.pending and key not in resident.running:
                self.attempts.start(run, resident, ask)
        repeating.soon(self, resident)

    def _check_bounds(self, run: Run, resident: Resident) -> None:
        limits = self.services.limits
        if (run.ops > limits.run_ops_max or run.size > limits.run_bytes_max) and not resident.ended:
            parked = self.parked(
                resident,
                "history",
                f"this run has {run.ops} ops and {run.size} bytes; begin a fresh one with ctx.restart_with(data)",
            )
            resident.turns.append(Step([parked], [], [], 128))
            resident.ended = True
            self.mark(resident)

    def restarted(self, run_id: str) -> None:
        """A run begins anew."""
        self.ended(run_id)
        self.activate(run_id)

    def ended(self, run_id: str) -> None:
        """The run's end counts, or that of one of its lives."""
        resident = self.residents.get(run_id)
        if resident is not None:
            self.let_go(resident)
