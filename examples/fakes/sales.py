"""A sales database, split into shards by region."""

from __future__ import annotations

from collections.abc import Mapping

from fakes import ledger

Sales = Mapping[str, int]
"""Cents by product."""


def write(region: str, sales: Sales) -> None:
    """Stores what was sold in a region."""
    ledger.act("sales", "write", {"region": region, "sales": dict(sales)}, key=region)


def regions() -> list[str]:
    """The shards."""
    return sorted(row.data["region"] for row in ledger.effects("sales", "write"))


def read(region: str) -> Sales:
    """One shard. It counts as a call, and may find the shard down."""
    ledger.act("sales", "read", {"region": region})
    rows = {row.data["region"]: row.data["sales"] for row in ledger.effects("sales", "write")}
    return rows[region]
