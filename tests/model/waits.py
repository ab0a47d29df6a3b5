"""Waits and cells: a run at partition 0 waits for events, which are ingested anywhere and meet it at partition 1.

Whatever is sent arrives late, as after a kill between `WaitOpened` and `Subscribe`; an `Ingest` may be under way while
the path of a first wait is being armed; events of two partitions meet the cell in any order; waits follow each other,
or stand side by side, and may be given up (A2). The clock is the log's: it goes on with each wait and each event.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from perdure.core import codec, routing
from perdure.core.decide import ingest as decide
from perdure.core.decide.ingest import Incoming
from perdure.core.facts import Stamp
from perdure.core.fold import fold
from perdure.core.invariants import check_between
from perdure.core.ops import Op
from perdure.core.state import PartitionState
from tests.core.journal import event, started
from tests.model.explorer import Model
from tests.model.views import Fold, Records, View, Views

BEGIN = 100
"""The clock of the model starts here (µs)."""


@dataclass(frozen=True)
class Bounds:
    waits: int = 2
    together: bool = False
    """Whether the waits may stand side by side; else one follows the other."""
    events: int = 2
    homes: tuple[int, ...] = (0, 1)
    """Partitions of the events topic that the events may go to."""
    partitions: int = 2
    closes: int = 0
    """How often the run may give up a wait."""
    lookback: int | None = None


class World(NamedTuple):
    views: tuple[int, ...]
    events: tuple[tuple[int, int], ...] = ()
    """Home and append time of each event."""
    flight: tuple[tuple[int, int], ...] = ()
    """The `Ingest`s that are under way: partition and record."""
    clock: int = BEGIN
    waits: tuple[int, ...] = ()
    """When each wait was opened."""
    given: tuple[tuple[int, int], ...] = ()
    """Wait and event."""
    closes: int = 0


class Waits:
    """The model within its bounds; `planted` stands in for the real fold."""

    def __init__(self, bounds: Bounds | None = None, planted: Fold | None = None) -> None:
        self.bounds = bounds or Bounds()
        self.records = Records()
        count = self.bounds.partitions
        self._name = next(
            n for n in map("paid{}".format, range(99)) if routing.cell_partition(n, "", b"", count) == 1
        )
        self._run_id = next(n for n in map("run{}".format, range(99)) if routing.run_partition(n, count) == 0)
        self._folds = [Views(self.records, PartitionState(n, count), planted or fold) for n in range(count)]
        self._views: list[View] = []
        self._numbers: dict[tuple[int, bytes], int] = {}
        self._after: dict[tuple[int, int, int], int] = {}
        self._made: dict[Hashable, int] = {}

    def model(self) -> Model[World]:
        owner, begun = b"owner" + bytes(11), list[int]()
        for number in range(self.bounds.partitions):
            view = self._folds[number].of(())
            for record in self._prelude(owner, number):
                view = self._folds[number].after(view, record, 1)
            begun.append(self._number(view))
        return Model(World(tuple(begun)), self.successors, self.trouble)

    def _prelude(self, owner: bytes, number: int) -> list[int]:
        claim = self.records.make("claim", "Claim", {"epoch": 1, "worker": ""}, stamp=Stamp(owner, 1, 0))
        config = {"version": 1, "functions": []}
        records = [claim, self.records.make("config", "Config", config, stamp=Stamp(owner, 1, 1))]
        if number == 0:
            start = ("perdure.StartRun", {"function": "f", "event": event("start", "start"), "tags": {}})
            body = {"id": "c", "run": self._run_id, "client": None, "body": start}
            commit = {"changes": [{"entity": self._run_id, "prev": 2, "ops": [started()]}], "acks": []}
            records.append(self.records.make("start", "Command", body))
            records.append(self.records.make("started", "Commit", commit, stamp=Stamp(owner, 1, 2)))
        return records

    # ------------------------------------------------------------------ views, by number

    def _number(self, view: View) -> int:
        """Views with the same state are one: it does not matter by which way it was reached."""
        place = (view.length, view.image)
        number = self._numbers.setdefault(place, len(self._views))
        if number == len(self._views):
            self._views.append(view)
        return number

    def _append(self, world: World, partition: int, record: int) -> World:
        """The world once a record has landed; the same world when it is void, as if it had not been appended."""
        before = world.views[partition]
        key = (before, record, world.clock)
        after = self._after.get(key)
        if after is None:
            view = self._folds[partition].after(self._views[before], record, world.clock)
            view.before = None
            after = self._after[key] = before if view.void else self._number(view)
        return world._replace(views=(*world.views[:partition], after, *world.views[partition + 1 :]))

    def _once(
        self, view: int, what: Hashable, name: str, kind: str, body: Callable[[], dict[str, Any]]
    ) -> int:
        """An owner's record, decided on a view: the same view and the same cause make the same record."""
        record = self._made.get((view, what))
        if record is None:
            state = self._views[view].state
            stamp = Stamp(state.owner, state.epoch, 9)
            record = self._made[view, what] = self.records.make(name, kind, body(), stamp=stamp)
        return record

    def _states(self, world: World) -> list[PartitionState]:
        return [self._views[number].state for number in world.views]

    # ------------------------------------------------------------------ what can happen

    def successors(self, world: World) -> Iterator[tuple[str, World]]:
        states = self._states(world)
        yield from self._run(world, states[0])
        if len(world.events) < self.bounds.events:
            for home in self.bounds.homes:
                events = (*world.events, (home, world.clock))
                step = f"event e{len(world.events)} is appended to partition {home} at {world.clock}"
                yield step, world._replace(events=events, clock=world.clock + 1)
        for number, state in enumerate(states):
            yield from self._ingests(world, number, state)
            for target in states:
                yield from self._arrives(world, state, target)
            yield from self._searches(world, number, state)

    def _run(self, world: World, state: PartitionState) -> Iterator[tuple[str, World]]:
        run = state.runs[self._run_id]
        opened = len(world.waits)
        if opened < self.bounds.waits and (self.bounds.together or not run.pending):
            wait: dict[str, Any] = dict.fromkeys(("signal", "path", "value", "due"))
            wait |= {"key": f"/w{opened}", "event": self._name, "lookback": self.bounds.lookback}
            after = self._commit(world, ("perdure.WaitOpened", wait))
            waits = (*world.waits, world.clock)
            opening = after._replace(waits=waits, clock=world.clock + 1)
            yield f"wait w{opened} is opened at {world.clock}", opening
        for item in run.inbox:
            key, found = item.body["key"], item.body["event"]["id"]
            body = {"key": key, "time": 1, "position": item.body["position"], "event": item.body["event"]}
            given = (*world.given, (int(key[2:]), int(found[1:])))
            yield (
                f"{found} is given to {key}",
                self._commit(world, ("perdure.EventGiven", body))._replace(given=given),
            )
        if world.closes < self.bounds.closes:
            for key in run.pending:
                after = self._commit(world, ("perdure.WaitClosed", {"key": key}))
                yield f"{key} is given up", after._replace(closes=world.closes + 1)

    def _commit(self, world: World, op: Op) -> World:
        view = world.views[0]
        change = {
            "entity": self._run_id,
            "prev": self._views[view].state.runs[self._run_id].prev,
            "ops": [op],
        }
        name, what = op[0].split(".")[1], (op[0], op[1]["key"])
        return self._append(
            world, 0, self._once(view, what, name, "Commit", lambda: {"changes": [change], "acks": []})
        )

    def _entries(self, world: World, home: int) -> tuple[tuple[int, int], ...]:
        """The events of one partition: number and append time."""
        return tuple((n, ts) for n, (at, ts) in enumerate(world.events) if at == home)

    def _incoming(self, entries: Iterable[tuple[int, int]], first: int = 0) -> list[Incoming]:
        return [Incoming(o, ts, event(self._name, f"e{n}")) for o, (n, ts) in enumerate(entries, first)]

    def _ingests(self, world: World, number: int, state: PartitionState) -> Iterator[tuple[str, World]]:
        flying = dict(world.flight)
        if number in flying:
            landed = self._append(world, number, flying.pop(number))
            yield (
                f"the ingest at partition {number} lands",
                landed._replace(flight=tuple(sorted(flying.items()))),
            )
            return
        waiting = self._entries(world, number)[state.next :]
        if waiting:
            batch = self._incoming(waiting, state.next)
            flying[number] = self._once(
                world.views[number], waiting, "ingest", "Ingest", partial(decide.ingest, state, batch)
            )
            names = ", ".join(f"e{n}" for n, _ in waiting)
            after = world._replace(flight=tuple(sorted(flying.items())))
            yield f"partition {number} appends an ingest of {names}", after

    def _arrives(
        self, world: World, origin: PartitionState, target: PartitionState
    ) -> Iterator[tuple[str, World]]:
        """The next message from one partition to the other, however late."""
        seq = target.inbound.get(origin.origin, 0) + 1
        queue = origin.outbox.get(f"j{target.number}")
        if queue and queue[-1][0] >= seq:
            record = self._sent(origin.origin, seq, queue[seq - queue[0][0]][1])
            name = self.records[record].name
            yield f"{name} reaches partition {target.number}", self._append(world, target.number, record)

    def _sent(self, origin: str, seq: int, value: bytes) -> int:
        record = self._made.get((origin, value))
        if record is None:
            kind, body = codec.decode(value)
            name = body["body"][0].split(".")[1]
            record = self._made[origin, value] = self.records.make(name, kind, body, channel=(origin, seq))
        return record

    def _searches(self, world: World, number: int, state: PartitionState) -> Iterator[tuple[str, World]]:
        scan_id, scan = next(iter(state.scans.items()), (0, None))
        if scan is None:
            return
        before = self._entries(world, number)[: scan.to]
        entries = tuple(entry for entry in before if entry[1] >= scan.since)
        batch = self._incoming(entries, len(before) - len(entries))
        body = partial(decide.scanned, state, scan_id, scan, batch, scan.to)
        record = self._once(world.views[number], (scan_id, entries), "search", "Scanned", body)
        yield f"a search at partition {number} reads {len(entries)}", self._append(world, number, record)

    # ------------------------------------------------------------------ what may never be

    def trouble(self, world: World) -> str | None:
        events = [event_ for _, event_ in world.given]
        if len(set(events)) < len(events):
            return f"one event answered two waits: {world.given}"
        for wait, number in world.given:
            if world.events[number][1] < self._since(world, wait):
                return f"w{wait} was given e{number}, which is older than it may be"
        return self._missed(world)

    def _since(self, world: World, wait: int) -> int:
        return world.waits[wait] - (self.bounds.lookback or 0)

    def _missed(self, world: World) -> str | None:
        """Once everything has come to rest, no wait stands open before an event that it should have had."""
        states = self._states(world)
        run = states[0].runs[self._run_id]
        if run.inbox or self._moves(world, states):
            return None
        for cell in states[1].cells.values():
            if left := {key for _, key in cell.subscriptions} - set(run.pending):
                return f"{left} are over, and the cell still serves them"
        if lost := check_between(states):
            return str(lost[0])
        given = {number for _, number in world.given}
        for key in run.pending:
            wait = int(key[2:])
            for number, (_, ts) in enumerate(world.events):
                if number not in given and ts >= self._since(world, wait):
                    return (
                        f"e{number} was appended at {ts}; w{wait}, open since {world.waits[wait]}, missed it"
                    )
        return None

    def _moves(self, world: World, states: list[PartitionState]) -> bool:
        return bool(world.flight) or any(
            len(self._entries(world, state.number)) > state.next
            or state.scans
            or any(
                state.outbound.get(f"j{other.number}", 0) > other.inbound.get(state.origin, 0)
                for other in states
                if other is not state
            )
            for state in states
        )
