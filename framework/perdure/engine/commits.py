"""From turns to records: what a run did becomes one commit, and acts when it is read back and counts."""

from __future__ import annotations

from perdure.core import codec, ops
from perdure.core.facts import Fact
from perdure.core.ops import Op
from perdure.core.state import Run
from perdure.engine.driver import Driver
from perdure.engine.resident import Resident, Step
from perdure.errors import LogError, PayloadTooLarge, PerdureError, UsageError
from perdure.execution.failures import failure_of

ENTRY_SLACK = 16 * 1024
RETRY_APPEND_US = 50_000


class Commits:
    """The committing side of one claim's life.

    A run has one commit in flight; what it does meanwhile joins the next.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._life = driver.life
        self._services = driver.services
        self._dirty: dict[str, Resident] = {}
        self._flushing = False

    @property
    def waiting(self) -> bool:
        """Whether turns wait to be committed by the next go of the event loop."""
        return self._flushing

    def forget(self, resident: Resident) -> None:
        self._dirty.pop(resident.run_id, None)

    def close(self) -> None:
        self._dirty.clear()

    def mark(self, resident: Resident) -> None:
        """The run has turns to commit. Everything that happens in one go of the event loop shares a commit."""
        self._dirty[resident.run_id] = resident
        if not self._flushing:
            self._flushing = True
            self._services.soon(self._flush_soon)

    def _flush_soon(self) -> None:
        self._flushing = False
        if self._life.acting:
            self.flush()

    def flush(self) -> None:
        if not self._dirty:
            return
        dirty, self._dirty = self._dirty, {}
        for resident in dirty.values():
            if not resident.dead and not resident.in_flight and resident.due():
                self.commit(resident)

    def commit(self, resident: Resident) -> None:
        run = self._driver.state.runs[resident.run_id]
        steps = self._cut(resident)
        changes = [{"entity": run.id, "prev": run.prev, "ops": [op for step in steps for op in step.ops]}]
        body = {"changes": changes, "acks": self._life.outbox.acks()}
        value = codec.encode("Commit", body)
        refused = self._refusal(steps, len(value))
        if refused is not None:
            self._refuse(resident, run, refused)
            return
        resident.in_flight = steps
        try:
            self._life.append_value(
                "Commit", body, value, lambda fact, void: self._read(resident, fact, void), key=run.id
            )
        except LogError:  # full: later
            resident.turns.extendleft(reversed(steps))
            resident.in_flight = []
            clock = self._services.clock
            clock.call_at(clock.now() + RETRY_APPEND_US, lambda: self.mark(resident))

    def _cut(self, resident: Resident) -> list[Step]:
        """The turns of the next commit: whole turns, up to its bounds (A7)."""
        limits = self._services.limits
        steps: list[Step] = []
        size = count = 0
        while resident.turns:
            step = resident.turns[0]
            size += step.size
            count += len(step.ops)
            if steps and (size > limits.commit_bytes_max or count > limits.commit_ops_max):
                break
            steps.append(resident.turns.popleft())
        return steps

    def _refusal(self, steps: list[Step], size: int) -> PerdureError | None:
        """Why a commit cannot be, although the body may ask for it."""
        limits, state = self._services.limits, self._driver.state
        if size > limits.entry_bytes_max - ENTRY_SLACK:
            return PayloadTooLarge(
                f"one turn of this run needs a record of {size} bytes, {limits.entry_bytes_max} fit. Pass less data"
                " between steps, or references to it"
            )
        if len(state.announced) < limits.armed_paths_max:
            return None
        for step in steps:
            for name, body in step.ops:
                if name != ops.WAIT_OPENED or body["event"] is None:
                    continue
                if (body["event"], body["path"] or "") not in state.announced:
                    return UsageError(
                        f"runs wait for more than {limits.armed_paths_max} different event names and paths. Put what"
                        f" differs into the data and use match=, not into the name ({body['event']!r})"
                    )
        return None

    def _refuse(self, resident: Resident, run: Run, error: PerdureError) -> None:
        """What was asked for is not possible. Nothing of it was sent; the run fails, the partition goes on (A7)."""
        time = self._driver.tick(resident)
        self._driver.let_go(resident)
        started: list[Op] = []
        if not run.started:
            started = [(ops.STARTED, {"time": run.time, "code": resident.function.code, "python": ""})]
        handler = resident.function.on_failure
        failed = {
            "time": time,
            "error": failure_of(error),
            "handler": handler.id if handler is not None else None,
        }
        self.plain_commit(run, [*started, (ops.RUN_FAILED, failed)])

    def plain_commit(self, run: Run, changes: list[Op]) -> None:
        """A commit of a run that has no coroutine in memory."""
        body = {"changes": [{"entity": run.id, "prev": run.prev, "ops": changes}], "acks": []}
        self._services.observers.woken(run)

        def read(_fact: Fact, void: str | None) -> None:
            if void is None:
                self._services.observers.accepted(run, changes, self._services.clock.now())
            if run.id not in self._driver.residents:
                self._services.observers.left(run.id)

        self._life.append("Commit", body, read, key=run.id)

    def _read(self, resident: Resident, _fact: Fact, void: str | None) -> None:
        """The commit came back: it counts, and its side effects start; or it does not, and the coroutine is void."""
        if resident.dead:
            return
        if void is not None:
            self._driver.let_go(resident)
            self._driver.activate(resident.run_id)
            return
        steps, resident.in_flight = resident.in_flight, []
        run = self._driver.state.runs[resident.run_id]
        observers = self._services.observers
        now = self._services.clock.now()
        for step in steps:
            observers.accepted(run, step.ops, now)
            observers.lines(run, step.lines)
        self._driver.accepted(run, resident, steps)
        if resident.turns and not resident.in_flight and not resident.dead and resident.due():
            self.commit(resident)
