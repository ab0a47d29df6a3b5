"""`perdure dev`: keeps one child process with the code of the moment, and replaces it when the code changes.

New code is loaded by a child of its own while the one before goes on; only when that has worked is the old child
drained, and then the new one takes over. Code that cannot be loaded never takes over.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from time import time_ns
from typing import Any

import watchfiles

from perdure.cli.children import signal_to
from perdure.cli.loading import NOT_LOADED, Place
from perdure.cli.printing import Printer, stamp
from perdure.cli.wording import duration, listed, shown_path

MARGIN_S = 5.0
"""What a child gets beyond its drain before it is killed."""
STEADY_S = 5.0
"""A child that died sooner after its start is not started again before the code changes."""
AGAIN_S = 1.0
LOADING_S = (5.0, 10.0, 15.0, 30.0)
"""When an import that takes long is mentioned: pauses, the last again and again."""


@dataclass(frozen=True, slots=True)
class Dev:
    """What to run."""

    place: Place
    watched: Sequence[Path]
    log: str | None
    slots: int
    drain_s: float


class Child:
    """One child process and the way to it."""

    def __init__(self, process: asyncio.subprocess.Process, way: socket.socket, *, first: bool) -> None:
        self.process = process
        self.first = first
        """None has led before it."""
        self.began = asyncio.get_running_loop().time()
        self.leads = False
        self._way = way

    def tell(self, word: bytes) -> None:
        try:
            self._way.send(word + b"\n")
        except OSError:  # it is gone, and its exit is about to be seen
            return

    async def words(self) -> str:
        """The next thing that it says; empty when it has gone."""
        loop = asyncio.get_running_loop()
        try:
            return (await loop.sock_recv(self._way, 64)).decode()
        except OSError:
            return ""

    async def leave(self, timeout_s: float) -> None:
        """Has it drain, and waits for its end; kills it when that takes too long."""
        self.tell(b"drain")
        try:
            async with asyncio.timeout(timeout_s):
                await self.process.wait()
        except TimeoutError:
            self.kill()
            await self.process.wait()

    def kill(self) -> None:
        signal_to(self.process, signal.SIGKILL)

    def close(self) -> None:
        self._way.close()


class Supervisor:
    """The parent's side."""

    def __init__(self, dev: Dev, printer: Printer) -> None:
        self._dev = dev
        self._printer = printer
        self._child: Child | None = None
        """Leads, or is draining."""
        self._coming: Child | None = None
        """Loads the code of the moment."""
        self._first = True
        self._signals = 0
        self._code = 0
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving: list[Child] = []
        self._alive: set[Child] = set()

    async def run(self) -> int:
        """Until a signal; the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, number)
        self._spawn(self._start())
        watching = loop.create_task(self._watch())
        await self._stopping.wait()
        watching.cancel()
        tasks = [watching, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        at_work = self._at_work()
        for child in self._alive.difference(at_work):
            child.kill()
        await asyncio.gather(*(child.leave(self._dev.drain_s + MARGIN_S) for child in at_work))
        await asyncio.gather(*(child.process.wait() for child in self._alive))
        return self._code

    def _at_work(self) -> list[Child]:
        """The child that leads, and those before it that are not gone yet."""
        return [*self._leaving, *([self._child] if self._child is not None else [])]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _signalled(self, number: int) -> None:
        self._signals += 1
        if self._signals == 1:
            busy = self._child is not None and self._child.leads
            self._say("stopping", "yellow", "running steps may end; again: stop at once" if busy else "")
            self._stopping.set()
        elif self._at_work():
            self._say("stopping", "yellow", "at once; what was running runs again at the next start")
            self._code = 128 + number
            for child in self._at_work():
                child.kill()

    # ------------------------------------------------------------------ code changes

    async def _watch(self) -> None:
        dev = self._dev
        watch: Callable[..., AsyncIterator[set[tuple[Any, str]]]] = watchfiles.awatch  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        async for batch in watch(*dev.watched, watch_filter=watchfiles.PythonFilter(), debounce=400, step=50):
            names = sorted({shown_path(path) for _, path in batch})
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            self._say("changed", "cyan", (listed(names[:3]) if not more else ", ".join(names[:3])) + more)
            self._spawn(self._start())

    async def _start(self) -> None:
        """Loads the code of the moment in a new child, and lets that take over."""
        if self._coming is not None:
            self._coming.kill()
        coming = self._coming = await self._new_child()
        if not await self._loaded(coming):
            return
        before, self._child = self._child, coming
        self._coming = None
        if before is not None:
            self._leaving.append(before)
            await before.leave(self._dev.drain_s + MARGIN_S)
            self._leaving.remove(before)
            self._gone(before)
        self._first = False
        coming.tell(b"go")
        await self._accompany(coming)

    async def _loaded(self, coming: Child) -> bool:
        """Whether it could load the code, and is still the newest."""
        if await self._first_word(coming):
            return self._coming is coming
        code = await coming.process.wait()
        self._gone(coming)
        if self._coming is not coming:
            return False
        self._coming = None
        if code != NOT_LOADED:
            self._say("not loaded", "red", f"the code's process ended while it was imported ({_ended(code)})")
        self._wait_for_a_change()
        return False

    async def _first_word(self, coming: Child) -> str:
        """What it says once it has loaded the code; meanwhile people are told that it loads."""
        word = asyncio.ensure_future(coming.words())
        took = 0.0
        try:
            for pause in chain(LOADING_S, repeat(LOADING_S[-1])):
                if (await asyncio.wait([word], timeout=pause))[0]:
                    break
                took += pause
                if self._coming is coming:
                    path = self._dev.place.shown.partition(":")[0]
                    self._say("still loading", "yellow", f"{path} ({took:g} s)")
            return await word
        finally:
            word.cancel()

    def _wait_for_a_change(self) -> None:
        led = self._child is not None
        on = "the worker goes on with the code from before" if led else "runs wait in the log"
        self._say("waiting", "yellow", f"for a change that mends it; until then {on}")

    async def _accompany(self, child: Child) -> None:
        """Sees to a child that leads, until it ends."""
        word = await child.words()
        child.leads = word.startswith("ready")
        code = await child.process.wait()
        if self._stopping.is_set() or self._child is not child:
            return
        self._child = None
        self._gone(child)
        if word.startswith("refused"):
            self._refused(child, int(word.split()[1]))
            return
        self._say("died", "red", f"the worker's process ended by itself ({_ended(code)})")
        if asyncio.get_running_loop().time() - child.began < STEADY_S:
            self._say("waiting", "yellow", "for a change of the code before it is started again")
            return
        await asyncio.sleep(AGAIN_S)
        if self._child is None and self._coming is None:
            await self._start()

    def _refused(self, child: Child, code: int) -> None:
        """It cannot work, and has said why: the log is at fault, or what the code says of it."""
        if child.first:
            self._code = code
            self._stopping.set()
        else:
            self._wait_for_a_change()

    # ------------------------------------------------------------------ processes

    async def _new_child(self) -> Child:
        dev = self._dev
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        place = dev.place
        given = {
            "root": str(place.root),
            "module": place.module,
            "attribute": place.attribute,
            "file": None if place.file is None else str(place.file),
            "shown": place.shown,
            "log": dev.log,
            "slots": dev.slots,
            "drain_s": dev.drain_s,
            "first": self._first,
        }
        module = "perdure.cli.dev_child"
        command = [sys.executable, "-m", module, str(theirs.fileno()), json.dumps(given)]
        process = await asyncio.create_subprocess_exec(*command, pass_fds=[theirs.fileno()])
        theirs.close()
        child = Child(process, ours, first=self._first)
        self._alive.add(child)
        return child

    def _gone(self, child: Child) -> None:
        self._alive.discard(child)
        child.close()

    def _say(self, what: str, style: str, rest: str) -> None:
        shown = self._printer.style(what, style)
        self._printer.say(f"{stamp(self._printer, time_ns() // 1_000)}  {shown}{f': {rest}' if rest else ''}")


def _ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def run_dev(dev: Dev) -> int:
    """Runs `perdure dev` until a signal; the exit code."""
    printer = Printer(sys.stdout)
    folders = listed(shown_path(folder) for folder in dev.watched)
    printer.say(f"{printer.style('perdure dev', 'bold')} {dev.place.shown}")
    drain = duration(round(dev.drain_s * 1_000_000))
    printer.say(f"  watch  {folders}: changed code takes over once running steps have ended, within {drain}")
    try:
        return asyncio.run(_supervise(dev, printer))
    finally:
        printer.close()


async def _supervise(dev: Dev, printer: Printer) -> int:
    return await Supervisor(dev, printer).run()
