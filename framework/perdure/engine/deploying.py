"""A process's part in deploys: it publishes its definitions, says that it lives, and brings them back when it must.

Old code that starts again in the middle of a rolling deploy changes nothing. It asks now and then whether a worker of
newer code is there; when none has answered for `PATIENCE_US`, the newer deploy was rolled back, and the definitions of
the code that is there count again (decision 9).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from perdure.core import codec
from perdure.core.deploys import (
    LIMIT,
    NOTE,
    PAUSE,
    RANK,
    SEEN,
    Deploy,
    Deploys,
    digest_of,
    limit_key,
    note_of,
    number_of,
    pause_key,
)
from perdure.core.facts import APP
from perdure.engine.clock import Alarm
from perdure.engine.services import Services
from perdure.errors import EncodingError, LevelTooNew, LogDamaged, LogError, PerdureError, UsageError
from perdure.logs.contract import Entry, Follower, Producer, Topic, check_whole

PERIOD_US = 10_000_000
PATIENCE_US = 20_000_000
"""How often old code asks for newer, and how long it waits for an answer: a worker that is killed is back by then."""
AGAIN_US = 1_000_000
ENTRIES_MAX = 1_000
"""Where the registry keeps everything, so many entries are written anew as one for each deploy."""
READ_ENTRIES = 500
ANSWER_US = 500_000
"""Within so long, at random, a question is answered, unless somebody else has answered it."""

log = logging.getLogger("perdure.worker")


class Deploying:
    """What one engine knows of the registry, and says there. Made for one event loop."""

    def __init__(self, services: Services, definitions: Sequence[Mapping[str, Any]]) -> None:
        self._services = services
        self._config = {
            "version": 0,
            "functions": [dict(d) for d in definitions],
            "limits": services.limits.folded(),
            "encrypts": services.vault.encrypts,
        }
        self._value = codec.encode("Config", self._config)
        self._digest = digest_of(self._value)
        self._deploys = Deploys()
        self._follower: Follower | None = None
        self._producer: Producer | None = None
        self._alarm: Alarm | None = None
        self._answering: Alarm | None = None
        self._asked: tuple[int, int] | None = None
        """When the question that waits for an answer was read (µs), and what was in force then."""
        self._putting = False
        self._closed = False
        self._first = self._end = 0
        self._compacting: tuple[int, str, int] | None = None
        self.on_changed: Callable[[], None] = lambda: None
        self.on_unreadable: Callable[[PerdureError], None] = lambda _error: None

    # ------------------------------------------------------------------ a life

    async def begin(self) -> None:
        """Publishes the definitions of this process if they are new, and follows the registry from here on.

        Raises LogError when they could not be published, LevelTooNew when those in force cannot be read.
        """
        log_, found = self._services.log, Deploys()
        first, end = await log_.bounds(Topic.REGISTRY, 0)
        while first < end and (batch := await log_.read(Topic.REGISTRY, 0, first, READ_ENTRIES)):
            for entry in batch:
                self._fold(found, entry)
            first = batch[-1].offset + 1
        mine, current = found.known.get(self._digest), found.current
        if mine is None or current is None or mine.rank > current.rank:
            await self._publish(mine, found.version)
        elif mine.rank < current.rank:
            log.warning(
                "this worker's code is older than what is deployed: it runs what it can, and its definitions do not"
                " count while a worker with newer code lives"
            )
        self._follower = log_.follow(Topic.REGISTRY, 0, 0, self._take)

    async def _publish(self, known: Deploy | None, seen: int) -> None:
        appended: asyncio.Future[int | LogError] = asyncio.get_running_loop().create_future()

        def finished(result: int | LogError) -> None:
            if not appended.done():
                appended.set_result(result)

        self._append("put", known.rank if known else 0, finished, seen=seen)
        result = await appended
        if isinstance(result, LogError):
            raise result

    def close(self) -> None:
        self._closed = True
        self._cancel()
        if self._answering is not None:
            self._answering.cancel()
        if self._follower is not None:
            self._follower.close()
        if self._producer is not None:
            self._producer.close()

    # ------------------------------------------------------------------ what is said

    def _append(
        self,
        note: str,
        rank: int,
        done: Callable[[int | LogError], None] | None = None,
        *,
        seen: int = 0,
        value: bytes | None = None,
        key: str = "",
    ) -> None:
        """Raises nothing: what the log does not take is told to `done`."""

        if self._producer is None:
            self._producer = self._services.producer()
        producer = self._producer

        def finished(result: int | LogError) -> None:
            if isinstance(result, LogError) and self._producer is producer:
                self._producer = None  # it takes nothing more
            if done is not None:
                done(result)

        headers = {APP: self._services.app.encode(), NOTE: note.encode()}
        if rank:
            headers[RANK] = str(rank).encode()
        if seen:
            headers[SEEN] = str(seen).encode()
        # By its key, a compacted topic keeps the last entry of each deploy, and of each kind of note.
        try:
            producer.append(
                Topic.REGISTRY,
                0,
                self._value if value is None else value,
                key=(key or (self._digest if note in ("put", "known") else note)).encode(),
                headers=headers,
                done=finished,
            )
        except (LogError, UsageError) as error:
            finished(error if isinstance(error, LogError) else LogError(str(error)))

    def _put(self, mine: Deploy, *, seen: int) -> None:
        """Puts the definitions of this process in force."""
        if self._putting:
            return
        self._putting = True

        def finished(result: int | LogError) -> None:
            self._putting = False
            if isinstance(result, LogError) and not self._closed:
                self._later(AGAIN_US)

        self._append("put", mine.rank, finished, seen=seen)

    # ------------------------------------------------------------------ what is heard

    def _take(self, batch: Sequence[Entry]) -> None:
        changed = False
        for entry in batch:
            self._first, self._end = self._first or entry.offset, entry.offset + 1
            note = note_of(entry.headers)
            if note == "known":
                self._compacted(entry)
            try:
                changed |= self._fold(self._deploys, entry)
            except (LevelTooNew, LogDamaged) as error:
                self.on_unreadable(error)
                return
            if note in ("ask", "here"):
                self._heard(note, number_of(entry.headers, RANK))
        config = self._deploys.config() if changed else None
        if config is not None:
            self._services.config = config
            self._asked = None
            self.on_changed()
        self._consider()

    def _fold(self, deploys: Deploys, entry: Entry) -> bool:
        check_whole(entry, "the registry")
        try:
            return deploys.take(entry.offset, entry.value, entry.headers)
        except EncodingError as error:
            raise LevelTooNew(
                f"the definitions at {entry.offset} of the registry cannot be read by this version of perdure: {error}."
                " Upgrade this worker; until then it leaves all partitions alone"
            ) from error

    def _heard(self, note: str, rank: int) -> None:
        mine = self._deploys.known.get(self._digest)
        if mine is None:
            return
        if note == "ask" and rank < mine.rank:
            if self._answering is None and not self._closed:
                clock = self._services.clock
                self._answering = clock.call_at(clock.now() + self._jitter(ANSWER_US), self._answer)
        elif note == "ask" and rank == mine.rank and self._deploys.current is not None:
            if self._asked is None:  # one question is enough for all workers of a deploy
                self._asked = self._services.clock.now(), self._deploys.version
                self._later(PATIENCE_US)
        elif note == "here" and rank > mine.rank:
            self._asked = None
            self._later(PERIOD_US)
        elif note == "here" and rank == mine.rank and self._answering is not None:
            self._answering.cancel()
            self._answering = None

    def _answer(self) -> None:
        self._answering = None
        mine = self._deploys.known.get(self._digest)
        if mine is not None and not self._services.draining:
            self._append("here", mine.rank, value=b"!")

    def _jitter(self, within_us: int) -> int:
        return int.from_bytes(self._services.entropy(4), "big") % within_us

    def _consider(self) -> None:
        """After each change: is this process's deploy in force, or must something be done for it?"""
        mine, current = self._deploys.known.get(self._digest), self._deploys.current
        if mine is None or current is None or mine is current:
            self._cancel()
        elif mine.rank > current.rank:
            if not self._services.draining:
                self._put(mine, seen=self._deploys.version)
        elif self._alarm is None:
            self._look()

    def _look(self) -> None:
        """Somebody else's newer deploy is in force: asks whether it lives, or brings back what is here."""
        self._alarm = None
        mine, current = self._deploys.known.get(self._digest), self._deploys.current
        if self._closed or mine is None or current is None or mine is current:
            return
        if mine.rank > current.rank:
            self._consider()
            return
        if self._asked is not None and self._asked[1] == self._deploys.version:
            if self._services.clock.now() - self._asked[0] >= PATIENCE_US:
                log.warning(
                    "no worker with newer code has answered for %g s: the definitions of this code count again",
                    PATIENCE_US / 1e6,
                )
                self._asked = None
                self._put(mine, seen=self._deploys.version)
        else:
            self._append("ask", mine.rank, value=b"?")
            self._compact()
        self._later(PERIOD_US)

    def _later(self, pause_us: int) -> None:
        self._cancel()
        clock = self._services.clock
        if not self._closed:
            # Not all at the same time: one of many asks, and the others hear the answer.
            pause_us += self._jitter(pause_us // 4)
            self._alarm = clock.call_at(clock.now() + pause_us, self._look)

    def _cancel(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    # ------------------------------------------------------------------ bounds

    def _compact(self) -> None:
        """Where the log itself does not: writes every known deploy anew, so that what lies before can be trimmed."""
        if (
            self._services.log.expires
            or self._end - self._first < ENTRIES_MAX
            or self._compacting is not None
        ):
            return
        self._compacting = self._standing()
        for deploy in sorted(self._deploys.known.values(), key=lambda d: d.rank):
            self._append("known", deploy.rank, value=codec.encode("Config", deploy.config), key=deploy.digest)
        for function, reason in self._deploys.paused.items():
            body = {"function": function, "paused": True, "reason": reason}
            self._append(PAUSE, 0, value=codec.encode("FunctionPaused", body), key=pause_key(function))
        for limit_id, limit in self._deploys.limits.items():
            value = codec.encode("LimitChanged", {"limit": limit, "changed": True})
            self._append(LIMIT, 0, value=value, key=limit_key(limit_id))
        current = self._deploys.current
        if current is not None:
            self._append(
                "put", current.rank, value=codec.encode("Config", current.config), key=current.digest
            )

    def _standing(self) -> tuple[int, str, int]:
        current = self._deploys.current
        return len(self._deploys.known), current.digest if current else "", self._deploys.version

    def _compacted(self, entry: Entry) -> None:
        """The first of these entries is read back: what lies before it is told in it, if nothing came between."""
        before, self._compacting = self._compacting, None
        if before is not None and before == self._standing():
            self._first = entry.offset
            self._services.spawn(
                self._services.log.trim(Topic.REGISTRY, 0, entry.offset), "trim of the registry"
            )
