"""From turns to records: what a run did becomes one commit, and acts when it is read back and counts."""

from __future__ import annotations

from collections.abc import Iterable

from perdure.core import codec, ops
from perdure.core.facts import Fact
from perdure.core.ops import Op
from perdure.core.state import STILL, Run
from perdure.engine.driver import Driver
from perdure.engine.life import RETRY_APPEND_US
from perdure.engine.resident import Resident, Step
from perdure.errors import EncodingError, EntryTooLarge, LogError, PayloadTooLarge, PerdureError, UsageError
from perdure.execution.execution import PYTHON
from perdure.execution.failures import failure_of
from perdure.payloads.records import seal_failure

ENTRY_SLACK = 16 * 1024

Due = tuple[Resident, list[Step]]
"""A run, and its turns that are to be committed."""


class Commits:
    """The committing side of one claim's life.

    All runs that have something to commit share a record. A run has one commit in flight; what it does meanwhile joins
    the next.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._life = driver.life
        self._services = driver.services
        self._dirty: dict[str, Resident] = {}
        self._flushing = False
        self._under_way = 0
        """Runs that have a commit in flight."""

    @property
    def waiting(self) -> bool:
        """Whether turns wait to be committed by the next go of the event loop."""
        return self._flushing

    def forget(self, resident: Resident) -> None:
        if self._dirty.get(resident.run_id) is resident:
            del self._dirty[resident.run_id]

    def close(self) -> None:
        self._dirty.clear()
        self._count(-self._under_way)

    def _count(self, more: int) -> None:
        self._under_way += more
        self._services.committing += more

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
        """Commits what is due: all runs in one record, as far as it has room."""
        if not self._dirty:
            return
        dirty, self._dirty = self._dirty, {}
        limits = self._services.limits
        batch: list[Due] = []
        size = count = 0
        for resident in dirty.values():
            if resident.dead or resident.in_flight or not resident.due():
                continue
            steps, its_size, its_count = self._cut(resident)
            size += its_size
            count += its_count
            if batch and (size > limits.commit_bytes_max or count > limits.commit_ops_max):
                self._commit(batch)
                batch, size, count = [], its_size, its_count
            batch.append((resident, steps))
        if batch:
            self._commit(batch)

    def _commit(self, batch: list[Due]) -> None:
        runs = self._driver.state.runs
        changes = [
            {
                "entity": resident.run_id,
                "prev": runs[resident.run_id].prev,
                "ops": [op for step in steps for op in step.ops],
            }
            for resident, steps in batch
        ]
        body = {"changes": changes, "acks": self._life.outbox.acks()}
        try:
            value, parts = codec.encode_commit(body)
        except EncodingError as error:
            self._refuse(batch, error)
            return
        refused = self._refusal((step for _, steps in batch for step in steps), len(value))
        if refused is not None:
            self._refuse(batch, refused)
            return
        for resident, steps in batch:
            resident.in_flight = steps
        key = batch[0][0].run_id if len(batch) == 1 else ""
        try:
            self._life.append_value(
                "Commit", body, value, lambda _fact, void: self._read(batch, void), key=key, parts=parts
            )
        except EntryTooLarge as error:  # this log takes less than our own bound
            self._refuse(batch, PayloadTooLarge(f"one turn of this run does not fit a record: {error}"))
        except LogError:  # full: later
            for resident, steps in batch:
                self._take_back(resident, steps)
            self._later([resident for resident, _ in batch])
        else:
            if self._life.acting:  # else nothing was appended
                self._count(len(batch))

    def _take_back(self, resident: Resident, steps: list[Step]) -> None:
        resident.turns.extendleft(reversed(steps))
        resident.in_flight = []

    def _later(self, residents: list[Resident]) -> None:
        clock = self._services.clock

        def again() -> None:
            for resident in residents:
                if not resident.dead:
                    self.mark(resident)

        clock.call_at(clock.now() + RETRY_APPEND_US, again)

    def _cut(self, resident: Resident) -> tuple[list[Step], int, int]:
        """The turns of the next commit: whole turns, up to its bounds (A7). With their size and the count of ops."""
        limits = self._services.limits
        turns = resident.turns
        steps = [turns.popleft()]
        size, count = steps[0].size, len(steps[0].ops)
        while turns:
            longer, more = size + turns[0].size, count + len(turns[0].ops)
            if longer > limits.commit_bytes_max or more > limits.commit_ops_max:
                break
            steps.append(turns.popleft())
            size, count = longer, more
        return steps, size, count

    def _refusal(self, steps: Iterable[Step], size: int) -> PerdureError | None:
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

    def _refuse(self, batch: list[Due], error: PerdureError) -> None:
        """What was asked for is not possible. Nothing of it was sent; the run fails, the partition goes on (A7).

        It fails by one turn alone: what does not fit together is tried in parts.
        """
        if len(batch) > 1:
            for due in batch:  # one by one it shows whose it is
                self._commit([due])
            return
        resident, steps = batch[0]
        resident.in_flight = []
        if len(steps) > 1:
            half = len(steps) // 2
            self._take_back(resident, steps[half:])
            self._commit([(resident, steps[:half])])
            return
        run = self._driver.state.runs[resident.run_id]
        time = self._driver.tick(resident)
        self._driver.let_go(resident)
        started: list[Op] = []
        if not run.started:
            started = [(ops.STARTED, {"time": run.time, "code": resident.function.code, "python": PYTHON})]
        self.plain_commit(run, [*started, self.failed(run, error, time)])

    def failed(self, run: Run, error: BaseException, time: int) -> Op:
        """The end of a run that its code did not bring about, with the handler that it starts."""
        function = self._services.functions.get(run.function)
        handler = function.on_failure.id if function is not None and function.on_failure is not None else None
        failure = seal_failure(self._services.vault, failure_of(error))
        return ops.RUN_FAILED, {"time": time, "error": failure, "handler": handler}

    def plain_commit(self, run: Run, changes: list[Op]) -> None:
        """A commit of a run that has no coroutine in memory."""
        self._services.observers.woken(run)
        run_id, prev = run.id, run.prev

        def read(_fact: Fact, void: str | None) -> None:
            found = self._driver.state.runs.get(run_id) or run  # another object, if it was packed meanwhile
            if void is None:
                self._services.observers.accepted(found, changes, self._services.clock.now())
            if run_id not in self._driver.residents:
                self._services.observers.left(run_id)
            # Void after a commit that was in flight: what led to it is decided anew. Parked: somebody may have acted.
            if found.prev != prev if void is not None else found.status in STILL:
                self._driver.activate(run_id)

        def append() -> None:
            body = {"changes": [{"entity": run.id, "prev": run.prev, "ops": changes}], "acks": []}
            self._life.append("Commit", body, read, key=run.id)

        try:
            append()
        except EncodingError as error:  # what was to be said of the run cannot be said
            changes = [self.failed(run, error, max(self._services.clock.now(), run.time))]
            append()

    def _read(self, batch: list[Due], void: str | None) -> None:
        """A commit came back: it counts, and its side effects start; or it does not, and its coroutines are void."""
        self._count(-len(batch))
        now = self._services.clock.now()
        for resident, steps in batch:
            if resident.dead:
                continue
            if void is None:
                self._accepted(resident, steps, now)
            else:
                self._driver.let_go(resident)
                self._driver.activate(resident.run_id)

    def _accepted(self, resident: Resident, steps: list[Step], now: int) -> None:
        resident.in_flight = []
        run = self._driver.state.runs[resident.run_id]
        observers = self._services.observers
        for step in steps:
            observers.accepted(run, step.ops, now)
            observers.lines(run, step.lines)
        self._driver.accepted(run, resident, steps)
        if resident.turns and not resident.dead and resident.due():
            self.mark(resident)
