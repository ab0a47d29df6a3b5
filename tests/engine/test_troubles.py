"""What fails once, or for a while, under the engine: it is told, tried again, and harms nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Never

import pytest

from perdure import App, Context
from perdure.core import codec
from perdure.core import snapshot as snapshots
from perdure.core.facts import KIND
from perdure.core.limits import DEFAULT_LIMITS, HOUR_US
from perdure.engine.engine import Engine
from perdure.engine.restoring import restored
from perdure.engine.spill import Spill
from perdure.errors import LogError
from perdure.logs.contract import Entry, Topic
from perdure.logs.memory import MemoryLog
from perdure.testing import Environment, environment
from tests.core.journal import portrait
from tests.engine.going_on import app, collecting_troubles, goes_on


def failing_first(times: int, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The same, but the log cannot be read the first times."""
    left = iter(range(times))

    async def flaky(*args: Any) -> Any:
        if next(left, None) is not None:
            raise LogError("disk I/O error")
        return await call(*args)

    return flaky


async def journal(env: Environment, kind: bytes, partition: int = 0) -> list[Entry]:
    entries = await env.log.read(Topic.JOURNAL, partition, 0, 100_000)
    return [entry for entry in entries if entry.headers.get(KIND) == kind]


@pytest.mark.asyncio
async def test_one_error_of_the_spill_file_ends_no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    a = app(limits=replace(DEFAULT_LIMITS, resident_idle_us_max=0, spilled_history_bytes_min=0))

    @a.function(on="sleep")
    async def sleeps(ctx: Context) -> int:
        await ctx.step.sleep("z", ctx.event.data["s"])
        return 1

    read, failures = Spill.read, iter([OSError(5, "Input/output error")])

    def fails_once(self: Spill, pages: Sequence[int], end: int) -> bytes:
        for error in failures:
            raise error
        return read(self, pages, end)

    async with environment(a, partitions=1) as env:
        with collecting_troubles() as told:
            await env.send([{"name": "sleep", "data": {"s": s}} for s in (10, 20, 30)])
            monkeypatch.setattr(Spill, "read", fails_once)
            await env.advance("1m")
        assert [run.result for run in env.runs("sleeps")] == [1, 1, 1]
        assert len(told) == 1
        await goes_on(env)


@pytest.mark.asyncio
async def test_a_run_that_cannot_be_woken_after_a_claim_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a = app()

    @a.function(on="work")
    async def work(ctx: Context) -> int:
        await ctx.step.run("hold", env_holds)
        return 1

    async def env_holds() -> None:
        await asyncio.Event().wait()

    from perdure.engine import waking

    made, failures = waking.execution_for, iter([RuntimeError("a bug")])

    def fails_once(*args: Any, **kwargs: Any) -> Any:
        for error in failures:
            raise error
        return made(*args, **kwargs)

    async with environment(a, partitions=1, start=False) as env:
        await a.send([{"name": "work", "data": {}} for _ in range(3)])
        starting = asyncio.ensure_future(env.start_worker())
        while len(env.runs()) < 3:
            await asyncio.sleep(0)
            await env.reader.read()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        env.crash_now()
        env.mock_step("hold", returns=None)
        monkeypatch.setattr(waking, "execution_for", fails_once)
        with collecting_troubles() as told:
            await env.start_worker()
            assert sum(run.status == "completed" for run in env.runs("work")) == 2
            await env.advance("1m")
        assert [run.status for run in env.runs("work")] == ["completed"] * 3
        assert len(told) == 1


# ---------------------------------------------------------------------------------------------------------- the log


@pytest.mark.asyncio
async def test_a_recovery_that_fails_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    a = app()
    async with environment(a, partitions=1, start=False) as env:
        monkeypatch.setattr(MemoryLog, "snapshots", failing_first(3, MemoryLog.snapshots))
        with collecting_troubles() as told:
            starting = asyncio.ensure_future(env.start_worker())
            for _ in range(100_000):
                await asyncio.sleep(0)
                env.clock.step(env.clock.now() + 100_000_000)
                if starting.done():
                    break
            await starting
        assert [str(error) for _, error in told] == ["disk I/O error"] * 3
        await goes_on(env)


@pytest.mark.asyncio
async def test_a_snapshot_that_cannot_be_made_is_given_up_and_the_next_one_comes_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a = App("test", limits=replace(DEFAULT_LIMITS, snapshot_tail_bytes_min=3_000))

    @a.function(on="work")
    async def work(ctx: Context) -> None:
        await ctx.step.sleep("nap", "2h")

    body, failures = snapshots.run_body, iter([OSError(5, "Input/output error")])

    def fails_once(run: Any) -> Any:
        for error in failures:
            raise error
        return body(run)

    monkeypatch.setattr(snapshots, "run_body", fails_once)
    async with environment(a, partitions=1) as env:
        with collecting_troubles() as told:
            await env.send([{"name": "work", "data": {}} for _ in range(20)])
            await env.advance("1m")
            assert len(told) == 1
            await env.send([{"name": "work", "data": {}} for _ in range(60)])
            await env.advance("1m")
        assert len(told) == 1
        assert await env.log.snapshots(0)


@pytest.mark.asyncio
async def test_a_snapshot_is_restored_in_slices() -> None:
    a = App("test", limits=replace(DEFAULT_LIMITS, snapshot_chunk_bytes_max=2_000))

    @a.function(on="work")
    async def work(ctx: Context) -> None:
        await ctx.step.wait_for_signal("s", "go", timeout="1d")

    async with environment(a, partitions=1) as env:
        await env.send([{"name": "work", "data": {}} for _ in range(100)])
        assert env._engine is not None
        state = env._engine.partitions[0].state
        chunks = snapshots.take(state, 7)
        assert len(chunks) > 10
        turns = 0

        async def other() -> Never:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        again, covers = await restored(chunks)
        task.cancel()
        assert turns >= len(chunks)
        again.limits = state.limits
        assert (portrait(again), covers) == (portrait(state), 7)


def test_a_worker_whose_log_has_failed_for_good_ends_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = App("test", log=f"sqlite:///{tmp_path}/log.db?partitions=1")
    start = Engine.start

    def dies() -> None:
        raise RuntimeError("a bug in the thread")

    async def start_and_die(self: Engine) -> None:
        await start(self)
        self.services.log.committer.call(dies)  # type: ignore[attr-defined]

    monkeypatch.setattr(Engine, "start", start_and_die)
    with pytest.raises(LogError, match="a bug in the thread"):
        a.run_worker(drain_timeout=0.1)


# ---------------------------------------------------------------------------------------------------------- events


@pytest.mark.asyncio
async def test_events_that_are_due_together_take_one_record() -> None:
    a = app()
    async with environment(a, partitions=1) as env:
        due = env.now() + timedelta(hours=1)
        await env.send([{"name": "x", "ts": due + timedelta(seconds=n // 200)} for n in range(400)])
        await env.advance("2h")
        records = await journal(env, b"Due")
        assert [len(codec.decode(record.value)[1]["offsets"]) for record in records] == [200, 200]
        assert env.reader.partitions[0].state.voids == {}


@pytest.mark.asyncio
async def test_one_delayed_event_too_many_does_not_hold_back_those_behind_it() -> None:
    """It becomes a dead letter, and can be sent again when others have come due."""
    a = app(limits=replace(DEFAULT_LIMITS, delayed_events_max=3))
    async with environment(a, partitions=1) as env:
        year = env.now() + timedelta(days=365)
        late = {"name": "later", "ts": year}
        await env.send([late, late])
        await env.send([late, late, {"name": "fine", "data": {}}, {"name": "later", "ts": env.now()}])
        assert [run.status for run in env.runs("fine")] == ["completed"]
        (letter,) = await env.log.read(Topic.DEAD_LETTERS, 0, 0, 9)
        name, body = codec.decode(letter.value)
        assert (name, body["offset"]) == ("DeadLetter", 3)
        assert "3 such events are kept in its partition already (delayed_events_max)" in body["reason"]
        await env.advance("366d")
        await env.send({"name": "later", "ts": env.now() + timedelta(days=1)})
        assert await env.log.bounds(Topic.DEAD_LETTERS, 0) == (1, 1), "there is room again"


@pytest.mark.asyncio
async def test_events_answers_and_dead_letters_are_kept_for_their_time() -> None:
    kept = {"event_time_max": 2 * HOUR_US, "reply_time_max": HOUR_US, "dead_letter_time_max": 3 * HOUR_US}
    a = app(limits=replace(DEFAULT_LIMITS, **kept))

    async def firsts(env: Environment) -> dict[str, int]:
        asked = {"events": (Topic.EVENTS, 0), "replies": (Topic.REPLIES, 5), "dead": (Topic.DEAD_LETTERS, 0)}
        return {name: (await env.log.bounds(*where))[0] for name, where in asked.items()}

    async with environment(a, partitions=1) as env:
        client = await env._connections.client()
        for topic, partition in ((Topic.REPLIES, 5), (Topic.DEAD_LETTERS, 0)):
            await client.append(topic, partition, b"old", headers={})
        await env.send("fine", {})
        seen: list[dict[str, int]] = []
        for _ in range(4):
            seen.append(await firsts(env))
            await env.advance("61m")
            await goes_on(env)
        seen.append(await firsts(env))
    assert [found["replies"] for found in seen[:3]] == [0, 1, 1]
    assert [found["events"] > 0 for found in seen] == [False, False, True, True, True]
    assert [found["dead"] for found in seen] == [0, 0, 0, 1, 1]


@pytest.mark.asyncio
async def test_A12_a_log_that_drops_what_is_old_by_itself_is_left_to_do_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On Kafka events are other apps' too, and how long they are kept is their owner's to choose."""
    monkeypatch.setattr(MemoryLog, "expires", True)
    a = app(limits=replace(DEFAULT_LIMITS, event_time_max=HOUR_US))
    async with environment(a, partitions=1) as env:
        for _ in range(3):
            await env.advance("2h")
            await goes_on(env)
        assert (await env.log.bounds(Topic.EVENTS, 0))[0] == 0


@pytest.mark.asyncio
async def test_events_that_a_search_or_the_owner_has_still_to_read_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a = app(limits=replace(DEFAULT_LIMITS, event_time_max=HOUR_US, scan_entries_max=1))

    @a.function(on="go")
    async def finds(ctx: Context) -> bool:
        return await ctx.step.wait_for_event("w", "there", lookback="10d", timeout="30d") is not None

    async with environment(a, partitions=1) as env:
        await env.send("there", {})
        read = MemoryLog.read

        async def fails(self: MemoryLog, topic: Topic, *args: Any) -> Any:
            if topic is Topic.EVENTS:
                raise LogError("disk I/O error")
            return await read(self, topic, *args)

        monkeypatch.setattr(MemoryLog, "read", fails)
        with collecting_troubles():
            await env.send("go", {})
            for _ in range(3):
                await env.advance("2h")
                await goes_on(env)
            assert (await env.log.bounds(Topic.EVENTS, 0))[0] == 0
            monkeypatch.setattr(MemoryLog, "read", read)
            await env.advance("2m")
        assert [run.result for run in env.runs("finds")] == [True]
        await env.advance("2h")
        await goes_on(env)
        assert (await env.log.bounds(Topic.EVENTS, 0))[0] > 0


@pytest.mark.asyncio
async def test_a_journal_that_ends_before_its_snapshot_is_left_alone() -> None:
    """It was truncated, or made anew: nothing is claimed on it, or its runs would begin once more."""
    a = app(limits=replace(DEFAULT_LIMITS, snapshot_tail_bytes_min=1))
    async with environment(a, partitions=1) as env:
        await goes_on(env)
        await env.advance("1s")
        (*_, name) = await env.log.snapshots(0)
        chunks = await env.log.get_snapshot(0, name)
    with collecting_troubles() as told:
        async with environment(a, partitions=1, start=False) as env:
            await env.log.put_snapshot(0, name, chunks)
            starting = asyncio.create_task(env.start_worker())
            while not told:
                await asyncio.sleep(0)
            starting.cancel()
            assert await env.log.bounds(Topic.JOURNAL, 0) == (0, 0)
        assert "the journal ends at 0, and a snapshot covers it up to" in str(told[0][1])
