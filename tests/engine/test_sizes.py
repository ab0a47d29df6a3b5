"""What does not fit a record harms its own run at most, and never its partition (A7)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from perdure import App, Context, EncodingError, PayloadTooLarge, SyncContext, UsageError
from perdure.client.client import Client
from perdure.core import codec
from perdure.core.facts import KIND
from perdure.core.limits import DEFAULT_LIMITS
from perdure.errors import AppendFailed, EntryTooLarge
from perdure.logs.contract import LogFull, Producer, Topic
from perdure.logs.memory import MemoryLog
from perdure.testing import Environment, environment
from tests.engine.going_on import (
    app,
    append,
    collecting_troubles,
    dead_letters,
    double,
    failed_with,
    foreign_event,
    goes_on,
)

pytestmark = pytest.mark.asyncio

MB = 1024 * 1024


def small(**limits: int) -> App:
    return app(limits=replace(DEFAULT_LIMITS, **limits))


async def kinds(env: Environment, kind: str) -> list[dict[str, Any]]:
    """The bodies of all records of a kind in partition 0."""
    entries = await env.log.read(Topic.JOURNAL, 0, 0, 10_000)
    return [codec.decode(e.value)[1] for e in entries if e.headers.get(KIND) == kind.encode()]


# --- what a body publishes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        (42, "x", UsageError, "is of type int"),
        ("n" * 300, "x", UsageError, "has 300 bytes"),
        ("\ud800", "x", UsageError, "lone surrogate"),
        ("v", "x" * 400_000, PayloadTooLarge, "store it elsewhere"),
    ],
    ids=["no text", "too long", "no character", "too large"],
)
async def test_A7_what_cannot_be_published_is_refused_where_it_is_said(
    name: Any, value: Any, error: type[Exception], words: str
) -> None:
    a = app()

    @a.function(retries=0)
    async def loud(ctx: Context) -> str:
        await ctx.step.run("double", double, 1)
        with pytest.raises(error, match=words):
            ctx.set_value(name, value)
        return "went on"

    @a.function(retries=0)
    def loud_too(ctx: SyncContext) -> None:
        ctx.step.run("double", double, 1)
        ctx.set_value(name, value)

    async with environment(a, partitions=1) as env:
        assert (await env.start(loud)).result == "went on"
        failed_with(await env.start(loud_too), error, words)
        await goes_on(env)


async def test_A7_what_no_record_can_hold_fails_its_run_and_not_those_that_share_the_commit() -> None:
    a = app()

    @a.function
    async def good(ctx: Context) -> int:
        return await ctx.step.run("double", double, 2)

    @a.function
    async def bad(ctx: Context) -> None:
        await ctx.step.run("double", double, 2)
        publish: Any = ctx._desk.publish  # whatever the check did not see
        publish(42, b"1")
        await ctx.step.run("again", double, 2)

    async with environment(a, partitions=1) as env:
        handles = [await a.start(f, {}) for f in (good, bad, good)]
        await env.settle()
        assert [env.run(handles[n].run_id).result for n in (0, 2)] == [4, 4]
        failed_with(env.run(handles[1].run_id), EncodingError, "does not fit its schema")
        await goes_on(env)


# --- turns ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log_takes", [4 * MB, 50_000], ids=["our bound", "the log's bound"])
async def test_A7_turns_that_fit_alone_are_not_refused_for_being_together(log_takes: int) -> None:
    ours = 120_000 if log_takes > MB else MB
    a = app(limits=replace(DEFAULT_LIMITS, entry_bytes_max=ours, commit_bytes_max=10 * MB))
    gate = asyncio.Event()

    async def held(n: int) -> int:
        await gate.wait()
        return n

    @a.function
    async def joins(ctx: Context) -> str:
        async def branch(n: int) -> None:
            await ctx.step.run("held", held, n)
            await ctx.step.send_event("e", [{"name": "other", "data": {"text": "x" * 30_000}}])

        await asyncio.gather(*(branch(n) for n in range(20)))
        return "ok"

    @a.function
    async def too_much(ctx: Context) -> None:
        await ctx.step.run("double", double, 1)
        await ctx.step.send_event("e", [{"name": "other", "data": {"text": "x" * 30_000}} for _ in range(5)])

    with collecting_troubles():
        async with environment(a, partitions=1) as env:
            env.log._entry_bytes_max = log_takes
            assert env._engine is not None
            env._engine.services.log._entry_bytes_max = log_takes  # type: ignore[attr-defined]
            handle = await a.start(joins, {})
            for _ in range(200):
                await asyncio.sleep(0)
            gate.set()
            await env.settle()
            assert env.run(handle.run_id).result == "ok"
            failed_with(await env.start(too_much), PayloadTooLarge, "one turn of this run")
            assert len(await kinds(env, "Claim")) == 1
            await goes_on(env)


# --- records of the engine --------------------------------------------------------------------------------------------


async def test_A7_steps_in_flight_at_a_crash_are_noted_in_as_many_records_as_it_takes() -> None:
    a = small(commit_bytes_max=1_000)
    started: list[int] = []
    gate = asyncio.Event()

    async def held(n: int) -> int:
        started.append(n)
        if not gate.is_set():
            await asyncio.Event().wait()
        return n

    @a.function
    async def wide(ctx: Context) -> int:
        await ctx.step.run("double", double, 1)
        return sum(await ctx.step.map("a-rather-long-id-of-a-step", held, range(60)))

    async with environment(a, partitions=1) as env:
        handle = await a.start(wide, {})
        async with asyncio.timeout(10):
            while len(started) < 60:
                await asyncio.sleep(0)
        gate.set()
        await env.crash_worker()
        await env.start_worker()
        assert env.run(handle.run_id).result == sum(range(60))
        notes = await kinds(env, "Resumed")
        assert len(notes) > 2
        keys = [step["key"] for note in notes for step in note["steps"]]
        assert len(keys) == len(set(keys)) == 60
        assert len(await kinds(env, "Claim")) == 2


async def test_A7_events_whose_record_does_not_fit_are_routed_in_parts() -> None:
    a = app()

    @a.function(on="big")
    async def big(ctx: Context) -> int:
        return ctx.event.data["n"]

    with collecting_troubles() as troubles:
        async with environment(a, partitions=1) as env:
            assert env._engine is not None
            env._engine.services.log._entry_bytes_max = 20_000  # type: ignore[attr-defined]
            await a.send(
                [{"name": "big", "data": {"n": n, "text": "x" * 8_000}, "key": "k"} for n in range(9)]
            )
            await env.settle()
            assert [run.result for run in env.runs("big")] == list(range(9))
            assert len(await kinds(env, "Claim")) == 1
            await goes_on(env)
    assert {where for where, _ in troubles} == {"perdure: a record (Ingest) of partition 0 cannot be"}


@pytest.mark.parametrize("size", [260 * 1024, 4 * MB - 200])
async def test_A7_a_foreign_event_that_is_too_large_is_buried_and_those_behind_it_are_routed(
    size: int,
) -> None:
    a = app()

    @a.function(on="big")
    async def big(ctx: Context) -> None: ...

    async with environment(a, partitions=1) as env:
        data = b'{"a":"' + b"x" * (size - 8) + b'"}'
        at = await append(env, Topic.EVENTS, 0, foreign_event(env, "big", data))
        (letter,) = await dead_letters(env)
        assert (letter["topic"], letter["offset"]) == ("events", at)
        assert "its data may have 262,144" in letter["reason"]
        assert len(letter["value"]) == DEFAULT_LIMITS.dead_letter_bytes_max
        assert env.runs("big") == []
        assert len(await kinds(env, "Claim")) == 1
        await goes_on(env)


@pytest.mark.parametrize("topic", [Topic.EVENTS, Topic.JOURNAL])
async def test_A7_garbage_as_large_as_an_entry_is_buried_in_part(topic: Topic) -> None:
    a = app()
    async with environment(a, partitions=1) as env:
        await append(env, topic, 0, b"g" * (4 * MB - 10))
        (letter,) = await dead_letters(env)
        assert len(letter["reason"]) <= 1_024
        assert len(letter["value"]) <= DEFAULT_LIMITS.dead_letter_bytes_max
        assert len(await kinds(env, "Claim")) == 1
        await goes_on(env)


async def test_A7_a_message_that_does_not_fit_is_buried_where_it_goes_and_holds_up_nobody() -> None:
    a = app()

    @a.function
    async def sends(ctx: Context) -> None:
        await ctx.step.send_event("a", [{"name": "fine", "data": {"text": "x" * 9_000}}])
        await ctx.step.send_event("b", [{"name": "fine", "data": {}}])

    with collecting_troubles():
        async with environment(a, partitions=1) as env:
            assert env._engine is not None
            limited: Any = env._engine.partitions[0].lead
            taken: list[Topic] = []
            produce = limited.life.outbox._producer

            class Small:
                def append(self, topic: Topic, partition: int, value: bytes, **more: Any) -> None:
                    taken.append(topic)
                    if len(value) > 5_000:
                        raise EntryTooLarge("too large")
                    produce.append(topic, partition, value, **more)

            limited.life.outbox._producer = Small()
            run = await env.start(sends)
            assert run.status == "completed"
            assert [letter["topic"] for letter in await dead_letters(env)] == ["events"]
            assert [fine.result for fine in env.runs("fine")] == [8]
            await goes_on(env)


# --- a log that takes nothing -----------------------------------------------------------------------------------------


class Refusing:
    """A producer whose appends all fail, but for claims."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    def append(self, topic: Topic, partition: int, value: bytes, **more: Any) -> None:
        if topic is Topic.JOURNAL and codec.decode(value)[0] != "Claim":
            done = more["done"]
            asyncio.get_running_loop().call_soon(done, AppendFailed("the disk is full"))
        else:
            self._producer.append(topic, partition, value, **more)

    def close(self) -> None:
        self._producer.close()


async def test_B6_an_owner_whose_appends_fail_claims_again_at_growing_intervals() -> None:
    a = app()
    with collecting_troubles():
        async with environment(a, partitions=1, start=False) as env:
            env.wrap_producer = Refusing
            starting = asyncio.ensure_future(env.start_worker())
            over = env.clock.now() + 600_000_000
            while env.clock.step(over) or not starting.done():
                for _ in range(20):
                    await asyncio.sleep(0)
                if env.clock.now() > over - 60_000_000:
                    break
            times = [e.ts for e in await env.log.read(Topic.JOURNAL, 0, 0, 10_000)]
            assert 5 < len(times) < 30
            assert times[-1] - times[-2] > 5 * (times[2] - times[1])
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)


async def test_B5_a_run_that_was_let_go_while_the_log_was_full_does_not_stand_in_the_way_of_its_successor() -> (
    None
):
    a = app()

    @a.function
    async def naps(ctx: Context) -> str:
        await ctx.step.sleep("nap", "1h")
        return "rested"

    async with environment(a, partitions=1) as env:
        assert env._engine is not None
        lead: Any = env._engine.partitions[0].lead
        producer, full = lead.life._producer, [True]

        class Full:
            def append(self, topic: Topic, partition: int, value: bytes, **more: Any) -> None:
                if full:
                    raise LogFull("too much is waiting")
                producer.append(topic, partition, value, **more)

            def close(self) -> None:
                producer.close()

        lead.life._producer = Full()
        handle = await a.start(naps, {})
        async with asyncio.timeout(10):
            while handle.run_id not in lead.residents.residents:
                await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        lead.residents.let_go(lead.residents.residents[handle.run_id])
        full.clear()
        lead.residents.activate(handle.run_id)
        assert env.clock.step(env.clock.now() + 100_000)  # the first one's turns would be tried again now
        await env.settle()
        assert env.run(handle.run_id).status == "running"
        await env.advance("2h")
        assert env.run(handle.run_id).result == "rested"


# --- answers ----------------------------------------------------------------------------------------------------------


async def test_A7_an_answer_holds_only_the_value_that_was_asked_for() -> None:
    log = MemoryLog(1)
    a = App("test", log=log)

    @a.function
    async def loud(ctx: Context) -> None:
        for n in range(16):
            ctx.set_value(f"v{n}", str(n) + "x" * 300_000)
            await ctx.step.run("double", double, n)
        await ctx.step.sleep("nap", "1h")

    async with a.worker():
        handle = await a.start(loud, {})
        async with asyncio.timeout(10):
            while (await handle.value("v15")) is None:
                await asyncio.sleep(0)
        apart = Client(
            log, lambda size: b"c" * size
        )  # the worker does not know it: it is answered through the log
        await apart.open()
        assert (await apart.ask(handle.run_id, timeout_s=5))["values"] == {}
        reply = await apart.ask(handle.run_id, value="v7", timeout_s=5)
        assert {name: value[:3] for name, value in reply["values"].items()} == {"v7": b'"7x'}
        apart.close()
    await a.close()
