"""Claims and commits: workers take turns at one partition, and their appends come late, in another order, or never.

A worker reads the journal one record at a time, claims when it has read all, and leads once it read its own claim.
Its appends are under way until they land; appends of one producer land in order. A delivery may be reported as failed
although it lands later (A6).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

from perdure.core import codec
from perdure.core.facts import Fact, Stamp
from perdure.core.fold import fold
from perdure.core.state import PartitionState
from tests.core.journal import event
from tests.model.explorer import Model
from tests.model.views import Fold, Log, Record, Records, View, Views

RUN, PAIR = "r", ("r", "s")


@dataclass(frozen=True)
class Rules:
    """How owners behave. The defaults are the design's; each other value is a way that the review shows to fail."""

    after_failure: str = "claim"
    """`claim`: a new producer claims anew. `same`: it goes on under the old owner's id and epoch."""
    match: str = "seq"
    """How an owner knows its record when it reads it back: `seq`, its own number, or `revision`, the entity's."""
    guard: str = "offset"
    """What `prev` names: the `offset` of the last accepted commit, or a `revision` that a new life counts from 0."""
    transition: str = "one record"
    """How a transition over two runs is written: `one record` or `two records`."""


@dataclass(frozen=True)
class Bounds:
    workers: int = 2
    claims: int = 2
    commits: int = 3
    failures: int = 1
    lives: int = 2
    """How often the run may be started."""
    pairs: bool = False


class Worker(NamedTuple):
    mode: str
    """`idle`, `claiming` or `leading`."""
    producer: int
    epoch: int
    position: int
    unread: tuple[int, ...]
    """Own commits that are appended and not read back."""


class World(NamedTuple):
    log: Log
    flight: tuple[tuple[int, int], ...]
    """Producer and record, in the order of the appends."""
    workers: tuple[Worker, ...]
    producers: int
    claims: int
    commits: int
    failures: int
    lives: int
    trouble: str | None = None


def by_revision(state: PartitionState, fact: Fact) -> str | None:
    """A planted fold: `prev` is taken for the count of commits in the entity's present life."""
    if fact.kind == "Commit":
        changes: list[dict[str, Any]] = []
        for change in fact.body["changes"]:
            run = state.runs.get(change["entity"])
            right = run is not None and len(run.history) == change["prev"]
            changes.append(change | {"prev": run.prev if run is not None and right else -1})
        fact = replace(fact, body=fact.body | {"changes": changes})
    return fold(state, fact)


def history(view: View, entity: str) -> Hashable:
    """Everything that a decision about a run rests on: which life it is in, and what was committed in it."""
    run = view.state.runs.get(entity)
    return run and (run.created, tuple(run.history))


class Claims:
    """The model under one set of rules; `planted` stands in for the real fold."""

    def __init__(
        self, rules: Rules | None = None, bounds: Bounds | None = None, planted: Fold | None = None
    ) -> None:
        self.rules, self.bounds = rules or Rules(), bounds or Bounds()
        self.records = Records()
        state = PartitionState(0, 1)
        state.limits = replace(
            state.limits, ended_runs_max=0, ended_id_time_max=0
        )  # an ended run is forgotten, and its id lives again
        self.views = Views(
            self.records, state, planted or (by_revision if self.rules.guard == "revision" else fold)
        )
        self._trouble: dict[Log, str | None] = {}

    def model(self) -> Model[World]:
        workers = tuple(Worker("idle", n, 0, 0, ()) for n in range(self.bounds.workers))
        log = tuple(self._start(entity, 0) for entity in (PAIR if self.bounds.pairs else (RUN,)))
        world = World(log, (), workers, len(workers), 0, 0, 0, 1)
        return Model(world, self.successors, self.trouble)

    # ------------------------------------------------------------------ records

    def _start(self, entity: str, life: int) -> int:
        start = {"function": "f", "event": event(id=f"{entity}{life}"), "tags": {}}
        body = {
            "id": f"start {entity} {life}",
            "run": entity,
            "client": None,
            "body": ("perdure.StartRun", start),
        }
        return self.records.make(f"start of {entity}", "Command", body)

    def _owner(self, index: int, worker: Worker) -> bytes:
        """Random per producer, in the real system. Under `same`, a producer's successor keeps the id."""
        number = worker.producer if self.rules.after_failure == "claim" else index
        return b"owner" + bytes([number]) * 11

    def _commit(
        self, index: int, worker: Worker, view: View, number: int, entities: tuple[str, ...], op: Any
    ) -> int:
        changes: list[dict[str, Any]] = []
        for entity in entities:
            run = view.state.runs[entity]
            prev = len(run.history) if self.rules.guard == "revision" else run.prev
            changes.append({"entity": entity, "prev": prev, "ops": [op]})
        stamp = Stamp(self._owner(index, worker), worker.epoch, 100 + number)
        ghost = tuple((entity, history(view, entity)) for entity in entities)
        name = f"c{number} ({op[0].split('.')[1]})"
        return self.records.make(name, "Commit", {"changes": changes, "acks": []}, stamp=stamp, ghost=ghost)

    # ------------------------------------------------------------------ what can happen

    def successors(self, world: World) -> Iterator[tuple[str, World]]:
        if world.trouble:
            return
        for index, worker in enumerate(world.workers):
            yield from self._claims(world, index, worker)
            yield from self._decides(world, index, worker)
            yield from self._fails(world, index, worker)
            if worker.position < len(world.log):
                yield self._reads(world, index, worker)
        yield from self._lands(world)
        if world.lives < self.bounds.lives and not self.views.of(world.log).state.runs.get(RUN):
            record = self._start(RUN, world.lives)
            yield (
                "a client starts the run again",
                world._replace(log=(*world.log, record), lives=world.lives + 1),
            )

    def _put(self, world: World, index: int, worker: Worker, *appended: int, **counts: Any) -> World:
        workers = (*world.workers[:index], worker, *world.workers[index + 1 :])
        flight = world.flight + tuple((worker.producer, record) for record in appended)
        return world._replace(workers=workers, flight=flight, **counts)

    def _claims(self, world: World, index: int, worker: Worker) -> Iterator[tuple[str, World]]:
        caught_up = worker.position == len(world.log)
        if worker.mode == "idle" and caught_up and world.claims < self.bounds.claims:
            epoch = self.views.of(world.log).state.epoch + 1
            stamp = Stamp(self._owner(index, worker), epoch, 0)
            record = self.records.make(
                f"claim {epoch} of W{index}", "Claim", {"epoch": epoch, "worker": ""}, stamp=stamp
            )
            claiming = worker._replace(mode="claiming", epoch=epoch)
            yield (
                f"W{index} claims epoch {epoch}",
                self._put(world, index, claiming, record, claims=world.claims + 1),
            )

    def _decides(self, world: World, index: int, worker: Worker) -> Iterator[tuple[str, World]]:
        if worker.mode != "leading" or worker.unread or world.commits >= self.bounds.commits:
            return
        view = self.views.of(world.log[: worker.position])
        number = world.commits
        value = ("perdure.ValueSet", {"name": "last", "value": b"%d" % number})
        for entities, op in self._transitions(view, value):
            parts = [(e,) for e in entities] if self.rules.transition == "two records" else [entities]
            records = tuple(self._commit(index, worker, view, number, part, op) for part in parts)
            names = ", ".join(self.records[r].name for r in records)
            after = worker._replace(unread=records)
            yield f"W{index} appends {names}", self._put(world, index, after, *records, commits=number + 1)

    def _transitions(self, view: View, value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        if self.bounds.pairs:
            yield PAIR, value
        elif RUN in view.state.runs:
            yield (RUN,), value
            yield (RUN,), ("perdure.RunDone", {"time": 1, "result": b"null"})

    def _fails(self, world: World, index: int, worker: Worker) -> Iterator[tuple[str, World]]:
        if worker.mode == "leading" and worker.unread and world.failures < self.bounds.failures:
            mode = "leading" if self.rules.after_failure == "same" else "idle"
            after = worker._replace(mode=mode, producer=world.producers, unread=())
            counts = {"producers": world.producers + 1, "failures": world.failures + 1}
            yield (
                f"W{index}: delivery reported as failed; a new producer",
                self._put(world, index, after, **counts),
            )

    def _lands(self, world: World) -> Iterator[tuple[str, World]]:
        living = {worker.producer for worker in world.workers if worker.mode != "idle"}
        heads: set[int] = set()
        for place, (producer, record) in enumerate(world.flight):
            if producer in heads:
                continue
            heads.add(producer)
            flight = world.flight[:place] + world.flight[place + 1 :]
            name = self.records[record].name
            yield f"#{len(world.log)} {name} lands", world._replace(flight=flight, log=(*world.log, record))
            if producer not in living:
                yield f"{name} is lost", world._replace(flight=flight)

    # ------------------------------------------------------------------ reading

    def _reads(self, world: World, index: int, worker: Worker) -> tuple[str, World]:
        number = world.log[worker.position]
        view = self.views.of(world.log[: worker.position + 1])
        record, counts = self.records[number], view.void is None
        after, trouble = worker._replace(position=worker.position + 1), None
        if record.kind == "Claim":
            after = self._reads_claim(index, after, record, counts)
        elif after.unread:
            after, trouble = self._reads_back(index, after, number, view)
        step = f"W{index} reads #{worker.position} {record.name}: {view.void or 'counts'}"
        return step, self._put(world, index, after, trouble=trouble)

    def _reads_claim(self, index: int, worker: Worker, record: Record, counts: bool) -> Worker:
        own = record.stamp == Stamp(self._owner(index, worker), worker.epoch, 0)
        if own and worker.mode == "claiming":
            return worker._replace(mode="leading" if counts else "idle", producer=worker.producer)
        if counts and not own and worker.mode == "leading":
            return worker._replace(mode="idle", unread=())
        return worker

    def _reads_back(self, index: int, worker: Worker, number: int, view: View) -> tuple[Worker, str | None]:
        """An owner that recognises its record applies it from memory: what the fold did had better be the same."""
        expected = worker.unread[0]
        if not self._recognises(index, worker, number, expected):
            return worker, None
        worker = worker._replace(unread=worker.unread[1:])
        if view.void is None and number != expected:
            taken, real = self.records[expected].name, self.records[number].name
            return worker, f"W{index} took {taken} for accepted; the fold accepted {real}"
        return worker, None

    def _recognises(self, index: int, worker: Worker, number: int, expected: int) -> bool:
        if self.rules.match == "seq":
            return number == expected
        record, mine = self.records[number], self.records[expected]
        own = record.stamp is not None and record.stamp.owner == self._owner(index, worker)
        return own and record.kind == "Commit" and _revisions(record) == _revisions(mine)

    # ------------------------------------------------------------------ what may never be

    def trouble(self, world: World) -> str | None:
        if world.trouble:
            return world.trouble
        found = self._in_log(world.log)
        if found is None and self.bounds.pairs and not world.flight:
            state = self.views.of(world.log).state
            values = {entity: state.runs[entity].values for entity in PAIR}
            if values["r"] != values["s"]:
                return f"half of a transition counts: {values}"
        return found

    def _in_log(self, log: Log) -> str | None:
        if log not in self._trouble:
            self._trouble[log] = self._in_log(log[:-1]) or self._in_last(log) if log else None
        return self._trouble[log]

    def _in_last(self, log: Log) -> str | None:
        view, record = self.views.of(log), self.records[log[-1]]
        if record.kind != "Commit" or view.void is not None or record.stamp is None or view.before is None:
            return None
        if (record.stamp.owner, record.stamp.epoch) != self._claimed(log):
            return f"two owners count: {record.name} of a former owner was accepted"
        for entity, decided_on in record.ghost:  # type: ignore[attr-defined]
            if history(view.before, entity) != decided_on:
                return f"{record.name} was decided on one state and applied to another"
        return None

    def _claimed(self, log: Log) -> tuple[bytes, int] | None:
        """Who leads, by the rule in its plainest words: the first claim with a larger epoch than all before."""
        leader: tuple[bytes, int] | None = None
        for number in log:
            record = self.records[number]
            if record.kind == "Claim" and record.stamp and (leader is None or record.stamp.epoch > leader[1]):
                leader = (record.stamp.owner, record.stamp.epoch)
        return leader


@cache
def _revisions(record: Record) -> list[tuple[str, int]]:
    _, body = codec.decode(record.value)
    return [(change["entity"], change["prev"]) for change in body["changes"]]
