"""One log and one client per event loop, opened at the first use; and a loop of our own for code that has none."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from perdure.client.client import Client
from perdure.core.facts import APP
from perdure.errors import UsageError
from perdure.logs import open_log
from perdure.logs.contract import Log, Topic
from perdure.payloads.vault import Vault

T = TypeVar("T")
Entropy = Callable[[int], bytes]


class Connection:
    """An open log and its client, on one event loop."""

    def __init__(self, log: Log, client: Client) -> None:
        self.log = log
        self.client = client

    async def close(self) -> None:
        self.client.close()
        await self.log.close()


class Connections:
    """The connections of one app in this process."""

    def __init__(
        self, app: str, log: str | Log, entropy: Entropy = os.urandom, *, vault: Vault | None = None
    ) -> None:
        """`app`: empty for whichever app the log is of."""
        self._app = app
        self._log = log
        self._entropy = entropy
        self.vault = vault or Vault()
        """What the app does with its payloads."""
        self._open: dict[asyncio.AbstractEventLoop, asyncio.Task[Connection]] = {}
        self._portal: Portal | None = None

    def url(self) -> str:
        """Where the log is, for people."""
        return self._log if isinstance(self._log, str) else type(self._log).__name__

    async def get(self) -> Connection:
        """The connection of the running loop."""
        loop = asyncio.get_running_loop()
        task = self._open.get(loop)
        if task is not None and task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        for gone in [other for other in self._open if other.is_closed()]:
            del self._open[gone]
        if task is None:
            task = self._open[loop] = loop.create_task(self._connect())
        try:
            return await asyncio.shield(task)
        except BaseException:
            if task.done() and (task.cancelled() or task.exception() is not None):
                self._open.pop(loop, None)
            raise

    async def _connect(self) -> Connection:
        log = open_log(self._log, self._app) if isinstance(self._log, str) else self._log
        await log.open()
        client = Client(log, self._entropy, self.vault)
        try:
            await self._check_app(log)
            await client.open()
        except BaseException:
            await log.close()
            raise
        return Connection(log, client)

    async def _check_app(self, log: Log) -> None:
        """A journal belongs to one app (A12): two in one would get each other's runs."""
        first, end = await log.bounds(Topic.REGISTRY, 0)
        for entry in await log.read(Topic.REGISTRY, 0, end - 1, 1) if end > first else ():
            owner = entry.headers.get(APP, b"").decode()
            if owner and self._app and owner != self._app:
                raise UsageError(
                    f"the log at {self.url()} is that of the app {owner!r}; give {self._app!r} one of its own: "
                    f'App({self._app!r}, log="sqlite:///.perdure/{self._app}.db"), or set PERDURE_LOG'
                )

    async def client(self) -> Client:
        return (await self.get()).client

    async def close(self) -> None:
        """Closes the connection of the running loop, if there is one."""
        task = self._open.pop(asyncio.get_running_loop(), None)
        if task is not None:
            await (await task).close()

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs something for a caller without an event loop, on a loop that this process keeps for that."""
        if self._portal is None:
            self._portal = Portal()
        return self._portal.run(work)


class Portal:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="perdure-portal", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result()
