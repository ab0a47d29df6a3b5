"""An order: it invokes the payment and the fulfilment, two functions that could belong to other teams.

What an invoked function returns comes back typed; what it raises comes back as a StepError. Goods are set aside before
the payment and put back when it fails: a compensation is an `except` with a step in it.

    python examples/orders.py
    perdure dev examples/orders.py:app
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Literal

from fakes import ledger, mail, payments, warehouse
from pydantic import BaseModel

from perdure import App, Context, Event, Retry, StepError, current_step

app = App("orders")


class OrderPlaced(Event, name="order/placed", key="data.order_id"):
    order_id: str
    email: str
    card: str
    cents: int
    skus: list[str]


class ParcelDelivered(Event, name="parcel/delivered", key="data.order_id"):
    order_id: str


class Payment(Event, name="order/payment-due"):
    card: str
    cents: int


class Shipment(Event, name="order/shipment-due"):
    order_id: str
    skus: list[str]


class Order(BaseModel):
    order_id: str
    status: Literal["sold out", "unpaid", "delivered", "lost"]
    charge: str | None = None
    tracking: str | None = None


@app.step(retry=Retry(limit=6, initial="1s", on=(ConnectionError,)), timeout="60s")
async def take_money(payment: Payment) -> payments.Charge:
    return await payments.charge(payment.card, payment.cents, idempotency_key=current_step().idempotency_key)


@app.function(on=Payment)
async def pay(ctx: Context[Payment]) -> payments.Charge:
    return await ctx.step.run("charge", take_money, ctx.event.data)


@app.function(on=Shipment, retries=5)
async def fulfil(ctx: Context[Shipment]) -> str:
    shipment = ctx.event.data
    boxes = await ctx.step.map("pack", warehouse.pack, shipment.skus, limit=3)
    return await ctx.step.run("ship", warehouse.ship, shipment.order_id, boxes)


@app.function(on=OrderPlaced, retries=3)
async def process_order(ctx: Context[OrderPlaced]) -> Order:
    order = ctx.event.data
    try:
        reserve = ctx.step.options(retry=Retry(on=(ConnectionError,))).run
        reservation = await reserve("reserve", warehouse.reserve, order.order_id, order.skus)
    except StepError:
        await ctx.step.run("apologise", mail.send, order.email, "sold-out")
        return Order(order_id=order.order_id, status="sold out")
    try:
        charge = await ctx.step.invoke("pay", pay, Payment(card=order.card, cents=order.cents), timeout="1h")
    except StepError as error:
        await ctx.step.run("release", warehouse.release, reservation)
        await ctx.step.run(
            "ask-for-another-card", mail.send, order.email, "payment-failed", why=error.message
        )
        return Order(order_id=order.order_id, status="unpaid")

    async with asyncio.TaskGroup() as side_by_side:
        side_by_side.create_task(ctx.step.run("confirm", mail.send, order.email, "paid", cents=charge.cents))
        parcel = side_by_side.create_task(
            ctx.step.invoke("fulfil", fulfil, Shipment(order_id=order.order_id, skus=order.skus))
        )
    tracking = parcel.result()

    delivered = await ctx.step.wait_for_event(
        "delivered", ParcelDelivered, match="data.order_id", timeout="14d", lookback="1h"
    )
    template, status = ("enjoy", "delivered") if delivered else ("we-are-searching", "lost")
    await ctx.step.run("close", mail.send, order.email, template, tracking=tracking)
    return Order(order_id=order.order_id, status=status, charge=charge.id, tracking=tracking)


async def main() -> None:
    number = f"order-{secrets.token_hex(2)}"
    order = OrderPlaced(
        order_id=number, email="ada@example.com", card="card-of-ada", cents=4200, skus=["tea", "cup"]
    )
    async with app.worker():
        run = await app.start(process_order, order, id=number)  # the same order twice is one run
        await app.send(ParcelDelivered(order_id=number))
        print(await run.result(timeout="30s"))
    for effect in ledger.effects("warehouse")[-4:]:
        print(f"  warehouse: {effect.action} {effect.data}")


if __name__ == "__main__":
    asyncio.run(main())
