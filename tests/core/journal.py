"""given(records): a journal in memory whose entries are folded as they are appended."""

from __future__ import annotations

from typing import Any

from perdure.core import codec, snapshot
from perdure.core.decide import ingest
from perdure.core.facts import CHANNEL, STAMP, Stamp, pack_channel, read_fact
from perdure.core.fold import fold
from perdure.core.gates import gate_bodies
from perdure.core.ops import EventData, Op
from perdure.core.state import PartitionState

OWNER = b"o" * 16
ZOMBIE = b"z" * 16
SECOND = 1_000_000


def event(name: str = "user/created", id: str = "e1", data: bytes = b"{}", **fields: Any) -> EventData:  # noqa: A002
    base: dict[str, Any] = {
        "name": name,
        "id": id,
        "ts": 0,
        "key": id,
        "v": None,
        "data": data,
        "trace": None,
    }
    return EventData(**(base | fields))


class Journal:
    """Appends records as bytes, the way they travel, and folds each one."""

    def __init__(self, number: int = 0, partitions: int = 1, **limits: int) -> None:
        self.state = PartitionState(number, partitions)
        if limits:
            from dataclasses import replace

            self.state.limits = replace(self.state.limits, **limits)
        self.entries: list[tuple[int, bytes, dict[str, bytes]]] = []
        self.ts = 0
        self.seq = 0
        self.effects: list[Any] = []

    def due_by(self, now: int) -> dict[str, Any] | None:
        """The `Due` record of all delayed events whose time has come by then; None when there are none."""
        delayed = self.state.delayed
        offsets = sorted(offset for offset, entry in delayed.items() if entry["event"]["ts"] <= now)
        return ingest.due(self.state, offsets) if offsets else None

    def append(self, kind: str, body: dict[str, Any], headers: dict[str, bytes] | None = None) -> str | None:
        """Appends and folds; why it was void, if it was."""
        return self.append_value(codec.encode(kind, body), headers or {})

    def append_value(self, value: bytes, headers: dict[str, bytes]) -> str | None:
        self.ts += 1
        self.entries.append((self.ts, value, headers))
        void = fold(self.state, read_fact(len(self.entries) - 1, self.ts, value, headers))
        self.effects, self.state.effects = self.state.effects, []
        return void

    @property
    def last(self) -> int:
        return len(self.entries) - 1

    def stamp(self, owner: bytes | None = None, epoch: int | None = None) -> dict[str, bytes]:
        self.seq += 1
        return {
            STAMP: Stamp(
                self.state.owner if owner is None else owner,
                self.state.epoch if epoch is None else epoch,
                self.seq,
            ).pack()
        }

    def claim(self, owner: bytes = OWNER, epoch: int | None = None) -> str | None:
        epoch = self.state.epoch + 1 if epoch is None else epoch
        return self.append("Claim", {"epoch": epoch, "worker": "w"}, self.stamp(owner, epoch))

    def config(self, *functions: tuple[str, list[str]], version: int | None = None) -> str | None:
        version = self.state.config["version"] + 1 if version is None else version
        body = [{"id": f, "triggers": t, "code": "1", "handler": None} for f, t in functions]
        return self.append("Config", {"version": version, "functions": body}, self.stamp())

    def start(
        self, run: str, function: str = "f", client: str | None = None, command: str = "c1"
    ) -> str | None:
        start = {"function": function, "event": event(id=f"event of {run}"), "tags": {}}
        return self.append(
            "Command", {"id": command, "run": run, "client": client, "body": ("perdure.StartRun", start)}
        )

    def command(
        self,
        run: str,
        name: str,
        body: dict[str, Any],
        id: str = "c2",  # noqa: A002
        client: str | None = None,
    ) -> str | None:
        return self.append(
            "Command", {"id": id, "run": run, "client": client, "body": (f"perdure.{name}", body)}
        )

    def commit(
        self,
        run: str,
        *ops: Op,
        prev: int | None = None,
        headers: dict[str, bytes] | None = None,
        acks: list[dict[str, Any]] | None = None,
    ) -> str | None:
        prev = self.state.runs[run].prev if prev is None else prev
        body = {"changes": [{"entity": run, "prev": prev, "ops": list(ops)}], "acks": acks or []}
        return self.append("Commit", body, self.stamp() if headers is None else headers)

    def message(self, origin: str, seq: int, name: str, body: dict[str, Any]) -> str | None:
        return self.append(
            "Message",
            {"origin": origin, "seq": seq, "body": (f"perdure.{name}", body)},
            {CHANNEL: pack_channel(origin, seq)},
        )

    def refolded(self) -> PartitionState:
        """What another reader makes of the same entries."""
        other = PartitionState(self.state.number, self.state.partitions, limits=self.state.limits)
        for offset, (ts, value, headers) in enumerate(self.entries):
            fold(other, read_fact(offset, ts, value, headers))
        other.effects.clear()
        return other


def same(a: PartitionState, b: PartitionState) -> bool:
    """Whether two states are equal, to the byte."""
    return portrait(a) == portrait(b)


def portrait(state: PartitionState) -> Any:
    return (
        snapshot.partition_body(state)
        | {"trials": state.trials.pack(), "passed_ids": list(state.passed_ids.parts())}
        | {"gates": [part for _, gate in sorted(state.gates.items()) for part in gate_bodies(gate)]},
        {run_id: snapshot.run_body(run) for run_id, run in sorted(state.runs.items())},
        {where: snapshot.cell_body(where, cell) for where, cell in sorted(state.cells.items())},
        sorted(state.kept),  # within one time they have no order
    )


def done(key: str, result: bytes = b"null", time: int = 1) -> Op:
    return ("perdure.StepDone", {"key": key, "time": time, "attempt": 1, "took": 5, "result": result})


def asked(*keys: str) -> Op:
    return ("perdure.Asked", {"keys": list(keys)})


def started(time: int = 1) -> Op:
    return ("perdure.Started", {"time": time, "code": "1", "python": "3.11"})


def run_done(result: bytes = b"null", time: int = 1) -> Op:
    return ("perdure.RunDone", {"time": time, "result": result})


def fire(j: Journal, off: int) -> None:
    """Timers fire; some of them twice, and perhaps none is of that time."""
    dues = [
        {"run": run.id, "key": key, "due": pending.due + off}
        for run in j.state.runs.values()
        for key, pending in run.pending.items()
        if pending.due is not None
    ]
    if dues:
        j.append("Fired", {"timers": [*dues, dues[0], dues[0] | {"run": "nobody"}]}, j.stamp())
