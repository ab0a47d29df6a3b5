"""What the processes of these tests do, from the fork on."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from perdure import App, RunEnded
from perdure.core import payload
from perdure.core.limits import DEFAULT_LIMITS
from perdure.core.state import Run
from perdure.engine import deploying
from perdure.engine.engine import Engine
from perdure.engine.replies import Replies
from perdure.errors import LogError
from tests.crash import killing, ledger, service
from tests.crash import misbehaving as misbehaving  # declares its version of the service
from tests.crash.scenarios import SCENARIOS, SIGNAL_DATA, End
from tests.crash.service import app_on

POLL_S = 0.002
ANSWER_S = 90.0


def end_of(run: Run) -> End:
    """How a run ended, as the scenarios say it."""
    if run.error is not None:
        return run.function, run.status, run.error["message"].rpartition(": ")[2]
    return run.function, run.status, None if run.result is None else payload.loads(run.result)


def ends_of(items: list[tuple[str, int]]) -> Counter[End]:
    """How all runs of these scenarios must end."""
    return Counter(end for name, n in items for end in SCENARIOS[name].ends(n))


def make_app(folder: str, limits: dict[str, int] | None = None, **options: Any) -> App:
    ledger.keep_in(Path(folder))
    return app_on(folder, limits=replace(DEFAULT_LIMITS, **(limits or {})), **options)


async def send(app: App, name: str, n: int) -> None:
    """Sends all of a scenario that is not known to have been accepted, always under the same ids."""
    scenario = SCENARIOS[name]
    known = {line["id"] for line in ledger.accepted(ledger.folder())}
    for event in scenario.events:
        event_id = f"{name} {n} {event}"
        if event_id not in known:
            await app.send(event, {"n": n}, id=event_id)
            ledger.write("accepted", {"id": event_id, "name": name, "n": n})
    if scenario.start is None:
        return
    function = app.functions.get(scenario.start)
    assert function is not None
    run_id = f"{scenario.start}/{name} {n}"
    if run_id not in known:
        await app.start(function, {"n": n}, id=f"{name} {n}")
        ledger.write("accepted", {"id": run_id, "name": name, "n": n})
    if scenario.signal is not None and f"{run_id} signal" not in known:
        with suppress(RunEnded):  # sent before, by a sender that died before it could say so
            await app.handle(function, run_id).signal(scenario.signal, SIGNAL_DATA, id=f"signal {name} {n}")
        ledger.write("accepted", {"id": f"{run_id} signal", "name": name, "n": n})


async def request(app: App, name: str, n: int) -> None:
    """Makes the request of a scenario that has one, always under the same id, and holds the answer against what it
    must be: while a worker is there, or comes."""
    scenario = SCENARIOS[name]
    run_id = f"{scenario.start}/{name} {n}"
    if scenario.request is None or f"{run_id} request" in {
        line["id"] for line in ledger.accepted(ledger.folder())
    }:
        return
    function = app.functions.get(run_id.partition("/")[0])
    assert function is not None
    run = app.handle(function, run_id)
    answer = await run.request(scenario.request, SIGNAL_DATA, id=f"request {name} {n}", timeout=ANSWER_S)
    assert answer == scenario.answer(n), f"{run_id} answered {answer}"
    ledger.write("accepted", {"id": f"{run_id} request", "name": name, "n": n})


def killer_of(folder: str) -> Any:
    """How a process on this log is killed or paused from within."""
    if not (Path(folder) / "kafka").exists():
        return killing
    from tests.crash import killing_on_kafka

    return killing_on_kafka


# --- the lives --------------------------------------------------------------------------------------------------------


def whole(
    folder: str,
    items: list[tuple[str, int]],
    kill_at: int | None = None,
    heard: bool = False,
    **options: Any,
) -> int:
    """A service's whole life: sends, works until all has ended, leaves. Killed after its n-th durable write."""
    if kill_at is not None:
        killer_of(folder).kill_after_write(kill_at, heard=heard)
    return asyncio.run(_whole(folder, items, options))


async def _whole(folder: str, items: list[tuple[str, int]], options: dict[str, Any]) -> int:
    app = make_app(folder, **options)
    for name, n in items:
        await send(app, name, n)
    wanted = ends_of(items)
    async with app.worker() as engine:
        await asyncio.gather(*(request(app, name, n) for name, n in items))
        while not all_ended(engine, wanted):
            await asyncio.sleep(POLL_S)
    await app.close()
    return 0


def runs_of(engine: Engine) -> list[Run]:
    """All that a worker has in its partitions."""
    return [run for partition in engine.partitions.values() for run in partition.state.runs.values()]


def all_ended(engine: Engine, wanted: Counter[End]) -> bool:
    runs = runs_of(engine)
    return len(runs) >= wanted.total() and not any(run.live for run in runs) and engine.quiet()


def work(
    folder: str,
    drain_s: float = 20.0,
    zombie: bool = False,
    disk_s: float = 0.0,
    patience_s: float | None = None,
    mute: bool = False,
    **options: Any,
) -> int:
    """A worker, until it is told to stop. `zombie`: its pausing step pauses it; `disk_s`: how slow its disk is;
    `patience_s`: how long old code waits for an answer of newer code; `mute`: it dies instead of answering a client."""
    if mute:
        Replies._send = lambda self, client, body: killing.kill()
    if patience_s is not None:
        deploying.PATIENCE_US, deploying.PERIOD_US = int(patience_s * 1e6), int(patience_s * 0.5e6)
        deploying.ANSWER_US = int(patience_s * 0.1e6)
    if zombie:
        service.on_pause = killer_of(folder).Zombie().pause
    if disk_s:
        killing.slow_disk(disk_s)
    start, drain = Engine.start, Engine.drain

    async def starting(self: Engine) -> None:
        await start(self)
        ledger.note("started")

    def draining(self: Engine) -> None:
        drain(self)
        ledger.note("draining")

    Engine.start, Engine.drain = starting, draining
    return make_app(folder, **options).run_worker(drain_timeout=drain_s)


def produce(folder: str, seed: int, first: int = 0, pause_s: float = 0.02, **options: Any) -> int:
    """A sender under way until a file `enough` stands in the folder."""

    async def sending() -> None:
        app = make_app(folder, **options)
        draw = random.Random(seed)
        n, refused = first, ""
        while not (Path(folder) / "enough").exists():
            n += 1
            name, sent = draw.choice(sorted(SCENARIOS)), False
            while not sent:  # what was refused, or whose outcome is not known, is sent again under its ids
                try:
                    await send(app, name, n)
                    await request(app, name, n)
                    sent = True
                except LogError as error:
                    if str(error) != refused:
                        refused = str(error)
                        print(f"refused: {refused}", file=sys.stderr, flush=True)
                    await asyncio.sleep(0.01)
            await asyncio.sleep(draw.uniform(0, 2 * pause_s))
        await app.close()

    asyncio.run(sending())
    return 0


def send_all(folder: str, items: list[tuple[str, int]], kill_at: int | None = None, **options: Any) -> int:
    """A sender that sends these and leaves; what was acknowledged to an earlier life it sends again, too."""

    async def sending() -> None:
        app = make_app(folder, **options)
        for name, n in items:
            for event in SCENARIOS[name].events:
                await app.send(event, {"n": n}, id=f"{name} {n} {event}")
                ledger.write("accepted", {"id": f"{name} {n} {event}", "name": name, "n": n})
        await app.close()

    if kill_at is not None:
        killing.kill_after_write(kill_at, heard=False)
    asyncio.run(sending())
    return 0


def ask(folder: str, first: int, count: int, **options: Any) -> int:
    """A client that starts so many runs under ids of its choice, awaits them all at once, and notes what it heard."""

    async def asking() -> None:
        app = make_app(folder, **options)
        function = app.functions.get("child")
        assert function is not None
        numbers = range(first, first + count)
        runs = [await app.start(function, {"n": n}, id=f"ask-{n}") for n in numbers]
        ledger.note("asking")
        for n, result in zip(
            numbers, await asyncio.gather(*(run.result(timeout=120) for run in runs)), strict=True
        ):
            ledger.write("heard", {"pid": os.getpid(), "n": n, "result": result})
        await app.close()

    asyncio.run(asking())
    return 0


LIVES: dict[str, Callable[..., int]] = {life.__name__: life for life in (whole, work, produce, send_all, ask)}
