"""One partition in one worker: read and fold its journal, claim it, lead it, let it go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from perdure.core import codec, effects, routing
from perdure.core.facts import KIND, STAMP, Fact, Stamp, read_fact
from perdure.core.fold import fold
from perdure.core.limits import DEFAULT_LIMITS
from perdure.core.state import PartitionState
from perdure.engine import apart
from perdure.engine.apart import Turn, read_apart
from perdure.engine.lead import Lead
from perdure.engine.packing import Packing
from perdure.engine.pauses import LONGEST_US, jittered
from perdure.engine.restoring import newest
from perdure.engine.services import Services
from perdure.engine.shelf import FileShelf
from perdure.engine.spill import Spill
from perdure.errors import LevelTooNew, LogDamaged, LogError, PerdureError
from perdure.logs.contract import Entry, Producer, Topic, check_whole

RECLAIM_PAUSE_US = 200_000
RELEASE_TIMEOUT_S = 3.0


class _ShelfLost(Exception):
    """What is kept of packed runs cannot be read. It is a cache of the log."""


def _shelf_lost(error: OSError) -> _ShelfLost:
    return _ShelfLost(f"packed runs cannot be read from their temporary file: {error}")


class Partition:
    """A reader of the journal at first; the leader once its own claim was read back."""

    def __init__(self, services: Services, number: int) -> None:
        self._services = services
        self.number = number
        self.lead: Lead | None = None
        self._spill = Spill()
        self._begin()
        self._catch_up_to = 0
        self._seen = 0
        """Where it was when somebody looked last whether it gets on."""
        self._claiming: tuple[bytes, Producer] | None = None
        self._following = False
        self._turn = Turn(services)
        self._failures = 0
        self._gone = False
        self._was = b""
        """As whom it led last: no death lies behind a claim that follows that one."""
        self._append_failures = 0
        self._append_failed_at = 0
        """When an append failed last (µs), and how often in a row."""

    # ------------------------------------------------------------------ recovery

    def _begin(self) -> None:
        """Goes back to the state before the first entry."""
        limits = self._services.limits.folding(DEFAULT_LIMITS.folded())  # until the log says what holds
        generations = self._services.log.generations
        generation = routing.generation_of(self.number, generations)
        state = PartitionState(self.number, generations[0], generation, limits=limits)
        shelf = FileShelf()
        state.runs.shelf = state.cells.shelf = shelf
        self._go_on_from(state, 0, shelf)

    def _go_on_from(self, state: PartitionState, position: int, shelf: FileShelf) -> None:
        """Takes up a state, and the shelf on which its packed runs lie."""
        self.state, self._position, self._shelf = state, position, shelf
        self._state_bytes = self._tail_bytes = 0
        """Of the snapshot that it came from, and of what was read behind that."""
        self._packing = Packing(self._services, state)

    def _let_state_go(self) -> None:
        self._packing.closed = True
        self._shelf.close()

    async def recover(self) -> None:
        """Loads the newest snapshot that can be verified, and reads on from there; tries until that has worked."""
        try:
            await self._load()
        except LevelTooNew as error:
            self._leave_alone(error)
        except _ShelfLost as error:
            self._begin_anew(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, a partition that is held has to be led
            self._turn.over()
            if self._gone:
                return
            services, clock = self._services, self._services.clock
            clock.call_at(clock.now() + jittered(self._failures, services.entropy), self._recover_again)
            self._failures += 1
            services.trouble(f"partition {self.number} could not be recovered; it is tried again", error)

    def _recover_again(self) -> None:
        if not self._gone:
            self._services.spawn(self.recover(), f"recovery of partition {self.number}")

    async def _load(self) -> None:
        log = self._services.log
        first, end = await log.bounds(Topic.JOURNAL, self.number)
        found = await newest(self._services, self.number, self.state.limits, (first, end), self._turn)
        if found is not None:
            self._let_state_go()
            self._go_on_from(found.state, found.covers, found.shelf)
            self._state_bytes = found.bytes
        if self._position < first:
            raise LogError(
                f"partition {self.number}: the journal begins at {first}, and no snapshot reaches that far. Its"
                " runs cannot be known; restore the log from a backup. The partition is left alone until then."
            )
        if self.state.partitions != log.generations[0]:
            raise LogError(
                f"partition {self.number}: named things were hashed over {self.state.partitions} partitions, and the"
                f" log says that there were {log.generations[0]} at first. They would be looked for elsewhere, so it is"
                " left alone: has the number of partitions of events been changed by hand?"
            )
        if end - self._position > apart.LONG_READ_ENTRIES:
            await self._turn.wait()
            await read_apart(log, self.number, self._position, end, self._take_part)
        if self._gone:
            self._let_state_go()
            self._turn.over()
            return
        self._catch_up_to, self._seen = end, self._position
        self._following = True
        self._services.follow(Topic.JOURNAL, self.number, self._position)
        if self._position >= end:
            self._catch_up_to = -1
            self._claim()
        else:
            # The last offsets may hold nothing that is ever read, so that nothing comes which could be waited for.
            # Who claims before it has read everything leads when it has: its claim lies behind all of it.
            self._claim_later()

    def _take_part(self, entries: Sequence[Entry]) -> bool:
        """Entries that were read apart; whether there is a use for more."""
        if self._gone:
            return False
        try:
            for entry in entries:
                self._take(entry)
        except LogDamaged as error:
            self._leave_alone(error)
            return False
        self._packing.consider(())
        return not self._gone

    # ------------------------------------------------------------------ claims

    def _claim(self) -> None:
        """Proposes itself as the owner, under a producer instance of its own (A6)."""
        if self._gone or self._claiming is not None:
            return
        owner = self._services.entropy(16)
        producer = self._services.producer()
        self._claiming = (owner, producer)
        epoch = self.state.epoch + 1
        value = codec.encode("Claim", {"epoch": epoch, "worker": self._was.hex()})
        headers = {KIND: b"Claim", STAMP: Stamp(owner, epoch, 0).pack()}

        def done(result: int | LogError) -> None:
            if isinstance(result, LogError) and self._claiming == (owner, producer):
                self._give_up_claim()

        try:
            producer.append(Topic.JOURNAL, self.number, value, headers=headers, done=done)
        except LogError:
            self._give_up_claim()

    def _give_up_claim(self) -> None:
        if self._claiming is not None:
            self._claiming[1].close()
            self._claiming = None
        self._claim_later()

    def _claim_later(self) -> None:
        jitter = int.from_bytes(self._services.entropy(2), "big") % RECLAIM_PAUSE_US
        clock = self._services.clock
        clock.call_at(clock.now() + RECLAIM_PAUSE_US + jitter, self._claim_if_none)

    def _claim_if_none(self) -> None:
        if self.lead is not None or self._gone:
            return
        if self._catch_up_to > self._position > self._seen:
            self._seen = self._position  # it is getting on, and a claim behind what it knows would be void
            self._claim_later()
        else:
            self._claim()

    def _claimed(self, owner: bytes) -> None:
        """An accepted claim was read: ours, and we lead; another's, and we stop (and come back while assigned, B6)."""
        if self.lead is not None:
            self._depose()
        if self._claiming is not None and self._claiming[0] == owner:
            producer = self._claiming[1]
            self._settle()
            self._claiming = None
            self._was = owner
            self._catch_up_to = -1
            self.lead = Lead(
                self._services, self.state, producer, owner, self._failed, self._position - 1, self._spill
            )
            self._packing.returned = self.lead.life.timers.arm_all
            self.lead.snapshots.position = self._position
            self.lead.snapshots.state_bytes, self.lead.snapshots.tail_bytes = (
                self._state_bytes,
                self._tail_bytes,
            )
            self.lead.begin()
            self._turn.over()
        elif self._catch_up_to < 0:  # else it claims when it has caught up
            self._claim_later()

    def _failed(self, error: LogError) -> None:
        """An append failed, its outcome is unknown: a new producer, a new claim, and everything from the log again.

        At once after a first failure, and after growing pauses when it goes on so: each claim is a record, too.
        """
        self._services.trouble(f"an append to partition {self.number} failed; it is claimed anew", error)
        self._depose()
        clock = self._services.clock
        now = clock.now()
        if now - self._append_failed_at > 2 * LONGEST_US:
            self._append_failures = 0
        failures, self._append_failed_at = self._append_failures, now
        self._append_failures += 1
        if not failures:
            self._claim()
        else:
            clock.call_at(now + jittered(failures - 1, self._services.entropy), self._claim_if_none)

    def _depose(self) -> None:
        lead, self.lead = self.lead, None
        if lead is not None:
            self._state_bytes, self._tail_bytes = lead.snapshots.state_bytes, lead.snapshots.tail_bytes
            lead.stop()
            self._packing.returned = None
            self.state.effects.clear()

    # ------------------------------------------------------------------ reading

    def entries(self, batch: Sequence[Entry]) -> None:
        """Folds a batch of the journal and acts on what it says."""
        if not self._following:
            return  # what was still under way when it began anew
        try:
            for entry in batch:
                self._take(entry)
        except (LevelTooNew, LogDamaged) as error:
            self._leave_alone(error)
            return
        except _ShelfLost as error:
            self._begin_anew(error)
            return
        self._packing.consider(() if self.lead is None else self.lead.residents.residents)
        if self.lead is not None:
            self.lead.settle()
        elif self._claiming is None and not self._gone and self._position >= self._catch_up_to > -1:
            self._catch_up_to = -1
            self._claim()

    def _begin_anew(self, error: _ShelfLost) -> None:
        """Recovers once more, as after a crash."""
        self._depose()
        if self._claiming is not None:
            self._claiming[1].close()
            self._claiming = None
        self._unfollow()
        self._let_state_go()
        self._begin()
        self._services.trouble(f"partition {self.number} is recovered anew", error)
        clock = self._services.clock
        clock.call_at(clock.now() + jittered(0, self._services.entropy), self._recover_again)

    def _leave_alone(self, error: PerdureError) -> None:
        """A newer version of perdure has to lead it, or its journal has to be restored: nothing here may guess."""
        if not self._gone:
            self._services.trouble(f"partition {self.number} is left alone", error)
            self.close()

    def _take(self, entry: Entry) -> None:
        if not entry.value:
            until = ". Until then this partition is left alone, and the others go on"
            check_whole(entry, f"the journal of partition {self.number}", until)
        self._position = entry.offset + 1
        lead, state = self.lead, self.state
        own = lead.life.match(entry) if lead is not None else None
        if own is None:
            fact = read_fact(entry.offset, entry.ts, entry.value, entry.headers)
            void = self._fold(fact)
            if void is not None and fact.kind == "Claim":
                self._late_claim(fact)
        else:
            fact = Fact(entry.offset, entry.ts, own.name, own.body, own.stamp, entry.value, parts=own.parts)
            void = self._fold(fact)
        self._tail_bytes += len(entry.value)
        if lead is not None:
            lead.snapshots.position = self._position
            lead.snapshots.tail_bytes += len(entry.value)
            if own is not None and lead.life.live:
                own.on_read(fact, void)
        if state.effects:
            self._perform()

    def _fold(self, fact: Fact) -> str | None:
        try:
            return fold(self.state, fact)
        except OSError as error:
            raise _shelf_lost(error) from error

    def _settle(self) -> None:
        """Runs whose timers have fired do no longer wait."""
        try:
            self.state.runs.settle()
        except OSError as error:
            raise _shelf_lost(error) from error

    def _late_claim(self, fact: Fact) -> None:
        if self._claiming is not None and fact.stamp is not None and fact.stamp.owner == self._claiming[0]:
            self._give_up_claim()

    def _perform(self) -> None:
        found, self.state.effects = self.state.effects, []
        for effect in found:
            if isinstance(effect, effects.Claimed):
                self._claimed(effect.owner)
            elif self.lead is not None and self.lead.life.live:
                self.lead.perform(effect)

    def events(self, batch: Sequence[Entry]) -> None:
        """Entries of the events partition of the same number."""
        lead = self.lead
        if lead is not None and lead.life.acting:
            lead.router.take(batch)
            if lead.life.acting:  # what it appended may have been its last
                lead.router.propose()

    def quiet(self) -> bool:
        """Whether it leads and everything that it appended is read back and acted on."""
        lead = self.lead
        return lead is not None and lead.quiet()

    # ------------------------------------------------------------------ letting go

    async def release(self) -> None:
        """Leaves in good order: what was appended is read back, `Released` says that nothing was cut off."""
        lead = self.lead
        if lead is not None and lead.life.live:
            read = asyncio.Event()
            try:
                lead.leave(read.set)
                async with asyncio.timeout(RELEASE_TIMEOUT_S):
                    await read.wait()
            except (TimeoutError, LogError) as error:
                self._services.trouble(f"partition {self.number} was left without a note", error)
        self.close()

    def close(self) -> None:
        """Stops at once."""
        self._gone = True
        self._turn.over()
        self._depose()
        self._spill.close()
        self._let_state_go()
        if self._claiming is not None:
            self._claiming[1].close()
            self._claiming = None
        self._unfollow()

    def _unfollow(self) -> None:
        if self._following and self._services.member is not None:
            self._services.member.unfollow(Topic.JOURNAL, self.number)
            self._services.member.unfollow(Topic.EVENTS, self.number)
        self._following = False
