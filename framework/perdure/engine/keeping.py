"""Drops what has been kept for long enough beside the journal: events, answers to clients, dead letters, payloads."""

from __future__ import annotations

import logging
from time import time

from perdure.core.limits import DAY_US, MINUTE_US
from perdure.engine.life import Life
from perdure.engine.sweeping import sweep
from perdure.logs.contract import REPLIES_PARTITIONS, Topic
from perdure.payloads.store import PayloadStore

SWEEP_US = 10 * MINUTE_US
FIRST_PAYLOADS_US = 10 * MINUTE_US

log = logging.getLogger("perdure.payloads")


class Keeping:
    """The sweeping side of one claim's life. It sweeps after something has happened, since else nothing grows.

    A partition's owner trims the events of that partition. The topics that belong to nobody are trimmed by every
    process now and then, whatever it owns. A log that drops by itself what is old is left to do so.
    """

    def __init__(self, life: Life) -> None:
        self._life = life
        self._swept = 0
        self._payloads_at = life.services.clock.now() + FIRST_PAYLOADS_US

    def consider(self) -> None:
        if not self._life.acting:
            return
        self._consider_payloads()
        if self._life.services.log.expires:
            return
        now = self._life.services.clock.now()
        if now - self._swept >= SWEEP_US:
            self._swept = now
            self._life.services.spawn(self._sweep(now), f"trim of events {self._life.state.number}")

    def _consider_payloads(self) -> None:
        """The owner of the first partition looks after the store, some time after its claim and then once a day."""
        services, store = self._life.services, self._life.services.vault.store
        now = services.clock.now()
        if self._life.state.number == 0 and store is not None and now >= self._payloads_at:
            self._payloads_at = now + DAY_US
            services.spawn(self._sweep_payloads(store), "removal of payloads that nothing refers to")

    async def _sweep_payloads(self, store: PayloadStore) -> None:
        services = self._life.services
        before = time() - services.limits.payload_time_max / 1e6
        found = await sweep(services.log, store, before, lambda: self._life.acting)
        if found.removed:
            log.info("removed %d payloads of %d bytes that nothing refers to from %s", *found, store.where)

    async def _sweep(self, now: int) -> None:
        services = self._life.services
        await self._events()
        if now - services.swept < SWEEP_US:
            return
        services.swept = now
        for number in range(REPLIES_PARTITIONS):
            await self._trim(Topic.REPLIES, number, services.limits.reply_time_max)
        await self._trim(Topic.DEAD_LETTERS, 0, services.limits.dead_letter_time_max)

    async def _events(self) -> None:
        """What is ingested, old enough, and not what a search under way has still to read."""
        log, state = self._life.services.log, self._life.state
        if state.number >= state.partitions:  # of a later generation: it has no events
            return
        before = state.next
        for scan in list(state.scans.values()):
            start = scan.cursor
            if start < 0:
                start = await log.offset_at(Topic.EVENTS, state.number, scan.since)
            before = min(before, start)
        await self._trim(Topic.EVENTS, state.number, self._life.services.limits.event_time_max, before)

    async def _trim(self, topic: Topic, number: int, time_max: int, before: int | None = None) -> None:
        log = self._life.services.log
        old = await log.offset_at(topic, number, log.now() - time_max)
        before = old if before is None else min(old, before)
        first, _ = await log.bounds(topic, number)
        if before > first and self._life.acting:
            await log.trim(topic, number, before)
