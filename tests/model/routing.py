"""Routing: events are ingested at partition 0, and what follows is sent over a channel to partition 1.

Two routers take turns at partition 0, one of them perhaps a zombie that has not noticed; a deploy comes between; single
deliveries fail while those behind them land; an event is delayed; `Ack`s move the floor from which a successor sends
again (A1). The channel ends in partition 1's journal, or in its events topic, which partition 1 ingests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

from perdure.core import codec, routing
from perdure.core.decide import ingest as decide
from perdure.core.decide.ingest import Incoming
from perdure.core.facts import Stamp
from perdure.core.fold import fold
from perdure.core.ops import EventData
from perdure.core.state import PartitionState
from tests.core.journal import event, started
from tests.model.explorer import Model
from tests.model.views import Fold, Log, Records, View, Views

LATER = 1_000
"""When delayed events are due (µs); the clock of the model stands there."""
NAME = next(n for n in map("happened{}".format, range(99)) if routing.cell_partition(n, "", b"", 2) == 1)
"""An event whose cell is in partition 1."""
CONFIGS = (
    {"version": 1, "functions": [{"id": "f", "triggers": [NAME], "code": "1", "handler": None}]},
    {"version": 2, "functions": [{"id": i, "triggers": [NAME], "code": "2", "handler": None} for i in "ef"]},
)


@dataclass(frozen=True)
class Rules:
    """How routers behave. The defaults are the design's; each other value loses or doubles something."""

    after_failure: str = "claim"
    """`claim`: a new producer, a new claim, and everything above the floor again. `go on`: with the next message."""
    acks: str = "appended"
    """What an `Ack` says of a message: that it is `appended`, or only that it was `handed over`."""


@dataclass(frozen=True)
class Bounds:
    events: int = 2
    delayed: frozenset[int] = frozenset()
    claims: int = 2
    losses: int = 1
    acks: int = 1
    deploy: bool = False
    channel: str = "j1"
    """Where the messages go: partition 1's journal, or `e1`, its events."""


class Router(NamedTuple):
    mode: str = "idle"
    producer: int = -1
    position: int = 0
    proposed: int | None = None
    """The `Ingest` or `Due` that is appended and not read back; one at a time."""
    configured: bool = False
    sent: int = 0
    appended: int = 0


class World(NamedTuple):
    log: Log
    target: Log
    flight: tuple[tuple[int, str, int, int], ...]
    """Producer, where to, number of a message or 0, record."""
    routers: tuple[Router, Router] = (Router(), Router())
    claims: int = 0
    losses: int = 0
    acks: int = 0
    deployed: bool = False


class Routing:
    """The model under one set of rules; `planted` folds stand in for the real one at either end."""

    def __init__(
        self,
        rules: Rules | None = None,
        bounds: Bounds | None = None,
        *,
        planted: Fold | None = None,
        at_target: Fold | None = None,
    ) -> None:
        self.rules, self.bounds = rules or Rules(), bounds or Bounds()
        self.records = Records()
        self.views = Views(self.records, PartitionState(0, 2), planted or fold)
        self.targets = Views(self.records, PartitionState(1, 2), at_target or fold)
        self.batch = [self._incoming(offset) for offset in range(self.bounds.events)]
        self._trouble: dict[Log, str | None] = {}

    def _incoming(self, offset: int) -> Incoming:
        ts = LATER if offset in self.bounds.delayed else 0
        return Incoming(offset, 1, event(NAME, f"e{offset}", ts=ts))

    def model(self) -> Model[World]:
        prepare = self._armed() if self.bounds.channel == "j1" else self._sending()
        return Model(World(prepare, self._target(), ()), self.successors, self.trouble)

    # ------------------------------------------------------------------ how it begins

    def _claim(self, owner: bytes, epoch: int) -> int:
        stamp = Stamp(owner, epoch, 0)
        return self.records.make(f"claim {epoch}", "Claim", {"epoch": epoch, "worker": ""}, stamp=stamp)

    def _armed(self) -> Log:
        """Partition 0 under its first config; a wait somewhere has armed it for the events."""
        owner = b"before" + bytes(10)
        config = self.records.make("config 1", "Config", CONFIGS[0], stamp=Stamp(owner, 1, 1))
        arm = ("perdure.Arm", {"name": NAME, "path": "", "since": 0})
        message = {"origin": "1p1", "seq": 1, "body": arm}
        armed = self.records.make("arm", "Message", message, channel=("1p1", 1))
        return (self._claim(owner, 1), config, armed)

    def _sending(self) -> Log:
        """Partition 0 with a run that sends events whose key is at partition 1."""
        owner = b"before" + bytes(10)
        key = next(k for k in "abcdefgh" if routing.event_partition(k, 2) == 1)
        start = {"function": "f", "event": event(), "tags": {}}
        body = {"id": "c", "run": "r", "client": None, "body": ("perdure.StartRun", start)}
        sent = [event(NAME, f"e{n}", key=key) for n in range(self.bounds.events)]
        ops = [started(), ("perdure.EventsSent", {"key": "/s", "events": sent})]
        commit = {"changes": [{"entity": "r", "prev": 1, "ops": ops}], "acks": []}
        return (
            self._claim(owner, 1),
            self.records.make("start", "Command", body),
            self.records.make("send", "Commit", commit, stamp=Stamp(owner, 1, 1)),
        )

    def _target(self) -> Log:
        owner = b"target" + bytes(10)
        config = self.records.make("config 1", "Config", CONFIGS[0], stamp=Stamp(owner, 1, 1))
        return (self._claim(owner, 1), config)

    # ------------------------------------------------------------------ what can happen

    def successors(self, world: World) -> Iterator[tuple[str, World]]:
        if self.bounds.deploy and not world.deployed:
            yield "version 2 is deployed", world._replace(deployed=True)
        for index, router in enumerate(world.routers):
            if router.mode == "idle" and world.claims < self.bounds.claims:
                yield self._claims(world, index)
            if router.position < len(world.log) and router.mode != "idle":
                yield self._reads(world, index, router)
            if router.mode == "leading":
                yield from self._leads(world, index, router, self.views.of(world.log[: router.position]))
        yield from self._lands(world)

    def _put(
        self, world: World, index: int, router: Router, *appends: tuple[str, int, int], **counts: Any
    ) -> World:
        routers = (router, world.routers[1]) if index == 0 else (world.routers[0], router)
        flight = world.flight + tuple((router.producer, *append) for append in appends)
        return world._replace(routers=routers, flight=flight, **counts)

    def _claims(self, world: World, index: int) -> tuple[str, World]:
        producer = world.claims
        epoch = self.views.of(world.log).state.epoch + 1
        router = Router("claiming", producer, len(world.log))
        record = self._claim(_owner(producer), epoch)
        step = f"R{index} reads to the end and claims epoch {epoch}"
        return step, self._put(world, index, router, ("j0", 0, record), claims=world.claims + 1)

    def _reads(self, world: World, index: int, router: Router) -> tuple[str, World]:
        number = world.log[router.position]
        view, record = self.views.of(world.log[: router.position + 1]), self.records[number]
        after = router._replace(position=router.position + 1)
        if number == router.proposed:
            after = after._replace(proposed=None)
        if record.kind == "Claim":
            own = record.stamp is not None and record.stamp.owner == _owner(router.producer)
            if own:
                after = after._replace(mode="leading" if view.void is None else "idle")
            elif view.void is None and router.mode == "leading":
                after = Router()
        return f"R{index} reads {record.name}: {view.void or 'counts'}", self._put(world, index, after)

    def _leads(self, world: World, index: int, router: Router, view: View) -> Iterator[tuple[str, World]]:
        state = view.state
        if router.proposed is None:
            yield from self._proposes(world, index, router, view)
        if world.deployed and not router.configured and state.config["version"] < 2:
            record = self._record("config 2", "Config", CONFIGS[1], router, view)
            yield (
                f"R{index} appends config 2",
                self._put(world, index, router._replace(configured=True), ("j0", 0, record)),
            )
        queue = state.outbox.get(self.bounds.channel, ())
        unsent = next(((seq, value) for seq, value in queue if seq > router.sent), None)
        if unsent is not None:
            record = self._message(*unsent)
            sending = (self.bounds.channel, unsent[0], record)
            yield (
                f"R{index} sends m{unsent[0]}",
                self._put(world, index, router._replace(sent=unsent[0]), sending),
            )
        floor = router.appended if self.rules.acks == "appended" else router.sent
        if queue and queue[0][0] <= floor and world.acks < self.bounds.acks:
            body = {"changes": [], "acks": [{"target": self.bounds.channel, "seq": floor}]}
            record = self._record(f"ack {floor}", "Commit", body, router, view)
            yield (
                f"R{index} appends ack {floor}",
                self._put(world, index, router, ("j0", 0, record), acks=world.acks + 1),
            )

    def _proposes(self, world: World, index: int, router: Router, view: View) -> Iterator[tuple[str, World]]:
        state = view.state
        proposals: list[tuple[str, str, Any]] = []
        if state.next < len(self.batch) and self.bounds.channel == "j1":
            body = decide.ingest(state, self.batch[state.next : state.next + 1])
            proposals.append((f"ingest {state.next} (config {body['config']})", "Ingest", body))
        if state.delayed:  # all of them have the same time, and it has come
            due = decide.due(state, sorted(state.delayed))
            proposals.append((f"due {due['offsets']}", "Due", due))
        for name, kind, body in proposals:
            record = self._record(name, kind, body, router, view)
            yield (
                f"R{index} appends {name}",
                self._put(world, index, router._replace(proposed=record), ("j0", 0, record)),
            )

    def _record(self, name: str, kind: str, body: dict[str, Any], router: Router, view: View) -> int:
        # `length` stands for the count of the producer's records: no two of them are alike.
        return self.records.make(
            name, kind, body, stamp=Stamp(_owner(router.producer), view.state.epoch, view.length)
        )

    def _message(self, seq: int, value: bytes) -> int:
        kind, body = codec.decode(value)
        return self.records.make(f"m{seq}", kind, body, channel=(self.views.of(()).state.origin, seq))

    def _lands(self, world: World) -> Iterator[tuple[str, World]]:
        heads: set[tuple[int, str]] = set()
        for place, (producer, target, seq, record) in enumerate(world.flight):
            if (producer, target) in heads:
                continue
            heads.add((producer, target))
            name, flight = self.records[record].name, world.flight[:place] + world.flight[place + 1 :]
            rest = world._replace(flight=flight)
            if target == "j0":
                yield f"{name} of producer {producer} lands", rest._replace(log=(*world.log, record))
                continue
            arrived = rest._replace(target=self._arrive(world.target, record))
            yield f"{name} of producer {producer} lands", _appended(arrived, producer, seq)
            if world.losses < self.bounds.losses:
                yield (
                    f"delivery of {name} by producer {producer} fails; those behind it are under way",
                    self._failed(rest._replace(losses=world.losses + 1), producer),
                )

    def _arrive(self, target: Log, record: int) -> Log:
        """A message is appended to partition 1's journal; or to its events, and then ingested at once."""
        if self.bounds.channel == "j1":
            return (*target, record)
        sent = self.records[record]
        view = self.targets.of(target)
        _, body = codec.decode(sent.value)
        incoming = Incoming(view.state.next, 1, cast("EventData", body), sent.channel)
        made = decide.ingest(view.state, [incoming])
        stamp = Stamp(view.state.owner, 1, view.length)
        return (*target, self.records.make(f"ingest of {sent.name}", "Ingest", made, stamp=stamp))

    def _failed(self, world: World, producer: int) -> World:
        """Who is still at it gives up its producer, and claims anew later."""
        if self.rules.after_failure == "go on":
            return world
        routers = tuple(Router() if r.producer == producer else r for r in world.routers)
        return world._replace(routers=routers)

    # ------------------------------------------------------------------ what may never be

    def trouble(self, world: World) -> str | None:
        return self._routed_as_configured(world.log) or self._arrivals(world)

    def _routed_as_configured(self, log: Log) -> str | None:
        if log not in self._trouble:
            self._trouble[log] = (
                (self._routed_as_configured(log[:-1]) or self._last_routed(log)) if log else None
            )
        return self._trouble[log]

    def _last_routed(self, log: Log) -> str | None:
        view, record = self.views.of(log), self.records[log[-1]]
        if record.kind != "Ingest" or view.void is not None or view.before is None:
            return None
        before, (_, body) = view.before.state, codec.decode(record.value)
        functions = [f["id"] for f in before.config["functions"]]
        if [start["function"] for start in body["starts"]] != functions:
            return f"{record.name} starts other functions than {functions}, which are in force"
        fresh = len(view.state.runs) - len(before.runs)
        return None if fresh == len(functions) else f"{record.name} starts {fresh} runs of {len(functions)}"

    def _arrivals(self, world: World) -> str | None:
        origin, target = self.views.of(world.log).state, self.targets.of(world.target).state
        got = self._got(world.target)
        if len(set(got)) < len(got):
            return f"doubled: partition 1 took {got}"
        channel = self.bounds.channel
        out, queue = origin.outbound.get(channel, 0), origin.outbox.get(channel, ())
        arrived = (target.inbound if channel == "j1" else target.origins).get(origin.origin, 0)
        floor = queue[0][0] if queue else out + 1
        if len(got) < arrived or arrived + 1 < floor:
            return f"lost for ever: {out} sent, sent again from m{floor}, partition 1 is at m{arrived} and took {got}"
        return None

    def _got(self, target: Log) -> list[str]:
        """Ids of the events that took effect at partition 1, as often as they did."""
        got: list[str] = []
        for end in range(1, len(target) + 1):
            view, record = self.targets.of(target[:end]), self.records[target[end - 1]]
            if view.void is None and record.kind in ("Message", "Ingest"):
                _, body = codec.decode(record.value)
                taken = [body["body"][1]] if record.kind == "Message" else body["events"]
                got += [t["event"]["id"] for t in taken]
        return got


def _owner(producer: int) -> bytes:
    return b"router" + bytes([producer]) * 10


def _appended(world: World, producer: int, seq: int) -> World:
    """A producer learns that its message is appended, and all before it."""
    routers = tuple(
        r._replace(appended=max(r.appended, seq)) if r.producer == producer else r for r in world.routers
    )
    return world._replace(routers=routers)


def accepts_newer(state: PartitionState, fact: Any) -> str | None:
    """A planted fold: a message counts when it is newer than the last, with or without those between."""
    if fact.kind == "Message" and fact.body["seq"] > state.inbound.get(fact.body["origin"], 0):
        state.inbound[fact.body["origin"]] = fact.body["seq"] - 1
    return fold(state, fact)


def accepts_any(state: PartitionState, fact: Any) -> str | None:
    """A planted fold: every message counts."""
    if fact.kind == "Message":
        state.inbound[fact.body["origin"]] = fact.body["seq"] - 1
    return fold(state, fact)


def unpinned(state: PartitionState, fact: Any) -> str | None:
    """A planted fold: an `Ingest` counts whatever config it was decided under."""
    if fact.kind == "Ingest":
        fact = replace(fact, body=fact.body | {"config": state.config["version"]})
    return fold(state, fact)


def unplaced(state: PartitionState, fact: Any) -> str | None:
    """A planted fold: an `Ingest` of anybody counts, wherever it begins."""
    if fact.kind == "Ingest":
        fact = replace(
            fact,
            body=fact.body | {"from": state.next, "to": max(fact.body["to"], state.next + 1)},
            stamp=fact.stamp._replace(owner=state.owner, epoch=state.epoch),
        )
    return fold(state, fact)
