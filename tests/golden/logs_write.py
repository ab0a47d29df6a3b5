"""Writes the whole logs that are missing: `python -m tests.golden.logs_write`. Never overwrites one.

Two lives: a worker that is killed in the middle of its steps, and one that leaves in good order, in the middle of them
too. The one on Kafka wants a broker: the environment variable PERDURE_TEST_KAFKA, or Java and Maven.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

# From a checkout, as pytest does it: the package need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "framework"))

from perdure import App
from perdure.core.limits import DEFAULT_LIMITS
from perdure.core.state import Run
from perdure.engine.engine import Engine
from perdure.logs.contract import Log
from tests.crash.lives import runs_of
from tests.golden import logs
from tests.golden.logs_program import NUMBERS, RUNS, app_on

SMALL = 300
"""A snapshot is taken after so many bytes."""
WITHIN_S = 60.0


async def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


def by_event(engine: Engine) -> dict[str, Run]:
    """The runs by the ids of their events."""
    return {run.event["id"]: run for run in runs_of(engine)}


def has(engine: Engine, *names: str) -> bool:
    """Whether these runs are in the state in which the log has them."""
    runs = by_event(engine)
    return all(name in runs and runs[name].status == RUNS[name][1] for name in names)


async def start(app: App, name: str, ts: float | None = None) -> None:
    function, _, _ = RUNS[name]
    await app.send(f"golden/{function}", {"n": NUMBERS.get(name, 3)}, id=name, key=name, ts=ts)


async def first_life(app: App) -> None:
    await app.send("golden/paid", {"n": 5, "amount": 500}, id="paid-5")
    async with app.worker() as engine:
        for name in RUNS:
            if name not in ("sleeps", "retries", "plain", "scheduled", "paused", "races"):
                await start(app, name)
        await until(
            lambda: has(engine, "whole", "fails", "looks-back", "quick-parent", "parks"), "they get so far"
        )
        function = app.functions.get("signalled")
        assert function is not None
        for name, what in (("approved", "signal"), ("resumed", "pause"), ("cancelled", "cancel")):
            await until(lambda name=name: name in ids(engine), f"{name} is there")
            handle = app.handle(function, ids(engine)[name])
            await (handle.signal("approve", 7) if what == "signal" else getattr(handle, what)())
        handle = app.handle(function, ids(engine)["resumed"])
        await handle.resume()
        await until(lambda: has(engine, "approved", "resumed", "cancelled"), "they are steered")
        await start(app, "races")
        await until(lambda: "races" in ids(engine) and held(engine, "races"), "its end is held")
        os.kill(os.getpid(), 9)


def ids(engine: Engine) -> dict[str, str]:
    """The runs' ids, by those of their events."""
    return {event: run.id for event, run in by_event(engine).items()}


def held(engine: Engine, name: str) -> bool:
    return by_event(engine)[name].held is not None


def delayed(engine: Engine) -> int:
    """Events that are not due yet, and that waits may match then."""
    return sum(len(partition.state.delayed) for partition in engine.partitions.values())


async def second_life(app: App) -> None:
    async with app.worker(drain_timeout=0.1) as engine:
        await until(lambda: has(engine, "races"), "the held end is booked")
        await start(app, "paused")
        await until(lambda: "paused" in ids(engine), "it is there")
        function = app.functions.get("signalled")
        assert function is not None
        await app.handle(function, ids(engine)["paused"]).pause(reason="look at it")
        await app.send("golden/paid", {"n": 9, "amount": 900}, id="paid-9", ts=time.time() + 1)
        await until(lambda: delayed(engine) == 1, "it is for later")
        await until(lambda: delayed(engine) == 0, "it is due")
        soon = time.time() + 3
        await app.send("golden/paid", {"n": 7, "amount": 700}, id="paid-7", ts=soon)
        await start(app, "scheduled", ts=soon)
        for name in ("sleeps", "retries", "plain"):
            await start(app, name)
        await until(
            lambda: has(engine, "sleeps", "retries", "plain", "paused", "scheduled", "parent"),
            "all are there",
        )
        await until(engine.quiet, "all of it is recorded") if not engine.services.running else None
        await until(lambda: all(p.state.sets for p in engine.partitions.values()), "there are snapshots")


async def life(make: Callable[[], Log], live: Callable[[App], Awaitable[None]]) -> None:
    app = app_on(make())
    app.limits = DEFAULT_LIMITS.__class__(snapshot_tail_bytes_min=SMALL)
    await live(app)
    await app.close()


def lived(make: Callable[[], Log]) -> None:
    """Both lives, each in a process of its own."""
    for live, code in ((first_life, -9), (second_life, 0)):
        pid = os.fork()
        if not pid:
            try:
                asyncio.run(life(make, live))
                sys.stderr.flush()
                os._exit(0)
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == code, f"{live.__name__} has ended with {status}"


def write_missing() -> list[Path]:
    """The files that were made."""
    made: list[Path] = []
    if not logs.SQLITE.exists():
        from perdure.logs.sqlite import SqliteLog

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "log.db"
            lived(lambda: SqliteLog(file, partitions=2))
            logs.save_file(file, logs.SQLITE)
        made.append(logs.SQLITE)
    if not logs.KAFKA.exists():
        from perdure.logs.kafka import KafkaLog
        from tests.brokers import broker

        settings = logs.settings_on(broker().url())
        lived(lambda: KafkaLog(settings, create=2))
        logs.save_topics(settings, logs.KAFKA)
        made.append(logs.KAFKA)
    return made


if __name__ == "__main__":
    for path in write_missing():
        print(f"wrote {path.relative_to(Path.cwd())}, {path.stat().st_size:,} bytes")
