"""What is measured: an app with three functions, and a loop that starts their runs and waits for their results."""

from __future__ import annotations

from typing import Any

from timing import Sample, timed

from perdure import App, Context
from perdure.authoring.functions import Function

FANOUT = 100
STEPS = {"W1": 1, "W2": 3, "W3": FANOUT + 1}
"""Steps in one run of each workload."""


async def plus(number: int) -> int:
    """A step that does nothing to speak of."""
    return number + 1


async def total(numbers: list[int]) -> int:
    """The reduce."""
    return sum(numbers)


async def one(ctx: Context[dict[str, Any]]) -> int:
    """W1."""
    return await ctx.step.run("one", plus, 0)


async def three(ctx: Context[dict[str, Any]]) -> int:
    """W2."""
    number = await ctx.step.run("one", plus, 0)
    number = await ctx.step.run("two", plus, number)
    return await ctx.step.run("three", plus, number)


async def fanned(ctx: Context[dict[str, Any]]) -> int:
    """W3."""
    return await ctx.step.run("reduce", total, await ctx.step.map("map", plus, range(FANOUT)))


def make_app(url: str) -> tuple[App, dict[str, Function[Any, Any]]]:
    """The app on a log, and its functions by workload."""
    app = App("bench", log=url)
    return app, {"W1": app.function(one), "W2": app.function(three), "W3": app.function(fanned)}


async def drive(app: App, function: Function[Any, Any], runs: int, in_flight: int, seconds: float) -> Sample:
    """Runs a function through the app, from `app.start` to the result."""

    async def once() -> None:
        handle = await app.start(function)
        await handle.result()

    return await timed(once, runs, in_flight, seconds)
