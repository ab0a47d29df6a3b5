"""Steps: parameters are checked against the function, and results flow."""

import asyncio
import functools
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from pydantic import BaseModel

from perdure import App, Context, Event, Received, Retry, Signal, StepInfo, SyncContext, current_step, step

app = App("shop")


class Paid(Event, name="payment/paid"):
    payment_id: str


class User(BaseModel):
    id: int
    email: str


@dataclass
class Parcel:
    id: str


async def create_user(email: str, *, plan: str = "free", id: int = 0) -> User:  # noqa: A002
    return User(id=id, email=f"{email}+{plan}")


def pack(order: str, weight: float) -> Parcel:
    return Parcel(f"{order}-{weight}")


def ping() -> None: ...


def deferred(n: int) -> Awaitable[int]:
    return asyncio.sleep(0, n)


@step(retries=5, timeout="30s")
async def charge(cents: int, currency: str = "EUR") -> str:
    assert_type(current_step(), StepInfo)
    current_step().heartbeat({"cents": cents})
    return currency


@app.step(timeout=timedelta(seconds=5), executor="process")
def render(text: str) -> bytes:
    return text.encode()


@step
def plain(n: int) -> int:
    return n


class Mailer:
    def send(self, to: str, *, template: str) -> int:
        return len(to + template)

    async def send_later(self, to: str) -> bool:
        return bool(to)


mailer = Mailer()


@app.function(on=Paid)
async def work(ctx: Context[Paid]) -> str:
    user = await ctx.step.run("create", create_user, "a@b.c", plan="pro", id=7)
    assert_type(user, User)
    assert_type(await ctx.step.run("pack", pack, "o1", 2.5), Parcel)
    assert_type(await ctx.step.run("pack", pack, order="o1", weight=1), Parcel)
    assert_type(await ctx.step.run("deferred", deferred, 5), int)
    await ctx.step.run("ping", ping)
    assert_type(await ctx.step.run("charge", charge, 500, currency="USD"), str)
    assert_type(await ctx.step.run("render", render, "x"), bytes)
    assert_type(await ctx.step.run("plain", plain, 1), int)
    assert_type(await ctx.step.run("mail", mailer.send, user.email, template="hello"), int)
    assert_type(await ctx.step.run("mail-later", mailer.send_later, user.email), bool)
    assert_type(await ctx.step.run("lambda", lambda: 5), int)
    assert_type(await ctx.step.run("partial", functools.partial(pack, "o1"), 2.5), Parcel)
    policy = Retry(limit=4, initial="1s", on=(OSError,), then="pause")
    assert_type(await ctx.step.options(retry=policy, timeout="1m").run("pack", pack, "o", 1.0), Parcel)
    assert_type(await ctx.step.options(retries=2, heartbeat=5).map("double", plain, [1, 2]), list[int])
    return user.email


@app.function
async def waits(ctx: Context) -> None:
    await ctx.step.sleep("a", "7d")
    await ctx.step.sleep("b", timedelta(days=7))
    await ctx.step.sleep("c", 30)
    await ctx.step.sleep_until("d", datetime(2031, 1, 1, tzinfo=UTC))
    paid = await ctx.step.wait_for_event("paid", Paid, match="data.payment_id", timeout="1h")
    assert_type(paid, Received[Paid] | None)
    if paid is not None:
        assert_type(paid.data.payment_id, str)
    other = await ctx.step.wait_for_event("other", "order/placed", lookback="1h")
    assert_type(other, Received[dict[str, Any]] | None)
    signal = await ctx.step.wait_for_signal("approval", "approve", timeout="1d")
    assert_type(signal, Signal | None)
    if signal:
        assert_type(signal.name, str)
        assert_type(await ctx.step.send_event("tell", Paid(payment_id="1")), list[str])
    await ctx.step.send_event("tell", [Paid(payment_id="1"), {"name": "a", "data": {}}, "b"])


@app.function
async def fans_out(ctx: Context) -> int:
    assert_type(await ctx.step.map("users", create_user, ["a", "b"], limit=2), list[User])
    assert_type(await ctx.step.map("numbers", plain, range(5)), list[int])
    one, two = await asyncio.gather(ctx.step.run("one", plain, 1), ctx.step.run("two", charge, 2))
    assert_type(one, int)
    assert_type(two, str)
    name, result = await ctx.step.race(
        paid=ctx.step.wait_for_event("paid", Paid), late=ctx.step.sleep("late", "1h")
    )
    assert_type(name, str)
    assert_type(result, Received[Paid] | None)
    winner = await ctx.step.race(one=ctx.step.run("one", plain, 1), two=ctx.step.run("two", charge, 2))
    assert_type(winner, tuple[str, int | str])
    assert_type(await ctx.step.run("user", User, id=1, email="a@b.c"), User)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ctx.step.run("plain", plain, 3))
    async with asyncio.timeout(86_400):
        await asyncio.sleep(3_600)
    return task.result() + one


@app.function
async def calls(ctx: Context) -> str:
    assert_type(await ctx.step.invoke("work", work, Paid(payment_id="1"), timeout="1h"), str)
    assert_type(await ctx.step.invoke("fans", fans_out, {"a": 1}, parent_close="abandon"), int)
    by_id: str = await ctx.step.invoke("by-id", "elsewhere", {"a": 1})
    assert_type(await ctx.step.invoke("blocking", blocking, {}), int)
    assert_type(await ctx.step.start("start", work, Paid(payment_id="1")), str)
    return by_id


@app.function
def blocking(ctx: SyncContext[Paid]) -> int:
    assert_type(ctx.step.run("create", create_user, "a@b.c", id=1), User)
    assert_type(ctx.step.run("pack", pack, "o1", weight=2.5), Parcel)
    ctx.step.sleep("nap", "1h")
    assert_type(ctx.step.wait_for_event("paid", Paid), Received[Paid] | None)
    assert_type(ctx.step.wait_for_signal("s", "go"), Signal | None)
    assert_type(ctx.step.map("n", plain, [1]), list[int])
    assert_type(ctx.step.invoke("work", work, Paid(payment_id="1")), str)
    assert_type(ctx.step.options(retries=1).run("plain", plain, 1), int)
    return plain(1)


async def outside() -> tuple[int, str]:
    # What is declared as a step is still the function that it was.
    return plain(3), await charge(5, currency="USD")
