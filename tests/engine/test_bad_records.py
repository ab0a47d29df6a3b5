"""What records get that no perdure wrote, or another version: void, buried, counted, and the partition goes on."""

from __future__ import annotations

import asyncio

import pytest

from perdure import App, Context, EncodingError, Event, LevelTooNew, SyncContext
from perdure.core import codec
from perdure.core.facts import KIND, STAMP, Stamp
from perdure.logs.contract import Topic
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


class Paid(Event, name="payment/paid"):
    cents: int


# --- what a foreign producer appends ----------------------------------------------------------------------------------

FOREIGN = [
    (b'{"cents": "many"}', "at $.cents"),
    (b"[1]", "input should be an object"),
    (b"not json", "is not JSON"),
    (b'{"cents": NaN}', "is not JSON"),
    (b"\xff\xfe", "is not JSON"),
    (b"[" * 10_000 + b"]" * 10_000, "nested deeper than 200 levels"),
    (b'{"cents": ' + b"1" * 6_000 + b"}", "is not JSON"),
    (b'{"cents": 1, "text": "\\ud800"}', "surrogate"),
]


@pytest.mark.parametrize(("data", "words"), FOREIGN, ids=range(len(FOREIGN)))
async def test_data_of_a_foreign_producer_that_does_not_fit_fails_its_runs_alone(
    data: bytes, words: str
) -> None:
    a = app()

    @a.function(on=Paid)
    async def paid(ctx: Context[Paid]) -> int:
        return ctx.event.data.cents

    @a.function(on=Paid, retries=0)
    def paid_too(ctx: SyncContext[Paid]) -> int:
        return ctx.event.data.cents

    @a.function(on="payment/*")
    async def any_payment(ctx: Context) -> str:
        return ctx.event.name

    async with environment(a, partitions=1) as env:
        await append(env, Topic.EVENTS, 0, foreign_event(env, "payment/paid", data))
        failed_with(env.runs("paid")[0], EncodingError, words)
        failed_with(env.runs("paid-too")[0], EncodingError, words)
        assert env.runs("any-payment")[0].result == "payment/paid"
        await goes_on(env)


async def test_names_ids_and_times_of_a_foreign_producer_harm_nobody() -> None:
    a = app()

    @a.function(on=["odd", "perdure/function.failed"])
    async def everything(ctx: Context) -> None: ...

    async with environment(a, partitions=1) as env:
        odd = [{"name": name} for name in ("", "x" * 5_000, "a\x00b", "perdure/function.failed")]
        odd += [{"ts": ts} for ts in (-5, 0, 2**62)]
        odd += [{"id": "\x00" * 9_000}, {"key": "k" * 9_000}, {"v": "v" * 9_000}]
        for number, more in enumerate(odd):
            event = {"name": "odd", "id": f"odd-{number}", **more}
            await append(env, Topic.EVENTS, 0, foreign_event(env, data=b"{}", **event))
        await env.advance("1d")
        assert [run.status for run in env.runs("everything")].count(
            "completed"
        ) == 5  # not that of the reserved name
        assert [run.status for run in env.runs("everything")].count("scheduled") == 1
        await goes_on(env)


# --- records ----------------------------------------------------------------------------------------------------------


def records(env: Environment) -> list[tuple[str, bytes]]:
    whole = foreign_event(env, "fine", b"{}")
    return [
        ("not in single-object encoding", b""),
        ("not in single-object encoding", b"by hand"),
        ("of an unknown type or version", b"\xc3\x01" + b"8 bytes." + b"of a newer version"),
        ("is corrupt", whole[:-3]),
        ("bytes too many", whole + b"more"),
    ]


async def test_records_that_nobody_can_read_are_void_buried_and_counted() -> None:
    a = app()
    async with environment(a, partitions=2) as env:
        for reason, value in records(env):
            before = len(await dead_letters(env))
            at = await append(env, Topic.JOURNAL, 1, value)
            event_at = await append(env, Topic.EVENTS, 1, value)
            journal, event = (await dead_letters(env))[before:]
            assert (journal["topic"], journal["partition"], journal["offset"]) == ("journal", 1, at)
            assert reason in journal["reason"]
            assert (event["topic"], event["partition"], event["offset"]) == ("events", 1, event_at)
            assert event["value"] == value
            foreign = "neither an event of perdure, nor JSON"
            assert (reason if value[:2] == b"\xc3\x01" else foreign) in event["reason"]
        assert env._engine is not None
        assert env._engine.partitions[1].state.voids["undecodable"] == 5
        assert env.reader.partitions[1].state.voids["undecodable"] == 5
        await (
            env.crash_worker()
        )  # whoever comes next reads them as well, and buries what the journal holds anew
        await env.start_worker()
        assert env._engine.partitions[1].state.voids["undecodable"] == 5
        await goes_on(env)


async def test_records_that_do_not_belong_where_they_are_change_nothing() -> None:
    a = app()
    async with environment(a, partitions=1) as env:
        await append(env, Topic.JOURNAL, 0, foreign_event(env, "fine", b"{}"))
        await append(env, Topic.EVENTS, 0, codec.encode("Level", {"level": 9}))
        await append(
            env, Topic.JOURNAL, 0, codec.encode("Level", {"level": 9})
        )  # of nobody: no owner wrote it
        assert [letter["reason"] for letter in await dead_letters(env)] == [
            "a record of kind Event has no place in a journal: look who may write to it",
            "this is a record of kind Level, which is no event",
        ]
        assert env._engine is not None
        voids = env._engine.partitions[0].state.voids
        assert (voids["misplaced"], voids["level of a former owner"]) == (1, 1)
        assert env.runs() == []
        await goes_on(env)


# --- a level above ours -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [codec.encode("Level", {"level": 9}), b"\xc3\x01" + b"8 bytes." + b"newer"])
async def test_an_owner_of_a_newer_version_stops_this_one_and_the_other_partitions_go_on(
    value: bytes,
) -> None:
    log = MemoryLog(2)
    a = App("test", log=log)

    @a.function(on="fine")
    async def fine(ctx: Context) -> int:
        return await ctx.step.run("double", double, 4)

    async with a.worker() as engine:
        client = await a._connect().client()
        newer = b"a newer version!"
        epoch = engine.partitions[1].state.epoch + 1
        claim = codec.encode("Claim", {"epoch": epoch, "worker": ""})
        with collecting_troubles() as told:
            for seq, (kind, body) in enumerate([("Claim", claim), ("Level", value)]):
                headers = {KIND: kind.encode(), STAMP: Stamp(newer, epoch, seq).pack()}
                await client.append(Topic.JOURNAL, 1, body, headers=headers)
            async with asyncio.timeout(5):
                while not told:
                    await asyncio.sleep(0)
        ((where, error),) = told
        assert where == "perdure: partition 1 is left alone"
        assert isinstance(error, LevelTooNew)
        assert "leaves the partition alone" in str(error)
        assert engine.partitions[1].lead is None
        runs = [await a.start(fine, {}) for _ in range(6)]
        mine = [run for run in runs if run.run_id.startswith("1p0-")]
        assert [await run.result(timeout=5) for run in mine] == [8, 8, 8]
        with pytest.raises(TimeoutError):
            await next(run for run in runs if run not in mine).result(timeout=0.05)
        assert engine.partitions[1].lead is None
    await a.close()
