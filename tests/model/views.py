"""What a reader of a partition makes of its log: the real fold, over the bytes of the records.

A view is folded once and kept. Each is the parent's *snapshot*, restored, and one record more: so every step of every
model goes through a snapshot as well.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from perdure.core import codec, snapshot
from perdure.core.facts import CHANNEL, STAMP, Fact, Stamp, pack_channel, read_fact
from perdure.core.fold import fold
from perdure.core.state import PartitionState

Fold = Callable[[PartitionState, Fact], "str | None"]
Log = tuple[int, ...]


@dataclass(frozen=True)
class Record:
    """A record as it travels, and what only the model knows of it."""

    name: str
    kind: str
    value: bytes
    stamp: Stamp | None
    channel: tuple[str, int] | None
    ghost: Hashable


class Records:
    """Every record of a model, known by a small number."""

    def __init__(self) -> None:
        self._numbers: dict[Record, int] = {}
        self._all: list[Record] = []
        self._facts: list[Fact] = []

    def make(
        self,
        name: str,
        kind: str,
        body: dict[str, Any],
        *,
        stamp: Stamp | None = None,
        channel: tuple[str, int] | None = None,
        ghost: Hashable = None,
    ) -> int:
        return self.keep(Record(name, kind, codec.encode(kind, body), stamp, channel, ghost))

    def keep(self, record: Record) -> int:
        number = self._numbers.setdefault(record, len(self._all))
        if number == len(self._all):
            headers = {STAMP: record.stamp.pack()} if record.stamp else {}
            headers |= {CHANNEL: pack_channel(*record.channel)} if record.channel else {}
            self._all.append(record)
            self._facts.append(read_fact(0, 0, record.value, headers))
        return number

    def __getitem__(self, number: int) -> Record:
        return self._all[number]

    def fact(self, number: int, offset: int, ts: int) -> Fact:
        fact = self._facts[number]
        return Fact(offset, ts, fact.kind, fact.body, fact.stamp, fact.raw, fact.channel)


@dataclass
class View:
    """A log, folded."""

    state: PartitionState
    length: int
    void: str | None = None
    """Why the last record does not count."""
    before: View | None = None
    _chunks: list[bytes] | None = None

    def copy(self) -> PartitionState:
        """The state as a successor gets it: from a snapshot."""
        if self._chunks is None:
            self._chunks = snapshot.take(self.state, self.length)
        state, covers = snapshot.restore(self._chunks, self.state.limits)
        assert covers == self.length
        return state

    @property
    def image(self) -> bytes:
        """All of the state, in bytes."""
        if self._chunks is None:
            self._chunks = snapshot.take(self.state, self.length)
        return b"".join(self._chunks)


class Views:
    """The views of all logs of one partition."""

    def __init__(self, records: Records, state: PartitionState, planted: Fold = fold) -> None:
        self._records = records
        self._fold = planted
        self._known: dict[Log, View] = {(): View(state, 0)}

    def of(self, log: Log) -> View:
        """The view of a log whose entries are a microsecond apart."""
        found = self._known.get(log)
        if found is None:
            found = self._known[log] = self.after(self.of(log[:-1]), log[-1], len(log))
        return found

    def after(self, before: View, number: int, ts: int) -> View:
        """The view once one more record was appended."""
        state = before.copy()
        void = self._fold(state, self._records.fact(number, before.length, ts))
        state.effects.clear()
        return View(state, before.length + 1, void, before)

    @property
    def folded(self) -> int:
        return len(self._known)
