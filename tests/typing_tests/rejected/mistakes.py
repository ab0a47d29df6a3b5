"""What a type checker must refuse: each line with `# error: <rule>` is one of them, and no other line may be."""

from datetime import timedelta

from perdure import (
    App,
    Context,
    Event,
    FailureContext,
    Received,
    Retry,
    SyncContext,
    SyncFailureContext,
    step,
)
from perdure.testing import environment

app = App("shop")


class Paid(Event, name="payment/paid"):
    payment_id: str
    cents: int = 0


class Refunded(Event, name="payment/refunded"):
    why: str


async def charge(cents: int, *, currency: str = "EUR") -> str:
    return f"{cents} {currency}"


def double(n: int) -> int:
    return 2 * n


@step(retries=3)
def declared(n: int) -> int:
    return n


async def refund(ctx: FailureContext[Paid]) -> None: ...
def refund_blocking(ctx: SyncFailureContext[Paid]) -> None: ...


@app.function(on=Paid)
async def pay(ctx: Context[Paid]) -> int:
    print(ctx.event.data.amount)  # error: reportAttributeAccessIssue
    wrong: str = ctx.event.data.cents  # error: reportAssignmentType
    await ctx.step.run("charge", charge)  # error: reportCallIssue
    await ctx.step.run("charge", charge, "5")  # error: reportArgumentType
    await ctx.step.run("charge", charge, 5, currency=7)  # error: reportArgumentType
    await ctx.step.run("charge", charge, 5, curency="EUR")  # error: reportCallIssue
    await ctx.step.run("charge", charge, 5, "EUR")  # error: reportCallIssue
    await ctx.step.run("declared", declared, "x")  # error: reportArgumentType
    await ctx.step.run("charge", charge(5))  # error: reportArgumentType
    await ctx.step.run(double, 1)  # error: reportArgumentType
    number: int = await ctx.step.run("charge", charge, 5)  # error: reportAssignmentType
    await ctx.step.options(retries="3").run("double", double, 1)  # error: reportArgumentType
    await ctx.step.options(executor="gpu").run("double", double, 1)  # error: reportArgumentType
    await ctx.step.map("double", double, ["a"])  # error: reportArgumentType
    await ctx.step.sleep("nap", None)  # error: reportArgumentType
    await ctx.step.sleep_until("nap", timedelta(days=1))  # error: reportArgumentType
    paid = await ctx.step.wait_for_event("paid", Paid)
    print(paid.data.payment_id)  # error: reportOptionalMemberAccess
    other: Received[Refunded] | None = paid  # error: reportAssignmentType
    signal = await ctx.step.wait_for_signal("s", "go")
    print(signal.data)  # error: reportOptionalMemberAccess
    text: str = await ctx.step.invoke("pay", pay, {})  # error: reportAssignmentType
    await ctx.step.invoke("pay", pay, {}, parent_close="kill")  # error: reportArgumentType
    await ctx.step.race(paid=5)  # error: reportArgumentType
    ctx.step.sleep("nap", "1h")  # error: reportUnusedCoroutine
    print(wrong, number, other, text)
    return 1


@app.function
def blocking(ctx: SyncContext[Paid]) -> int:
    ctx.step.run("charge", charge, "5")  # error: reportArgumentType
    number: int = ctx.step.run("charge", charge, 5)  # error: reportAssignmentType
    ctx.step.race()  # error: reportAttributeAccessIssue
    return number


@app.function(on=5)  # error: reportArgumentType
async def bad_trigger(ctx: Context) -> None: ...


@app.function(on_error="stop")  # error: reportArgumentType
async def bad_policy(ctx: Context) -> None: ...


@app.function(on_failure=double)  # error: reportArgumentType
async def bad_handler(ctx: Context) -> None: ...


@app.function()  # error: reportArgumentType
async def no_context(event: Paid) -> None: ...


@app.function  # error: reportArgumentType
async def two_parameters(ctx: Context, more: int) -> None: ...


async def outside() -> None:
    await app.start(pay, Refunded(why="x"))  # error: reportArgumentType
    await app.start(pay, 5)  # error: reportArgumentType
    await app.start(refund, {})  # error: reportArgumentType
    await app.start("pay", {})  # error: reportArgumentType
    run = await app.start(pay, Paid(payment_id="1"), tags={"a": 1})  # error: reportArgumentType
    text: str = await run.result()  # error: reportAssignmentType
    await run.result(timeout=None, wait=True)  # error: reportCallIssue
    await app.send(Paid())  # error: reportCallIssue
    await app.send(Paid)  # error: reportArgumentType
    await app.send(5)  # error: reportArgumentType
    app.send_sync(Paid(payment_id="1"), key=5)  # error: reportArgumentType
    declared("x")  # error: reportArgumentType
    Retry(limit="4")  # error: reportArgumentType
    async with environment(app) as env:
        seen = await env.start(pay, Refunded(why="x"))  # error: reportArgumentType
        result: str = seen.result  # error: reportAssignmentType
        print(seen.step("charge").attemps)  # error: reportAttributeAccessIssue
    print(text, result)
