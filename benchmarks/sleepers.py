"""A worker whose runs sleep, for `size.py`: it answers each line of its standard input with one of JSON.

It is ended by kill -9: what it holds is in the log, or was never promised.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from time import time_ns
from typing import Any

from resting import at_rest

from perdure import App, Context
from perdure.core.ops import TIMER_FIRED, TIMER_SET, Op
from perdure.core.state import Run
from perdure.engine.engine import Engine
from perdure.engine.firing import Firing
from perdure.observability.observer import Observer
from perdure.worker.process import calm_collector, event_loop

EVENT = "size/sleep"
woken: list[int] = []
"""When bodies came to the line behind their sleep (µs)."""


class Watch(Observer):
    """Notes accepted records: what a record says is durable by then."""

    def __init__(self) -> None:
        self.asleep = 0
        self.fired: dict[str, int] = {}
        """When it was read back that a run's timer has fired: by a record of many timers, or by a commit."""

    def accepted(self, run: Run, ops: Sequence[Op], seen: int) -> None:
        for name, _ in ops:
            if name == TIMER_SET:
                self.asleep += 1
            elif name == TIMER_FIRED:
                self.fired.setdefault(run.id, time_ns() // 1_000)

    def watch(self, firing: Firing) -> None:
        """Looks at the records of many timers, too."""
        fire = firing.due

        def noted(run: str, key: str, due: int) -> None:
            self.fired.setdefault(run, time_ns() // 1_000)
            fire(run, key, due)

        firing.due = noted


def make_app(url: str) -> App:
    app = App("size", log=url)

    @app.function(on=EVENT)
    async def sleeps(ctx: Context[dict[str, Any]]) -> None:
        await ctx.step.sleep_until("nap", datetime.fromtimestamp(ctx.event.data["until"], UTC))
        woken.append(time_ns() // 1_000)

    return app


def told(engine: Engine, watch: Watch) -> dict[str, Any]:
    states = [partition.state for partition in engine.partitions.values()]
    return {
        "asleep": watch.asleep,
        "runs": sum(len(state.runs) for state in states),
        "packed": sum(state.runs.packed for state in states),
        "snapshots": sum(len(state.sets) for state in states),
        "partitions": len(states),
        "at_rest": at_rest(engine),
        "fired": [*watch.fired.values()],
        "woken": woken,
    }


async def serve(url: str) -> None:
    app, watch = make_app(url), Watch()
    app.observers.append(watch)
    loop = asyncio.get_running_loop()
    words = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    async with app.worker() as engine:
        # `ready` is patient for some seconds only; here all partitions are this worker's.
        while len(engine.partitions) < engine.services.log.partitions or any(  # noqa: ASYNC110 - nobody tells
            partition.lead is None for partition in engine.partitions.values()
        ):
            await asyncio.sleep(0.01)
        for partition in engine.partitions.values():
            if partition.lead is not None:
                watch.watch(partition.lead.firing)
        print(json.dumps(told(engine, watch)), flush=True)
        while await words.readline():
            print(json.dumps(told(engine, watch)), flush=True)


def main() -> None:
    calm_collector()
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(serve(sys.argv[1]))


if __name__ == "__main__":
    main()
