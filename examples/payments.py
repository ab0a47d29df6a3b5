"""Payment processing: retries that know what is worth retrying, a charge that is made once, and what to do in the end.

Each step has attempts of its own. A provider that is down is asked again, less and less often; a card that is declined
is not. When the run has failed, `give_up` runs: durably, with steps and retries of its own.

    python examples/payments.py
    perdure dev examples/payments.py:app
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

from fakes import invoices, ledger, mail, payments
from fakes.invoices import Invoice

from perdure import App, Context, Event, FailureContext, NonRetriableError, Retry, RunFailed, current_step

app = App("payments")


class PaymentDue(Event, name="payment/due", key="data.invoice_id"):
    invoice_id: str


@dataclass
class Receipt:
    charge_id: str
    cents: int
    message_id: str


def fetch_invoice(invoice_id: str) -> Invoice:
    try:
        return invoices.fetch(invoice_id)
    except invoices.UnknownInvoice as error:
        raise NonRetriableError(str(error)) from error  # it will not be there in a minute either


@app.step(retry=Retry(limit=6, initial="2s", maximum="5m", on=(ConnectionError, TimeoutError)), timeout="30s")
async def charge(invoice: Invoice) -> payments.Charge:
    # CardDeclined is not in `on`, so it ends the step at once. The key makes a repeated charge the same charge.
    return await payments.charge(invoice.card, invoice.cents, idempotency_key=current_step().idempotency_key)


async def give_up(ctx: FailureContext[PaymentDue]) -> None:
    invoice_id = ctx.event.data.invoice_id
    await ctx.step.run("mark-unpaid", invoices.set_status, invoice_id, "unpaid")
    await ctx.step.run(
        "tell-accounting", mail.send, "accounting@shop.example", "payment-failed", why=ctx.error.message
    )
    await ctx.step.send_event("announce", {"name": "payment/failed", "data": {"invoice_id": invoice_id}})


@app.function(on=PaymentDue, retries=4, on_failure=give_up)
async def process_payment(ctx: Context[PaymentDue]) -> Receipt:
    invoice = await ctx.step.run("fetch-invoice", fetch_invoice, ctx.event.data.invoice_id)
    charged = await ctx.step.run("charge", charge, invoice)
    await ctx.step.run("mark-paid", invoices.set_status, invoice.id, "paid")
    message = await ctx.step.run("send-receipt", mail.send, invoice.email, "receipt", cents=charged.cents)
    return Receipt(charged.id, charged.cents, message)


async def main() -> None:
    number = secrets.token_hex(2)
    good = Invoice(f"{number}-1", "ada@example.com", "card-of-ada", 4200)
    bad = Invoice(f"{number}-2", "bob@example.com", payments.DECLINED, 900)
    invoices.write(good)
    invoices.write(bad)
    ledger.trouble("payments", "charge", times=1)  # the provider has a bad moment

    async with app.worker():
        for invoice in (good, bad):
            run = await app.start(process_payment, PaymentDue(invoice_id=invoice.id))
            try:
                print(await run.result(timeout="30s"))
            except RunFailed as failed:
                print(f"{invoice.id} was not paid: {failed.message}")
        await ledger.until(lambda: invoices.status(bad.id) != "open")  # give_up is at work
    print(f"Invoice {good.id} is {invoices.status(good.id)}, {bad.id} is {invoices.status(bad.id)}.")


if __name__ == "__main__":
    asyncio.run(main())
