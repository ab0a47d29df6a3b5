"""A warehouse: it sets goods aside, packs them, and hands parcels to a courier."""

from __future__ import annotations

from fakes import ledger

SOLD_OUT = "unobtainium"
"""Goods of which there are none."""


class SoldOut(Exception):
    """There is not enough of something on the shelf."""


def reserve(order_id: str, skus: list[str]) -> str:
    """Sets goods aside for an order; the reservation's number. Raises SoldOut."""
    if SOLD_OUT in skus:
        raise SoldOut(f"{SOLD_OUT} is sold out")
    made = ledger.act("warehouse", "reserve", {"order": order_id, "skus": skus}, key=order_id)
    return f"res-{made.id}"


def release(reservation: str) -> None:
    """Puts goods back on the shelf."""
    ledger.act("warehouse", "release", {"reservation": reservation}, key=reservation)


def pack(sku: str) -> str:
    """Packs one article; the box it is in."""
    return f"box-{ledger.act('warehouse', 'pack', {'sku': sku}).id}"


def ship(order_id: str, boxes: list[str]) -> str:
    """Hands the boxes to the courier; the tracking number."""
    made = ledger.act("warehouse", "ship", {"order": order_id, "boxes": boxes}, key=order_id)
    return f"track-{made.id}"
