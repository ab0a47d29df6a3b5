"""`perdure worker --processes N`: keeps N worker processes at work, each a member of the group as any other worker.

They are spawned, not forked, and know nothing of each other. One that dies is started again, after a pause that grows
while it goes on dying; the others have taken over its partitions meanwhile. When none of them can stay up, all end,
and so does the supervisor, with an exit code that whoever looks after it can see.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import time_ns
from typing import Any

from perdure.cli.children import signal_to
from perdure.cli.loading import NOT_LOADED
from perdure.cli.printing import Printer, stamp
from perdure.cli.wording import duration

__all__ = ["Policy", "Workers", "run_workers"]

MARGIN_S = 15.0
"""What a process gets beyond its drain before it is killed; by itself it ends 5 s sooner."""
LINE_MAX = 64 * 1024
"""Bytes of a line that is not complete; a longer one is passed on in pieces."""
_COLOURS = ("cyan", "green", "magenta", "blue", "yellow")
_WRONG = (1, 2, NOT_LOADED)
"""Exit codes of a process that has said why it cannot work."""


@dataclass(frozen=True, slots=True)
class Workers:
    """What to run."""

    app: str
    """As it was named: `shop.py:app`."""
    log: str | None
    slots: int
    drain_s: float
    verbose: bool
    processes: int


@dataclass(frozen=True, slots=True)
class Policy:
    """When a process that died is started again."""

    first_s: float = 0.5
    """The pause after a first death; it doubles with each further one in a row."""
    longest_s: float = 30.0
    steady_s: float = 30.0
    """A process that has lived so long begins with the first pause again."""
    deaths_max: int = 6
    """When every process has died this often in a row, they cannot stay up."""

    def pause_s(self, deaths: int) -> float:
        """The pause before the next start, after so many deaths in a row."""
        return min(self.first_s * 2 ** min(deaths - 1, 30), self.longest_s)


class Slot:
    """The place of one process, and the process in it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: asyncio.subprocess.Process | None = None
        self.deaths = 0
        """In a row."""
        self.ready = False
        """Whether the process has been at work."""

    def signal(self, number: int) -> None:
        if self.process is not None:
            signal_to(self.process, number)


class Supervisor:
    """The parent of the processes."""

    def __init__(self, workers: Workers, out: Printer, err: Printer, policy: Policy) -> None:
        self._workers = workers
        self._out = out
        self._err = err
        self._policy = policy
        self._slots = [Slot(number + 1) for number in range(workers.processes)]
        self._stopping = asyncio.Event()
        self._loaded = asyncio.Event()
        self._was_ready = False
        self._gave_up = False
        self._signals = 0
        self._signal = signal.SIGTERM
        """The last one that came."""
        self._code = 0

    async def run(self) -> int:
        """Until a signal, or until none can stay up; the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, number)
        tasks = [loop.create_task(self._keep(slot)) for slot in self._slots]
        try:
            await self._stopping.wait()
            _, late = await asyncio.wait(tasks, timeout=self._workers.drain_s + MARGIN_S)
            for slot in self._slots if late else ():
                slot.signal(signal.SIGKILL)
            await asyncio.gather(*tasks)
        finally:  # whatever failed here, nothing is left behind
            for slot in self._slots:
                slot.signal(signal.SIGKILL)
        return self._code

    def _signalled(self, number: signal.Signals) -> None:
        self._signals += 1
        name = number.name
        if self._signals == 1:
            drain = duration(round(self._workers.drain_s * 1_000_000))
            self._say(
                "stopping", "yellow", f"{name}; running steps may end, within {drain}. Again: stop at once"
            )
        self._signal = number
        self._stop()

    def _stop(self) -> None:
        self._stopping.set()
        # Also for a Ctrl-C: Python answers that one with a traceback while it imports.
        for slot in self._slots:
            slot.signal(signal.SIGTERM)

    # ------------------------------------------------------------------ one process

    async def _keep(self, slot: Slot) -> None:
        """Has a process in the slot until the end."""
        if slot.number > 1:  # code that cannot be imported is told by the first one alone
            await _first_of(self._loaded.wait(), self._stopping.wait())
        while not self._stopping.is_set():
            began = asyncio.get_running_loop().time()
            code = await self._one(slot, introduce=slot.number == 1 and not slot.deaths)
            if self._stopping.is_set():
                self._ended(slot, code)
                return
            lived = asyncio.get_running_loop().time() - began
            slot.deaths = slot.deaths + 1 if lived < self._policy.steady_s else 1
            if code in _WRONG and not self._was_ready:
                self._give_up(2 if code == NOT_LOADED else code)  # as of one process
            elif all(each.deaths >= self._policy.deaths_max for each in self._slots if each.process):
                self._say("died", "red", f"process {slot.number} ({_how(code)})")
                self._say("giving up", "red", f"no process stays up, after {slot.deaths} deaths in a row")
                self._give_up(1)
            else:
                await self._pause(slot, code)

    def _ended(self, slot: Slot, code: int) -> None:
        """One has ended that was told to. Nothing was cut short in one that had not begun to work."""
        if code in (-signal.SIGTERM, 128 + signal.SIGTERM):
            code = 128 + self._signal if slot.ready else 0
        if not self._gave_up:
            self._code = max(self._code, code if code >= 0 else 128 - code)

    def _give_up(self, code: int) -> None:
        if not self._stopping.is_set():
            self._code, self._gave_up = code, True
            self._stop()

    async def _pause(self, slot: Slot, code: int) -> None:
        pause = self._policy.pause_s(slot.deaths)
        again = f"started again in {duration(round(pause * 1_000_000))}"
        self._say("died", "red", f"process {slot.number} ({_how(code)}); it is {again}")
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._stopping.wait()

    async def _one(self, slot: Slot, *, introduce: bool) -> int:
        """Runs one process to its end, with its lines; the code as the system has it."""
        with _ways() as (ours, theirs):
            process = await self._spawn(theirs, introduce=introduce)
            slot.process, slot.ready = process, False
            theirs.close()
            if self._stopping.is_set():  # the signal went to those that were there
                slot.signal(signal.SIGTERM)
            hearing = asyncio.ensure_future(self._hear(ours, slot))
            shown = f"{self._out.style(str(slot.number), _COLOURS[(slot.number - 1) % len(_COLOURS)])} | "
            assert process.stdout is not None
            assert process.stderr is not None
            relays = asyncio.gather(
                _relay(process.stdout, self._out, shown),
                _relay(process.stderr, self._err, shown),
            )
            code = await process.wait()
            # What a step has started may hold the pipes for longer than its worker lives.
            await _first_of(relays, asyncio.sleep(1.0))
            hearing.cancel()
            return code

    async def _spawn(self, way: socket.socket, *, introduce: bool) -> asyncio.subprocess.Process:
        given = {
            "app": self._workers.app,
            "log": self._workers.log,
            "slots": self._workers.slots,
            "drain_s": self._workers.drain_s,
            "verbose": self._workers.verbose,
            "introduce": introduce,
        }
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "perdure.cli.worker_child",
            str(way.fileno()),
            json.dumps(given),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | ({"FORCE_COLOR": "1"} if self._out.colours else {}),
            pass_fds=[way.fileno()],
            process_group=0,  # a Ctrl-C comes through us, once
        )

    async def _hear(self, way: socket.socket, slot: Slot) -> None:
        loop = asyncio.get_running_loop()
        heard = b""
        while piece := await loop.sock_recv(way, 64):
            heard += piece
            if b"loaded" in heard:
                self._loaded.set()
            if b"ready" in heard:
                self._was_ready = slot.ready = True

    def _say(self, what: str, style: str, rest: str) -> None:
        self._out.say(f"{stamp(self._out, time_ns() // 1_000)}  {self._out.style(what, style)}: {rest}")


@contextmanager
def _ways() -> Generator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()


async def _first_of(*awaited: Awaitable[Any]) -> None:
    """Returns when one of them is done; the others are cancelled."""
    tasks = [asyncio.ensure_future(each) for each in awaited]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _relay(stream: asyncio.StreamReader, printer: Printer, prefix: str) -> None:
    """Passes lines on as they come, each with its process's number."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    begun = ""
    while piece := await stream.read(LINE_MAX):
        *lines, begun = (begun + decoder.decode(piece)).split("\n")
        if len(begun) > LINE_MAX:
            lines, begun = [*lines, begun], ""
        for line in lines:
            printer.say(prefix + line)
    if begun:
        printer.say(prefix + begun)


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def run_workers(workers: Workers, policy: Policy | None = None) -> int:
    """Runs the processes until a signal; the exit code."""
    out, err = Printer(sys.stdout), Printer(sys.stderr)
    out.say(f"{out.style('perdure worker', 'bold')} {workers.app}, {workers.processes} processes")

    async def supervise() -> int:
        return await Supervisor(workers, out, err, policy or Policy()).run()

    try:
        return asyncio.run(supervise())
    finally:
        out.close()
        err.close()
