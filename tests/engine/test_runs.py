"""Runs from outside: what a user of the API sees, in an environment with a virtual clock."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import itertools
import uuid
from datetime import UTC, datetime, timedelta

import pydantic
import pytest

import perdure
from perdure import App, Context, Event, NonRetriableError, Retry, RetryAfterError, StepError
from perdure.testing import environment

pytestmark = pytest.mark.asyncio
HOUR = timedelta(hours=1)


class Paid(Event, name="payment/paid", key="data.order"):
    order: str
    cents: int


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Parcel:
    id: uuid.UUID
    at: datetime
    colour: Colour
    label: bytes


class Quote(pydantic.BaseModel):
    cents: int
    until: datetime


def app() -> App:
    return App("test")


def double(n: int) -> int:
    return 2 * n


async def pack() -> Parcel:
    return Parcel(uuid.UUID(int=7), datetime(2026, 1, 2, tzinfo=UTC), Colour.RED, b"\x00\xff")


async def quote() -> Quote:
    return Quote(cents=5, until=datetime(2026, 1, 2, tzinfo=UTC))


async def test_results_come_back_as_annotated_live_and_on_replay() -> None:
    a = app()
    seen: list[object] = []

    @a.function
    async def ship(ctx: Context) -> Quote:
        parcel = await ctx.step.run("pack", pack)
        priced = await ctx.step.run("quote", quote)
        await ctx.step.sleep("night", "10h")
        seen.append((parcel, priced))
        return priced

    async with environment(a) as env:
        run = await env.start(ship)
        await env.crash_worker()
        await env.start_worker()
        await env.advance("10h")
        assert isinstance(run.result, Quote)
    assert seen == [(await pack(), await quote())]


async def test_triggers_by_name_list_and_wildcard_start_each_function_once() -> None:
    a = app()

    @a.function(on=["order/placed", "order/*"])
    async def any_order(ctx: Context) -> str:
        return ctx.event.name

    @a.function(on=Paid)
    async def paid(ctx: Context[Paid]) -> int:
        return ctx.event.data.cents

    async with environment(a) as env:
        assert [run.result for run in await env.send("order/placed", {})] == ["order/placed"]
        assert [run.result for run in await env.send("order/line.added", {})] == ["order/line.added"]
        assert await env.send("orders", {}) == []
        (run,) = await env.send(Paid(order="o1", cents=12))
        assert (run.result, run.event["key"]) == (12, "o1")


async def test_an_event_id_starts_once() -> None:
    a = app()

    @a.function(on="go")
    async def go(ctx: Context) -> None: ...

    async with environment(a) as env:
        await env.send("go", {}, id="one", key="k")
        await env.send("go", {}, id="one", key="k")
        assert len(env.runs()) == 1
        await env.advance("25h")
        await env.send("go", {}, id="one", key="k")
        assert len(env.runs()) == 2


async def test_start_with_an_id_gives_the_same_run() -> None:
    a = app()

    @a.function
    async def order(ctx: Context) -> int:
        return await ctx.step.run("double", double, ctx.event.data["n"])

    async with environment(a) as env:
        first = await env.start(order, {"n": 1}, id="order-42", tags={"tenant": "acme"})
        second = await env.start(order, {"n": 2}, id="order-42")
        assert first.id == second.id == "order/order-42"
        assert (second.result, len(env.runs()), first.view.tags) == (2, 1, {"tenant": "acme"})
        handle = await a.start(order, {"n": 3}, id="order-42")
        assert await handle.result(timeout=5) == 2
        assert await handle.status() == "completed"


async def test_a_future_event_makes_a_scheduled_run_that_can_be_cancelled() -> None:
    a = app()
    ran: list[str] = []

    @a.function(on="reminder")
    async def remind(ctx: Context) -> datetime:
        ran.append(ctx.event.data["who"])
        return ctx.now()

    async with environment(a) as env:
        due = env.now() + 3 * HOUR
        (ann,) = await env.send("reminder", {"who": "ann"}, ts=due)
        (bob,) = await env.send("reminder", {"who": "bob"}, ts=due)
        assert (ann.status, ran) == ("scheduled", [])
        await bob.cancel(reason="moved")
        assert bob.status == "cancelled"
        await env.advance("2h59m")
        assert ran == []
        await env.advance("1m")
        assert (ann.status, ann.result, ran) == ("completed", due, ["ann"])


async def test_retries_are_counted_per_step_and_follow_the_policy() -> None:
    a = app()
    times: list[datetime] = []

    async with environment(a) as env:

        def flaky() -> str:
            times.append(env.now())
            if len(times) < 3:
                raise ConnectionError("down")
            return f"attempt {perdure.current_step().attempt} of {perdure.current_step().max_attempts}"

        @a.function
        async def call(ctx: Context) -> str:
            policy = Retry(limit=4, initial="10s", factor=3, jitter=0)
            return await ctx.step.options(retry=policy).run("call", flaky)

        await env.stop_worker()
        await env.start_worker()
        run = await env.start(call)
        assert run.step("call").status == "retrying"
        await env.advance("10m")
        assert run.result == "attempt 3 of 5"
    assert [(b - a).total_seconds() for a, b in itertools.pairwise(times)] == [10, 30]


async def test_a_step_out_of_attempts_raises_and_the_run_may_go_on() -> None:
    a = app()
    causes: list[BaseException | None] = []

    def declined() -> None:
        raise NonRetriableError("card declined")

    def teapot() -> None:
        raise KeyError("teapot")

    @a.function(retries=1)
    async def pay(ctx: Context) -> list[str]:
        found: list[str] = []
        for step in (declined, teapot):
            try:
                await ctx.step.run(step.__name__, step)
            except StepError as error:
                causes.append(error.cause)
                found.append(f"{error.step_id} {error.type_name} {error.attempts}")
        return found

    async with environment(a) as env:
        run = await env.start(pay)
        await env.advance("1m")
        assert run.result == ["declined perdure.errors.NonRetriableError 1", "teapot KeyError 2"]
    assert [type(cause) for cause in causes] == [NonRetriableError, KeyError]


async def test_retry_after_sets_the_next_delay() -> None:
    a = app()
    calls: list[int] = []

    def limited() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise RetryAfterError("2h")
        return 1

    @a.function
    async def call(ctx: Context) -> int:
        return await ctx.step.run("limited", limited)

    async with environment(a) as env:
        run = await env.start(call)
        await env.advance("1h59m")
        assert run.status == "running"
        await env.advance("1m")
        assert run.result == 1


async def test_a_failed_run_starts_its_handler_which_is_durable() -> None:
    a = app()
    done: list[str] = []

    def note(what: str) -> None:
        done.append(what)

    async def failed(ctx: perdure.FailureContext) -> None:
        await ctx.step.run("refund", note, f"refund {ctx.event.data['id']}")
        await ctx.step.sleep("think", "1h")
        await ctx.step.run("tell", note, f"{ctx.error.type_name} {ctx.run_id}")

    def boom() -> None:
        raise ValueError("boom")

    @a.function(on="pay", retries=0, on_failure=failed)
    async def pay(ctx: Context) -> None:
        await ctx.step.run("boom", boom)

    async with environment(a) as env:
        (run,) = await env.send("pay", {"id": 5})
        assert run.status == "failed"
        assert run.error is not None
        assert run.error["type"] == "ValueError"
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1h")
        assert done == ["refund 5", f"ValueError {run.id}"]


async def test_map_and_race_and_plain_asyncio_are_durable() -> None:
    a = app()

    async def slow_double(n: int) -> int:
        return 2 * n

    @a.function
    async def work(ctx: Context) -> tuple[list[int], str, str]:
        mapped = await ctx.step.map("double", slow_double, range(5), limit=2)
        name, _ = await ctx.step.race(nap=asyncio.sleep(3600), longer=asyncio.sleep(7200))
        try:
            async with asyncio.timeout(86400):
                await ctx.step.wait_for_signal("never", "never")
        except TimeoutError:
            return mapped, name, "timeout"
        return mapped, name, "signal"

    async with environment(a) as env:
        run = await env.start(work)
        await env.advance("1h")
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1d")
        assert run.result == ([0, 2, 4, 6, 8], "nap", "timeout")


async def test_invoke_start_and_send_event_happen_once_across_a_crash() -> None:
    a = app()

    @a.function
    async def child(ctx: Context) -> int:
        return await ctx.step.run("double", double, ctx.event.data["n"])

    @a.function(on="told")
    async def listener(ctx: Context) -> None: ...

    @a.function
    async def parent(ctx: Context) -> tuple[int, str, list[str]]:
        got: int = await ctx.step.invoke("pay", child, {"n": 2})
        other = await ctx.step.start("fire", child, {"n": 3})
        ids = await ctx.step.send_event("tell", [{"name": "told", "data": {}}, {"name": "told", "data": {}}])
        await ctx.step.sleep("nap", "1h")
        return got, other, ids

    async with environment(a) as env:
        run = await env.start(parent)
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1h")
        got, other, ids = run.result
        assert (got, len(ids), env.run(other).result) == (4, 2, 6)
        assert sorted(r.event["id"] for r in env.runs(listener)) == sorted(ids)
        assert len(env.runs(child)) == 2


async def test_an_unknown_function_fails_the_ask() -> None:
    a = app()

    @a.function
    async def parent(ctx: Context) -> str:
        try:
            await ctx.step.invoke("pay", "nobody", {})
        except perdure.UsageError as error:
            return str(error)
        return "?"

    async with environment(a) as env:
        run = await env.start(parent)
        assert "nobody" in run.result


async def test_values_are_published() -> None:
    a = app()

    @a.function
    async def work(ctx: Context) -> None:
        await ctx.step.run("double", double, 1)
        ctx.set_value("progress", {"done": 1})
        await ctx.step.sleep("nap", "1h")

    async with environment(a) as env:
        run = await env.start(work)
        assert run.values == {"progress": {"done": 1}}
        assert await a.handle(work, run.id).value("progress") == {"done": 1}
        assert await a.handle(work, run.id).value("nothing") is None
