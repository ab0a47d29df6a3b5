"""`crash_everywhere`: a worker that dies at each of its writes, once before and once after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from perdure.app import App
from perdure.authoring.sending import EventInput
from perdure.core import ops
from perdure.execution.ports import Attempt
from perdure.logs.contract import NO_HEADERS, Done, Producer, Topic
from perdure.testing.environment import Environment, environment

When = Literal["before", "after"]
ROUNDS_MAX = 10_000
"""Times that the clock is moved to what is due next, in one life."""


@dataclass(frozen=True, slots=True)
class CrashReport:
    """What `crash_everywhere` did."""

    records: int
    """Records that an undisturbed life appends."""
    crashes: int
    reruns: int
    """Attempts that ran again because their worker died; none of a completed step."""


class _Fuse:
    """Counts the appends of a worker and burns at one of them."""

    def __init__(self, at: int | None, when: When) -> None:
        self.count = 0
        self.at = at
        self.when = when
        self.burnt = False
        self.burn: Callable[[], None] | None = None


class _Producer:
    def __init__(self, inner: Producer, fuse: _Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

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
        fuse = self._fuse
        if fuse.burnt:
            return  # it is dead; it only does not know it yet
        here, fuse.count = fuse.count, fuse.count + 1
        if here == fuse.at and fuse.when == "before" and fuse.burn is not None:
            fuse.burnt = True
            fuse.burn()
            return

        def landed(result: Any) -> None:
            # It is in the log, and no entry of it was delivered yet.
            if here == fuse.at and fuse.burn is not None:
                fuse.burnt = True
                fuse.burn()
            elif done is not None:
                done(result)

        self._inner.append(topic, partition, value, key=key, headers=headers, done=landed)

    def close(self) -> None:
        self._inner.close()


class _Life:
    """One life of the app under test, with at most one crash."""

    def __init__(self, env: Environment, fuse: _Fuse) -> None:
        self.env = env
        self.fuse = fuse
        self.attempts: list[tuple[str, str]] = []
        self.settled: set[tuple[str, str]] = set()
        env.on_attempt = self._attempt
        env.wrap_producer = lambda inner: _Producer(inner, fuse)
        fuse.burn = env.crash_now

    def _attempt(self, attempt: Attempt) -> None:
        step = (attempt.run_id, attempt.key)
        if step in self.settled:
            raise AssertionError(
                f"step {attempt.step_id!r} of run {attempt.run_id} was completed and ran again"
            )
        self.attempts.append(step)

    def note(self) -> None:
        """Remembers which steps have their outcome in the log."""
        for run in self.env.reader.runs():
            for name, body in self.env.reader.ops(run.id):
                if name in (ops.STEP_DONE, ops.STEP_FAILED):
                    self.settled.add((run.id, body["key"]))

    async def live(self, event: EventInput, data: object) -> dict[str, Any]:
        """Sends the event and lets time pass until nothing is left to do."""
        await self.env.app.send(event, data, id="crash-everywhere")
        for _ in range(ROUNDS_MAX):
            await self.env.settle()
            self.note()
            if self.env.worker_is_gone:
                self.fuse.burnt, self.fuse.at = False, None
                await self.env.start_worker()
                continue
            live = [run for run in self.env.reader.runs() if run.live]
            due = self.env.clock.next_due()
            if not live or due is None:
                break
            self.env.clock.step(due)
        return self.portrait()

    def portrait(self) -> dict[str, Any]:
        """How every run ended, by its id."""
        return {
            run.id: (run.function, run.status, run.result, run.error and run.error["type"])
            for run in self.env.reader.runs()
        }


async def crash_everywhere(app: App, event: EventInput, data: object = None) -> CrashReport:
    """Runs what an event starts once per record that it appends, killing the worker before and after each.

    Time passes by itself to whatever is due. Raises AssertionError when a life ends otherwise than the undisturbed
    one, or when a completed step runs again.
    """
    fuse = _Fuse(None, "before")
    async with environment(app, start=False) as env:
        undisturbed = _Life(env, fuse)
        await env.start_worker()
        expected = await undisturbed.live(event, data)
        records = fuse.count
    crashes = reruns = 0
    for at in range(records):
        for when in ("before", "after"):
            life, portrait = await _with_crash(app, event, data, at, when)
            if portrait != expected:
                raise AssertionError(
                    f"killed {when} record {at} of {records}, the runs ended as {portrait}, undisturbed as {expected}"
                )
            crashes += 1
            reruns += len(life.attempts) - len(undisturbed.attempts)
    return CrashReport(records, crashes, reruns)


async def _with_crash(
    app: App, event: EventInput, data: object, at: int, when: When
) -> tuple[_Life, dict[str, Any]]:
    fuse = _Fuse(at, when)
    async with environment(app, start=False) as env:
        life = _Life(env, fuse)
        await env.start_worker()
        portrait = await life.live(event, data)
        fuse.at = None  # leaving is not part of it
    return life, portrait


__all__ = ["CrashReport", "crash_everywhere"]
