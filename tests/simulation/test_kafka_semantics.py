"""The simulated lives once more, on a log that behaves as Kafka does; and bugs that only such a log would show.

`SIMULATION_SEEDS=17 pytest tests/simulation` runs one seed, `=0:5000` a range.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from perdure.core.decide import ingest
from perdure.core.facts import KIND
from perdure.engine.life import Life
from perdure.engine.router import Router
from perdure.errors import LogError
from perdure.logs.contract import Entry, Topic
from perdure.logs.memory import MemoryLog
from perdure.logs.memory.store import Slot
from tests.simulation.audit import Audit, Broken
from tests.simulation.kafka_world import KafkaWorld
from tests.simulation.test_simulation import chosen_chunks
from tests.simulation.world import PARTITIONS, World, simulate

CHUNKS = 4
SEEDS = 200
PLANTED_SEEDS = 60


@pytest.mark.parametrize("seeds", chosen_chunks(SEEDS, CHUNKS), ids=str)
def test_promises_hold_on_a_log_like_kafka(seeds: range) -> None:
    records = gaps = aborted = 0
    for seed in seeds:
        world = asyncio.run(simulate(seed, kind=KafkaWorld))
        assert isinstance(world, KafkaWorld)
        records, gaps, aborted = (
            records + world.audit.records,
            gaps + world.gaps,
            aborted + world.aborted,
        )
    assert records > 10 * len(seeds), "the simulated lives are too quiet to mean anything"
    assert len(seeds) < 10 or min(gaps, aborted) > len(seeds), "and too much like those of another log"


def broken(kind: type[World] = KafkaWorld, seeds: int = PLANTED_SEEDS) -> str:
    """What the first broken seed says."""
    for seed in range(seeds):
        try:
            asyncio.run(simulate(seed, kind=kind))
        except Broken as error:
            return str(error)
    return ""


def test_reading_what_is_not_committed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def uncommitted(self: Slot, offset: int, entries_max: int) -> Sequence[Entry]:
        start = self._index(offset)
        return self.entries[start : start + entries_max]

    monkeypatch.setattr(Slot, "read", uncommitted)
    assert "an event of an aborted transaction" in broken()


def test_counting_events_instead_of_offsets_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The position of what was read is not where it began plus how many there were. Without gaps it is."""
    body = ingest._Routing.body

    def counted(self: Any, batch: Any) -> Any:
        made = body(self, batch)
        return made | {"to": made["from"] + len(batch)}

    monkeypatch.setattr(ingest._Routing, "body", counted)
    assert not broken(World, 5)
    assert broken()


def test_waiting_for_the_last_offset_to_be_read_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next entry is not at the next offset."""
    take = Router.take

    def contiguous(self: Router, batch: Sequence[Entry]) -> None:
        last = self._ahead[-1].offset + 1 if self._ahead else self._life.state.next
        if batch[0].offset == last:
            take(self, batch)

    monkeypatch.setattr(Router, "take", contiguous)
    assert not broken(World, 5)
    assert broken()


def test_going_on_after_a_failed_append_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fatal error fails all that is in flight: whoever keeps the claim waits for it for ever."""
    monkeypatch.setattr(Life, "failed", lambda _self, _error: None)
    assert "never" in broken()


# --- a journal that was cut off ---------------------------------------------------------------------------------------


async def cut_off(seed: int) -> None:
    """Everybody dies, and the journals begin behind what any snapshot covers. Broken when somebody leads one."""
    world = KafkaWorld(seed)
    asyncio.get_running_loop().set_exception_handler(world.unhandled)
    try:
        await world.open()
        for _ in range(150):
            await world.act()
        for worker in list(world.workers):
            world.workers.remove(worker)
            worker.log.kill()
            worker.engine.abandon()
        while late := [d for d in world.log.pending() if d.kind == "late"]:
            world.log.drop(late[0])
        ends: dict[int, int] = {}
        for partition in range(PARTITIONS):
            for name in await world.log.snapshots(partition):
                await world.log.drop_snapshot(partition, name)
            slot = world.log.slot(Topic.JOURNAL, partition)
            await world.log.trim(Topic.JOURNAL, partition, slot.next - 1)
            if slot.first > 0:
                ends[partition] = slot.next
        assert ends
        world.calm = True
        world.troubles.clear()
        await world.add_worker(1)
        for _ in range(300):
            await world.act()
        for partition, end in ends.items():
            entries = world.log.slot(Topic.JOURNAL, partition).read(end, 1_000)
            if {entry.headers.get(KIND) for entry in entries} & {b"Claim", b"Commit", b"Ingest"}:
                raise Broken(f"partition {partition} is led, and nobody knows what was in it")
        told = [str(error) for _, error in world.troubles if isinstance(error, LogError)]
        assert any("restore the log from a backup" in text for text in told)
    finally:
        await world.close()


def test_a_journal_that_was_cut_off_behind_no_snapshot_is_led_by_nobody() -> None:
    """Runs that began before could be begun again, and nobody would know."""
    for seed in range(10):
        asyncio.run(cut_off(seed))


def test_a_recovery_that_does_not_see_where_the_journal_begins_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def bounds(self: MemoryLog, topic: Topic, partition: int) -> tuple[int, int]:
        return 0, self.slot(topic, partition).end

    monkeypatch.setattr(MemoryLog, "bounds", bounds)
    monkeypatch.setattr(Audit, "read", lambda _self: None)  # it looks at journals from their first entry on
    with pytest.raises(Broken, match="is led, and nobody knows"):
        asyncio.run(cut_off(0))


# --- a journal that ends with nothing ---------------------------------------------------------------------------------


async def ends_with_nothing(before: int) -> None:
    """The last offsets of each journal hold nothing that is ever read, and nobody leads any of them."""
    world = KafkaWorld(1)
    world.calm = True
    asyncio.get_running_loop().set_exception_handler(world.unhandled)
    try:
        await world.open()
        for _ in range(before):
            await world.act()
        for worker in list(world.workers):
            world.workers.remove(worker)
            worker.log.kill()
            worker.engine.abandon()
        while pending := world.log.pending():
            world.deliver(pending[0])  # what those had sent lands now, and is not what others wait for
        for partition in range(PARTITIONS):
            world.log.skip(Topic.JOURNAL, partition, 3)
        await world.add_worker(1)
        world.send()
        await world.settle()
        await world.heal()
    finally:
        await world.close()


@pytest.mark.parametrize("before", [0, 60], ids=["an empty one", "behind what it holds"])
def test_a_journal_that_ends_with_nothing_is_led(before: int) -> None:
    asyncio.run(ends_with_nothing(before))
