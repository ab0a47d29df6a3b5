"""Holds what is left after the crashes, log and ledger, against the promises. Reads the log as an outsider."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perdure.core import ids, invariants, ops, snapshot
from perdure.core.facts import Fact, read_fact
from perdure.core.fold import fold
from perdure.core.limits import DEFAULT_LIMITS, Limits
from perdure.core.state import PartitionState, Run
from perdure.index.reader import JournalReader
from perdure.logs.contract import Entry, Log, Topic
from perdure.logs.kafka import KafkaLog
from tests.crash import ledger
from tests.crash.lives import end_of
from tests.crash.scenarios import End
from tests.crash.service import log_of

OUTCOMES = frozenset(
    {ops.STEP_DONE, ops.STEP_FAILED, ops.TIMER_FIRED, ops.EVENT_GIVEN, ops.SIGNAL_GIVEN, ops.CHILD_ENDED}
)


@dataclass
class Record:
    """One entry of a journal, and why it did not count, if it did not."""

    partition: int
    fact: Fact
    void: str | None


@dataclass
class Story:
    """A log as this reader folds it, from its first entry on."""

    states: list[PartitionState] = field(default_factory=list[PartitionState])
    records: list[Record] = field(default_factory=list[Record])
    settled: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """When each step had its outcome, by the life of its run (`Run.seed`) and its key."""
    done: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """The steps that were completed, alike."""
    reused: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """What runs took over from those that they repeat: not theirs to do."""
    lives: Counter[str] = field(default_factory=Counter[str])
    """How often runs have begun anew."""
    """When the outcome of a step, timer, wait or child was recorded (µs), by run and key."""
    ended: dict[str, int] = field(default_factory=dict[str, int])
    faults: list[str] = field(default_factory=list[str])
    stamp_us: int = 1
    """How coarse the log's times are: what Kafka stamps is cut to whole milliseconds."""

    def runs(self) -> list[Run]:
        return [run for state in self.states for run in state.runs.values()]

    def ends(self) -> Counter[End]:
        """How all runs ended, or in what state they are."""
        return Counter(map(end_of, self.runs()))

    def kinds(self, kind: str) -> list[Record]:
        """The accepted records of a kind."""
        return [record for record in self.records if record.fact.kind == kind and record.void is None]

    def voids(self) -> Counter[str]:
        return Counter(record.void for record in self.records if record.void is not None)

    def take(self, partition: int, entry: Entry) -> None:
        state = self.states[partition]
        fact = read_fact(entry.offset, entry.ts, entry.value, entry.headers)
        void = fold(state, fact)
        state.effects.clear()
        self.records.append(Record(partition, fact, void))
        if void is None and fact.kind == "Command":
            _, body = fact.body["body"]
            self.reused |= {(fact.body["run"], reused["key"]) for reused in body.get("reuse", ())}
        if void is None and fact.kind == "Commit":
            for change in fact.body["changes"]:
                for name, body in change["ops"]:
                    self._note(change["entity"], name, body, fact.ts)

    def _note(self, run: str, name: str, body: dict[str, Any], ts: int) -> None:
        if name in OUTCOMES:
            step = (f"{run}~{self.lives[run]}" if self.lives[run] else run), body["key"]
            if step in self.settled:
                self.faults.append(f"{body['key']} of run {run} has two outcomes")
            self.settled[step] = ts
            if name == ops.STEP_DONE:
                self.done.append(step)
        elif name == ops.RUN_RESTARTED:
            self.lives[run] += 1
        elif name in ops.ENDS:
            if run in self.ended:
                self.faults.append(f"run {run} ended twice")
            self.ended[run] = ts


def portrait(state: PartitionState) -> Any:
    """A state as comparable data. What was kept at one time is let go at one time, so that its order does not count."""
    return (
        snapshot.partition_body(state) | {"trials": state.trials.pack()},
        {run_id: snapshot.run_body(run) for run_id, run in sorted(state.runs.items())},
        {where: snapshot.cell_body(where, cell) for where, cell in sorted(state.cells.items())},
        sorted(state.kept),
    )


def read(folder: Path, limits: Limits = DEFAULT_LIMITS) -> Story:
    """Folds the log of a folder: twice, and compares the two readers (promise 4)."""
    return asyncio.run(_read(folder, limits))


async def _read(folder: Path, limits: Limits) -> Story:
    return await read_log(log_of(folder), limits)


async def read_log(log: Log, limits: Limits = DEFAULT_LIMITS) -> Story:
    """The same for any log, which is not open yet."""
    await log.open()
    try:
        story = Story(stamp_us=1_000 if isinstance(log, KafkaLog) else 1)
        for number in range(log.partitions):
            story.states.append(PartitionState(number, log.partitions, limits=limits))
            for entry in await everything(log, Topic.JOURNAL, number):
                story.take(number, entry)
        other = JournalReader(log, limits)
        await other.read()
        for state, reader in zip(story.states, other.partitions, strict=True):
            if portrait(state) != portrait(reader.state):
                story.faults.append(f"two readers of partition {state.number} differ")
    finally:
        await log.close()
    return story


async def everything(log: Log, topic: Topic, partition: int) -> list[Entry]:
    """All entries of a partition."""
    entries: list[Entry] = []
    while batch := await log.read(topic, partition, entries[-1].offset + 1 if entries else 0, 1_000):
        entries += batch
    return entries


# --- judging ----------------------------------------------------------------------------------------------------------


def check(
    story: Story,
    lines: Sequence[ledger.Line],
    wanted: Counter[End],
    *,
    kills: int | None,
    zombies: Set[int] = frozenset(),
) -> None:
    """Everything that the promises say of a log that has come to rest, and of its ledger.

    `kills`: how often a process was killed; a step may have been executed once more for each. None: no bound.
    `zombies`: processes that were stopped for long: they may begin what others have done meanwhile (promise 3).
    """
    faults = list(story.faults)
    for state in story.states:
        faults += map(str, invariants.check(state))
    faults += map(str, invariants.check_between(story.states))
    ends = story.ends()
    if ends != wanted:
        faults.append(f"runs ended otherwise: missing {wanted - ends}, too many {ends - wanted}")
    faults += _twice_started(story)
    faults += _executions(story, lines, kills, zombies)
    assert not faults, "\n".join(faults)


def _twice_started(story: Story) -> list[str]:
    started = Counter((run.event["id"], run.function, run.repeats) for run in story.runs())
    return [f"event {e} started {f} {count} times" for (e, f, _), count in started.items() if count > 1]


def _executions(
    story: Story, lines: Sequence[ledger.Line], kills: int | None, zombies: Set[int]
) -> list[str]:
    faults: list[str] = []
    settled = {ids.idempotency_key(run, key, "crash"): ts for (run, key), ts in story.settled.items()}
    by_key: defaultdict[str, list[ledger.Line]] = defaultdict(list)
    for line in lines:
        if line.key:
            by_key[line.key].append(line)
    for key, executed in by_key.items():
        begins = [line for line in executed if line.what == "begin"]
        if len({(line.args, line.run) for line in executed}) > 1:
            faults.append(f"{key} was executed with different arguments")
        recorded = settled.get(key)
        if recorded is not None and (
            late := [x for x in begins if x.at >= recorded + story.stamp_us and x.pid not in zombies]
        ):
            by_us = [line.at - recorded for line in late]
            faults.append(
                f"{key} was executed again after its outcome was recorded, by {by_us} µs: {late} of {begins}"
            )
        for attempt, count in Counter(line.attempt for line in begins).items():
            if kills is not None and count > 1 + kills:
                faults.append(f"attempt {attempt} of {key} was executed {count} times after {kills} kills")
    for run, key in story.reused:
        if by_key[ids.idempotency_key(run, key, "crash")]:
            faults.append(f"{key} of run {run} was taken over, and executed again")
    for run, key in story.done:
        if (run, key) not in story.reused and not any(
            line.what == "end" for line in by_key[ids.idempotency_key(run, key, "crash")]
        ):
            faults.append(f"{key} of run {run} is recorded as done and never was")
    return faults


def reruns(lines: Sequence[ledger.Line]) -> int:
    """Executions beyond the first, over all attempts."""
    begins = Counter((line.key, line.attempt) for line in lines if line.what == "begin")
    return begins.total() - len(begins)
