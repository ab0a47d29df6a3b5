"""B3: what a body does and no hook can refuse is pointed at in its source."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
import uuid
from datetime import datetime
from typing import Any

from perdure.authoring.lint import advice_for


async def careless(ctx: Any) -> None:
    time.time()
    datetime.now()  # noqa: DTZ005
    uuid.uuid4()
    random.random()
    os.getenv("HOME")
    threading.Thread(target=print)
    time.sleep(0)


async def careful(ctx: Any) -> None:
    ctx.now()
    ctx.random.random()
    ctx.uuid4()
    await asyncio.sleep(1)
    await ctx.step.run("time", time.time)


def plain(ctx: Any) -> float:
    return time.time()


async def with_steps_inside(ctx: Any) -> None:
    def read_clock() -> float:
        return time.time()

    async def draw() -> float:
        return random.random()

    class Local:
        at = time.time

    await ctx.step.run("clock", read_clock)
    await ctx.step.run("draw", draw)
    await ctx.step.run("id", lambda: str(uuid.uuid4()))
    await ctx.step.map("more", lambda n: time.sleep(n), [1, 2])


async def with_branches_inside(ctx: Any) -> None:
    def stamp() -> float:
        return time.time()

    async def branch(name: str) -> None:
        random.random()
        ctx.step.run(name, stamp)

    async def unused() -> None:
        time.monotonic()

    stamp()
    await asyncio.gather(branch("a"), branch("b"))


async def forgetful(ctx: Any) -> None:
    ctx.step.run("charge", print)
    ctx.step.sleep("nap", "1h")
    ctx.step.options(retries=2).run("mail", print)
    if ctx.event:
        ctx.step.send_event("tell", "a/b")
    for _ in range(3):
        ctx.step.wait_for_event("w", "a/b")


async def attentive(ctx: Any) -> None:
    await ctx.step.run("a", print)
    task = asyncio.create_task(ctx.step.run("b", print))
    asyncio.create_task(ctx.step.run("c", print))
    found = ctx.step.run("d", print)
    tasks = [ctx.step.run("e", print)]
    tasks.append(ctx.step.run("f", print))
    ctx.step.options(retries=2)
    ctx.log.info("x")
    ctx.set_value("n", 1)
    await asyncio.gather(task, found, *tasks)
    await ctx.step.race(a=ctx.step.sleep("g", 1))


async def with_another_name(c: Any) -> None:
    c.step.run("a", print)
    c.random.random()


class Service:
    async def body(self, ctx: Any) -> None:
        ctx.step.run("a", print)


def test_A10_steps_written_inside_the_body_are_not_the_body() -> None:
    assert advice_for(with_steps_inside) == []


def test_A10_functions_inside_that_the_body_calls_are_a_part_of_it() -> None:
    found = advice_for(with_branches_inside)
    first = with_branches_inside.__code__.co_firstlineno
    assert [(int(one.where.rpartition(":")[2]) - first, one.call) for one in found] == [
        (2, "time.time()"),
        (5, "random.random()"),
        (6, "ctx.step.run()"),
    ]


def test_A10_a_step_that_nobody_awaits_is_named_with_its_line() -> None:
    found = advice_for(forgetful)
    assert [one.call for one in found] == [
        "ctx.step.run()",
        "ctx.step.sleep()",
        "ctx.step.options(...).run()",
        "ctx.step.send_event()",
        "ctx.step.wait_for_event()",
    ]
    line = forgetful.__code__.co_firstlineno + 1
    assert str(found[0]) == (
        f"{__file__}:{line}: ctx.step.run() in a body: nobody awaits it, so it never happens; write await "
        "ctx.step.run(...)"
    )
    assert [one.call for one in advice_for(with_another_name)] == ["c.step.run()"]
    assert [one.call for one in advice_for(Service().body)] == ["ctx.step.run()"]


def test_A10_a_step_that_is_awaited_or_kept_is_fine() -> None:
    assert advice_for(attentive) == []


def test_B3_clocks_randomness_and_threads_are_named_with_their_line_and_a_way_out() -> None:
    found = advice_for(careless)
    calls = [advice.call for advice in found]
    assert calls == [
        "time.time()",
        "datetime.now()",
        "uuid.uuid4()",
        "random.random()",
        "os.getenv()",
        "threading.Thread()",
        "time.sleep()",
    ]
    line = careless.__code__.co_firstlineno + 1
    assert (
        str(found[0]) == f"{__file__}:{line}: time.time() in a body: another value on replay; use ctx.now()"
    )


def test_B3_what_is_derived_or_done_in_a_step_is_fine() -> None:
    assert advice_for(careful) == []
    assert advice_for(plain) == []


def test_B3_a_body_without_source_is_passed_over() -> None:
    space: dict[str, Any] = {}
    exec("async def body(ctx):\n    import time\n    time.time()\n", space)
    assert advice_for(space["body"]) == []
