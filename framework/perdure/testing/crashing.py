"""`crash_everywhere`: a worker that dies at each of its writes, once before and once after."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from perdure.app import App
from perdure.authoring.events import Event, event_name
from perdure.authoring.sending import EventInput
from perdure.core import ops
from perdure.core.ids import idempotency_key
from perdure.core.state import Run
from perdure.errors import UsageError
from perdure.execution.ports import Attempt
from perdure.logs.contract import NO_HEADERS, Done, Producer, Topic
from perdure.testing.environment import Environment, environment
from perdure.testing.wording import record_line, run_line, still_line

When = Literal["before", "after"]
Script = Callable[[Environment], Awaitable[object]]
"""What happens in each life: mocks, events, signals, time, and assertions of your own."""
ROUNDS_MAX = 1_000
"""Times that the clock is moved to what is due next, in one life, when its script is over."""
TRIGGERS_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class CrashReport:
    """What `crash_everywhere` did."""

    records: int
    """Records that an undisturbed life appends."""
    crashes: int
    reruns: int
    """Attempts that ran again because their worker died; none of a completed step."""
    runs: int
    """Runs in one life: those that were started, and their children and handlers."""
    waiting: tuple[str, ...]
    """Those that were not over when nothing was left to do, with what each waits for; only with `may_wait=True`."""


class _Producer:
    """A producer of a worker that may die at an append."""

    def __init__(self, inner: Producer, life: _Life) -> None:
        self._inner = inner
        self._life = life
        self.dead = False

    def append(
        self,
        topic: Topic,
        partition: int,
        value: bytes,
        *,
        key: bytes = b"",
        headers: Mapping[str, bytes] = NO_HEADERS,
        done: Done | None = None,
    ) -> None:
        if self.dead:
            return  # its worker does not know yet
        dies = self._life.count()
        if dies and self._life.when == "before":
            self._life.kill(value)
            return

        def landed(result: Any) -> None:
            # It is in the log, and no entry of it was delivered yet.
            if dies:
                self._life.kill(value)
            elif done is not None:
                done(result)

        self._inner.append(topic, partition, value, key=key, headers=headers, done=landed)

    def close(self) -> None:
        self._inner.close()


class _Life:
    """One life of the app under test, with at most one crash: at the append number `at`."""

    def __init__(self, env: Environment, at: int | None, when: When) -> None:
        self.env = env
        self.at = at
        self.when = when
        self.records = 0
        self.attempts = 0
        self.killed = ""
        """The record at which the worker died."""
        self.ends: dict[str, Run] = {}
        self.stopped = "time has passed until nothing was due"
        self._again = ""
        self._revived = False
        self._producers: list[_Producer] = []
        self._settled: set[str] = set()
        """Steps with an outcome, by their idempotency keys: those of a run's lives differ."""
        env.on_attempt = self._attempt
        env.on_settled = self._go_on
        env.wrap_producer = self._wrap

    def _wrap(self, inner: Producer) -> _Producer:
        self._producers.append(_Producer(inner, self))
        return self._producers[-1]

    def count(self) -> bool:
        """One more append; whether the worker dies at it. One that leaves in good order is not disturbed."""
        if self.env.worker_is_gone:
            return False
        self.records += 1
        return self.records - 1 == self.at

    def kill(self, value: bytes) -> None:
        self.killed = record_line(value)
        for producer in self._producers:
            producer.dead = True
        self.env.crash_now()

    def _attempt(self, attempt: Attempt) -> None:
        self.attempts += 1
        if attempt.idempotency_key in self._settled:
            self._again = f"step {attempt.step_id!r} of run {attempt.run_id} was completed and ran again"

    async def _go_on(self) -> None:
        """Remembers which steps have their outcome in the log; after the crash, starts another worker."""
        for run in self.env.reader.runs():
            for name, body in self.env.reader.ops(run.id):
                if name in (ops.STEP_DONE, ops.STEP_FAILED):
                    self._settled.add(idempotency_key(run.seed, body["key"], self.env.app.name))
        if self.killed and not self._revived:
            self._revived = True
            await self.env.start_worker()

    async def live(self, script: Script) -> None:
        """Plays the script, then lets time pass until nothing is left to do."""
        await self.env.start_worker()
        await script(self.env)
        for _ in range(ROUNDS_MAX):
            await self.env.settle()
            due = self.env.clock.next_due()
            if due is None or not any(run.live for run in self.env.reader.runs()):
                break
            self.env.clock.step(due)
        else:
            self.stopped = f"the clock was moved {ROUNDS_MAX:,} times"
        self.ends = {run.id: run for run in self.env.reader.runs()}
        if self._again:
            raise AssertionError(self._again)


async def crash_everywhere(
    app: App, event: EventInput | Script, data: object = None, *, may_wait: bool = False
) -> CrashReport:
    """Runs what an event starts once per record that it appends, killing the worker before and after each.

    In place of an event, an async function of the environment says what happens in each life, as a test would: it
    mocks steps, sends events, lets time pass, sends what a run waits for, asserts. Where it settles, a worker that
    died is replaced. After it, time passes by itself to whatever is due.

    Raises AssertionError when a life ends otherwise than the undisturbed one, when a completed step runs again, and
    when the undisturbed life leaves a run that is not over (`may_wait=True` allows it); UsageError when no run was
    started.
    """
    script = _script(event, data)
    undisturbed = await _life(app, script)
    waiting = _checked(app, event, undisturbed, may_wait)
    crashes = reruns = 0
    for at in range(undisturbed.records):
        for when in ("before", "after"):
            life = await _life(app, script, at, when, undisturbed.records)
            _compare(life, undisturbed)
            crashes += bool(life.killed)
            reruns += life.attempts - undisturbed.attempts
    return CrashReport(undisturbed.records, crashes, reruns, len(undisturbed.ends), waiting)


async def _life(
    app: App, script: Script, at: int | None = None, when: When = "after", records: int = 0
) -> _Life:
    life = None
    try:
        async with environment(app, start=False) as env:
            life = _Life(env, at, when)
            await life.live(script)
    except Exception as error:
        if life is not None and life.killed:
            error.add_note(_killed(life, records))
        raise
    return life


def _script(event: EventInput | Script, data: object) -> Script:
    if isinstance(event, Event | str | Mapping | type) or not callable(event):
        plain = cast(EventInput, event)
        return lambda env: env.send(plain, data)
    if data is not None:
        raise UsageError(f"the script {_name(event)!r} takes its data itself; data= belongs to an event")
    if not inspect.iscoroutinefunction(event):
        raise UsageError(f"a script is an async function of the environment: async def {_name(event)}(env)")
    return event


def _name(script: object) -> str:
    return getattr(script, "__name__", type(script).__name__)


# --- what the lives say -----------------------------------------------------------------------------------------------


def _checked(app: App, event: EventInput | Script, life: _Life, may_wait: bool) -> tuple[str, ...]:
    """The runs that are not over. Raises when there was no run, or one that may not wait does."""
    if not life.ends:
        raise UsageError(_nothing_started(app, event))
    live = [run for run in life.ends.values() if run.live]
    still = tuple(map(still_line, live))
    if still and not may_wait:
        advice = "pass may_wait=True if that is meant"
        if any(run.status == "running" for run in live):
            advice = f"let a script send what is waited for: crash_everywhere(app, script); or {advice}"
        raise AssertionError("\n  ".join([f"without any crash, {life.stopped}, and", *still, advice]))
    return still


def _nothing_started(app: App, event: EventInput | Script) -> str:
    said = "so there was nothing to crash"
    triggers = sorted({trigger.name for function in app.functions for trigger in function.triggers})
    shown = ", ".join(map(repr, triggers[:TRIGGERS_SHOWN_MAX])) + (
        ", …" if triggers[TRIGGERS_SHOWN_MAX:] else ""
    )
    listens = f"its functions are triggered by {shown}" if triggers else "none of its functions has a trigger"
    if isinstance(event, Event):
        event = event_name(type(event))
    elif isinstance(event, Mapping):
        event = str(cast("Mapping[str, Any]", event).get("name"))
    if not isinstance(event, str):
        return f"the script {_name(event)!r} started no run of {app!r}, {said}; {listens}"
    near = difflib.get_close_matches(event, triggers, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if not triggers:
        hint = "; start one with env.start(function) in a script: crash_everywhere(app, script)"
    return f"{event!r} started no run of {app!r}, {said}; {listens}{hint}"


def _compare(life: _Life, undisturbed: _Life) -> None:
    """Raises AssertionError, with both ends of each run that ended otherwise, the record, and why."""
    lines: list[str] = []
    moved = _moved(life.ends, undisturbed.ends)
    for run_id in sorted({**undisturbed.ends, **life.ends}.keys() - moved):
        run, expected = life.ends.get(run_id), undisturbed.ends.get(run_id)
        if _portrait(run) != _portrait(expected):
            known = cast(Run, run or expected)
            lines += [
                f"run {run_id} of {known.function} ended otherwise:",
                f"  with the crash: {run_line(run) if run else 'it is not there'}",
                f"  undisturbed: {run_line(expected) if expected else 'it is not there'}",
            ]
    if lines:
        raise AssertionError("\n  ".join([_killed(life, undisturbed.records), *lines]))


def _moved(ends: Mapping[str, Run], expected: Mapping[str, Run]) -> set[str]:
    """Runs of one life alone, in pairs with the same event and the same end, each by both its ids.

    A run's id says where its event is in the log. The heir of a worker that died may send an event a second time, which
    counts once; those behind it are further on then.
    """
    missing: dict[object, list[str]] = {}
    for run_id in expected.keys() - ends.keys():
        missing.setdefault(_likeness(expected[run_id]), []).append(run_id)
    moved: set[str] = set()
    for run_id in ends.keys() - expected.keys():
        if alike := missing.get(_likeness(ends[run_id])):
            moved |= {run_id, alike.pop()}
    return moved


def _likeness(run: Run) -> object:
    return _portrait(run), run.event["id"], run.event["name"], run.event["data"]


def _portrait(run: Run | None) -> object:
    return run and (run.function, run.status, run.result, run.error and run.error["type"])


def _killed(life: _Life, records: int) -> str:
    return f"killed {life.when} record {(life.at or 0) + 1} of {records} ({life.killed})"


__all__ = ["CrashReport", "Script", "crash_everywhere"]
