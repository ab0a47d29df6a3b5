"""Sets, registers and counters as durable functions, beside those of the crash tests; and their senders and readers."""

from __future__ import annotations

import asyncio
import mmap
import os
import random
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from perdure import App, Context
from perdure.errors import LogError
from tests.chaos import history
from tests.chaos.checkers import halves
from tests.chaos.history import Operation
from tests.crash import lives, service
from tests.crash.ledger import effect

Ctx = Context[dict[str, Any]]
CODE = 100
"""The version of the service that has these functions."""
GENERATION = 400
"""Writes of one register: then its run ends, and the sender begins another."""
READ_WITHIN_S = 10.0
_AHEAD = struct.Struct("q")


# --- functions --------------------------------------------------------------------------------------------------------


async def change(run: str, workload: str, key: str, value: int) -> int:
    """The step that all of them do: something happens outside."""
    with effect(run, workload, key, value):
        history.effect(workload, key, value)
    return value


async def add_to_set(ctx: Ctx) -> int:
    data = ctx.event.data
    return await ctx.step.run("insert", change, ctx.run_id, "set", data["key"], data["value"])


async def register(ctx: Ctx) -> int | None:
    """Writes what it is sent, in the order in which it was sent, until it is closed."""
    value = None
    while (given := await ctx.step.wait_for_signal("next", "write")) is not None and given.data is not None:
        value = await ctx.step.run("write", change, ctx.run_id, "register", ctx.event.data["key"], given.data)
        ctx.set_value("value", value)
    return value


async def count(ctx: Ctx) -> int:
    """Counts by way of two other functions, which it reaches by messages: an event for each half."""
    data = ctx.event.data
    for part in halves(data["value"]):
        body = {"key": data["key"], "value": part}
        await ctx.step.send_event("half", {"name": "chaos/half", "data": body})
    return data["value"]


async def half(ctx: Ctx) -> int:
    data = ctx.event.data
    return await ctx.step.run("apply", change, ctx.run_id, "counter", data["key"], data["value"])


def declared() -> App:
    """The crash tests' functions, and these."""
    app = service.declared(1)
    app.function(on="chaos/add", retries=0)(add_to_set)
    app.function(on="chaos/half", retries=0)(half)
    app.function(retries=0)(register)
    app.function(retries=0)(count)
    return app


service.DECLARED[CODE] = declared()


# --- senders ----------------------------------------------------------------------------------------------------------


async def _add(app: App, o: Operation) -> None:
    await app.send("chaos/add", {"key": o.key, "value": o.value}, id=o.id)


async def _count(app: App, o: Operation) -> None:
    await app.start(_function(app, "count"), {"key": o.key, "value": o.value}, id=o.id)


async def _write(app: App, o: Operation) -> None:
    function = _function(app, "register")
    if o.value % GENERATION == 0:
        await app.start(function, {"key": o.key}, id=o.key)
    await app.handle(function, f"register/{o.key}").signal("write", o.value, id=o.id)


async def _close(app: App, o: Operation) -> None:
    await app.handle(_function(app, "register"), f"register/{o.key}").signal("write", None, id=o.id)


SEND: dict[str, Callable[[App, Operation], Awaitable[None]]] = {
    "set": _add,
    "counter": _count,
    "register": _write,
    "close": _close,
}


def _function(app: App, name: str) -> Any:
    function = app.functions.get(name)
    assert function is not None
    return function


def operation(seed: int, workload: str, sender: str, n: int) -> Operation:
    """The n-th that a sender wants: the same one in each of its lives."""
    if workload == "register":
        return Operation(f"{sender} {n}", workload, f"{sender}.{n // GENERATION}", n)
    value = n if workload == "set" else random.Random(f"{seed} {sender} {n}").randrange(2, 100)
    return Operation(f"{sender} {n}", workload, sender, value)


def send_chaos(folder: str, seed: int, workload: str, sender: str, pause_s: float, **options: Any) -> int:
    """A sender under way until a file `enough` stands in the folder. It goes on where its last life ended."""

    async def sending() -> None:
        app = lives.make_app(folder, **options)
        draw = random.Random()
        n = 0
        for o in history.operations(Path(folder)):
            if o.id.startswith(f"{sender} "):
                n += o.workload != "close"
                if not o.acknowledged:
                    await _until_acknowledged(app, o)
        while not (Path(folder) / "enough").exists():
            o = operation(seed, workload, sender, n)
            if n and workload == "register" and n % GENERATION == 0:
                await _begin(app, _closing(sender, n - 1))
            await _begin(app, o)
            n += 1
            await asyncio.sleep(draw.uniform(0, 2 * pause_s))
        if n and workload == "register":
            await _begin(app, _closing(sender, n - 1))
        await app.close()

    asyncio.run(sending())
    return 0


def _closing(sender: str, last: int) -> Operation:
    generation = last // GENERATION
    return Operation(f"{sender} close {generation}", "close", f"{sender}.{generation}", last)


async def _begin(app: App, o: Operation) -> None:
    history.begin(o)
    await _until_acknowledged(app, o)


async def _until_acknowledged(app: App, o: Operation) -> None:
    while True:
        try:
            await SEND[o.workload](app, o)
        except LogError:  # refused, or its outcome is not known: once more under the same ids
            await asyncio.sleep(0.05)
            continue
        history.acknowledged(o)
        return


def read_chaos(folder: str, seed: int, pause_s: float, **options: Any) -> int:
    """A client that asks what values registers have, until there is a file `enough`."""

    async def reading() -> None:
        app = lives.make_app(folder, **options)
        draw = random.Random(seed)
        while not (Path(folder) / "enough").exists():
            for key in _registers(Path(folder), draw):
                asked = history.now()
                with suppress(LogError, TimeoutError):
                    async with asyncio.timeout(READ_WITHIN_S):
                        value = await app.handle(_function(app, "register"), f"register/{key}").value("value")
                    history.seen(key, -1 if value is None else value, asked)
            await asyncio.sleep(pause_s)
        await app.close()

    asyncio.run(reading())
    return 0


def _registers(folder: Path, draw: random.Random) -> Iterator[str]:
    """A register that is there, if there is one; more often a young one."""
    keys = sorted({o.key for o in history.operations(folder) if o.workload == "register" and o.acknowledged})
    if keys:
        yield draw.choice(keys[-4:])


# --- workers ----------------------------------------------------------------------------------------------------------


def work_chaos(folder: str, **arguments: Any) -> int:
    """A worker of the crash tests whose clock can be set while it runs: `set_clock` has it be ahead."""
    true = time.time_ns
    with clock_file(Path(folder), os.getpid()).open("w+b") as file:
        file.write(_AHEAD.pack(0))
        file.flush()
        ahead = mmap.mmap(file.fileno(), _AHEAD.size)
    # Not a file that a signal handler reads: that may be called within a body, where files cannot be used.
    time.time_ns = lambda: true() + _AHEAD.unpack_from(ahead)[0]
    return lives.work(folder, **arguments)


def clock_file(folder: Path, pid: int) -> Path:
    """It is there as soon as the worker's clock can be set."""
    return folder / f"clock-{pid}"


def set_clock(folder: Path, pid: int, ahead_s: float) -> None:
    """From now on the worker's clock is ahead by so much."""
    with clock_file(folder, pid).open("r+b") as file:
        file.write(_AHEAD.pack(int(ahead_s * 1e9)))


LIVES: dict[str, Callable[..., int]] = {life.__name__: life for life in (send_chaos, read_chaos, work_chaos)}
