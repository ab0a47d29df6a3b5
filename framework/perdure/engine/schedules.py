"""The clock of a partition's schedules: when one is due, its ticks are decided on in a record."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

from perdure.authoring.calendar import calendar
from perdure.core import routing
from perdure.core.decide import schedules as decide
from perdure.core.facts import Fact
from perdure.engine.clock import Alarm
from perdure.engine.life import Life
from perdure.errors import UsageError

Spec = Mapping[str, Any]


class Schedules:
    """The ticking side of one claim's life. One record of a schedule is in flight at a time."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._specs: dict[str, tuple[str, Spec]] = {}
        """The function and the `perdure.Schedule` of each that lives here."""
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []
        self._in_flight: set[str] = set()
        self._running: dict[str, str] = {}
        """The newest run of each schedule, which others may wait for."""
        self._alarm: Alarm | None = None

    def begin(self) -> None:
        self.configured()

    def close(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._specs.clear()

    def configured(self) -> None:
        """Another config is in force."""
        state = self._life.state
        self._specs = {
            schedule["id"]: (function["id"], schedule)
            for function in state.config["functions"]
            for schedule in function.get("schedules", ())
            if schedule["id"] in state.schedules and not state.schedules[schedule["id"]].paused
        }
        for known, found in state.schedules.items():
            if found.put is not None and not found.paused:
                self._specs[known] = found.put["function"], found.put["schedule"]
        self._due.clear()
        self._heap.clear()
        self._running = {
            state.schedules[known].run: known for known in self._specs if state.schedules[known].run
        }
        for known in list(self._specs):
            self._go_on(known)

    def changed(self, schedule: str) -> None:
        """Somebody has made, paused, resumed or deleted a schedule."""
        found = self._life.state.schedules.get(schedule)
        self._specs.pop(schedule, None)
        self._due.pop(schedule, None)
        if found is None or found.paused:
            self._set_alarm()
            return
        declared = routing.scheduled(self._life.state.config, schedule)
        if found.put is not None:
            self._specs[schedule] = found.put["function"], found.put["schedule"]
        elif declared is not None:
            self._specs[schedule] = declared
        if schedule in self._specs:
            self._go_on(schedule)

    def ticked(self, schedule: str) -> None:
        """A record of that schedule counts."""
        found = self._life.state.schedules.get(schedule)
        if schedule not in self._specs or found is None:
            return
        if found.run:
            self._running[found.run] = schedule
        self._go_on(schedule)

    def _go_on(self, schedule: str) -> None:
        """Waits for the next tick; and for what waits, looks whether it may start: its time may have come unnoticed."""
        self._plan(schedule)
        self._set_alarm()
        if self._life.state.schedules[schedule].waiting:
            self._tick(schedule)

    def ended(self, run: str) -> None:
        """A run has ended; a tick may have waited for that."""
        schedule = self._running.pop(run, None)
        found = self._life.state.schedules.get(schedule or "")
        if schedule is not None and found is not None and found.waiting:
            self._tick(schedule)

    def _plan(self, schedule: str) -> None:
        _, spec = self._specs[schedule]
        try:
            due = calendar(spec["cron"], spec["tz"]).next(self._life.state.schedules[schedule].last)
        except UsageError as error:  # croniter is missing here, or this machine's time zones are others
            del self._specs[schedule]
            self._life.services.trouble(f"the schedule {schedule!r} cannot be kept", error)
            return
        self._due[schedule] = due
        heapq.heappush(self._heap, (due, schedule))

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        if self._heap:
            self._alarm = self._life.services.clock.call_at(self._heap[0][0], self._ring)

    def _ring(self) -> None:
        self._alarm = None
        now = self._life.services.clock.now()
        try:
            while self._heap and self._heap[0][0] <= now:
                due, schedule = heapq.heappop(self._heap)
                if self._due.get(schedule) == due:
                    del self._due[schedule]
                    self._tick(schedule)
        finally:  # one that failed is told of, and the others go on
            self._set_alarm()

    def _tick(self, schedule: str) -> None:
        life = self._life
        if schedule in self._in_flight or schedule not in self._specs or not life.acting:
            return
        function, spec = self._specs[schedule]
        now = life.services.clock.now()
        last = life.state.schedules[schedule].last
        due, more = calendar(spec["cron"], spec["tz"]).due(last, now, life.services.limits.ticks_missed_max)
        body = decide.tick(life.state, spec, function, due, now, more=more, app=life.services.app)
        if body is None:
            return
        while not life.append("Ticked", body, lambda fact, void: self._read(schedule, fact, void)):
            # So many runs do not fit a record: the rest is decided on in the next one.
            due = due[: max(len(due) // 2, 1)]
            body = decide.tick(life.state, spec, function, due, now, more=more, app=life.services.app)
            assert body is not None
        self._in_flight.add(schedule)

    def _read(self, schedule: str, fact: Fact, void: str | None) -> None:
        self._in_flight.discard(schedule)
        if void is None:
            self._life.services.observers.passed_over(fact.body["skipped"])
        if void is not None and schedule in self._specs and self._life.acting:
            self._plan(schedule)  # the config changed meanwhile
            self._set_alarm()
