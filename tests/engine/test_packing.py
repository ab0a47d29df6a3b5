"""Runs and cells that only wait are packed by their owner, come back when it is time, and survive a broken file."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from perdure import App, Context
from perdure.core import snapshot
from perdure.core.fold import aging
from perdure.core.limits import DEFAULT_LIMITS
from perdure.core.roster import Roster
from perdure.engine.partition import Partition
from perdure.engine.shelf import UNIT, FileShelf
from perdure.index.reader import PartitionReader
from perdure.testing import Environment, TestRun, environment
from tests.engine.going_on import collecting_troubles

pytestmark = pytest.mark.asyncio


def double(n: int) -> int:
    return 2 * n


def waiting(**limits: int) -> App:
    given = {"dormant_runs_max": 0, "resident_idle_us_max": 1_000_000} | limits
    a = App("test", limits=replace(DEFAULT_LIMITS, **given))

    @a.function(on="nap")
    async def naps(ctx: Context) -> int:
        await ctx.step.sleep("nap", ctx.event.data["s"])
        return await ctx.step.run("double", double, ctx.event.data["n"])

    @a.function(on="wait")
    async def waits(ctx: Context) -> int | None:
        found = await ctx.step.wait_for_event("w", "go", match="data.n", timeout="1d")
        return None if found is None else await ctx.step.run("double", double, found.data["n"])

    return a


def result(run: TestRun[Any]) -> Any:
    return run.result if run.status == "completed" else run.status


def partition(env: Environment) -> Partition:
    assert env._engine is not None
    return env._engine.partitions[0]


async def test_sleepers_and_waiters_are_packed_and_go_on_at_their_time() -> None:
    async with environment(waiting(), partitions=1) as env:
        naps = await env.send([{"name": "nap", "data": {"n": n, "s": 100 + n}} for n in range(30)])
        waits = await env.send([{"name": "wait", "data": {"n": n}} for n in range(30)])
        await env.advance("2s")
        await env.send("other", {})
        state = partition(env).state
        assert (state.runs.packed, state.cells.packed, len(state.runs.plain)) == (60, 30, 0)
        await env.advance("107s")
        assert [result(run) for run in naps] == [2 * n for n in range(10)] + ["running"] * 20
        await env.send([{"name": "go", "data": {"n": n}} for n in range(0, 30, 2)])
        assert [result(run) for run in waits] == ["running" if n % 2 else 2 * n for n in range(30)]
        await env.advance("1d")
        assert {run.status for run in (*naps, *waits)} == {"completed"}
        assert (state.runs.packed, state.cells.packed, len(state.runs.agenda)) == (0, 0, 0)


async def test_what_is_packed_goes_through_a_snapshot_and_a_crash() -> None:
    async with environment(waiting(snapshot_tail_bytes_min=1_500), partitions=1) as env:
        naps = await env.send([{"name": "nap", "data": {"n": n, "s": 600}} for n in range(40)])
        await env.send("other", {})
        await env.advance("1s")
        assert await env.log.snapshots(0)
        await env.crash_worker()
        await env.start_worker()
        state = partition(env).state
        assert state.runs.packed > 20
        assert len(state.runs) == 40
        await env.advance("11m")
        assert [run.result for run in naps] == [2 * n for n in range(40)]


async def test_what_has_ended_is_packed_by_a_snapshot_and_known_behind_it() -> None:
    a = App("test", limits=replace(DEFAULT_LIMITS, snapshot_tail_bytes_min=1_500, ended_runs_max=30))

    @a.function(on="work")
    async def work(ctx: Context) -> int:
        return await ctx.step.run("double", double, ctx.event.data["n"])

    async with environment(a, partitions=1) as env:
        ended: list[TestRun[Any]] = []
        for n in range(20):
            ended += await env.send("work", {"n": n}, id=f"e{n}")
            await env.advance("1s")
        state = partition(env).state
        assert state.runs.packed > 10
        await env.crash_worker()
        await env.start_worker()
        state = partition(env).state
        assert (len(state.ended), state.runs.packed > 10) == (20, True)
        assert state.ended_bytes == sum(aging.run_bytes(run) for run in state.runs.values())
        await env.send([{"name": "work", "id": f"e{n}", "data": {"n": n}} for n in range(20)])
        assert len(env.runs("work")) == 20, "their events have been"
        assert [run.result for run in ended] == [2 * n for n in range(20)]
        for n in range(25):
            await env.send("work", {"n": n})
            await env.advance("1s")
        state = partition(env).state
        assert len(state.ended) == len(state.runs) == 30, "the oldest are forgotten, packed or not"
        assert state.ended_bytes == sum(aging.run_bytes(run) for run in state.runs.values())
        reader = PartitionReader(0, [1])
        reader.adopt(*snapshot.restore(snapshot.take(state, 0)))
        assert (reader.state.runs.packed, len(reader.state.runs.plain)) == (0, 30), (
            "each listing looks at them"
        )


async def test_a_worker_without_a_disk_for_temporary_files_takes_over_what_is_packed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_shelf: FileShelf, _items: Sequence[bytes]) -> list[int]:
        raise OSError(28, "No space left on device")

    async with environment(waiting(snapshot_tail_bytes_min=1_500), partitions=1) as env:
        naps = await env.send([{"name": "nap", "data": {"n": n, "s": 600}} for n in range(40)])
        await env.advance("1s")
        await env.send("other", {})
        await env.advance("1s")
        assert partition(env).state.runs.packed > 20
        await env.crash_worker()
        with collecting_troubles() as told:
            monkeypatch.setattr(FileShelf, "put", full)
            await env.start_worker()
            assert len(told) == 1
            assert "packed runs of partition 0 do not fit the disk" in told[0][0]
            await env.advance("11m")
        assert [run.result for run in naps] == [2 * n for n in range(40)]


async def test_an_owner_whose_predecessors_died_looks_at_no_run_that_only_sleeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It names what it wakes (A8): what has something to do, and what is due."""
    looked: list[str] = []
    made = Roster._made

    def noted(self: Roster[Any, Any], digest: int, place: int) -> Any:
        value = made(self, digest, place)
        looked.append(getattr(value, "function", "a cell"))
        return value

    async with environment(waiting(snapshot_tail_bytes_min=1_500), partitions=1) as env:
        naps = await env.send([{"name": "nap", "data": {"n": n, "s": 60 + 60 * (n > 0)}} for n in range(30)])
        await env.send("other", {})
        counts: list[int] = []
        for _ in range(3):
            await env.crash_worker()
            env.clock.move(env.clock.now() + 30_000_000)
            monkeypatch.setattr(Roster, "_made", noted)
            await env.start_worker()
            assert partition(env).state.runs.packed > 20
            counts.append(len(looked))
            looked.clear()
            monkeypatch.setattr(Roster, "_made", made)
        assert max(counts) <= 5, "the one that is due, and what it meets"
        await env.advance("1h")
        assert [run.result for run in naps] == [2 * n for n in range(30)]


async def test_a_command_to_a_packed_run_reaches_it() -> None:
    async with environment(waiting(), partitions=1) as env:
        first, second, third = await env.send([{"name": "nap", "data": {"n": n, "s": 600}} for n in range(3)])
        await env.send("other", {})
        assert partition(env).state.runs.packed == 3
        await first.cancel()
        assert (first.status, second.status) == ("cancelled", "running")
        await second.pause()
        await env.advance("20m")
        assert (second.status, third.result) == ("paused", 4)
        await second.resume()
        await env.advance("1s")
        assert second.result == 2


async def test_a_full_disk_leaves_runs_in_memory_and_is_told_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put = FileShelf.put

    def full(_shelf: FileShelf, _items: Sequence[bytes]) -> list[int]:
        raise OSError(28, "No space left on device")

    async with environment(waiting(), partitions=1) as env:
        with collecting_troubles() as told:
            monkeypatch.setattr(FileShelf, "put", full)
            naps = await env.send([{"name": "nap", "data": {"n": n, "s": 600}} for n in range(10)])
            for _ in range(5):
                await env.send("other", {})
            state = partition(env).state
            assert (len(told), state.runs.packed, len(state.runs.plain)) == (1, 0, 10)
            monkeypatch.setattr(FileShelf, "put", put)
            await env.advance("61s")
            await env.send("other", {})
        assert (len(told), state.runs.packed) == (1, 10)
        await env.advance("10m")
        assert [run.result for run in naps] == [2 * n for n in range(10)]


async def test_a_shelf_that_cannot_be_read_is_made_anew_from_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    get = FileShelf.get

    def fails(_shelf: FileShelf, _place: int) -> bytes:
        raise OSError(5, "Input/output error")

    async with environment(waiting(), partitions=1) as env:
        naps = await env.send([{"name": "nap", "data": {"n": n, "s": 600}} for n in range(10)])
        await env.send("other", {})
        before = partition(env).state
        with collecting_troubles() as told:
            monkeypatch.setattr(FileShelf, "get", fails)
            cancelling = asyncio.ensure_future(naps[3].cancel())
            while not told:
                await asyncio.sleep(0)
            monkeypatch.setattr(FileShelf, "get", get)
            env.clock.step(env.clock.now() + 2_000_000)
            await cancelling
        assert partition(env).state is not before
        assert [str(error) for error in told if "temporary file" in str(error)]
        await env.advance("11m")
        assert [result(run) for run in naps] == ["cancelled" if n == 3 else 2 * n for n in range(10)]


async def test_a_timer_of_a_run_that_cannot_be_read_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    get, failures = FileShelf.get, iter([OSError(5, "Input/output error")])

    def fails_once(shelf: FileShelf, place: int) -> bytes:
        for error in failures:
            raise error
        return get(shelf, place)

    async with environment(waiting(), partitions=1) as env:
        naps = await env.send([{"name": "nap", "data": {"n": n, "s": 600}} for n in range(5)])
        await env.send("other", {})
        lead = partition(env).lead
        assert lead is not None
        with collecting_troubles() as told:
            monkeypatch.setattr(FileShelf, "get", fails_once)
            lead.life.timers.begin()  # or the timers would still be in the heap
            await env.advance("601s")
            assert sum(run.status == "completed" for run in naps) == 4
            await env.advance("61s")
        assert [run.result for run in naps] == [2 * n for n in range(5)]
        assert len(told) == 1


# --- the file ---------------------------------------------------------------------------------------------------------


async def test_a_shelf_keeps_what_was_put_whatever_the_sizes_and_uses_its_room_again() -> None:
    rnd = random.Random(3)
    shelf, kept = FileShelf(), dict[int, bytes]()
    for _ in range(200):
        items = [rnd.randbytes(rnd.choice((0, 1, 27, 28, 29, 300, 5_000))) for _ in range(rnd.randrange(8))]
        places = shelf.put(items)
        assert not kept.keys() & set(places)
        kept.update(zip(places, items, strict=True))
        for place in rnd.sample(sorted(kept), len(kept) // 2):
            assert shelf.get(place) == kept.pop(place)
            shelf.drop(place)
    assert all(shelf.get(place) == item for place, item in kept.items())
    size = shelf.bytes
    for place in kept:
        shelf.drop(place)
    for item in kept.values():
        shelf.put([item])
    assert shelf.bytes == size <= 40 * 8 * (5_004 + UNIT)
    shelf.close()


async def test_a_shelf_notices_what_has_changed() -> None:
    shelf = FileShelf()
    first, second = shelf.put([b"x" * 100, b"y" * 100])
    assert shelf._file is not None
    shelf._file.seek(130)
    shelf._file.write(b"?")
    assert shelf.get(first) == b"x" * 100
    with pytest.raises(OSError, match="has changed"):
        shelf.get(second)
    shelf.close()


async def test_a_shelf_that_is_full_keeps_nothing_and_goes_on_later(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = FileShelf()
    (place,) = shelf.put([b"x" * 100])
    shelf.drop(place)

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr("os.pwrite", full)
        with pytest.raises(OSError, match="No space"):
            shelf.put([b"y" * 100, b"z" * 10_000])
    size = shelf.bytes
    places = shelf.put([b"y" * 100, b"z" * 10_000])
    assert [shelf.get(place) for place in places] == [b"y" * 100, b"z" * 10_000]
    assert shelf.bytes <= size + 10_004 + UNIT
    shelf.close()
