"""Throttle and rate limit against a model: every start, to the microsecond, whatever comes when (Hypothesis)."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from perdure.core import codec
from perdure.core.gates import gate_bodies, take_gate
from perdure.core.ids import placed_run
from tests.core.journal import Journal, same

SECOND = 1_000_000
KEYS = st.sampled_from([b'"a"', b'"b"'])
STEPS = st.sampled_from([1, 1_000, 250_000, 999_999, SECOND, 3 * SECOND, 10 * SECOND, 60 * SECOND])


def limit(kind: str, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": f"{kind}:f:",
        "kind": kind,
        "key": "event.data.k",
        "limit": 1,
        "period": SECOND,
    }
    return made | {"burst": 0, "timeout": 0, "bytes": 0, "mode": "", "only": ""} | fields


class Paced(RuleBasedStateMachine):
    """A partition that owns the keys of a limit, and a plain model of what it lets through."""

    kind = ""

    @initialize(limit_=st.integers(1, 5), period=st.sampled_from([1, 3, 7, 60]), burst=st.integers(0, 3))
    def begin(self, limit_: int, period: int, burst: int) -> None:
        self.limit = limit(self.kind, limit=limit_, period=period * SECOND, burst=burst)
        self.journal = Journal()
        self.journal.claim()
        self.asked = 0
        self.seen = 0
        self.passed: list[tuple[str, int]] = []
        """Which run passed, and when."""
        self.dropped: set[str] = set()
        self.prepare()

    def prepare(self) -> None: ...

    def answers(self) -> None:
        """What the partition has told other partitions since."""
        for _, value in list(self.journal.state.outbox.get("j1", ()))[self.seen :]:
            self.seen += 1
            name, answer = codec.decode(value)[1]["body"]
            assert name == "perdure.GateAnswer"
            if answer["reason"] is None:
                self.passed.append((answer["run"], self.journal.ts))
            else:
                self.dropped.add(answer["run"])

    def due(self) -> None:
        """What the partition's owner does when the clock has come to what a limit waits for."""
        j = self.journal
        gates = [(gate.due, name) for name, gate in j.state.gates.items() if gate.due is not None]
        for due, (limit_id, value) in sorted(gates):
            if due <= j.ts + 1:
                body = {"time": due, "gates": [{"limit": limit_id, "value": value, "due": due}]}
                assert j.append("GatesDue", body, j.stamp()) is None
                self.answers()

    @rule(value=KEYS, rank=st.integers(-2, 2))
    def ask(self, value: bytes, rank: int) -> None:
        self.due()
        self.asked += 1
        run = placed_run(1, 1, "asked", self.asked)
        body = {"run": run, "key": "", "number": 0, "limit": self.limit, "value": value, "config": 1}
        body |= {"rank": rank, "time": 0, "awaited": False, "event": None}
        assert self.journal.message("1p1", self.asked, "GateAsk", body) is None
        self.model(run, value, rank, self.journal.ts)
        self.answers()

    @rule(step=STEPS)
    def wait(self, step: int) -> None:
        """Time passes, and nothing that is due on the way is missed."""
        j = self.journal
        until = j.ts + step
        while True:
            dues = [gate.due for gate in j.state.gates.values() if gate.due is not None and gate.due <= until]
            if not dues:
                break
            j.ts = max(min(dues) - 1, j.ts)
            self.due()
        j.ts = max(until, j.ts)

    @rule(short=st.integers(0, 2))
    def to_the_moment(self, short: int) -> None:
        """The next record comes at the very time at which a place is free, or a microsecond off."""
        moments = [gate.times[0] for gate in self.journal.state.gates.values() if gate.times]
        if moments:
            self.wait(max(min(moments) + self.limit["period"] - short - self.journal.ts, 0))

    def model(self, run: str, value: bytes, rank: int, now: int) -> None:
        raise NotImplementedError

    @invariant()
    def a_snapshot_holds_it(self) -> None:
        if not hasattr(self, "journal"):
            return
        gates: dict[Any, Any] = {}
        for gate in self.journal.state.gates.values():
            for part in gate_bodies(gate):
                take_gate(gates, part)
        assert list(map(gate_bodies, gates.values())) == list(
            map(gate_bodies, self.journal.state.gates.values())
        )

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            assert same(self.journal.state, self.journal.refolded())


class RateLimited(Paced):
    """At most `limit` starts in any period; the rest is dropped, and does not count."""

    kind = "rate"

    def prepare(self) -> None:
        self.times: dict[bytes, deque[int]] = {}
        self.wanted: list[str] = []

    def model(self, run: str, value: bytes, rank: int, now: int) -> None:
        times = self.times.setdefault(value, deque())
        if sum(time > now - self.limit["period"] for time in times) < self.limit["limit"]:
            times.append(now)
            self.wanted.append(run)

    @invariant()
    def it_lets_through_what_the_model_does(self) -> None:
        if hasattr(self, "journal"):
            assert [run for run, _ in self.passed] == self.wanted
            assert len(self.passed) + len(self.dropped) == self.asked


class Throttled(Paced):
    """A bucket of `limit` + `burst` starts, into which one flows every `period` / `limit`; who waits goes by rank."""

    kind = "throttle"

    def prepare(self) -> None:
        self.owners: dict[str, bytes] = {}
        self.ranks: dict[str, tuple[int, int]] = {}

    def model(self, run: str, value: bytes, rank: int, now: int) -> None:
        self.owners[run] = value
        self.ranks[run] = rank, self.asked

    @invariant()
    def it_never_goes_faster_and_never_idles(self) -> None:
        if not hasattr(self, "journal"):
            return
        assert not self.dropped
        interval = -(-self.limit["period"] // self.limit["limit"])
        room = self.limit["limit"] + self.limit["burst"]
        for value in set(self.owners.values()):
            times = [time for run, time in self.passed if self.owners[run] == value]
            level, before = float(room), 0
            for time in times:
                level = min(room, level + (time - before) / interval)
                before = time
                # A record has a time of its own, one microsecond behind the one before.
                assert level >= 1 - 0.001, "faster than its pace"
                level -= 1
            waiting = [
                gate for name, gate in self.journal.state.gates.items() if name[1] == value and gate.waiting
            ]
            if waiting and waiting[0].due is not None:
                level = min(room, level + (self.journal.ts - before) / interval)
                assert level < 1 + 0.001, "it waits although it need not"
            elif not waiting:
                assert len(times) == sum(owner == value for owner in self.owners.values())

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.wait(3_600 * SECOND)
            assert sorted(run for run, _ in self.passed) == sorted(self.owners), "nothing is dropped"
        super().teardown()


pinned = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, database=None)
TestRateLimit = RateLimited.TestCase
TestRateLimit.settings = pinned
TestThrottle = Throttled.TestCase
TestThrottle.settings = pinned
