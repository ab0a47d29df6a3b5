"""A client in a process of its own: reads what to do from its standard input, a line of JSON each, and answers so."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import asdict
from pathlib import Path

from workloads import Sample, drive, make_app

LINE_BYTES_MAX = 16 * 1024 * 1024
THIS = str(Path(__file__).resolve())


class FarClient:
    """The near end of it."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, url: str) -> FarClient:
        words = (sys.executable, THIS, url)
        process = await asyncio.create_subprocess_exec(*words, stdin=PIPE, stdout=PIPE, limit=LINE_BYTES_MAX)
        return cls(process)

    async def drive(self, workload: str, runs: int, in_flight: int, seconds: float) -> Sample:
        """See `workloads.drive`."""
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        to.write(json.dumps([workload, runs, in_flight, seconds]).encode() + b"\n")
        answer = await back.readline()
        if not answer:
            raise RuntimeError("the client process has ended; what it said is above")
        return Sample(**json.loads(answer))

    async def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()


async def serve(url: str) -> None:
    """The far end."""
    app, functions = make_app(url)
    while line := await asyncio.to_thread(sys.stdin.readline):
        workload, runs, in_flight, seconds = json.loads(line)
        sample = await drive(app, functions[workload], runs, in_flight, seconds)
        print(json.dumps(asdict(sample)), flush=True)
    await app.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
