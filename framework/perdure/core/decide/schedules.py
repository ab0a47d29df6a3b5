"""The ticks of a schedule: which start a run, which wait for the one before, which are dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perdure.core import ids, routing
from perdure.core.fold.schedules import tick_event, written
from perdure.core.state import PartitionState, Schedule

Body = dict[str, Any]

CANCEL = "perdure.CancelAsk"
MISSED_US = 60_000_000
"""A tick that is so late was missed: nobody led its schedule."""


def tick(
    state: PartitionState,
    spec: Mapping[str, Any],
    function: str,
    due: Sequence[int],
    now: int,
    *,
    more: bool = False,
    app: str = "",
) -> Body | None:
    """The `Ticked` record that decides on the ticks that are due (µs, rising), and on those that wait; None when there
    is nothing to decide.

    `spec` is the schedule's `perdure.Schedule`. `more`: there were others before these, which are too many to be made
    up for.
    """
    schedule = state.schedules[spec["id"]]
    decided = _Decided(state, spec, function, schedule, app)
    if more:
        decided.drop(due[0], "too many ticks were missed before this one")
    why = _nothing_starts(state, function)
    if why:
        for at in due:
            decided.drop(at, why)
    else:
        for at in _caught_up(decided, spec["catch_up"], due, now):
            decided.take(at)
        decided.make_room()
    if not (due or decided.runs or decided.cancel):
        return None
    return {
        "schedule": spec["id"],
        "function": function,
        "config": state.config["version"],
        "from": schedule.last,
        "to": max(schedule.last, due[-1] if due else 0),
        "runs": decided.runs,
        "waiting": decided.waiting,
        "cancel": decided.cancel,
        "skipped": decided.skipped,
    }


def _nothing_starts(state: PartitionState, function: str) -> str:
    """Why no tick starts a function now; empty when it does."""
    if function in state.config.get("paused", ()):
        return routing.paused_reason(state.config, function)
    known = any(f["id"] == function for f in state.config["functions"])
    return "" if known else f"no function {function!r} is deployed"


def _caught_up(decided: _Decided, catch_up: str, due: Sequence[int], now: int) -> Sequence[int]:
    """Those of the ticks that count, after a time in which nobody led."""
    missed = [at for at in due if at < now - MISSED_US]
    in_time = due[len(missed) :]
    if not missed or catch_up == "all":
        return due
    kept = missed[-1:] if catch_up == "last" and not in_time else []
    if len(missed) > len(kept):
        count = len(missed) - len(kept)
        decided.drop(missed[0], f"missed while no worker led its schedule, as the first of {count}")
    return [*kept, *in_time]


class _Decided:
    """The record in the making."""

    def __init__(
        self, state: PartitionState, spec: Mapping[str, Any], function: str, schedule: Schedule, app: str
    ) -> None:
        self._state, self._spec, self._function, self._app = state, spec, function, app
        self.runs: list[Body] = []
        self.waiting = list(schedule.waiting)
        self.cancel: str | None = None
        self.skipped: list[Body] = []
        before = state.runs.peek(schedule.run)
        self._running = schedule.run if before is not None and before.live else ""

    def take(self, at: int) -> None:
        """A tick that counts, under the schedule's rule for what overlaps."""
        overlap = self._spec["overlap"]
        if overlap == "allow" or not (self._running or self.waiting):
            self._start(at)
        elif overlap == "skip":
            self.drop(at, "the run of the tick before goes on")
        elif overlap == "cancel":
            for other in self.waiting:
                self.drop(other, "a later tick took its place")
            self.waiting = [at]
        elif len(self.waiting) < self._state.limits.ticks_waiting_max:
            self.waiting.append(at)
        else:
            self.drop(
                at, f"{len(self.waiting)} ticks wait for the run of the tick before (ticks_waiting_max)"
            )

    def make_room(self) -> None:
        """A tick waits: it starts when the run before has ended, which may have to be asked to."""
        if not self.waiting:
            return
        if not self._running:
            self._start(self.waiting.pop(0))
        elif self._spec["overlap"] == "cancel":
            # One that this very record starts is asked by the next.
            run = self._state.runs.get(self._running)
            if run is not None and not run.cancels and not any(i.name == CANCEL for i in run.inbox):
                self.cancel = run.id

    def drop(self, at: int, reason: str) -> None:
        self.skipped.append({"event": self._event_id(at), "function": self._function, "reason": reason})

    def _event_id(self, at: int) -> str:
        return f"{self._spec['id']}@{written(at)}"

    def _start(self, at: int) -> None:
        state, schedule = self._state, self._spec["id"]
        run = ids.placed_run(state.generation, state.number, "tick", schedule, at, self._app)
        late = int(ids.fraction("jitter", schedule, at) * self._spec["jitter"])
        event = tick_event(schedule, at, self._event_id(at), at + late)
        self.runs.append({"run": run, "at": at, "event": event})
        self._running = run
