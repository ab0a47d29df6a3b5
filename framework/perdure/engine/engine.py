"""The engine of one process: a member of the group, with a partition object for each that it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from perdure.engine.deploying import Deploying
from perdure.engine.partition import Partition
from perdure.engine.services import Services
from perdure.errors import LogError, PerdureError
from perdure.logs.contract import Entry, Topic

READY_POLL_S = 0.002
RESTART_PAUSE_US = 1_000_000

Definitions = Sequence[Mapping[str, Any]]


class Engine:
    """Owns partitions and drives their runs. Made for one event loop, used once."""

    def __init__(self, app: str, services: Services, definitions: Definitions) -> None:
        self.app = app
        self.services = services
        services.app = app
        self.partitions: dict[int, Partition] = {}
        self._deploying = Deploying(services, definitions)
        self._deploying.on_changed = self._on_deployed
        self._deploying.on_unreadable = self._on_unreadable
        self._ready: set[int] = set()
        self._failed = asyncio.Event()
        self._failure: PerdureError | None = None
        services.on_configured = self._on_configured

    # ------------------------------------------------------------------ a life

    async def start(self) -> None:
        """Publishes the functions of this process, joins the group, and returns; partitions come as they come."""
        services = self.services
        await self._deploying.begin()
        services.member = services.log.member(self)
        await services.member.join()

    def drain(self) -> None:
        """Starts nothing new from now on: no attempts, no runs. What runs may finish and is recorded."""
        self.services.draining = True

    async def stop(self) -> None:
        """Leaves the group: every partition is released first."""
        self._deploying.close()
        if self.services.member is not None:
            await self.services.member.leave()
        for partition in list(self.partitions.values()):
            partition.close()
        self.partitions.clear()
        for task in list(self.services.tasks):
            task.cancel()
        await asyncio.gather(*self.services.tasks, return_exceptions=True)

    def abandon(self) -> None:
        """Ends without a word to the log, as a crash does."""
        self._deploying.close()
        for partition in list(self.partitions.values()):
            partition.close()
        self.partitions.clear()
        for task in list(self.services.tasks):
            task.cancel()

    # ------------------------------------------------------------------ definitions

    def _on_deployed(self) -> None:
        for partition in self.partitions.values():
            if partition.lead is not None:
                partition.lead.router.configure()

    def _on_unreadable(self, error: PerdureError) -> None:
        """What is in force cannot be read: nothing can be routed here, and others must not wait for this worker."""
        self.services.trouble("this worker stops", error)
        for partition in self.partitions.values():
            partition.close()
        self.ended(error)

    def _on_configured(self, partition: int, version: int) -> None:
        if version >= self.services.config["version"]:
            self._ready.add(partition)

    async def ready(self, patience_s: float = 5.0) -> None:
        """Returns when what is assigned here is led and routes by the newest definitions.

        A worker that finds no partition free gets some when another gives them up; it is ready without, after
        `patience_s`.
        """
        deadline = asyncio.get_running_loop().time() + patience_s
        while asyncio.get_running_loop().time() < deadline:
            if self.partitions and self._ready.issuperset(self.partitions):
                return
            await asyncio.sleep(READY_POLL_S)

    def quiet(self) -> bool:
        """Whether nothing can happen here before time passes or something arrives."""
        services = self.services
        return not (services.running or services.tasks) and all(p.quiet() for p in self.partitions.values())

    # ------------------------------------------------------------------ the group

    def assigned(self, partition: int) -> None:
        mine = self.partitions[partition] = Partition(self.services, partition)
        self.services.spawn(mine.recover(), f"recovery of partition {partition}")

    async def revoked(self, partition: int) -> None:
        mine = self.partitions.get(partition)
        if mine is not None:
            await mine.release()
            if self.partitions.get(partition) is mine:
                del self.partitions[partition]
        self._ready.discard(partition)

    def lost(self, partition: int) -> None:
        mine = self.partitions.pop(partition, None)
        self._ready.discard(partition)
        if mine is not None:
            mine.close()

    def ended(self, error: PerdureError) -> None:
        self._failure = error
        self._failed.set()

    async def failed(self) -> None:
        """Waits until the log has failed for good, and raises why: a process that is a worker and nothing else has
        to end then, or whoever looks after it would think it well."""
        await self._failed.wait()
        raise self._failure or LogError("the log has failed")

    def entries(self, topic: Topic, partition: int, batch: Sequence[Entry]) -> None:
        mine = self.partitions.get(partition)
        if mine is None:
            return
        try:
            if topic is Topic.JOURNAL:
                mine.entries(batch)
            elif topic is Topic.EVENTS:
                mine.events(batch)
        except Exception as error:  # noqa: BLE001 - a bug of ours: its state may be half changed, its log is whole
            self.services.trouble(f"partition {partition} is begun anew from its log", error)
            mine.close()
            self._ready.discard(partition)
            clock = self.services.clock
            clock.call_at(clock.now() + RESTART_PAUSE_US, lambda: self._begin_anew(mine))

    def _begin_anew(self, broken: Partition) -> None:
        if self.partitions.get(broken.number) is broken:
            self.assigned(broken.number)
