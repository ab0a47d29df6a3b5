"""Reads every record as it lands and holds it against the promises."""

from __future__ import annotations

from collections import Counter
from typing import Any

from perdure.core import ops
from perdure.core.facts import Fact, read_fact
from perdure.core.fold import fold
from perdure.core.limits import Limits
from perdure.core.state import STILL, PartitionState, Run
from perdure.logs.contract import Topic
from perdure.logs.memory import MemoryLog
from tests.core.journal import portrait

OUTCOMES = frozenset({ops.STEP_DONE, ops.STEP_FAILED, ops.EVENT_GIVEN, ops.SIGNAL_GIVEN, ops.CHILD_ENDED})


ABORTED = "aborted"
"""How the ids of events begin whose transaction was aborted."""


class Broken(AssertionError):
    """A promise was broken."""


class Audit:
    """One reader over all partitions, and what it has seen."""

    def __init__(self, log: MemoryLog, limits: Limits) -> None:
        self._log = log
        self.states = [PartitionState(n, log.partitions, limits=limits) for n in range(log.partitions)]
        self._positions = [0] * log.partitions
        self.settled: Counter[tuple[str, str]] = Counter()
        self.ends: dict[str, tuple[str, Any]] = {}
        self.starts: Counter[tuple[str, str]] = Counter()
        self.dues: dict[tuple[str, str], int] = {}
        self.portraits: dict[tuple[int, int], Any] = {}
        self.paused: set[str] = set()
        """Runs of which somebody asked last that they stand still."""
        self.records = 0

    def read(self) -> None:
        """Folds what has landed since the last call."""
        for number, state in enumerate(self.states):
            slot = self._log.slot(Topic.JOURNAL, number)
            while batch := slot.read(self._positions[number], 1):
                (entry,) = batch
                fact = read_fact(entry.offset, entry.ts, entry.value, entry.headers)
                before = set(state.runs)
                void = fold(state, fact)
                state.effects.clear()
                self._positions[number] = entry.offset + 1
                self.records += 1
                if void is None:
                    self._check(state, fact, before)

    def _check(self, state: PartitionState, fact: Fact, before: set[str]) -> None:
        for run_id in state.runs.keys() - before:
            run = state.runs[run_id]
            if run.event["id"].startswith(ABORTED):
                raise Broken(f"{run.function} was started by an event of an aborted transaction")
            self.starts[run.event["id"], run.function] += 1
            if self.starts[run.event["id"], run.function] > 1:
                raise Broken(f"{run.function} started twice for event {run.event['id']}")
        if fact.kind == "Command":
            self._steered(fact)
        self._check_paused(state)
        if fact.kind != "Commit":
            return
        for change in fact.body["changes"]:
            run_id = change["entity"]
            for name, body in change["ops"]:
                self._check_op(run_id, name, body)
            run = state.runs.get(run_id)
            if (
                run is not None
                and run.live
                and run.started
                and not (run.pending or run.inbox or run.held or run.status in STILL)
            ):
                raise Broken(f"run {run_id} of {run.function} is live and waits for nothing (promise 7)")
            if run is not None and run.status == "parked":
                raise Broken(f"run {run_id} of {run.function} was parked: {run.reason}")

    def _steered(self, fact: Fact) -> None:
        name, run_id = fact.body["body"][0], fact.body["run"]
        if name == "perdure.PauseAsk":
            self.paused.add(run_id)
        elif name == "perdure.ResumeAsk":
            self.paused.discard(run_id)

    def _check_paused(self, state: PartitionState) -> None:
        for run_id in self.paused:
            run = state.runs.get(run_id)
            if run is not None and run.live and run.status not in STILL:
                raise Broken(
                    f"run {run_id} of {run.function} is {run.status}, and a pause was asked for last"
                )

    def is_known(self, run: Run) -> bool:
        """Whether a worker's state of a run is the newest that there is."""
        return any(run.id in s.runs and s.runs[run.id].prev == run.prev for s in self.states)

    def _check_op(self, run_id: str, name: str, body: dict[str, Any]) -> None:
        if name == ops.RUN_RESTARTED:  # what is settled or due once, is so in each life
            for known in [place for place in (*self.settled, *self.dues) if place[0] == run_id]:
                self.settled.pop(known, None)
                self.dues.pop(known, None)
        elif name in OUTCOMES:
            self.settled[run_id, body["key"]] += 1
            if self.settled[run_id, body["key"]] > 1:
                raise Broken(f"{body['key']} of run {run_id} has two outcomes (promise 2)")
        elif name in (ops.TIMER_SET, ops.WAIT_OPENED) and body["due"] is not None:
            self.dues[run_id, body["key"]] = body["due"]
        elif name == ops.TIMER_FIRED:
            self.settled[run_id, body["key"]] += 1
            if self.settled[run_id, body["key"]] > 1:
                raise Broken(f"timer {body['key']} of run {run_id} fired twice (promise 5)")
            if body["time"] < self.dues.get((run_id, body["key"]), 0):
                raise Broken(f"timer {body['key']} of run {run_id} fired early (promise 5)")
        elif name in ops.ENDS:
            if run_id in self.ends:
                raise Broken(f"run {run_id} ended twice")
            self.ends[run_id] = (name, body)

    def compare(self, state: PartitionState, position: int) -> None:
        """Another reader's state against ours, when both stand at the same entry (promise 4)."""
        if position != self._positions[state.number]:
            return
        mine = self.states[state.number]
        if portrait(mine) != portrait(state):
            raise Broken(f"two readers of partition {state.number} differ at entry {position} (promise 4)")
