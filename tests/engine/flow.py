"""What the tests of flow control share."""

from __future__ import annotations

from typing import Any

from perdure import App, Context
from perdure.core.invariants import check, check_between
from perdure.testing import Environment, TestRun
from tests.engine.going_on import app

SECOND = 1_000_000


def counted(env: Environment, function: str = "f") -> dict[str, int]:
    """How many runs there are of each status."""
    found: dict[str, int] = {}
    for run in env.runs(function):
        found[run.status] = found.get(run.status, 0) + 1
    return found


def reasons(env: Environment, function: str = "f") -> list[str]:
    return [run.view.reason for run in env.runs(function) if run.status == "skipped"]


def gates(env: Environment) -> list[Any]:
    """All limits that something is known of."""
    return [gate for reader in env.reader.partitions for gate in reader.state.gates.values()]


def sound(env: Environment) -> None:
    """Every rule of a log holds."""
    states = [reader.state for reader in env.reader.partitions]
    assert [fault for state in states for fault in check(state)] + check_between(states) == []


def sleeping(*, on: str = "go", lasts: str = "10s", **flow: Any) -> App:
    """An app whose function `f` is under flow control, and takes a while."""
    a = app()

    @a.function(on=on, id="f", **flow)
    async def f(ctx: Context) -> Any:
        await ctx.step.sleep("work", lasts)
        return [event.data for event in ctx.events]

    return a


def instant(*, on: Any = "go", **flow: Any) -> App:
    """The same, and it is over at once."""
    a = app()

    @a.function(on=on, id="f", **flow)
    async def f(ctx: Context) -> Any:
        return [event.data for event in ctx.events]

    return a


async def go(env: Environment, count: int = 1, **data: Any) -> list[TestRun[Any]]:
    return await env.send([{"name": "go", "data": {"n": n, **data}} for n in range(count)])
