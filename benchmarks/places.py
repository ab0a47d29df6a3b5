"""Where a repetition measures: a fresh log, and its floor beside it. And what all scripts of a repetition share."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from floor import Floor, Record
from workloads import Sample

from perdure.logs import open_log
from perdure.worker.process import calm_collector, event_loop


class Plays(Protocol):
    """The floor of a log."""

    async def play(self, records: Sequence[Record], runs: int, in_flight: int, seconds: float) -> Sample: ...


Place = AbstractAsyncContextManager[tuple[str, Plays]]
"""Where a repetition is: the URL of a fresh log, and the floor beside it."""
Cells = dict[str, Any]


@asynccontextmanager
async def on_a_file(folder: Path) -> AsyncGenerator[tuple[str, Plays]]:
    """The embedded log, durable on each commit."""
    floor_log = open_log(f"sqlite:///{folder}/floor.db?synchronous=full")
    await floor_log.open()
    try:
        yield f"sqlite:///{folder}/log.db?synchronous=full", Floor(floor_log)
    finally:
        await floor_log.close()


@asynccontextmanager
async def on_kafka(servers: str) -> AsyncGenerator[tuple[str, Plays]]:
    """A log on a broker, in a namespace that nobody has used before."""
    from kafka_floor import PARTITIONS, kafka_floor

    namespace = f"bench-{uuid.uuid4().hex[:12]}"
    async with kafka_floor(servers, f"{namespace}.floor") as floor:
        yield f"kafka://{servers}/{namespace}?create={PARTITIONS}", floor


@dataclass
class Setting:
    """What a repetition of a part is told."""

    folder: Path
    """A new one, for whatever it needs."""
    servers: str
    """Of the broker; "" for the embedded log."""
    quick: bool
    floor_first: bool

    def place(self) -> Place:
        """A fresh log; each call gives another one."""
        if self.servers:
            return on_kafka(self.servers)
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        return on_a_file(folder)


def repetition_of(measure: Callable[[Setting], Awaitable[Cells]]) -> None:
    """The main program of a part's script: one repetition, in a process that is tuned as `perdure worker` is. Prints
    one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--floor-first", action="store_true")
    parser.add_argument("--kafka", metavar="SERVERS", default="")
    args = parser.parse_args()
    calm_collector()
    with tempfile.TemporaryDirectory(prefix="perdure-bench-", dir=args.folder) as folder:
        setting = Setting(Path(folder), args.kafka, args.quick, args.floor_first)
        with asyncio.Runner(loop_factory=event_loop) as runner:
            print(json.dumps({"cells": runner.run(_measured(measure, setting))}))


async def _measured(measure: Callable[[Setting], Awaitable[Cells]], setting: Setting) -> Cells:
    return await measure(setting)
