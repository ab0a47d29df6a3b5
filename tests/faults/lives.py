"""What the processes of these tests do, beside the lives of `tests.crash`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from perdure import App, Retry
from perdure.engine.engine import Engine
from perdure.errors import LogError
from tests.crash import ledger
from tests.crash.lives import all_ended, ends_of, make_app, send
from tests.crash.scenarios import End
from tests.crash.service import Ctx, add, flaky, log_of

POLL_S = 0.002
NAP_S = 0.8


def persevering(folder: str, items: list[tuple[str, int]], **options: Any) -> int:
    """A service's whole life: sends until all is accepted, works until all has ended, leaves. Raises what ends it."""

    async def living() -> int:
        app = make_app(folder, **options)
        async with app.worker() as engine:
            ledger.note("started")
            failed = asyncio.ensure_future(engine.failed())
            for name, n in items:
                while not failed.done():
                    try:
                        await send(app, name, n)
                        break
                    except LogError:
                        await asyncio.sleep(POLL_S)
            wanted = ends_of(items)
            while not (failed.done() or all_ended(engine, wanted)):
                await asyncio.sleep(POLL_S)
            if failed.done():
                await failed
            failed.cancel()
        await app.close()
        return 0

    return asyncio.run(living())


# --- functions that wait for time -------------------------------------------------------------------------------------


async def napping(ctx: Ctx) -> int:
    n = await ctx.step.run("before", add, ctx.run_id, ctx.event.data["n"], 0)
    await ctx.step.sleep("nap", NAP_S)
    await ctx.step.sleep_until("until", ctx.now() + timedelta(seconds=NAP_S / 2))
    return await ctx.step.run("after", add, ctx.run_id, n, 0)


async def patient(ctx: Ctx) -> int:
    n = await ctx.step.run("before", add, ctx.run_id, ctx.event.data["n"], 0)
    given = await ctx.step.wait_for_event("never", "time/never", timeout=NAP_S)
    return await ctx.step.run("after", add, ctx.run_id, n, 0 if given is None else -1)


async def stubborn(ctx: Ctx) -> int:
    n = await ctx.step.run("before", add, ctx.run_id, ctx.event.data["n"], 0)
    policy = Retry(limit=3, initial=NAP_S / 2, jitter=0)
    return await ctx.step.options(retry=policy).run("after", flaky, ctx.run_id, n)


_TIMED = App("crash", log="memory:")
for body in (napping, patient, stubborn):
    _TIMED.function(on="time/begun", retries=0)(body)


def timed_ends(numbers: Iterable[int]) -> Counter[End]:
    """How the runs of these events must end."""
    return Counter((body, "completed", n) for n in numbers for body in ("napping", "patient", "stubborn"))


def _timed_app(folder: str) -> App:
    ledger.keep_in(Path(folder))
    app = App("crash", log=log_of(folder, partitions=2))
    for function in _TIMED.functions:
        app.functions.add(function)
    return app


def timed_work(folder: str) -> int:
    """A worker for them, until it is told to stop."""
    start = Engine.start

    async def starting(self: Engine) -> None:
        await start(self)
        ledger.note("started")

    Engine.start = starting
    return _timed_app(folder).run_worker()


def timed_send(folder: str, numbers: list[int]) -> int:
    """Sends one event for each number, always under the same id."""

    async def sending() -> None:
        app = _timed_app(folder)
        for n in numbers:
            await app.send("time/begun", {"n": n}, id=f"begun {n}")
        await app.close()

    asyncio.run(sending())
    return 0


LIVES: dict[str, Callable[..., int]] = {life.__name__: life for life in (persevering, timed_work, timed_send)}
