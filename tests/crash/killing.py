"""How a process of these tests is killed or paused from within, at a point that the test names."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import Any

from perdure.core.facts import KIND
from perdure.logs.sqlite import committer
from perdure.logs.sqlite.bridge import Bridge
from perdure.logs.sqlite.committer import Append, Committer
from perdure.logs.sqlite.neighbours import WriterQueue
from perdure.logs.sqlite.tails import Tails
from tests.crash import ledger


def kill() -> None:
    """The end, with no chance to say goodbye."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_after_write(number: int, *, heard: bool) -> None:
    """This process dies right after its `number`-th durable write: the making of the file, each append, each part of
    a snapshot, each trim, each line of the ledger. 0: right before the first one.

    `heard`: the engine has read the write back and acted on it, and lines of the ledger do not count; else it has not
    heard of it. Appends are written one by one, so that there is such a point between any two of them.
    """
    committer.GROUP_ENTRIES_MAX = 1
    fuse = _Fuse(number, heard)
    enter, leave, hand_over = WriterQueue.__enter__, WriterQueue.__exit__, Bridge.hand_over

    def entering(self: WriterQueue) -> None:
        enter(self)
        if number == 0:
            kill()

    def leaving(self: WriterQueue, *exc: object) -> None:
        if exc[0] is None:
            fuse.written()
        leave(self, *exc)

    def handing_over(self: Bridge, ping: bool = False) -> None:
        if fuse.due:
            fuse.due = False
            # Called when the loop takes this batch, before the entries are delivered; so: after they were.
            self.acks.append((lambda _outcome: _kill_soon(), 0))
        hand_over(self, ping)

    WriterQueue.__enter__, WriterQueue.__exit__, Bridge.hand_over = entering, leaving, handing_over
    if not heard:
        ledger.on_written.append(fuse.written)


class _Fuse:
    """Counts durable writes."""

    def __init__(self, number: int, heard: bool) -> None:
        self._number = number
        self._heard = heard
        self._count = 0
        self._lock = threading.Lock()
        self.due = False
        """The write to die after was made; its reader dies, when it has read."""

    def written(self) -> None:
        with self._lock:
            self._count += 1
            if self._count == self._number:
                if not self._heard:
                    kill()
                self.due = True


def _kill_soon() -> None:
    asyncio.get_running_loop().call_soon(kill)


def slow_disk(seconds: float) -> None:
    """Every write of this process takes so long."""
    write = Committer._write

    def writing(self: Committer, group: list[Append]) -> Any:
        threading.Event().wait(seconds)
        return write(self, group)

    Committer._write = writing


class Zombie:
    """A process that is stopped, and on its return appends a commit before it hears of anything."""

    def __init__(self) -> None:
        self._deaf = False
        self._committer: Committer | None = None
        read, write, look, init = Tails.read, Committer._write, Committer._look, Committer.__init__
        zombie = self

        def reading(self: Tails, *args: Any) -> bool:
            return False if zombie._deaf else read(self, *args)

        def looking(self: Committer) -> None:
            if not zombie._deaf:
                look(self)

        def writing(self: Committer, group: list[Append]) -> Any:
            fresh = write(self, group)
            if any(append.headers.get(KIND) == b"Commit" for append in group):
                zombie._deaf = False
            return fresh

        def making(self: Committer, *args: Any) -> None:
            init(self, *args)
            zombie._committer = self

        Tails.read = reading  # pyright: ignore[reportAttributeAccessIssue]
        Committer._look, Committer._write = looking, writing
        Committer.__init__ = making  # pyright: ignore[reportAttributeAccessIssue]

    async def pause(self) -> None:
        """Stops this process, the first time that any process of this folder comes here."""
        try:
            os.close(os.open(ledger.folder() / "paused", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        loop = asyncio.get_running_loop()
        back = loop.create_future()

        def stop() -> None:
            # On the log's thread, where it holds no lock that others wait for.
            self._deaf = True
            os.kill(os.getpid(), signal.SIGSTOP)
            loop.call_soon_threadsafe(back.set_result, None)

        assert self._committer is not None
        self._committer.call(stop)
        await back
