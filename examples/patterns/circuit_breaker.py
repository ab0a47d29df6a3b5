"""Circuit breaker: after some failures in a row nobody calls a system for a while, and callers do without it at once.

For a system that many runs call, and that comes back sooner when it is left alone. Not for one caller: the pauses
between attempts are enough there. The circuit is a run that never ends; its state is a value that it publishes, one for
all workers. While it is open it asks by itself whether the system is back, so that no customer's call is the probe.

    perdure dev examples/patterns/circuit_breaker.py:app
    touch bank-is-down                                       # an outage; rm bank-is-down ends it
    perdure events send payment/due '{"invoice": "i1"}'      # four times: the last one does not ask the bank at all
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from perdure import App, Context, Event, NonRetriableError, Retry, StepError, current_step

app = App("circuit-breaker")
DOWN = Path("bank-is-down")
FAILURES, WINDOW, COOL_DOWN = 3, "1m", "30s"


class PaymentDue(Event, name="payment/due", key="data.invoice"):
    invoice: str


def ask_bank(what: str) -> str:
    if DOWN.exists():
        raise ConnectionError("the bank does not answer")
    return f"the bank has done {what}"


@app.function
async def circuit(ctx: Context) -> None:
    ctx.set_value("state", "closed")
    for number in range(FAILURES):
        failed = await ctx.step.wait_for_signal("failed", "failed", timeout=WINDOW if number else None)
        if failed is None:
            await ctx.restart_with({})  # it was quiet: count from the beginning
    ctx.set_value("state", "open")
    await ctx.step.sleep("cool-down", COOL_DOWN)
    probe = Retry(limit=10_000, initial=COOL_DOWN, backoff="constant")
    with suppress(StepError):  # after days: it closes all the same, and the next failures open it again
        await ctx.step.options(retry=probe).run("probe", ask_bank, "nothing")
    await ctx.restart_with({})


async def charge(invoice: str) -> str:
    breaker = await app.start(circuit, id="circuit-of-the-bank")  # the first call starts it, others find it
    if await breaker.value("state") == "open":
        raise NonRetriableError("the circuit is open")
    try:
        return ask_bank(f"the charge of {invoice}")
    except ConnectionError:
        await breaker.signal(
            "failed", id=current_step().idempotency_key
        )  # however often it is sent, it counts once
        raise


@app.function(on=PaymentDue, retries=0)
async def pay(ctx: Context[PaymentDue]) -> str:
    try:
        return await ctx.step.run("charge", charge, ctx.event.data.invoice)
    except StepError as error:
        return f"to be paid by hand: {error.message}"
