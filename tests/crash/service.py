"""The victim: an app on a SQLite file whose functions cover a run's life, and what its runs must come to.

Every function is a function of `n` alone, so that the right end of each run can be foretold.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from perdure import App, CancelOn, Context, FailureContext, Retry, SyncContext, Timeouts
from perdure.core.limits import DEFAULT_LIMITS, Limits
from perdure.logs.contract import Log
from perdure.logs.sqlite import SqliteLog
from tests.crash import admitting, asked, clockwork, ledger, limited
from tests.crash.clockwork import TICKING
from tests.crash.ledger import effect
from tests.crash.limited import LIMITED

Ctx = Context[dict[str, Any]]


class Refused(Exception):
    """A step that fails."""


# --- steps ------------------------------------------------------------------------------------------------------------


async def add(run: str, a: int, b: int) -> int:
    with effect(run, a, b):
        await asyncio.sleep(0)
        return a + b


def times(run: str, a: int, b: int) -> int:
    with effect(run, a, b):
        return a * b


async def derived(run: str, a: int, now: str, number: float, unique: str) -> int:
    """Its arguments come from the body's clock and random numbers (A9)."""
    with effect(run, a, now, number, unique):
        return a


async def flaky(run: str, n: int) -> int:
    from perdure import current_step

    with effect(run, n):
        if current_step().attempt < 3:
            raise Refused(f"attempt {current_step().attempt}")
        return n


async def refuse(run: str, n: int) -> int:
    with effect(run, n):
        raise Refused(f"never {n}")


async def gated(run: str, gate: str) -> str:
    """Ends when a file of this name stands in the folder."""
    with effect(run, gate):
        while not (ledger.folder() / gate).exists():
            await asyncio.sleep(0.005)
        return gate


async def poison(run: str) -> None:
    with effect(run):
        os.kill(os.getpid(), signal.SIGKILL)


async def late_poison(run: str) -> None:
    """Fails once, and kills its worker from then on."""
    from perdure import current_step

    with effect(run):
        if current_step().attempt == 1:
            raise Refused("not yet")
        os.kill(os.getpid(), signal.SIGKILL)


async def long(run: str, n: int, seconds: float) -> int:
    with effect(run, n):
        await asyncio.sleep(seconds)
        return n


async def pausing(run: str, n: int, before: bool) -> int:
    """Its process is paused in it, before the effect or after it, when `on_pause` is set."""
    if before:
        await on_pause()
    with effect(run, n):
        await asyncio.sleep(0)
    if not before:
        await on_pause()
    return n * 2


async def _go_on() -> None:
    """Nothing pauses the process."""


on_pause: Callable[[], Awaitable[None]] = _go_on


# --- functions --------------------------------------------------------------------------------------------------------


async def sequence(ctx: Ctx) -> int:
    n = ctx.event.data["n"]
    a = await ctx.step.run(
        "one", derived, ctx.run_id, n, ctx.now().isoformat(), ctx.random.random(), str(ctx.uuid4())
    )
    b = await ctx.step.run("two", times, ctx.run_id, a, 2)
    c = await ctx.step.run(
        "three", derived, ctx.run_id, b, ctx.now().isoformat(), ctx.random.random(), str(ctx.uuid4())
    )
    return await ctx.step.run("four", add, ctx.run_id, c, 1)


async def fan_out(ctx: Ctx) -> int:
    n = ctx.event.data["n"]
    parts = await asyncio.gather(
        *(ctx.step.run("part", add, ctx.run_id, n, k) for k in range(3)),
        ctx.step.run("product", times, ctx.run_id, n, 2),
    )
    return await ctx.step.run("sum", add, ctx.run_id, sum(parts), 0)


async def retrying(ctx: Ctx) -> int:
    policy = Retry(limit=3, initial=0.02, jitter=0)
    return await ctx.step.options(retry=policy).run("flaky", flaky, ctx.run_id, ctx.event.data["n"])


async def sleeping(ctx: Ctx) -> int:
    a = await ctx.step.run("before", add, ctx.run_id, ctx.event.data["n"], 1)
    await ctx.step.sleep("nap", 0.05)
    return await ctx.step.run("after", add, ctx.run_id, a, 1)


async def waiting(ctx: Ctx) -> int:
    """Waits for the event of a run that it makes another function start, once it waits."""
    n = await ctx.step.run("ask", add, ctx.run_id, ctx.event.data["n"], 0)
    wait = asyncio.create_task(
        ctx.step.wait_for_event("pay", "crash/paid", match="data.n", timeout=600), name="wait"
    )
    await ctx.step.send_event("bill", {"name": "crash/pay", "data": {"n": n}})
    paid = await wait
    return await ctx.step.run("book", add, ctx.run_id, -1 if paid is None else paid.data["amount"], 1)


async def looking_back(ctx: Ctx) -> int:
    """Waits for an event that may be there already."""
    paid = await ctx.step.wait_for_event("pay", "crash/paid", match="data.n", timeout=600, lookback="10m")
    return await ctx.step.run("book", add, ctx.run_id, -1 if paid is None else paid.data["amount"], 2)


async def choosing(ctx: Ctx) -> int:
    """Waits, twice, for what is not the first that comes: once by CEL, once by code."""
    n = ctx.event.data["n"]
    await ctx.step.send_event(
        "small", [{"name": "crash/offer", "data": {"n": n, "cents": c}} for c in (1, 2, 3)]
    )
    dear = await ctx.step.wait_for_event(
        "dear", "crash/offer", if_="async.data.n == event.data.n && async.data.cents > 1", lookback="10m"
    )
    other = await ctx.step.wait_for_event(
        "other", "crash/offer", match="data.n", if_=lambda offer: offer.data["cents"] != 1, lookback="10m"
    )
    cents = 0 if dear is None or other is None else dear.data["cents"] + other.data["cents"]
    return await ctx.step.run("book", add, ctx.run_id, cents, n)


async def looping(ctx: Ctx) -> int:
    n, laps = ctx.event.data["n"], ctx.event.data.get("laps", 0)
    total = await ctx.step.run("lap", add, ctx.run_id, ctx.event.data.get("total", 0), n)
    if laps < 2:
        await ctx.restart_with({"n": n, "laps": laps + 1, "total": total})
    return total


async def cancelling(ctx: Ctx) -> None:
    """An event ends it, or its time, and it cleans up."""
    n = ctx.event.data["n"]
    try:
        await ctx.step.run("take", add, ctx.run_id, n, 1)
        await ctx.step.wait_for_signal("never", "never")
    finally:
        await ctx.step.run("put-back", add, ctx.run_id, n, -1)


async def paying(ctx: Ctx) -> int:
    n = ctx.event.data["n"]
    amount = await ctx.step.run("charge", times, ctx.run_id, n, 100)
    await ctx.step.send_event("tell", {"name": "crash/paid", "data": {"n": n, "amount": amount}})
    return await ctx.step.run("note", add, ctx.run_id, n, 0)


async def parent(ctx: Ctx) -> int:
    n = ctx.event.data["n"]
    doubled: int = await ctx.step.invoke("child", "child", {"n": n})
    return await ctx.step.run("more", add, ctx.run_id, doubled, 1)


async def child(ctx: Ctx) -> int:
    return await ctx.step.run("double", times, ctx.run_id, ctx.event.data["n"], 2)


async def undo(ctx: FailureContext[dict[str, Any]]) -> int:
    n = await ctx.step.run("undo", add, ctx.run_id, ctx.event.data["n"], 0)
    return await ctx.step.run("tell", add, ctx.run_id, n, 1)


async def failing(ctx: Ctx) -> int:
    n = await ctx.step.run("fine", add, ctx.run_id, ctx.event.data["n"], 0)
    return await ctx.step.run("fails", refuse, ctx.run_id, n)


async def racing(ctx: Ctx) -> str:
    n = ctx.event.data["n"]

    async def slow() -> int:
        await asyncio.sleep(600)
        return n

    name, _ = await ctx.step.race(quick=ctx.step.run("quick", add, ctx.run_id, n, 1), slow=slow())
    await ctx.step.run("end", add, ctx.run_id, n, 0)
    return name


def plain(ctx: SyncContext[dict[str, Any]]) -> int:
    a = ctx.step.run("one", add, ctx.run_id, ctx.event.data["n"], 1)
    ctx.step.sleep("nap", 0.03)
    return ctx.step.run("two", times, ctx.run_id, a, 2)


async def door(ctx: Ctx) -> str:
    gate = ctx.event.data["gate"]
    await ctx.step.run("before", add, ctx.run_id, 1, 1)
    passed = await ctx.step.run("gate", gated, ctx.run_id, gate)
    await ctx.step.run("after", add, ctx.run_id, 1, 1)
    return passed


async def doors(ctx: Ctx) -> str:
    """Several steps in flight for as long as their gates are closed."""
    gates: list[str] = ctx.event.data["gates"]
    passed = await asyncio.gather(*(ctx.step.run("gate", gated, ctx.run_id, gate) for gate in gates))
    return " ".join(passed)


async def neighbour(ctx: Ctx) -> int:
    n = ctx.event.data["n"]
    return await ctx.step.run("long", long, ctx.run_id, n, ctx.event.data["seconds"])


async def poisoned(ctx: Ctx) -> None:
    await ctx.step.run("poison", poison, ctx.run_id)


async def poisoned_beside_a_timer(ctx: Ctx) -> None:
    await asyncio.gather(ctx.step.sleep("nap", 0.01), ctx.step.run("poison", poison, ctx.run_id))


async def poisoned_late(ctx: Ctx) -> None:
    policy = Retry(limit=6, initial=0.01, factor=1.0, jitter=0)
    await ctx.step.options(retry=policy).run("poison", late_poison, ctx.run_id)


async def gated_then_flaky(ctx: Ctx) -> str:
    policy = Retry(limit=6, initial=0.01, factor=1.0, jitter=0)
    return await ctx.step.options(retry=policy).run("work", opens_then_fails, ctx.run_id, 5)


async def opens_then_fails(run: str, failures: int) -> str:
    """Waits for its gate, then fails its first attempts."""
    from perdure import current_step

    with effect(run, failures):
        while not (ledger.folder() / "open").exists():
            await asyncio.sleep(0.005)
        if current_step().attempt <= failures:
            raise Refused(f"attempt {current_step().attempt}")
        return "done"


async def stubborn(ctx: Ctx) -> str:
    policy = Retry(limit=6, initial=0.3, factor=1.0, jitter=0)
    return await ctx.step.options(retry=policy).run("work", fails_then_opens, ctx.run_id)


async def fails_then_opens(run: str) -> str:
    """Fails at once, then waits for its gate and fails twice more."""
    from perdure import current_step

    with effect(run):
        while current_step().attempt > 1 and not (ledger.folder() / "open").exists():
            await asyncio.sleep(0.005)
        if current_step().attempt <= 3:
            raise Refused(f"attempt {current_step().attempt}")
        return "done"


async def paused(ctx: Ctx) -> int:
    n = await ctx.step.run("first", add, ctx.run_id, ctx.event.data["n"], 0)
    n = await ctx.step.run("pausing", pausing, ctx.run_id, n, ctx.event.data["before"])
    return await ctx.step.run("last", add, ctx.run_id, n, 1)


async def fresh(ctx: Ctx) -> int:
    """Only newer code has it, and starts it by an event that the older code knows, too."""
    return await ctx.step.run("one", add, ctx.run_id, ctx.event.data["n"], 5)


def declared(code: int) -> App:
    """The app of a version, with nowhere to run yet."""
    app = App("crash", log="memory:")
    if code > 1:
        app.function(on="crash/sequence", retries=0)(fresh)
    app.function(on="crash/sequence", if_='event.name == "crash/sequence" && event.data.n >= 0', retries=0)(
        sequence
    )
    app.function(on="crash/*", id="never", if_="event.data.n < 0", retries=0)(sequence)
    for body in (
        fan_out,
        retrying,
        sleeping,
        waiting,
        looking_back,
        choosing,
        looping,
        racing,
        parent,
        plain,
    ):
        app.function(on=f"crash/{body.__name__}", retries=0)(body)
    for body in (door, doors, neighbour, poisoned, poisoned_beside_a_timer, poisoned_late, paused):
        app.function(on=f"crash/{body.__name__}", retries=0)(body)
    for body in (gated_then_flaky, stubborn):
        app.function(on=f"crash/{body.__name__}", retries=0)(body)
    app.function(on="crash/pay", retries=0)(paying)
    called_off = CancelOn("crash/called_off", match="data.n")
    app.function(on="crash/cancelling", retries=0, cancel_on=called_off)(cancelling)
    app.function(on="crash/overdue", id="overdue", retries=0, timeouts=Timeouts(finish="100ms"))(cancelling)
    app.function(on="crash/failing", retries=0, on_failure=undo)(failing)
    app.function(retries=0)(child)
    admitting.declare(app)
    asked.declare(app)
    return app


def log_of(folder: str | Path, *, partitions: int | None = None, lease_s: float = 10.0) -> Log:
    """The log of a folder: the file there, or the one on Kafka that a file `kafka` names."""
    named = Path(folder) / "kafka"
    if not named.exists():
        return SqliteLog(f"{folder}/log.db", partitions=partitions, lease_us=int(lease_s * 1e6))
    from perdure.logs.kafka import KafkaLog, KafkaSettings, Timing

    servers, namespace = named.read_text().split("/")
    timing = Timing(session_s=lease_s, stall_s=lease_s, revoke_s=lease_s)
    return KafkaLog(KafkaSettings(servers, namespace, "crash"), create=partitions or 2, timing=timing)


DECLARED = {code: declared(code) for code in (1, 2)} | {
    TICKING: clockwork.declared(),
    LIMITED: limited.declared(),
}
"""Declared once, before the fork: to read the sources of all bodies takes longer than most lives.
Other folders of tests add their own versions."""


def app_on(
    folder: str,
    *,
    partitions: int = 2,
    lease_s: float = 10.0,
    limits: Limits = DEFAULT_LIMITS,
    code: int = 1,
) -> App:
    """The app, on the log of this folder. `code`: which version of it."""
    app = App("crash", log=log_of(folder, partitions=partitions, lease_s=lease_s), limits=limits)
    for function in DECLARED[code].functions:
        if app.functions.get(function.id) is None:  # handlers come with their functions
            app.functions.add(function)
    return app
