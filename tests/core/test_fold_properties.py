"""What holds of every journal, sensible or not: one state for all readers, and nothing that stops a fold.

A journal is drawn as steps. Some are what a sound owner does next, some are records that fit their schema and make no
sense, some are no records at all.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.core import codec, snapshot
from perdure.core.decide import ingest
from perdure.core.decide.ingest import Incoming
from perdure.core.facts import CHANNEL, STAMP, Fact, Stamp, read_fact
from perdure.core.fold import fold
from perdure.core.matching import Matching
from perdure.core.ops import Op
from perdure.core.state import PartitionState, Run
from perdure.errors import LevelTooNew
from tests.core.journal import OWNER, ZOMBIE, Journal, asked, done, event, fire, portrait, run_done, started
from tests.core.schema_values import bodies

EXAMPLES = int(os.environ.get("PERDURE_EXAMPLES", "60"))
"""More of them dig deeper: PERDURE_EXAMPLES=5000 takes some minutes."""
pinned = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= 60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)

RUNS = st.sampled_from(["r", "s", "1p0-aaaaaaaaaaaaaaaaaaaa", "1p1-aaaaaaaaaaaaaaaaaaaa"])
NAMES = st.sampled_from(["user/created", "payment/done"])
KEYS = st.sampled_from(["/a", "/b", "/w", "/w:1"])
TIGHT = dict.fromkeys(
    ("kept_events_max", "ended_runs_max", "commands_max", "watchers_max", "inbox_max", "event_ids_max"), 2
) | {"snapshot_chunk_bytes_max": 700, "kept_event_time_max": 40, "event_id_time_max": 60}
"""Bounds that are met."""


# --- what a sound owner does ----------------------------------------------------------------------------------------


def commit(
    j: Journal, run_id: str, makers: list[tuple[Callable[[Run, str], Op | None], str]], right: bool
) -> None:
    run = j.state.runs.get(run_id)
    if run is not None:
        made = (maker(run, key) for maker, key in makers)
        j.commit(run_id, *(op for op in made if op is not None), prev=None if right else run.prev - 1)


def given_from_inbox(run: Run, _key: str) -> Op | None:
    for item in run.inbox:
        if item.name == "perdure.EventMatched":
            matched = {name: item.body[name] for name in ("key", "position", "event")}
            return ("perdure.EventGiven", matched | {"time": 3})
    return None


def opened(run: Run, key: str) -> Op:
    value = b'"7"' if key == "/w" else None
    wait = {"key": key, "event": "payment/done", "signal": None, "path": value and "data.id", "value": value}
    return ("perdure.WaitOpened", wait | {"due": None, "lookback": len(run.seen) * 20 or None})


def child(run: Run, key: str) -> Op:
    issued = {"key": key, "run": f"child of {run.id}", "function": "f", "event": event(), "due": 5}
    return ("perdure.ChildIssued", issued | {"detached": False, "parent_close": "cancel"})


def failed(_run: Run, _key: str) -> Op:
    error = {"type": "E", "message": "m", "traceback": "", "data": ""}
    return ("perdure.RunFailed", {"time": 4, "error": error, "handler": "f:on-failure"})


def sent(_run: Run, key: str) -> Op:
    return ("perdure.EventsSent", {"key": key, "events": [event(key=key)]})


MAKERS: list[Callable[[Run, str], Op | None]] = [
    lambda _run, _key: started(),
    lambda _run, key: asked(key),
    lambda _run, key: done(key),
    lambda _run, key: ("perdure.TimerSet", {"key": key, "due": 9}),
    lambda _run, key: ("perdure.TimerFired", {"key": key, "time": 9}),
    lambda _run, key: ("perdure.WaitClosed", {"key": key}),
    lambda _run, _key: run_done(),
    opened,
    opened,
    given_from_inbox,
    child,
    failed,
    sent,
]


def configure(j: Journal) -> None:
    version = min(j.state.config["version"] + 1, 2**63 - 1)
    j.config(("f", ["user/*"]), ("g", ["payment/done"]), version=version)


def route(j: Journal, entries: list[tuple[str, str, bytes, int]]) -> None:
    first = j.state.next
    batch = [
        Incoming(first + n, j.ts, event(name, id_, data, ts=j.ts + later))
        for n, (name, id_, data, later) in enumerate(entries)
    ]
    matching = Matching(j.state.config["functions"], lambda _condition: bool, lambda _function, _trigger: [])
    j.append("Ingest", ingest.ingest(j.state, batch, matching=matching), j.stamp())


def find(j: Journal, count: int) -> None:
    for scan_id, scan in list(j.state.scans.items())[:1]:
        entries = [Incoming(n, j.ts, event("payment/done", f"old{n}")) for n in range(count)]
        body = ingest.scanned(j.state, scan_id, scan, entries, max(scan.cursor + 1, count))
        j.append("Scanned", body, j.stamp())


def call(j: Journal, run_id: str, name: str, id_: str) -> None:
    body: dict[str, Any] = {"reason": ""}
    bodies_ = {"CancelAsk": body | {"force": False}, "SignalSend": {"name": "go", "data": b"1"}}
    j.command(run_id, name, bodies_.get(name, {"wait": True} if name == "Query" else body), id_, client="me")


def fall_due(j: Journal) -> None:
    body = j.due_by(j.ts + 50)
    if body is not None:
        j.append("Due", body, j.stamp())


def pass_time(j: Journal, by: int) -> None:
    j.ts = max(j.ts + by, 0)


Step = tuple[Callable[..., None], tuple[Any, ...]]


def step(do: Callable[..., None], *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(do), st.tuples(*arguments))


EVENTS = st.tuples(
    NAMES,
    st.sampled_from(["e1", "e2", "~e3"]),
    st.sampled_from([b"{}", b'{"id":"7"}', b"?"]),
    SMALL := st.integers(0, 30),
)
SOUND = st.one_of(
    step(lambda j, owner: j.claim(owner), st.sampled_from([OWNER, ZOMBIE])),
    step(configure),
    step(lambda j, run: j.start(run, client="me", command=f"start of {run}"), RUNS),
    step(
        commit,
        RUNS,
        st.lists(st.tuples(st.sampled_from(MAKERS), KEYS), min_size=1, max_size=3),
        st.just(True),
    ),
    step(
        commit,
        RUNS,
        st.lists(st.tuples(st.sampled_from(MAKERS), KEYS), min_size=1, max_size=3),
        st.booleans(),
    ),
    step(route, st.lists(EVENTS, min_size=1, max_size=3)),
    step(find, st.integers(0, 3)),
    step(fall_due),
    step(fire, st.sampled_from([0, 0, 0, 1])),
    step(call, RUNS, st.sampled_from(["CancelAsk", "SignalSend", "PauseAsk", "ResumeAsk", "Query"]), KEYS),
    step(pass_time, st.integers(-20, 60)),
)


# --- what nobody should do ------------------------------------------------------------------------------------------


def nonsense(j: Journal, kind: str, body: dict[str, Any], stamped: str) -> None:
    """A record that fits its schema, and its guards where these can be met by a number."""
    if kind == "Message":
        body = body | {"seq": j.state.inbound.get(body["origin"], 0) + 1}
    if kind == "Commit":
        runs = j.state.runs
        changes = [
            c | {"prev": runs[c["entity"]].prev} if c["entity"] in runs else c for c in body["changes"]
        ]
        body = body | {"changes": changes}
    if kind == "Ingest":
        now = {
            "partition": 0,
            "from": j.state.next,
            "config": j.state.config["version"],
            "armed": len(j.state.armed),
        }
        body = body | now
    j.append(kind, body, {"owner": j.stamp(), "zombie": j.stamp(ZOMBIE, 1), "": {}}[stamped])


def again(j: Journal, back: int, flips: list[tuple[int, int]], cut: int | None) -> None:
    """An entry once more, perhaps with some of its bits turned or its end cut off."""
    if not j.entries:
        return
    _, value, headers = j.entries[-1 - back % len(j.entries)]
    j.append_value(turned(value, flips)[:cut], headers)


def turned(value: bytes, flips: list[tuple[int, int]]) -> bytes:
    damaged = bytearray(value or b"?")
    for place, bit in flips:
        damaged[place % len(damaged)] ^= 1 << bit
    return bytes(damaged)


STAMPED = st.sampled_from(["owner", "owner", "zombie", ""])
RECORDS = [name for name in codec.RECORDS if name != "Snapshot"]
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        CHANNEL: st.sampled_from([b"1p1:1", b"1p1:2", b":1", b"x:" + b"9" * 5_000]) | st.binary(max_size=9),
        STAMP: st.binary(max_size=40),
    },
)
ABSURD = st.one_of(
    *(step(nonsense, st.just(k), bodies(k), STAMPED) for k in RECORDS),
    step(again, st.integers(0, 30), st.just([]), st.none()),
    step(again, st.integers(0, 30), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 7)), max_size=3), st.none()),
    step(again, st.integers(0, 30), st.just([]), st.integers(0, 60)),
    step(lambda j, value, headers: j.append_value(value, headers), st.binary(max_size=30), HEADERS),
)  # fmt: skip

STEPS = st.lists(st.one_of(SOUND, SOUND, ABSURD), max_size=25)
SOUND_STEPS = st.lists(SOUND, max_size=30)


class Drawn(Journal):
    """A journal of partition 0 of two, with a claim and a config; it leaves out what stops every reader."""

    def __init__(self, steps: list[Step], **limits: int) -> None:
        super().__init__(0, 2, **limits)
        self.claim()
        self.config(("f", ["user/*"]), ("g", ["payment/done"]))
        for do, arguments in steps:
            do(self, *arguments)

    def append_value(self, value: bytes, headers: dict[str, bytes]) -> str | None:
        try:
            return super().append_value(value, headers)
        except LevelTooNew:
            self.entries.pop()
            return None

    def facts(self, first: int = 0) -> list[Fact]:
        return [read_fact(n, *entry) for n, entry in enumerate(self.entries) if n >= first]

    def empty(self) -> PartitionState:
        return PartitionState(0, 2, limits=self.state.limits)


def image(state: PartitionState) -> Any:
    """All of a state that means anything: an index that is made again, and the order of channels, do not."""
    partition, runs, cells, _kept = portrait(state)
    return partition | {"queued": sorted(partition["queued"], key=str)}, runs, cells


def folded(state: PartitionState, facts: list[Fact]) -> PartitionState:
    for fact in facts:
        fold(state, fact)
    state.effects.clear()
    return state


# --- properties -----------------------------------------------------------------------------------------------------


@pinned
@given(STEPS)
def test_two_readers_of_any_journal_reach_the_same_state(steps: list[Step]):
    j = Drawn(steps, **TIGHT)
    assert image(j.state) == image(j.refolded())


@pinned
@given(STEPS, st.integers(0, 100))
def test_any_prefix_folds_and_the_rest_can_follow_later(steps: list[Step], at: int):
    j = Drawn(steps, **TIGHT)
    at %= len(j.entries) + 1
    facts = j.facts()
    assert image(folded(folded(j.empty(), facts[:at]), facts[at:])) == image(j.state)


@pinned
@given(STEPS, st.integers(0, 100), st.lists(st.integers(0, 3), min_size=1, max_size=5))
def test_A10_a_cut_anywhere_and_the_tail_make_the_same_state(steps: list[Step], at: int, paces: list[int]):
    j = Drawn(steps, **TIGHT)
    facts = j.facts()
    at %= len(facts) + 1
    state = folded(j.empty(), facts[:at])
    as_it_was, cut, over = image(state), snapshot.SnapshotCut(state, at), False
    for n, fact in enumerate(facts[at:]):
        folded(state, [fact])
        over = over or cut.advance(paces[n % len(paces)])
    while not over:
        over = cut.advance(1)
    restored, covers = snapshot.restore(cut.chunks, state.limits)
    assert covers == at
    assert image(restored) == as_it_was
    assert image(folded(restored, facts[at:])) == image(j.state) == image(state)


@pinned
@given(SOUND_STEPS)
def test_what_has_counted_is_void_or_changes_nothing_when_it_comes_again(steps: list[Step]):
    j = Drawn(steps)
    state = j.empty()
    counted = [fact for fact in j.facts() if fold(state, fact) is None and not _asks(fact)]
    at_rest = _but_voids(state, "watchers")
    for offset, fact in enumerate(counted, len(j.entries)):
        fact.offset, fact.ts = offset, state.time
        folded(state, [fact])
        assert _but_voids(state, "watchers") == at_rest, fact.kind  # a client may wait anew, also in vain


def _asks(fact: Fact) -> bool:
    """Whether it is a question, which may be asked again."""
    return fact.kind == "Command" and fact.body["body"][0] == "perdure.Query"


@pinned
@given(STEPS)
def test_a_record_that_follows_itself_is_void_or_changes_nothing(steps: list[Step]):
    j = Drawn(steps, **TIGHT)
    state = j.empty()
    for fact in j.facts():
        folded(state, [fact])
        before = _but_voids(state)
        fact.offset += 1
        fold(state, fact)
        assert _but_voids(state) == before, fact.kind
        state = folded(j.empty(), j.facts()[: fact.offset])


def _but_voids(state: PartitionState, *left_out: str) -> Any:
    partition, runs, cells = image(state)
    for run in runs.values():
        for name in left_out:
            del run[name]
    return partition | {"voids": []}, runs, cells


@pinned
@given(
    STEPS,
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 7)), min_size=1, max_size=4),
    st.integers(0, 100),
)
def test_an_undecodable_value_is_void_for_all_and_folding_goes_on(
    steps: list[Step], flips: list[tuple[int, int]], at: int
):
    j = Drawn(steps, **TIGHT)
    at %= len(j.entries)
    ts, value, headers = j.entries[at]
    without = {name: header for name, header in headers.items() if name != STAMP}
    j.entries[at] = (ts, turned(value, flips), without)
    try:
        one, other = folded(j.empty(), j.facts()), j.refolded()
    except LevelTooNew:  # a bit that makes a level of a level; nothing else may stop a reader
        return
    assert image(one) == image(other)
    if j.facts()[at].kind == "undecodable":
        assert one.voids["undecodable"] > 0
    start = {"id": "x", "run": "new", "client": None}
    body = ("perdure.StartRun", {"function": "f", "event": event(id="new"), "tags": {}})
    entry = codec.encode("Command", start | {"body": body})
    assert fold(one, read_fact(len(j.entries), j.ts, entry, {})) is None
    assert one.runs["new"].function == "f"


def test_a_level_above_ours_stops_a_reader():
    j = Journal()
    j.claim()
    level = codec.encode("Level", {"level": 2})
    stamp = {STAMP: Stamp(OWNER, 1, 2).pack()}
    with pytest.raises(LevelTooNew):
        j.append_value(level, stamp)
    assert j.append_value(level, {STAMP: Stamp(ZOMBIE, 1, 2).pack()}) == "level of a former owner"


def test_what_the_owner_wrote_and_nobody_can_read_stops_a_reader():
    j = Journal()
    j.claim()
    with pytest.raises(LevelTooNew):
        j.append_value(b"of another version", {STAMP: Stamp(OWNER, 1, 2).pack()})
    assert j.append_value(b"of another version", {STAMP: Stamp(ZOMBIE, 1, 2).pack()}) == "undecodable"
