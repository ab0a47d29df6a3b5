"""As `killing`, for a process whose log is on Kafka."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from perdure.core.facts import KIND
from perdure.logs.contract import Entry
from perdure.logs.kafka import producing
from perdure.logs.kafka.member import KafkaMember
from perdure.logs.kafka.producing import Appender
from perdure.logs.kafka.tails import Tail
from tests.crash import ledger
from tests.crash.killing import kill


def kill_after_write(number: int, *, heard: bool) -> None:
    """This process dies when its `number`-th append is acknowledged, before the engine has heard of it; 0: right
    before the first one. `heard`: once the engine has read back the `number`-th append to a journal, and acted on it.
    """
    outcome, append, take = producing._outcome, Appender.append, Tail.take
    counted, awaited = 0, set[tuple[str, int, int]]()

    def appending(self: Appender, *args: Any) -> None:
        if number == 0:
            kill()
        append(self, *args)

    def acknowledged(error: Any, message: Any, topic: str) -> Any:
        nonlocal counted
        if error is None and (not heard or topic.endswith(".journal")):
            counted += 1
            if counted == number:
                if not heard:
                    kill()
                awaited.add((topic, message.partition(), message.offset()))
        return outcome(error, message, topic)

    def taking(self: Tail, entries: Sequence[Entry]) -> None:
        take(self, entries)
        # Its acknowledgement may come after it was read back; then the next entry will do.
        if awaited and entries[-1].offset >= min(offset for _, _, offset in awaited):
            asyncio.get_running_loop().call_soon(kill)

    Appender.append, producing._outcome, Tail.take = appending, acknowledged, taking  # pyright: ignore[reportAttributeAccessIssue]


class Zombie:
    """A process that is stopped, and on its return appends a commit before it hears of anything."""

    def __init__(self) -> None:
        self._deaf = False
        self._unheard: list[Callable[[], None]] = []
        take, lost, append = Tail.take, KafkaMember.lost, Appender.append
        zombie = self

        def taking(self: Tail, entries: Sequence[Entry]) -> None:
            zombie._hear(lambda: take(self, entries))

        def losing(member: KafkaMember, partitions: Sequence[int]) -> None:
            zombie._hear(lambda: lost(member, partitions))

        def appending(
            appender: Appender,
            topic: str,
            partition: int,
            value: bytes,
            key: bytes,
            headers: Any,
            report: Any,
        ) -> None:
            append(appender, topic, partition, value, key, headers, report)
            if headers.get(KIND) == b"Commit":
                zombie._wake()

        Tail.take, KafkaMember.lost, Appender.append = taking, losing, appending  # pyright: ignore[reportAttributeAccessIssue]

    def _hear(self, call: Callable[[], None]) -> None:
        if self._deaf:
            self._unheard.append(call)
        else:
            call()

    def _wake(self) -> None:
        self._deaf = False
        unheard, self._unheard = self._unheard, []
        for call in unheard:
            asyncio.get_running_loop().call_soon(call)

    async def pause(self) -> None:
        """Stops this process, the first time that any process of this folder comes here."""
        try:
            os.close(os.open(ledger.folder() / "paused", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        self._deaf = True
        os.kill(os.getpid(), signal.SIGSTOP)
