"""The faults of the memory log, and its manual mode."""

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from perdure.errors import AppendFailed, LogError, UsageError
from perdure.logs import Topic
from perdure.logs.memory import Delivery, Fault, MemoryLog
from perdure.testing.log_contract import Recorder, append, until

JOURNAL = Topic.JOURNAL


def on_log(log: MemoryLog, body: Callable[[MemoryLog], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        await log.open()
        await body(log)

    asyncio.run(run())


async def values(log: MemoryLog, partition: int = 0) -> list[bytes]:
    return [entry.value for entry in await log.read(JOURNAL, partition, 0, 1_000)]


def kinds(log: MemoryLog) -> list[str]:
    return [delivery.kind for delivery in log.pending()]


def test_a_lost_ack_lands_and_fails() -> None:
    async def body(log: MemoryLog) -> None:
        log.arm(Fault.LOST_ACK, JOURNAL, 0)
        producer = log.producer()
        first, second = await append(producer, JOURNAL, 0, b"a", b"b")
        assert isinstance(first, AppendFailed)
        assert isinstance(second, AppendFailed), (
            "behind a failure nothing is acknowledged, though it landed (A1 d)"
        )
        assert await values(log) == [b"a", b"b"]
        assert isinstance((await append(producer, JOURNAL, 1, b"c"))[0], AppendFailed)
        assert await values(log, 1) == []

    on_log(MemoryLog(), body)


def test_a_failed_append_does_not_land_but_its_followers_may() -> None:
    async def body(log: MemoryLog) -> None:
        log.arm(Fault.FAIL, JOURNAL, 0)
        await append(log.producer(), JOURNAL, 0, b"a", b"b")
        assert await values(log) == [b"b"]

    on_log(MemoryLog(), body)


def test_a_duplicate_lands_twice() -> None:
    async def body(log: MemoryLog) -> None:
        log.arm(Fault.DUPLICATE, JOURNAL, 0)
        assert await append(log.producer(), JOURNAL, 0, b"a", b"b") == [0, 2]
        assert await values(log) == [b"a", b"a", b"b"]

    on_log(MemoryLog(), body)


def test_a_late_append_lands_after_its_producer_gave_up() -> None:
    """A6: what was declared failed lands behind what its successor wrote; or never."""

    async def body(log: MemoryLog) -> None:
        log.arm(Fault.LATE, JOURNAL, 0)
        log.arm(Fault.LATE, JOURNAL, 0)
        assert isinstance((await append(log.producer(), JOURNAL, 0, b"old"))[0], AppendFailed)
        assert isinstance((await append(log.producer(), JOURNAL, 0, b"never"))[0], AppendFailed)
        assert await append(log.producer(), JOURNAL, 0, b"new") == [0]
        assert kinds(log) == ["late", "late"]
        log.perform(0)
        log.drop(0)
        assert await values(log) == [b"new", b"old"]
        assert log.pending() == []

    on_log(MemoryLog(), body)


def test_a_delayed_append_holds_up_its_lane_alone() -> None:
    async def body(log: MemoryLog) -> None:
        log.arm(Fault.DELAY, JOURNAL, 0)
        producer = log.producer()
        outcomes: list[int | LogError] = []
        producer.append(JOURNAL, 0, b"a", done=outcomes.append)
        producer.append(JOURNAL, 0, b"b", done=outcomes.append)
        assert await append(producer, JOURNAL, 1, b"other partition") == [0]
        assert await append(log.producer(), JOURNAL, 0, b"other producer") == [0]
        assert outcomes == []
        log.perform(0)
        await until(lambda: outcomes == [1, 2], "both are answered")
        assert await values(log) == [b"other producer", b"a", b"b"]

    on_log(MemoryLog(), body)


async def two_members(log: MemoryLog) -> tuple[Recorder, Recorder, MemoryLog]:
    other = log.connect("other")
    await other.open()
    recorders = Recorder(), Recorder()
    for recorder, connection in zip(recorders, (log, other), strict=True):
        recorder.member = connection.member(recorder)
        await recorder.member.join()
    await until(lambda: len(recorders[0].held) == len(recorders[1].held) == 2, "they share")
    return *recorders, other


def test_a_forced_revoke_moves_a_partition_in_good_order() -> None:
    async def body(log: MemoryLog) -> None:
        first, second, _ = await two_members(log)
        partition = min(first.held)
        log.force_revoke(partition)
        await until(lambda: partition in second.held, "it moved")
        assert ("revoked", partition) in first.told
        assert ("lost", partition) not in first.told

    on_log(MemoryLog(4), body)


def test_a_forced_loss_moves_a_partition_without_asking() -> None:
    async def body(log: MemoryLog) -> None:
        first, second, _ = await two_members(log)
        partition = min(first.held)
        log.force_lost(partition)
        await until(lambda: partition in second.held and partition not in first.held, "it moved")
        assert ("lost", partition) in first.told
        assert ("revoked", partition) not in first.told

    on_log(MemoryLog(4), body)


def test_a_killed_process_hears_nothing_and_its_partitions_move() -> None:
    async def body(log: MemoryLog) -> None:
        first, second, other = await two_members(log)
        told = list(second.told)
        outcomes: list[int | LogError] = []
        other.producer().append(JOURNAL, 0, b"late", done=outcomes.append)
        other.kill()
        await until(lambda: len(first.held) == 4, "the other has all")
        assert second.told == told
        assert kinds(log) == ["late"]
        log.perform(0)
        await until(lambda: first.values(JOURNAL, 0) == [b"late"], "it lands though its process is dead")
        assert outcomes == []
        with pytest.raises(UsageError):
            await other.open()

    on_log(MemoryLog(4), body)


def test_a_virtual_clock_never_goes_back() -> None:
    clock = [1_000]

    async def body(log: MemoryLog) -> None:
        await append(log.producer(), JOURNAL, 0, b"a")
        clock[0] = 500
        await append(log.producer(), JOURNAL, 0, b"b")
        clock[0] = 2_000
        await append(log.producer(), JOURNAL, 1, b"c")
        assert [entry.ts for entry in await log.read(JOURNAL, 0, 0, 10)] == [1_000, 1_000]
        assert log.now() == 2_000

    on_log(MemoryLog(now=lambda: clock[0]), body)


def test_in_manual_mode_nothing_moves_on_its_own() -> None:
    async def body(log: MemoryLog) -> None:
        recorder = Recorder()
        recorder.member = log.member(recorder)
        await recorder.member.join()
        assert recorder.held == set()
        assert kinds(log) == ["assigned", "assigned"]
        log.perform(1)
        assert recorder.held == {1}
        outcomes: list[int | LogError] = []
        producer = log.producer()
        producer.append(JOURNAL, 1, b"a", done=outcomes.append)
        producer.append(JOURNAL, 1, b"b", done=outcomes.append)
        await asyncio.sleep(0)
        assert kinds(log) == ["append", "assigned"]
        log.perform(0)
        log.perform(0)
        assert kinds(log) == ["ack", "entries", "assigned"]
        log.perform(1, entries_max=1)
        assert recorder.values(JOURNAL, 1) == [b"a"]
        log.perform(0)
        assert outcomes == [0]

    on_log(MemoryLog(2, manual=True), body)


def test_in_manual_mode_a_new_owner_may_hear_before_the_old_one() -> None:
    async def body(log: MemoryLog) -> None:
        recorders: list[Recorder] = []
        for name in ("a", "b"):
            connection = log.connect(name)
            await connection.open()
            recorders.append(Recorder())
            recorders[-1].member = connection.member(recorders[-1])
            await recorders[-1].member.join()
            while log.pending():
                log.perform(0)
                await asyncio.sleep(0)
        old, new = recorders
        partition = min(old.held)
        log.force_lost(partition)
        told = {(delivery.kind, delivery.process): delivery for delivery in log.pending()}
        log.perform(told["assigned", "b"])
        assert partition in old.held
        assert partition in new.held
        log.perform(told["lost", "a"])
        assert partition not in old.held

    on_log(MemoryLog(4, manual=True), body)


@pytest.mark.parametrize("fault", list(Fault))
def test_in_manual_mode_a_fault_is_chosen_with_the_delivery(fault: Fault) -> None:
    async def body(log: MemoryLog) -> None:
        outcomes: list[int | LogError] = []
        log.producer().append(JOURNAL, 0, b"a", done=outcomes.append)
        log.perform(0, fault=fault)
        landed = {Fault.LOST_ACK: 1, Fault.FAIL: 0, Fault.DUPLICATE: 2, Fault.LATE: 0, Fault.DELAY: 0}
        assert len(await values(log)) == landed[fault]
        while log.pending():
            log.perform(0)
        assert len(outcomes) == 1
        assert isinstance(outcomes[0], int) == (fault in (Fault.DUPLICATE, Fault.DELAY))
        assert len(await values(log)) == landed[fault] + (fault in (Fault.LATE, Fault.DELAY))

    on_log(MemoryLog(manual=True), body)


def story(seed: int) -> list[str]:
    """A random history, as a list of what happened."""
    told: list[str] = []

    async def body(log: MemoryLog) -> None:
        rng = random.Random(seed)
        recorders: list[Recorder] = []
        connections = [log.connect(name) for name in ("a", "b", "c")]
        for connection in connections:
            await connection.open()
            recorders.append(Recorder())
            recorders[-1].member = connection.member(recorders[-1])
            await recorders[-1].member.join()
        producers = [connection.producer() for connection in connections]
        for step in range(300):
            if rng.random() < 0.3:
                producers[rng.randrange(3)].append(JOURNAL, rng.randrange(4), b"%d" % step)
            pending: list[Delivery] = log.pending()
            if pending:
                index = rng.randrange(len(pending))
                fault = rng.choice([None] * 20 + [*Fault]) if pending[index].kind == "append" else None
                told.append(f"{pending[index]} {fault}")
                log.perform(index, fault=fault)
            await asyncio.sleep(0)
        for partition in range(4):
            for recorder in recorders:
                offsets = [entry.offset for entry in recorder.got.get((JOURNAL, partition), [])]
                assert all(later in (earlier + 1, 0) for earlier, later in itertools.pairwise(offsets))
        told.append(str([await values(log, partition) for partition in range(4)]))

    on_log(MemoryLog(4, manual=True, now=lambda: 0), body)
    return told


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_decides_everything(seed: int) -> None:
    assert story(seed) == story(seed)
