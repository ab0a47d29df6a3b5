"""Holds a history against what sets, registers and counters are. Each checker returns what it found, in words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from perdure.core.state import Run
from tests.chaos.history import Effect, History, Operation
from tests.crash.scenarios import End

SHOWN_MAX = 10


def lost_writes(history: History) -> list[str]:
    """What was acknowledged and has never come to the world outside."""
    there = {(e.workload, e.key, e.value) for e in history.effects}
    faults = [
        f"{o.value} was acknowledged ({o.id}) and never came to {o.workload} {o.key}"
        for o in history.operations
        if o.acknowledged and o.workload in ("set", "register") and (o.workload, o.key, o.value) not in there
    ]
    totals = _totals(history)
    for key, wanted in _sums(o for o in history.operations if o.acknowledged).items():
        if totals[key] < wanted:
            faults.append(f"counter {key} stands at {totals[key]}, and {wanted} was acknowledged")
    return faults


def duplicates(history: History) -> list[str]:
    """What was done twice, so that the world outside could not tell; and what nobody asked for."""
    tokens: defaultdict[tuple[str, str, int], set[str]] = defaultdict(set)
    meanings: defaultdict[str, set[tuple[str, str, int]]] = defaultdict(set)
    for e in history.effects:
        meanings[e.token].add((e.workload, e.key, e.value))
        if e.workload != "counter":
            tokens[e.workload, e.key, e.value].add(e.token)
    asked = {(o.workload, o.key, o.value) for o in history.operations}
    faults: list[str] = []
    for what, under in tokens.items():
        if len(under) > 1:
            faults.append(f"{what[2]} came to {what[0]} {what[1]} under {len(under)} idempotency keys")
        if what not in asked:
            faults.append(f"{what[2]} came to {what[0]} {what[1]}, and nobody sent it")
    for token, meant in meanings.items():
        if len(meant) > 1:
            faults.append(f"idempotency key {token} was used for {sorted(meant)}")
    begun = _sums(history.operations)
    for key, total in _totals(history).items():
        if total > begun[key]:
            faults.append(f"counter {key} stands at {total}, and {begun[key]} was sent")
    return faults


def non_monotonic(history: History) -> list[str]:
    """Registers that went back: in the world outside, or before the eyes of clients."""
    faults: list[str] = []
    newest: dict[str, int] = {}
    for e in _first_of_each_token(history.effects):
        if e.workload == "register":
            if e.value <= newest.get(e.key, -1):
                faults.append(f"register {e.key} went back from {newest[e.key]} to {e.value}")
            newest[e.key] = e.value
    told: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    """For each register: when an answer came that was greater than all before, and which."""
    for r in sorted(history.reads, key=lambda r: r.answered):
        before = [value for answered, value in told[r.key] if answered < r.asked]
        if before and r.value < before[-1]:
            faults.append(f"register {r.key} was read as {r.value} after it had been read as {before[-1]}")
        if not told[r.key] or r.value > told[r.key][-1][1]:
            told[r.key].append((r.answered, r.value))
    return faults


def stuck(runs: Iterable[Run]) -> list[str]:
    """Runs that are not over, although everything was mended long ago."""
    return [
        f"run {run.id} of {run.function} is {run.status}, and waits for {sorted(run.pending) or 'nothing'}"
        for run in runs
        if run.live
    ]


class Progress:
    """Whether a system that could work does."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._size = -1
        self._since = 0.0
        self.longest_s = 0.0
        """The longest time without any progress while nothing hindered it."""

    def look(self, now_s: float, size: int, *, hindered: bool) -> str | None:
        """`size` grows with all that is done. What is wrong, if anything is."""
        if size != self._size or hindered:
            self._size, self._since = size, now_s
            return None
        stood_s = now_s - self._since
        self.longest_s = max(self.longest_s, stood_s)
        if stood_s <= self._patience_s:
            return None
        return f"no step has run for {stood_s:.0f} s, and log and workers were there"


def ends(history: History) -> Counter[End]:
    """How the runs of all operations must end, given that each was acknowledged."""
    wanted: Counter[End] = Counter()
    last: dict[str, int] = {}
    for o in history.operations:
        if o.workload == "set":
            wanted["add-to-set", "completed", o.value] += 1
        elif o.workload == "counter":
            wanted["count", "completed", o.value] += 1
            for part in halves(o.value):
                wanted["half", "completed", part] += 1
        elif o.workload == "register":
            last[o.key] = max(o.value, last.get(o.key, -1))
    for value in last.values():
        wanted["register", "completed", value] += 1
    return wanted


def halves(amount: int) -> tuple[int, int]:
    """Two parts of an amount."""
    return amount // 2, amount - amount // 2


def check(history: History) -> list[str]:
    """All that the histories of sets, registers and counters tell; of each kind only so much."""
    found = [lost_writes(history), duplicates(history), non_monotonic(history)]
    names = ("lost write", "duplicate", "non-monotonic")
    return [
        f"{name}: {text}"
        for name, faults in zip(names, found, strict=True)
        for text in [
            *faults[:SHOWN_MAX],
            *([f"and {len(faults) - SHOWN_MAX} more"] * (len(faults) > SHOWN_MAX)),
        ]
    ]


def _first_of_each_token(effects: Iterable[Effect]) -> Iterable[Effect]:
    known: set[str] = set()
    for e in effects:
        if e.token not in known:
            known.add(e.token)
            yield e


def _totals(history: History) -> Counter[str]:
    totals: Counter[str] = Counter()
    for e in _first_of_each_token(history.effects):
        if e.workload == "counter":
            totals[e.key] += e.value
    return totals


def _sums(operations: Iterable[Operation]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for o in operations:
        if o.workload == "counter":
            sums[o.key] += o.value
    return sums
