"""What `perdure doctor` finds: every rule is broken once, and a whole log breaks none."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from perdure.app import App
from perdure.cli import doctor
from perdure.cli.root import app as commands
from perdure.core import ops, routing
from perdure.core.invariants import Violation, check, check_between
from perdure.core.ops import EventData
from perdure.core.state import Cell, Item, PartitionState, Pending, Run, Subscription
from perdure.execution.context import Context
from perdure.testing.environment import environment

PARTITIONS = 4
EVENT: EventData = {"name": "a/b", "id": "1", "ts": 1, "key": "1", "v": None, "data": b"{}", "trace": None}
Ctx = Context[dict[str, Any]]


def value_at(number: int) -> bytes:
    """A value whose cell is in this partition."""
    values = (str(n).encode() for n in range(1_000))
    return next(v for v in values if routing.cell_partition("a/b", "data.x", v, PARTITIONS) == number)


def state_of(number: int = 0) -> PartitionState:
    """A partition with a run in each state in which one may be."""
    state = PartitionState(number, PARTITIONS, epoch=3, owner=b"o" * 16, next=5)
    for index, status in enumerate(["queued", "running", "paused", "parked", "completed"]):
        run = Run(f"1p{number}-{'abcde'[index] * 20}", "f", EVENT, 1, 2, status=status)  # type: ignore[arg-type]
        state.runs[run.id] = run
    running = run_in(state)
    value = value_at(number)
    running.pending = {
        "/step": Pending("step", attempt=1),
        "/sleep": Pending("timer", due=10),
        "/wait": Pending("wait", name="a/b", path="data.x", value=value),
    }
    state.cells["a/b", "data.x", value] = Cell(
        {(running.id, "/wait"): Subscription(running.id, "/wait", 1, ())}
    )
    state.announced["a/b", "data.x"] = 1
    state.ended.append((9, next(run.id for run in state.runs.values() if not run.live), 0))
    state.outbound["j1"] = 7
    state.outbox["j1"] = deque([(6, b"m"), (7, b"m")])
    return state


def run_in(state: PartitionState, status: str = "running") -> Run:
    return next(run for run in state.runs.values() if run.status == status)


Break = Callable[[PartitionState], object]

BREAKS: dict[str, Break] = {
    "every live run waits for something": lambda s: run_in(s).pending.clear(),
    "a run is where its id says": lambda s: s.runs.update(
        {f"1p1-{'z' * 20}": Run(f"1p1-{'z' * 20}", "f", EVENT, 1, 2)}
    ),
    "counters are not negative": lambda s: setattr(run_in(s).pending["/step"], "attempt", -1),
    "a timer has a time": lambda s: setattr(run_in(s).pending["/sleep"], "due", None),
    "an ended run holds nothing": lambda s: s.ended.clear(),
    "a wait is subscribed": lambda s: next(iter(s.cells.values())).subscriptions.clear(),
    "a match path in use is announced": lambda s: s.announced.clear(),
    "a cell is where its name says": lambda s: s.cells.update({("a/b", "data.x", value_at(2)): Cell()}),
    "a channel has no gaps": lambda s: s.outbox["j1"].popleft() and s.outbox["j1"].appendleft((5, b"m")),
    "a channel counts up": lambda s: s.inbound.update({"1p2": -1}),
    "a claim has an owner": lambda s: setattr(s, "owner", b""),
    "a delayed event was read": lambda s: s.delayed.update({5: {"event": EVENT}}),
    "a record is folded as a whole": lambda s: s.local.append(("perdure.Scan", {})),
}


def test_nothing_is_wrong_with_a_state_in_order() -> None:
    for number in range(PARTITIONS):
        assert check(state_of(number)) == []


@pytest.mark.parametrize("rule", BREAKS)
def test_each_rule_is_found_broken(rule: str) -> None:
    state = state_of()
    BREAKS[rule](state)
    assert {violation.rule for violation in check(state)} == {rule}


def test_a_match_that_has_arrived_needs_no_subscription() -> None:
    state = state_of()
    BREAKS["a wait is subscribed"](state)
    run_in(state).inbox.append(Item(8, "perdure.EventMatched", {"key": "/wait"}))
    assert check(state) == []


def test_a_body_that_ended_before_its_attempts_waits_for_these() -> None:
    state = state_of()
    run_in(state).pending.clear()
    run_in(state).held = ops.RUN_DONE, {"time": 1, "result": b"1"}
    assert check(state) == []


def test_between_partitions() -> None:
    states = [PartitionState(number, PARTITIONS, epoch=1, owner=b"o") for number in range(PARTITIONS)]
    run = Run(f"1p0-{'a' * 20}", "f", EVENT, 1, 2, status="running")
    child = Run(f"1p3-{'c' * 20}", "f", EVENT, 1, 2)
    where = ("a/b", "data.x", value_at(2))
    run.pending = {"/wait": Pending("wait", name=where[0], path=where[1], value=where[2])}
    run.pending["/child"] = Pending("child", name=child.id)
    states[0].runs[run.id] = run
    found = check_between(states)
    assert {(v.partition, v.rule) for v in found} == {
        (0, "a wait is subscribed"),
        (0, "an awaited child is live"),
    }

    states[0].outbound = {"j2": 1, "j3": 1}
    assert check_between(states) == [], "what is under way may be what is missed"
    states[2].inbound = states[3].inbound = {"1p0": 1}
    assert check_between(states) == found

    states[2].cells[where] = Cell({(run.id, "/wait"): Subscription(run.id, "/wait", 1, ())})
    states[3].runs[child.id] = child
    assert check_between(states) == []


def test_a_whole_log_with_all_kinds_of_waits_breaks_no_rule() -> None:
    app = App("shop")

    @app.function(on="go")
    async def parent(ctx: Ctx) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step.sleep("sleep", "1h"))
            group.create_task(ctx.step.wait_for_event("any", "x/y", timeout="1d"))
            group.create_task(ctx.step.wait_for_event("one", "x/y", match="data.n"))
            group.create_task(ctx.step.wait_for_signal("signal", "approve"))
            group.create_task(ctx.step.invoke("child", child, {"n": 1}))

    @app.function()
    async def child(ctx: Ctx) -> None:
        await ctx.step.wait_for_event("never", "x/z", match="data.n")

    async def watch() -> list[Violation]:
        found: list[Violation] = []

        def look() -> None:
            states = [partition.state for partition in env.reader.partitions]
            found.extend(violation for state in states for violation in check(state))
            found.extend(check_between(states))

        async with environment(app) as env:
            for number in range(6):
                await env.send("go", {"n": number})
                look()
            await env.send("x/y", {"n": 3})
            look()
            await env.crash_worker()
            await env.start_worker()
            await env.advance("2h")
            look()
            assert sum(1 for partition in env.reader.partitions for _ in partition.state.live_runs()) == 12
        return found

    assert asyncio.run(watch()) == []


def test_the_doctor_exits_with_1_and_shows_what_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    part = {"partition": 0, "live": 1, "journal": [0, 5], "events_unrouted": 2}
    violation = {
        "partition": 0,
        "rule": "a timer has a time",
        "subject": "1p0-x /sleep",
        "detail": "it would never fire",
    }
    found: dict[str, Any] = {
        "log": "x.db",
        "bytes": 5_000_000,
        "runs": {"running": 1},
        "voids": {"command twice": 2},
    }
    found |= {"undecodable": 1, "dead_letters": 1, "partitions": [part], "violations": [violation]}
    found["cautions"] = ["shop.orders.journal: it is not trimmed"]

    async def examined(_log: str | None) -> dict[str, Any]:
        return found

    monkeypatch.setattr(doctor, "_examined", examined)
    shown = CliRunner().invoke(commands, ["doctor"])
    assert shown.exit_code == 1
    for text in (
        "5 MB",
        "1 running",
        "2 × command twice",
        "1 record cannot be read",
        "2 entries not routed",
        "1 violation",
        "shop.orders.journal: it is not trimmed",
    ):
        assert text in shown.stdout
    assert "a timer has a time  1p0-x /sleep  it would never fire" in shown.stdout
    assert json.loads(CliRunner().invoke(commands, ["doctor", "--json"]).stdout) == found
