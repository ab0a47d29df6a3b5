"""Lives in which somebody steers: a run is rerun from a step, a function is paused, a schedule is made at run time.

Whoever steers dies with the worker, and does again, in the next life, what is not known to have been done.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from perdure import App, Context, Cron, RunFailed, Tick
from perdure.core.state import Run
from perdure.engine.engine import Engine
from tests.crash import ledger, service
from tests.crash.ledger import effect
from tests.crash.lives import POLL_S, killer_of, make_app, runs_of
from tests.crash.scenarios import End
from tests.crash.service import Refused, add
from tests.crash.verdict import Story

STEERED = 5
N = 5
WITHIN_S = 40.0
REASON = "a holiday"
SCHEDULE = "user-7"
Ctx = Context[dict[str, Any]]


# --- the service ------------------------------------------------------------------------------------------------------


async def once_mended(run: str, n: int) -> int:
    """Fails while no file `mended` stands in the folder."""
    with effect(run, n):
        if not (ledger.folder() / "mended").exists():
            raise Refused("not yet")
        return n


async def mendable(ctx: Ctx) -> int:
    one = await ctx.step.run("one", add, ctx.run_id, ctx.event.data["n"], 1)
    await ctx.step.sleep("nap", 0.02)
    two = await ctx.step.run("two", once_mended, ctx.run_id, one)
    return await ctx.step.run("three", add, ctx.run_id, two, 1)


async def counted(ctx: Ctx) -> int:
    return await ctx.step.run("count", add, ctx.run_id, ctx.event.data["n"], 1)


async def ticked(ctx: Context[Tick]) -> str:
    await ctx.step.run("count", add, ctx.run_id, 1, 1)
    return ctx.event.data.schedule


async def held(ctx: Ctx) -> None:
    n = await ctx.step.run("take", add, ctx.run_id, ctx.event.data["n"], 1)
    try:
        await ctx.step.wait_for_signal("never", "never")
    finally:
        if not ctx.evicting:
            await ctx.step.run("put-back", add, ctx.run_id, n, -1)


def declared() -> App:
    """The app, with nowhere to run yet."""
    app = App("crash", log="memory:")
    app.function(retries=0)(mendable)
    app.function(on="crash/counted", retries=0)(counted)
    app.function(retries=0)(ticked)
    app.function(retries=0)(held)
    return app


service.DECLARED[STEERED] = declared()


# --- what is done, and what must come of it ---------------------------------------------------------------------------


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():
            await asyncio.sleep(POLL_S)


async def rerun(app: App, engine: Engine) -> None:
    """From the step that failed, once its cause is mended."""
    del engine
    first = await app.start(app.functions.resolve("mendable"), {"n": N}, id="first")
    with suppress(RunFailed):
        await first.result(WITHIN_S)
    (ledger.folder() / "mended").touch()
    again = await app.runs.rerun(first.run_id, from_step="two", id="again")
    await again.result(WITHIN_S)


async def pause(app: App, engine: Engine) -> None:
    """One event comes while the function is paused, and one after it."""

    def paused() -> list[dict[str, str]]:
        return [partition.state.config.get("paused", {}) for partition in engine.partitions.values()]

    if not _done("resumed"):
        await app.pause("counted", reason=REASON)
        await until(lambda: paused() != [] and all(of == {"counted": REASON} for of in paused()))
        await app.send("crash/counted", {"n": N}, id="missed")
        async with asyncio.timeout(WITHIN_S):
            while not await app.runs.skipped():
                await asyncio.sleep(POLL_S)
        await app.resume("counted")
        await until(lambda: not any(paused()))
        ledger.write("accepted", {"id": "resumed"})
    await app.send("crash/counted", {"n": N}, id="later")
    await until(lambda: any(not run.live for run in runs_of(engine)))


async def schedule(app: App, engine: Engine) -> None:
    """It is made, ticks, and is deleted."""
    if not _done("over"):
        await app.schedules.create(SCHEDULE, "ticked", Cron("* * * * * *", catch_up="all"))
        await until(lambda: any(not run.live for run in runs_of(engine)))
        ledger.write("accepted", {"id": "over"})
    await app.schedules.delete(SCHEDULE)


async def by_hand(app: App, engine: Engine) -> None:
    """One run is paused, resumed and cancelled, and cleans up. Who has cancelled it does not do so twice."""

    def run() -> Run | None:
        return next(iter(runs_of(engine)), None)

    def status() -> str:
        found = run()
        return "" if found is None else found.status

    handle = await app.start(app.functions.resolve("held"), {"n": N}, id="held")
    await until(lambda: status() != "")
    if not _done("resumed"):
        await handle.pause(reason=REASON)
        await until(lambda: status() == "paused")
        await handle.resume()
        await until(lambda: status() not in ("", "paused"))
        ledger.write("accepted", {"id": "resumed"})
    await until(lambda: (found := run()) is not None and (not found.live or "/never" in found.pending))
    found = run()
    if found is not None and found.live and not found.cancels:
        await handle.cancel()
    await until(lambda: (found := run()) is not None and not found.live)


def _done(what: str) -> bool:
    return any(line["id"] == what for line in ledger.accepted(ledger.folder()))


def after_rerun(story: Story) -> Counter[End]:
    """What came before the step was not done again: the verdict sees to that."""
    assert {key for _, key in story.reused} == {"/one", "/nap"}
    return Counter([("mendable", "failed", "not yet"), ("mendable", "completed", N + 2)])


def after_pause(story: Story) -> Counter[End]:
    skips = [
        (skip["event"], skip["reason"])
        for record in story.records
        if record.void is None
        for skip in record.fact.body.get("skipped") or ()
        if "paused" in skip["reason"]
    ]
    assert skips == [("missed", f"the function is paused: {REASON}")]
    return Counter([("counted", "completed", N + 1)])


def after_hand(story: Story) -> Counter[End]:
    assert [key for _, key in story.done] == ["/take", "/put-back"]
    return Counter([("held", "cancelled", None)])


def after_schedule(story: Story) -> Counter[End]:
    """Each second from the first tick on has one run, and nothing is left that would tick."""
    ticks = [tick for record in story.kinds("Ticked") for tick in record.fact.body["runs"]]
    planned = [datetime.fromisoformat(tick["event"]["id"].rpartition("@")[2]) for tick in ticks]
    assert planned
    assert planned == [planned[0] + timedelta(seconds=number) for number in range(len(planned))]
    assert [state.schedules for state in story.states] == [{}] * len(story.states)
    return Counter({("ticked", "completed", SCHEDULE): len(ticks)})


STEERING: dict[str, tuple[Callable[[App, Engine], Awaitable[None]], Callable[[Story], Counter[End]]]] = {
    "rerun": (rerun, after_rerun),
    "pause": (pause, after_pause),
    "schedule": (schedule, after_schedule),
    "by-hand": (by_hand, after_hand),
}


# --- the life ---------------------------------------------------------------------------------------------------------


def steered(
    folder: str, items: list[tuple[str, int]], kill_at: int | None = None, heard: bool = False, **options: Any
) -> int:
    """A worker, and who steers it, until all is done. Killed after its n-th durable write."""
    if kill_at is not None:
        killer_of(folder).kill_after_write(kill_at, heard=heard)
    ((what, _),) = items
    return asyncio.run(_steered(folder, what, options))


async def _steered(folder: str, what: str, options: dict[str, Any]) -> int:
    app = make_app(folder, code=STEERED, **options)
    async with app.worker() as engine:
        await STEERING[what][0](app, engine)
        await until(lambda: not any(run.live for run in runs_of(engine)) and engine.quiet())
    await app.close()
    return 0


LIVES: dict[str, Callable[..., int]] = {"steered": steered}
