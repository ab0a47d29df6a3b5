"""A partition's state as records, and back: the cut that a snapshot is (A10).

A cut is one point of the log although it is written while the log goes on: what a fold is about to change, and the cut
has not yet encoded, is encoded first.
"""

from __future__ import annotations

import heapq
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any

from perdure.core import codec, packed
from perdure.core.bodies import cell_body, cell_of, run_body, run_of, timed
from perdure.core.fold import LEVEL, aging, too_new
from perdure.core.gates import gate_bodies, take_gate
from perdure.core.ids import GENERATED
from perdure.core.limits import DEFAULT_LIMITS, Limits
from perdure.core.roster import Shelf
from perdure.core.state import Cell, CellKey, PartitionState, Run, Scan, Schedule
from perdure.errors import EncodingError, LevelTooNew

__all__ = ["Restoring", "SnapshotCut", "cell_body", "partition_body", "restore", "run_body", "take"]

Body = dict[str, Any]
_OLD_IDS = ("old_event_ids", "old_made_ids", "ended_ids", "passed_ids")
_TRIALS = "trials"
PACKED_PART = 10
"""To take over a packed run or cell takes this part of the time in which one is encoded."""


class SnapshotCut:
    """A snapshot of the state as it is now, encoded piece by piece by `advance` while the state goes on changing."""

    def __init__(self, state: PartitionState, covers: int) -> None:
        state.runs.settle()
        self.covers = covers
        self.chunks: list[bytes] = []
        self._state = state
        self._partition: Body | None = partition_body(state)
        # Of a dict, to find the first takes longer with each that was taken off.
        self._runs = OrderedDict.fromkeys(state.runs.plain)
        self._cells = OrderedDict.fromkeys(state.cells.plain)
        self._packed = [packed.Columns("runs", state.runs), packed.Columns("cells", state.cells)]
        self._ids = [{"of": name, "ids": part} for name in _OLD_IDS for part in getattr(state, name).parts()]
        if trials := state.trials.pack():
            self._ids.append({"of": _TRIALS, "ids": trials})
        self._gates = [part for gate in state.gates.values() for part in gate_bodies(gate)][::-1]
        """As they are now: there are few that much waits at."""
        self._run_bodies: list[Body] = []
        self._gate_bodies: list[Body] = []
        self._cell_bodies: list[Body] = []
        self._id_bodies: list[Body] = []
        self._bytes = 0
        self._broken: Exception | None = None
        state.cut = self

    def save_run(self, run: Run, /) -> None:
        if run.id in self._runs:
            del self._runs[run.id]
            size = run.size + 500 if run.live else aging.run_bytes(run)
            self._save(self._run_bodies, lambda: run_body(run), size)

    def save_cell(self, where: CellKey, cell: Cell, /) -> None:
        if where in self._cells:
            del self._cells[where]
            size = 300 * (1 + len(cell.kept) + len(cell.subscriptions))
            self._save(self._cell_bodies, lambda: cell_body(where, cell), size)

    def _save(self, bodies: list[Body], body: Callable[[], Body], size: int) -> None:
        """It is called by the fold, whose records must not fail for the sake of a snapshot: `advance` raises then."""
        try:
            bodies.append(body())
            self._grow(size)
        except Exception as error:  # noqa: BLE001 - an I/O error of a history's file, a body that cannot be encoded
            self._broken = error
            self.close()

    def close(self) -> None:
        """The state is not watched any more."""
        if self._state.cut is self:
            self._state.cut = None
            self._state.runs.let_go()
            self._state.cells.let_go()

    def _grow(self, size: int) -> None:
        self._bytes += size
        if self._bytes >= self._state.limits.snapshot_chunk_bytes_max:
            self._cut_chunk()

    def _cut_chunk(self, *, last: bool = False) -> None:
        body = {
            "covers": self.covers,
            "index": len(self.chunks),
            "count": len(self.chunks) + 1 if last else 0,  # how many there are is known at the end only
            "partition": self._partition,
            "runs": self._run_bodies,
            "cells": self._cell_bodies,
            "ids": self._id_bodies,
            "gates": self._gate_bodies,
        }
        self.chunks.append(_seal(codec.encode("Snapshot", body)))
        self._partition, self._run_bodies, self._cell_bodies, self._id_bodies = None, [], [], []
        self._gate_bodies = []
        self._bytes = 0

    def advance(self, entities_max: int) -> bool:
        """Encodes up to so many more runs and cells, or takes over ten times as many packed ones; True when the
        snapshot is complete and the cut is closed.

        Raises what went wrong in the encoding; the cut is closed then and of no use.
        """
        for _ in range(entities_max):
            if self._broken is not None:
                raise self._broken
            if self._runs:
                run_id = next(iter(self._runs))
                run = self._state.runs.peek(run_id)  # it may have been packed since
                if run is not None:
                    self.save_run(run)
                self._runs.pop(run_id, None)
            elif self._cells:
                where = next(iter(self._cells))
                cell = self._state.cells.peek(where)
                if cell is not None:
                    self.save_cell(where, cell)
                self._cells.pop(where, None)
            elif self._ids:
                body = self._ids.pop()
                self._save(self._id_bodies, lambda body=body: body, len(body["ids"]))
            elif self._gates:
                body = self._gates.pop()
                size = 300 + 8 * len(body["times"]) + 100 * (len(body["waiting"]) + len(body["held"]))
                data = sum(len(waiter["event"]["data"]) for waiter in body["waiting"] if waiter["event"])
                self._save(self._gate_bodies, lambda body=body: body, size + data)
            elif self._packed:
                for _ in range(PACKED_PART):
                    self._take_packed()
            else:
                self.close()
                self._cut_chunk(last=True)
                return True
        return False

    def _take_packed(self) -> None:
        """Takes over one more packed run or cell, as it is, if there is one."""
        if not self._packed:
            return
        if self._partition is not None:
            self._cut_chunk()  # it comes first
        columns = self._packed[0]
        try:
            chunk = columns.advance(self._state.limits.snapshot_chunk_bytes_max)
            if chunk is not None:
                chunk |= {"covers": self.covers, "index": len(self.chunks)}
                self.chunks.append(_seal(codec.encode("PackedState", chunk)))
            elif columns.over:
                self._packed.pop(0)
        except BaseException:
            self.close()
            raise


def take(state: PartitionState, covers: int) -> list[bytes]:
    """A whole snapshot at once: everything that the entries before `covers` fold to."""
    cut = SnapshotCut(state, covers)
    while not cut.advance(1_000):
        pass
    return cut.chunks


def restore(chunks: Iterable[bytes], limits: Limits = DEFAULT_LIMITS) -> tuple[PartitionState, int]:
    """The state of a snapshot, and the offset of the first entry that it does not cover. Raises EncodingError."""
    restoring = Restoring(limits)
    for chunk in chunks:
        restoring.take(chunk)
    return restoring.done()


class Restoring:
    """A state in the making, chunk by chunk. Both methods raise EncodingError when the chunks are not a snapshot, and
    LevelTooNew when they are one of a newer version. What is packed goes to a shelf as it is: in memory by default."""

    def __init__(self, limits: Limits, shelf: Shelf | None = None) -> None:
        self._limits = limits
        self._shelf = shelf
        self._state: PartitionState | None = None
        self._covers = self._index = self._count = 0

    def take(self, chunk: bytes) -> None:
        value = _unseal(chunk)
        try:
            name, body = codec.decode(value)
        except EncodingError as error:  # its checksum fits: it is as somebody has written it
            raise LevelTooNew(
                f"a snapshot was written by another version of perdure: {error}. Upgrade this worker; until then it"
                " leaves the partition alone"
            ) from error
        if name not in ("Snapshot", "PackedState"):
            raise EncodingError(f"a snapshot has a chunk that is a {name} record")
        if name == "Snapshot" and body["partition"] is not None:
            if body["partition"]["level"] > LEVEL:
                raise too_new(body["partition"]["number"], body["partition"]["level"], "", "in its snapshot")
            self._state, self._covers = _partition(body["partition"], self._limits), body["covers"]
            if self._shelf is not None:
                self._state.runs.shelf = self._state.cells.shelf = self._shelf
        state = self._state
        if state is None or (body["covers"], body["index"]) != (self._covers, self._index):
            raise EncodingError("the chunks of a snapshot do not belong together")
        self._index += 1
        if name == "PackedState":
            packed.take_over(state, body)
            return
        self._count = body["count"]
        for run in body["runs"]:
            state.runs.plain[run["id"]] = run_of(run)
        for cell in body["cells"]:
            state.cells.plain[cell["name"], cell["path"], cell["value"]] = cell_of(cell)
        for gate in body["gates"]:
            take_gate(state.gates, gate)
        for part in body["ids"]:
            if part["of"] == _TRIALS:
                _take_trials(state, part["ids"])
                continue
            if part["of"] not in _OLD_IDS:
                raise EncodingError(f"a snapshot has ids of {part['of']!r}")
            getattr(state, part["of"]).take(part["ids"])

    def done(self) -> tuple[PartitionState, int]:
        """The state, and the offset of the first entry that it does not cover."""
        state = self._state
        if state is None or self._count != self._index:
            raise EncodingError(f"a snapshot has {self._index} chunks, and these are not all")
        cells = state.cells.plain  # packed ones keep no events
        arrivals = ((arrived, where) for where, cell in cells.items() for arrived, _ in cell.kept)
        state.kept = deque(sorted(arrivals))
        kept = (correlate for cell in cells.values() for _, correlate in cell.kept)
        state.kept_bytes = sum(map(aging.kept_bytes, kept))
        if not all(
            size for _, _, size in state.ended
        ):  # written before these were noted, when none was packed
            runs = state.runs.plain
            sized = ((time, run, aging.run_bytes(runs[run])) for time, run, _ in state.ended if run in runs)
            state.ended = deque(sized)
        state.ended_bytes = sum(size for _, _, size in state.ended)
        idle = {key: g.expires for key, g in state.gates.items() if g.expires and not (g.waiting or g.held)}
        state.gates_idle = set(idle)
        state.gates_expiring = [(expires, key) for key, expires in idle.items()]
        heapq.heapify(state.gates_expiring)
        return state, self._covers


def _take_trials(state: PartitionState, packed: bytes) -> None:
    try:
        state.trials.take(packed)
    except (ValueError, TypeError, AttributeError) as error:
        raise EncodingError(f"a snapshot has trials that are none: {error}") from error


def _seal(value: bytes) -> bytes:
    """A chunk: the record and its CRC-32. Avro alone would read many a flipped bit as another state."""
    return value + zlib.crc32(value).to_bytes(4, "big")


def _unseal(chunk: bytes) -> bytes:
    value, crc = chunk[:-4], chunk[-4:]
    if zlib.crc32(value).to_bytes(4, "big") != crc:
        raise EncodingError("a chunk of a snapshot is damaged: its checksum does not fit")
    return value


def _counters(counts: dict[str, int]) -> list[Body]:
    return [{"name": name, "seq": seq} for name, seq in counts.items()]


def _armed(armed: dict[tuple[str, str], int]) -> list[Body]:
    return [{"name": name, "path": path, "since": since} for (name, path), since in armed.items()]


def partition_body(state: PartitionState) -> Body:
    queued = [
        {"target": target, "seq": seq, "body": body}
        for target, queue in state.outbox.items()
        for seq, body in queue
    ]
    known = timed(state.event_ids) + timed(state.made_ids)
    scans = [
        {
            "id": i,
            "name": s.name,
            "path": s.path,
            "value": s.value,
            "since": s.since,
            "cursor": s.cursor,
            "to": s.to,
        }
        for i, s in state.scans.items()
    ]
    return {
        "number": state.number,
        "generation": state.generation,
        "partitions": state.partitions,
        "epoch": state.epoch,
        "owner": state.owner,
        "time": state.time,
        "level": state.level,
        "config": state.config,
        "next": state.next,
        "inbound": _counters(state.inbound),
        "outbound": _counters(state.outbound),
        "queued": queued,
        "origins": _counters(state.origins),
        "delayed": list(state.delayed.values()),
        "event_ids": known,
        "event_digests": state.event_digests.copy(),
        "ended": [{"name": run, "time": time} for time, run, _ in state.ended],
        "ended_sizes": [size for _, _, size in state.ended],
        "armed": _armed(state.armed),
        "announced": _armed(state.announced),
        "scans": scans,
        "scan_next": state.scan_next,
        "voids": _counters(state.voids),
        "sets": state.sets,
        "clean": state.clean,
        "unclean": state.unclean,
        "alone": state.alone,
        "forgotten": state.forgotten,
        "schedules": [_schedule_body(known, schedule) for known, schedule in state.schedules.items()],
    }


def _schedule_body(known: str, schedule: Schedule) -> Body:
    body: Body = {name: getattr(schedule, name) for name in ("last", "run", "paused", "put", "reason")}
    return body | {"id": known, "waiting": list(schedule.waiting)}


def _partition(body: Body, limits: Limits) -> PartitionState:
    if body["config"] is not None:
        limits = limits.folding(body["config"]["limits"])
    state = PartitionState(body["number"], body["partitions"], body["generation"], limits)
    for name in (
        "epoch",
        "owner",
        "time",
        "level",
        "config",
        "next",
        "scan_next",
        "sets",
        "clean",
        "unclean",
        "alone",
        "forgotten",
    ):
        setattr(state, name, body[name])
    for name in ("inbound", "outbound", "origins", "voids"):
        setattr(state, name, {c["name"]: c["seq"] for c in body[name]})
    for queued in body["queued"]:
        state.outbox.setdefault(queued["target"], deque()).append((queued["seq"], queued["body"]))
    state.delayed = {entry["offset"]: entry for entry in body["delayed"]}
    for known in body["event_ids"]:
        (state.made_ids if known["name"].startswith(GENERATED) else state.event_ids)[known["name"]] = known[
            "time"
        ]
    state.event_digests = body["event_digests"]
    sizes = body["ended_sizes"] or [0] * len(body["ended"])  # `done` looks
    if len(sizes) != len(body["ended"]):
        raise EncodingError("a snapshot has not as many sizes as runs that have ended")
    state.ended = deque((e["time"], e["name"], size) for e, size in zip(body["ended"], sizes, strict=True))
    state.armed = {(a["name"], a["path"]): a["since"] for a in body["armed"]}
    state.announced = {(a["name"], a["path"]): a["since"] for a in body["announced"]}
    for s in body["schedules"]:
        state.schedules[s["id"]] = Schedule(
            s["last"], s["run"], s["waiting"], s["paused"], s["put"], s["reason"]
        )
    for s in body["scans"]:
        state.scans[s["id"]] = Scan(s["name"], s["path"], s["value"], s["since"], s["cursor"], s["to"])
    return state
