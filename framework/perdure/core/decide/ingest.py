"""Routing events: which runs a batch starts, which waits it may end, what is left for later (A1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from perdure.core import paths, routing
from perdure.core.fold import aging
from perdure.core.matching import Matching
from perdure.core.ops import EventData
from perdure.core.repeats import Digests
from perdure.core.state import PartitionState, Scan
from perdure.errors import EncodingError

Body = dict[str, Any]
Open = Callable[[EventData], EventData]
REPEATED = "an event of this id was routed before"
CONFLICT = "an event of this id that says something else was routed before; this one needs an id of its own"
_PLAIN = Digests()


@dataclass(slots=True)
class Incoming:
    """An entry of the events topic; `event` is None when it cannot be read, or is for another app."""

    offset: int
    ts: int
    event: EventData | None
    channel: tuple[str, int] | None = None
    """Set on the engine's own events: their origin and number, by which re-sends are dropped."""
    size: int = 0
    reason: str = ""
    """Why it cannot be read."""
    plain: EventData | None = None
    """The event with its data opened, where `event` has it sealed: what is looked at."""


def ingest(
    state: PartitionState,
    batch: Sequence[Incoming],
    app: str = "",
    generations: Sequence[int] = (),
    matching: Matching | None = None,
    digests: Digests = _PLAIN,
) -> Body:
    """The `Ingest` record that routes a batch under the partition's config. Batches are contiguous and not empty.

    `matching` is the table of that config's functions; without it one is made, which serves those that ask for nothing
    but names and equalities.

    Apps that share events get runs of different ids for one event (A12). `generations`: of the journal's partitions,
    over which runs are spread; none are as the first alone. `digests` tell a repeat from another event under its id.
    """
    matching = matching or Matching(state.config["functions"])
    routing_ = _Routing(state, app, generations or (state.partitions,), matching, digests)
    for entry in batch:
        routing_.take(entry)
    return routing_.body(batch)


class _Routing:
    """The record in the making."""

    def __init__(
        self,
        state: PartitionState,
        app: str,
        generations: Sequence[int],
        matching: Matching,
        digests: Digests,
    ) -> None:
        self._state = state
        self._matching = matching
        self._digests = digests
        self._app = app
        self._generations = generations
        self._events: list[Body] = []
        self._starts: list[Body] = []
        self._pairings: list[Body] = []
        self._delayed: list[int] = []
        self._skipped: list[Body] = []
        self._origins: dict[str, int] = {}
        self._ids: dict[str, bytes] = {}
        self._lost = 0

    def take(self, entry: Incoming) -> None:
        if entry.channel is not None and not self._advance(*entry.channel):
            return
        event = entry.event
        if event is None:
            self._lost += bool(entry.reason)
            return
        state = self._state
        seen = entry.plain or event
        matched = self._matching.match(seen)
        functions = matched.functions
        delayed = event["ts"] > entry.ts
        pairings = [] if delayed else pair(state, seen)
        if not (functions or pairings or delayed or matched.failed):
            return
        if event["id"] in self._ids or aging.is_known(state, event["id"], entry.ts):
            self._repeated(entry, event["id"], functions)
            return
        self._skipped += [
            {"event": event["id"], "function": function, "reason": reason}
            for function, reason in matched.failed
        ]
        # Of the engine's own, the channel drops what is sent again.
        self._ids[event["id"]] = b"" if entry.channel is not None else self._digests.of(seen)
        index = len(self._events)
        self._events.append({"offset": entry.offset, "time": entry.ts, "event": event})
        paused = state.config.get("paused", ())
        for function in functions:
            if function in paused:
                reason = routing.paused_reason(state.config, function)
                self._skipped.append({"event": event["id"], "function": function, "reason": reason})
                continue
            # The time is in it so that another log, or this one begun anew, makes other ids: outside systems keep
            # the idempotency keys of both.
            parts = ("event", entry.ts, entry.offset, function, self._app)
            run = routing.new_run(state.number, self._generations, *parts)
            self._starts.append({"run": run, "function": function, "event": index})
        self._pairings += [{"event": index, "path": path, "value": value} for path, value in pairings]
        if delayed:
            self._delayed.append(index)

    def _repeated(self, entry: Incoming, event_id: str, functions: Sequence[str]) -> None:
        seen = entry.plain or entry.event
        recorded = self._ids.get(event_id) or self._state.event_digests.get(event_id, b"")
        reason = REPEATED
        if seen is not None and entry.channel is None and not self._digests.fits(recorded, seen):
            reason, functions = CONFLICT, functions or ("",)  # which is told although it starts nothing
        self._skipped += [{"event": event_id, "function": f, "reason": reason} for f in functions]

    def _advance(self, origin: str, seq: int) -> bool:
        # Older ones were routed; newer ones come again, after those that were lost on the way (A1).
        if seq != self._origins.get(origin, self._state.origins.get(origin, 0)) + 1:
            return False
        self._origins[origin] = seq
        return True

    def body(self, batch: Sequence[Incoming]) -> Body:
        state = self._state
        return {
            "partition": state.number,
            "from": state.next,
            "to": batch[-1].offset + 1,
            "config": state.config["version"],
            "armed": len(state.armed),
            "events": self._events,
            "starts": self._starts,
            "correlates": self._pairings,
            "delayed": self._delayed,
            "skipped": self._skipped,
            "origins": [{"origin": o, "seq": s} for o, s in self._origins.items()],
            "lost": self._lost,
            "digests": list(self._ids.values()) if any(self._ids.values()) else [],
        }


def pair(state: PartitionState, event: EventData) -> list[tuple[str, bytes]]:
    """The paths by which waits may look for this event, with its values there."""
    armed = [path for name, path in state.armed if name == event["name"]]
    return _values(event, armed) if armed else []


def _values(event: EventData, wanted: Iterable[str]) -> list[tuple[str, bytes]]:
    """Those of the paths that the event has, with their values. Data that is not JSON has none."""
    found: list[tuple[str, bytes]] = []
    view: dict[str, Any] | None = None
    for path in wanted:
        if not path:
            found.append((path, b""))
            continue
        try:
            view = paths.event_view(event) if view is None else view
        except EncodingError:
            continue
        known, value = paths.match_value(view, path)
        if known:
            found.append((path, value))
    return found


def due(state: PartitionState, offsets: Sequence[int], opened: Open = lambda event: event) -> Body:
    """The `Due` record of these delayed events, in order. `opened` gives an event with its data opened."""
    pairings: list[Body] = []
    for index, offset in enumerate(offsets):
        event = state.delayed[offset]["event"]
        pairings += [
            {"event": index, "path": path, "value": value} for path, value in pair(state, opened(event))
        ]
    return {"offsets": offsets, "armed": len(state.armed), "correlates": pairings}


def scanned(state: PartitionState, scan_id: int, scan: Scan, batch: Sequence[Incoming], cursor: int) -> Body:
    """The `Scanned` record of one step of a search; `cursor` is where it stands now."""
    found: list[Body] = []
    for entry in batch:
        event = entry.event
        if (
            event is None
            or event["name"] != scan.name
            or entry.offset >= scan.to
            or entry.offset in state.delayed
        ):
            continue
        time = max(entry.ts, event["ts"])
        if time < scan.since:
            continue
        for _, value in _values(entry.plain or event, (scan.path,)):
            if scan.value is not None and scan.value != value:
                continue
            position = {"partition": state.number, "offset": entry.offset}
            correlate: Body = {"name": scan.name, "path": scan.path, "value": value, "time": time}
            found.append(correlate | {"position": position, "event": event})
    return {"scan": scan_id, "from": scan.cursor, "to": cursor, "done": cursor >= scan.to, "found": found}
