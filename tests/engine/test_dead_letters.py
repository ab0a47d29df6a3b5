"""Dead letters are sent again once their cause is mended: under the identity that they had, to the app that buried
them, and as often as somebody likes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perdure import App, Context
from perdure.client.letters import Letter, dead_letters, redrive
from perdure.core import codec
from perdure.core.facts import CHANNEL, REDRIVEN, Redriven
from perdure.core.limits import DEFAULT_LIMITS
from perdure.logs.contract import Topic
from perdure.testing import Environment, environment
from tests.engine.going_on import append
from tests.engine.test_schemas import TITLED, Source, orders, taken, wire

pytestmark = pytest.mark.asyncio


async def send_again(env: Environment, letters: list[Letter]) -> None:
    assert await redrive(env.log, letters) == {}
    await env.settle()


async def test_a_letter_has_what_is_needed_to_send_it_again() -> None:
    async with environment(orders(), partitions=1) as env:
        client = await env._connections.client()
        await client.append(Topic.EVENTS, 0, b"hello", key="k1", headers={"kind": b"x", "who": b"me"})
        await env.settle()
        (letter,) = await dead_letters(env.log)
        assert (letter.topic, letter.partition, letter.offset, letter.key) == ("events", 0, 0, b"k1")
        assert (letter.value, letter.size, letter.headers) == (b"hello", 5, {"who": b"me"})
        assert letter.redriven is None
        (entry,) = await env.log.read(Topic.EVENTS, 0, 0, 1)
        assert letter.first == Redriven("test", 0, 0, entry.ts)


async def test_what_was_mended_is_taken_once_however_often_it_is_sent() -> None:
    source = Source()
    async with environment(orders(), partitions=1) as env:
        source.connect(env)
        await append(env, Topic.EVENTS, 0, wire(7, 1))
        (before,) = await env.log.read(Topic.EVENTS, 0, 0, 1)
        source.schemas[7] = TITLED
        source.now_s += 2
        await env.advance("3h")
        (letter,) = await dead_letters(env.log)
        await send_again(env, [letter])
        (run,) = env.runs("order")
        assert run.result == 1
        event = run.view.event
        assert (event["id"], event["ts"]) == (f"entry 0:0:{before.ts}", before.ts), "as if read in time"
        (sent,) = await dead_letters(env.log)
        assert sent.redriven is not None
        assert sent.redriven > letter.buried

        await env.advance("20h")
        await send_again(env, [letter, letter])
        await env.crash_worker()
        await env.start_worker()
        source.connect(env)
        await send_again(env, [letter])
        assert taken(env) == [1]
        assert len(await dead_letters(env.log)) == 1


async def test_what_is_not_mended_is_buried_again_under_the_same_identity() -> None:
    source = Source()
    async with environment(orders(), partitions=1) as env:
        source.connect(env)
        await append(env, Topic.EVENTS, 0, wire(7, 1))
        (first,) = await dead_letters(env.log)
        await send_again(env, [first])
        first, second = await dead_letters(env.log)
        assert (first.offset, second.offset, second.first, second.redriven) == (0, 1, first.first, None)
        source.schemas[7] = TITLED
        source.now_s += 2
        await send_again(env, [second])
        await send_again(env, [first])
        assert taken(env) == [1], "both letters are one event"


async def test_an_event_with_an_id_of_its_own_keeps_it() -> None:
    source = Source()
    async with environment(orders(), partitions=1) as env:
        source.connect(env)
        await append(env, Topic.EVENTS, 0, wire(7, 1), event=b"order/placed", id=b"mine")
        source.schemas[7] = TITLED
        source.now_s += 2
        await send_again(env, await dead_letters(env.log))
        (run,) = env.runs("order")
        assert run.view.event["id"] == "mine"


async def test_the_letter_alone_is_enough_when_the_events_have_dropped_the_entry() -> None:
    source = Source()
    a = orders()
    a.limits = replace(a.limits, dead_letter_bytes_max=20)
    async with environment(a, partitions=1) as env:
        source.connect(env)
        await append(env, Topic.EVENTS, 0, wire(7, 1), event=b"order/placed")
        await append(env, Topic.EVENTS, 0, wire(7, 10**20), event=b"order/placed")
        await env.log.trim(Topic.EVENTS, 0, 2)
        source.schemas[7] = TITLED
        source.now_s += 2
        short, long = await dead_letters(env.log)
        refused = await redrive(env.log, [long, short])
        await env.settle()
        assert taken(env) == [1], "what cannot be sent keeps back nothing else"
        assert list(refused) == [1]
        assert "dead letter 1 has 20 of 33 bytes" in refused[1]
        assert "send the event anew" in refused[1]


async def test_another_app_of_the_namespace_does_not_take_it_again() -> None:
    """Two apps share the events; what one of them buried, the other may have taken a month ago."""
    async with environment(orders(), partitions=1) as env:
        value = b'{"name": "order/placed", "data": {"n": 3}}'
        await append(env, Topic.EVENTS, 0, value, **{REDRIVEN: Redriven("another", 0, 5, 1).pack()})
        assert env.runs("order") == []
        assert await dead_letters(env.log) == []
        await append(env, Topic.EVENTS, 0, value, **{REDRIVEN: b"yes: please"})  # a header of somebody's own
        assert taken(env) == [3]


async def test_an_event_of_the_engine_itself_may_be_sent_again() -> None:
    """One that a newer version of the library sent from a run, and this one could not read at first."""
    a = App("test")

    @a.function(on="perdure/function.failed")
    async def failures(ctx: Context) -> object:
        return ctx.event.data

    async with environment(a, partitions=1) as env:
        await append(env, Topic.EVENTS, 0, codec.MARKER + b"unheard of", **{CHANNEL: b"test/p0:1"})
        (letter,) = await dead_letters(env.log)
        event = {"name": "perdure/function.failed", "id": "i", "ts": 0, "key": "k", "v": None, "trace": None}
        readable = codec.encode("Event", {**event, "data": b'{"n": 1}'})
        headers = {CHANNEL: b"test/p0:1", REDRIVEN: letter.first.pack() if letter.first else b""}
        await append(env, Topic.EVENTS, 0, readable, **headers)
        (run,) = env.runs()
        assert run.result == {"n": 1}


async def test_a_record_of_the_journal_is_never_sent_again() -> None:
    async with environment(orders(), partitions=1) as env:
        await append(env, Topic.JOURNAL, 0, b"garbage", kind=b"Commit")
        (letter,) = await dead_letters(env.log)
        assert not letter.is_event
        assert "is about the journal" in (await redrive(env.log, [letter]))[letter.number]
        assert (await dead_letters(env.log))[0].redriven is None


async def test_an_entry_whose_headers_are_large_is_buried_all_the_same() -> None:
    async with environment(orders(), partitions=1) as env:
        await append(env, Topic.EVENTS, 0, b"hello", small=b"1", large=b"x" * 900_000)
        (letter,) = await dead_letters(env.log)
        assert letter.headers == {"small": b"1"}
        assert DEFAULT_LIMITS.entry_bytes_max > 900_000
