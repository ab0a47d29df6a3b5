"""One repetition: whether the ten-thousandth step of a run costs what the tenth does. Prints one line of JSON.

One long run stops at gates, steps that wait for the benchmark; between two of its gates short runs go their whole way.
So both are measured under the same weather, in turn. The time of a step is that from its start to the start of the next
one of the same run; of these the median is taken. What it costs to start a run and to end it is in none of them.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from statistics import median
from time import perf_counter_ns, process_time
from typing import Any

from places import Cells, Setting, repetition_of

from perdure import App, Context

LONG, SHORT = 10_000, 10
GATES, GATES_QUICK = 10, 2
SHARE_QUICK = 20


class Watch:
    """When steps have begun, and the gates of the long run."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.at_gate = asyncio.Event()
        self.open = asyncio.Event()

    async def step(self, number: int) -> int:
        """A step that does nothing but say when it began."""
        self.begun.append(perf_counter_ns())
        return number + 1

    async def gate(self) -> None:
        """A step that holds the long run up."""
        self.at_gate.set()
        await self.open.wait()
        self.open.clear()

    def gaps(self) -> list[int]:
        """ns from each step to the next."""
        begun, self.begun = self.begun, []
        return [after - before for before, after in pairwise(begun)]


def make(url: str, watch: Watch) -> tuple[App, Any]:
    """The app, and its function: so many steps, with a gate after each `gate`, if that is not 0."""
    app = App("bench", log=url)

    @app.function
    async def chain(ctx: Context[dict[str, Any]]) -> int:
        steps, gate = ctx.event.data["steps"], ctx.event.data["gate"]
        number = 0
        for done in range(steps):
            if gate and done % gate == 0:
                await ctx.step.run("gate", watch.gate)
            number = await ctx.step.run("step", watch.step, number)
        return number

    return app, chain


async def measure(setting: Setting) -> Cells:
    steps = LONG // (SHARE_QUICK if setting.quick else 1)
    gates = GATES_QUICK if setting.quick else GATES
    stretch, watch = steps // gates, Watch()
    short: list[list[int]] = []
    long: list[list[int]] = []
    cpu: list[float] = []
    async with setting.place() as (url, _):
        app, chain = make(url, watch)

        async def short_runs() -> list[int]:
            gaps: list[int] = []
            for _ in range(stretch // SHORT // 2):
                handle = await app.start(chain, {"steps": SHORT, "gate": 0})
                await handle.result()
                gaps += watch.gaps()
            return gaps

        try:
            async with app.worker():
                await short_runs()
                handle = await app.start(chain, {"steps": steps, "gate": stretch})
                for _ in range(gates):
                    await watch.at_gate.wait()
                    watch.at_gate.clear()
                    short.append(await short_runs())
                    began, finished = process_time(), asyncio.ensure_future(handle.result())
                    watch.open.set()
                    waiting = asyncio.ensure_future(watch.at_gate.wait())
                    await asyncio.wait((finished, waiting), return_when=asyncio.FIRST_COMPLETED)
                    cpu.append((process_time() - began) / stretch)
                    for one in (finished, waiting):
                        one.cancel()
                    long.append(watch.gaps())
        finally:
            await app.close()
    return {"10,000 steps": {"engine": figures(short, long, cpu)}}


def figures(short: list[list[int]], long: list[list[int]], cpu: list[float]) -> dict[str, Any]:
    pairs = [(median(few), median(many)) for few, many in zip(short, long, strict=True)]
    return {
        "step_of_short_ms": median(few for few, _ in pairs) / 1e6,
        "step_of_long_ms": median(many for _, many in pairs) / 1e6,
        "ratio": median(many / few for few, many in pairs),
        "last_ratio": pairs[-1][1] / pairs[-1][0],
        "cpu_first_to_last": cpu[-1] / cpu[0],
        "by_stretch": [many / few for few, many in pairs],
    }


if __name__ == "__main__":
    repetition_of(measure)
