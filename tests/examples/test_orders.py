"""examples/orders.py: what the functions tell each other, and what is put back when one fails."""

from __future__ import annotations

from typing import Any

import pytest

from examples.orders import (
    Order,
    OrderPlaced,
    ParcelDelivered,
    app,
    ledger,
    mail,
    payments,
    process_order,
    warehouse,
)
from perdure.testing import environment


def placed(**changes: Any) -> OrderPlaced:
    order = OrderPlaced(
        order_id="7",
        email="ada@example.com",
        card="card-of-ada",
        cents=4200,
        skus=["tea", "cup", "spoon", "pot"],
    )
    return order.model_copy(update=changes)


def warehouse_did() -> list[str]:
    return [effect.action for effect in ledger.effects("warehouse")]


def letters() -> list[str]:
    return [letter.template for letter in mail.inbox("ada@example.com")]


@pytest.mark.asyncio
async def test_an_order_is_paid_packed_shipped_and_delivered() -> None:
    async with environment(app) as env:
        run = await env.start(process_order, placed())
        assert run.status == "running"
        assert warehouse_did() == ["reserve", "pack", "pack", "pack", "pack", "ship"]
        assert [(charge.card, charge.cents) for charge in payments.charges()] == [("card-of-ada", 4200)]
        assert {other.function for other in env.runs()} == {"process-order", "pay", "fulfil"}

        await env.advance("3d")
        await env.send(ParcelDelivered(order_id="7"))
        assert run.result == Order(
            order_id="7",
            status="delivered",
            charge=payments.charges()[0].id,
            tracking=f"track-{ledger.effects('warehouse', 'ship')[0].id}",
        )
        assert letters() == ["paid", "enjoy"]


@pytest.mark.asyncio
async def test_boxes_are_in_the_order_of_the_articles() -> None:
    async with environment(app) as env:
        await env.start(process_order, placed())
        packed = {effect.data["sku"]: f"box-{effect.id}" for effect in ledger.effects("warehouse", "pack")}
        [shipped] = ledger.effects("warehouse", "ship")
        assert shipped.data["boxes"] == [packed[sku] for sku in ["tea", "cup", "spoon", "pot"]]


@pytest.mark.asyncio
async def test_a_declined_card_puts_the_goods_back() -> None:
    async with environment(app) as env:
        run = await env.start(process_order, placed(card=payments.DECLINED))
        assert run.status == "completed"
        assert run.result.status == "unpaid"
        assert warehouse_did() == ["reserve", "release"]
        assert letters() == ["payment-failed"]
        assert payments.charges() == []


@pytest.mark.asyncio
async def test_sold_out_goods_are_not_asked_for_twice_and_not_charged() -> None:
    async with environment(app) as env:
        run = await env.start(process_order, placed(skus=["tea", warehouse.SOLD_OUT]))
        assert run.result.status == "sold out"
        assert run.step("reserve").attempts == 1
        assert ledger.calls("payments") == []
        assert letters() == ["sold-out"]


@pytest.mark.asyncio
async def test_a_parcel_that_does_not_arrive_is_searched_for() -> None:
    async with environment(app) as env:
        run = await env.start(process_order, placed())
        await env.advance("14d")
        assert run.result.status == "lost"
        assert letters() == ["paid", "we-are-searching"]


@pytest.mark.asyncio
async def test_one_order_sent_twice_is_one_run() -> None:
    async with environment(app) as env:
        first = await env.start(process_order, placed(), id="7")
        second = await env.start(process_order, placed(), id="7")
        assert first.id == second.id
        assert len(payments.charges()) == 1


@pytest.mark.asyncio
async def test_an_order_whose_provider_is_down_for_a_while_is_delivered_all_the_same() -> None:
    ledger.trouble("payments", "charge", times=4)
    ledger.trouble("warehouse", "ship", times=2)
    async with environment(app) as env:
        run = await env.start(process_order, placed())
        await env.advance("5m")
        await env.crash_worker()
        await env.start_worker()
        await env.send(ParcelDelivered(order_id="7"))
        assert run.result.status == "delivered"
        assert len(payments.charges()) == 1
        assert len(ledger.effects("warehouse", "ship")) == 1
