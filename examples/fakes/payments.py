"""A payment provider. Like real ones it honours idempotency keys: a charge that is asked for twice is made once."""

from __future__ import annotations

from dataclasses import dataclass

from fakes import ledger

DECLINED = "card-declined"
"""A card on which every charge is declined."""


class CardDeclined(Exception):
    """The bank said no. Another attempt changes nothing."""


@dataclass(frozen=True)
class Charge:
    """Money that was taken."""

    id: str
    card: str
    cents: int


async def create_customer(email: str, *, idempotency_key: str) -> str:
    """Registers a customer; the customer's id."""
    made = ledger.act("payments", "create-customer", {"email": email}, key=idempotency_key)
    return f"cus_{made.id}"


async def charge(card: str, cents: int, *, idempotency_key: str) -> Charge:
    """Takes money from a card. Raises CardDeclined, or ledger.Unavailable."""
    if card == DECLINED:
        raise CardDeclined(f"the bank declined {cents / 100:.2f}")
    made = ledger.act("payments", "charge", {"card": card, "cents": cents}, key=idempotency_key)
    await ledger.answer("payments", "charge")
    return Charge(f"ch_{made.id}", **made.data)


def charges() -> list[Charge]:
    """All the money that was taken, in order."""
    return [Charge(f"ch_{effect.id}", **effect.data) for effect in ledger.effects("payments", "charge")]


def customers() -> list[str]:
    """The mail addresses of all customers."""
    return [effect.data["email"] for effect in ledger.effects("payments", "create-customer")]
