"""An invoice database."""

from __future__ import annotations

from dataclasses import dataclass

from fakes import ledger


@dataclass(frozen=True)
class Invoice:
    """What somebody owes."""

    id: str
    email: str
    card: str
    cents: int


class UnknownInvoice(LookupError):
    """There is no invoice of that number."""


def write(invoice: Invoice) -> None:
    """Stores an invoice."""
    ledger.act("invoices", "write", vars(invoice), key=invoice.id)


def fetch(invoice_id: str) -> Invoice:
    """Reads an invoice. Raises UnknownInvoice."""
    for row in ledger.effects("invoices", "write"):
        if row.data["id"] == invoice_id:
            return Invoice(**row.data)
    raise UnknownInvoice(f"there is no invoice {invoice_id!r}")


def set_status(invoice_id: str, status: str) -> None:
    """Writes what became of an invoice."""
    ledger.act("invoices", "set-status", {"invoice": invoice_id, "status": status})


def status(invoice_id: str) -> str:
    """What became of an invoice: "open" if nobody said."""
    rows = [row.data for row in ledger.effects("invoices", "set-status")]
    return next((row["status"] for row in reversed(rows) if row["invoice"] == invoice_id), "open")
