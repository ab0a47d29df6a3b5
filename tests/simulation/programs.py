"""What the simulated service runs: small functions whose results can be foretold from their events."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from perdure.authoring.functions import Function, make_function
from perdure.execution.context import Context

Ctx = Context[dict[str, Any]]

DAYS = 5 * 86_400
"""Runs may be paused for hours, and still find what came before (seconds)."""


class Flaky(Exception):
    """A step that fails this time."""


async def add(a: int, b: int) -> int:
    return a + b


async def flaky(n: int) -> int:
    from perdure.execution.current import current_step

    if current_step().attempt <= n % 3:
        raise Flaky(f"attempt {current_step().attempt} of {n}")
    return n


async def always_fails(n: int) -> int:
    raise Flaky(f"never {n}")


async def stubborn(n: int) -> int:
    return n


STUBBORN = frozenset({stubborn})
"""Steps that nobody can stop: they stand for those in threads."""


async def sequence(ctx: Ctx) -> int:
    total = ctx.event.data["n"]
    for k in range(3):
        total = await ctx.step.run("add", add, total, k)
    return total


async def fan_out(ctx: Ctx) -> list[int]:
    n = ctx.event.data["n"]
    parts = await asyncio.gather(*(ctx.step.run("part", add, n, k) for k in range(4)))
    return [*parts, await ctx.step.run("sum", add, sum(parts), 0)]


async def orderly(ctx: Ctx) -> int:
    """What it does depends on the order in which its branches ended."""
    n = ctx.event.data["n"]
    order: list[str] = []

    async def branch(name: str) -> None:
        await ctx.step.run(name, add, n, 1)
        order.append(name)

    await asyncio.gather(*(branch(name) for name in "abc"))
    await ctx.step.run("then-" + "".join(order), add, n, 2)
    await ctx.step.sleep("nap", 120)  # long enough to be evicted: it is replayed
    return await ctx.step.run("end", add, n, 0)


async def retrying(ctx: Ctx) -> int:
    return await ctx.step.run("flaky", flaky, ctx.event.data["n"])


async def sleeping(ctx: Ctx) -> int:
    a = await ctx.step.run("before", add, ctx.event.data["n"], 1)
    await ctx.step.sleep("nap", 60 * (1 + a % 3))
    return await ctx.step.run("after", add, a, 1)


async def waiting(ctx: Ctx) -> str:
    n = ctx.event.data["n"]
    got = await ctx.step.wait_for_event("pay", "paid", match="data.n", timeout=3600)
    await ctx.step.run("book", add, n, 0)
    return "timeout" if got is None else f"paid {got.data['n']}"


async def parent(ctx: Ctx) -> int:
    n = ctx.event.data["n"]
    child: int = await ctx.step.invoke("child", "child", {"n": n})
    return await ctx.step.run("more", add, child, 1)


async def family(ctx: Ctx) -> int:
    n = ctx.event.data["n"]
    ages = await asyncio.gather(*(ctx.step.invoke(f"child-{k}", "child", {"n": n + k}) for k in range(4)))
    return await ctx.step.run("sum", add, sum(ages), 0)


async def child(ctx: Ctx) -> int:
    return await ctx.step.run("double", add, ctx.event.data["n"], ctx.event.data["n"])


async def failing(ctx: Ctx) -> int:
    await ctx.step.run("fine", add, 1, 1)
    return await ctx.step.run("fails", always_fails, ctx.event.data["n"])


async def on_failing(ctx: Any) -> int:
    n = ctx.event.data["n"]
    await ctx.step.run("undo", add, n, 0)
    return await ctx.step.run("tell", add, n, 1)


async def racing(ctx: Ctx) -> str:
    n = ctx.event.data["n"]

    async def quick() -> int:
        return await ctx.step.run("quick", add, n, 1)

    async def slow() -> int:
        await asyncio.sleep(30)
        return await ctx.step.run("slow", add, n, 2)

    name, _ = await ctx.step.race(quick=quick(), slow=slow())
    await ctx.step.run("end", add, n, 0)
    return name


async def holding(ctx: Ctx) -> int:
    """Its end is held back for as long as the step that it leaves behind goes on (B2)."""
    n = ctx.event.data["n"]
    left = asyncio.create_task(ctx.step.run("slow", stubborn, n))
    got = await ctx.step.run("quick", add, n, 1)
    return got if left else 0


async def twins(ctx: Ctx) -> int:
    """Its children begin together, and end in one commit where they lie in one partition."""
    n = ctx.event.data["n"]
    return sum(await asyncio.gather(*(ctx.step.invoke(f"leaf-{k}", "leaf", {"n": n + k}) for k in range(6))))


async def leaf(ctx: Ctx) -> int:
    return ctx.event.data["n"]


async def looping(ctx: Ctx) -> int:
    """Begins anew twice, after a step, a sleep and a child."""
    n, lap = ctx.event.data["n"], ctx.event.data.get("lap", 0)
    total = await ctx.step.run("lap", add, ctx.event.data.get("total", 0), n)
    await ctx.step.sleep("nap", 30)
    total += await ctx.step.invoke("leaf", "leaf", {"n": n})
    if lap < 2:
        await ctx.restart_with({"n": n, "lap": lap + 1, "total": total})
    return total


async def choosing(ctx: Ctx) -> int:
    """Takes the second and the third of three offers: one by CEL, one by code."""
    n = ctx.event.data["n"]
    await ctx.step.send_event("ask", [{"name": "offer", "data": {"n": n, "cents": c}} for c in (1, 2, 3)])
    dear = await ctx.step.wait_for_event(
        "dear", "offer", if_="async.data.n == event.data.n && async.data.cents > 2", lookback=DAYS
    )
    other = await ctx.step.wait_for_event(
        "other", "offer", match="data.n", if_=lambda offer: offer.data["cents"] > 1, lookback=DAYS
    )
    assert dear is not None
    assert other is not None
    return await ctx.step.run("book", add, dear.data["cents"] * 10, other.data["cents"])


async def sender(ctx: Ctx) -> int:
    n = ctx.event.data["n"]
    await ctx.step.send_event("tell", {"name": "told", "data": {"n": n}})
    return await ctx.step.run("end", add, n, 0)


async def listener(ctx: Ctx) -> int:
    return await ctx.step.run("heard", add, ctx.event.data["n"], 0)


@cache
def functions(version: int) -> dict[str, Function[Any, Any]]:
    """The code of a version. Version 2 starts one function more on an event of version 1."""
    made = [
        make_function(sequence, on="sequence"),
        make_function(fan_out, on="fan-out"),
        make_function(orderly, on="orderly"),
        make_function(retrying, on="retrying"),
        make_function(sleeping, on="sleeping"),
        make_function(waiting, on="waiting"),
        make_function(parent, on="parent"),
        make_function(family, on="family"),
        make_function(child),
        make_function(twins, on="twins"),
        make_function(leaf),
        make_function(holding, on="holding"),
        make_function(failing, on="failing", retries=1, on_failure=on_failing),
        make_function(racing, on="racing"),
        make_function(looping, on="looping"),
        make_function(choosing, on="choosing"),
        make_function(sender, on="sender"),
        make_function(listener, on="told"),
    ]
    if version > 1:
        made.append(make_function(sequence, id="audit", on="sequence"))
    found = {f.id: f for f in made}
    found |= {f.on_failure.id: f.on_failure for f in made if f.on_failure is not None}
    return found


TRIGGERS = (
    "sequence",
    "fan-out",
    "retrying",
    "sleeping",
    "waiting",
    "parent",
    "family",
    "failing",
    "racing",
    "holding",
    "twins",
    "looping",
    "choosing",
    "sender",
)
CANCELLABLE = frozenset({"holding"})
"""Functions whose runs are cancelled at times."""


def expected(function: str, n: int) -> set[str]:
    """Every result (as JSON) that a run may rightly end with; the status stands for a failed one."""
    a = n + 1
    table: dict[str, set[str]] = {
        "sequence": {str(n + 3)},
        "audit": {str(n + 3)},
        "fan-out": {str([n, n + 1, n + 2, n + 3, 4 * n + 6]).replace(" ", "")},
        "orderly": {str(n)},
        "retrying": {str(n)},
        "sleeping": {str(a + 1)},
        "waiting": {'"timeout"', f'"paid {n}"'},
        "parent": {str(2 * n + 1)},
        "family": {str(8 * n + 12)},
        "child": {str(2 * n)},
        "failing": {"failed"},
        "failing:on-failure": {str(n + 1)},
        "holding": {str(a), "cancelled"},
        "twins": {str(6 * n + 15)},
        "leaf": {str(n)},
        "racing": {'"quick"', '"slow"'},
        "looping": {str(6 * n)},
        "choosing": {"32", "33"},  # the offer of another run with this number is one, too
        "sender": {str(n)},
        "listener": {str(n)},
    }
    return table[function]
