"""A user database. A mail address is there once; what is known about a user is the sum of what was written."""

from __future__ import annotations

from dataclasses import dataclass

from fakes import ledger


@dataclass(frozen=True)
class User:
    """A row of the table of users."""

    id: str
    email: str
    name: str


class InvalidUser(ValueError):
    """No row can be made of this."""


def create(email: str, name: str) -> User:
    """Inserts a user, or finds the one who is there. Raises InvalidUser for what is no mail address."""
    if "@" not in email:
        raise InvalidUser(f"{email!r} is not a mail address")
    made = ledger.act("users", "create", {"email": email, "name": name}, key=email)
    return User(f"user-{made.id}", **made.data)


def set_status(user_id: str, status: str) -> None:
    """Writes what a user is now."""
    ledger.act("users", "set-status", {"user": user_id, "status": status})


def all_users() -> list[User]:
    """All rows, in the order in which they were made."""
    return [User(f"user-{effect.id}", **effect.data) for effect in ledger.effects("users", "create")]


def status(user_id: str) -> str:
    """What a user is now; "new" if nobody said."""
    rows = [row.data for row in ledger.effects("users", "set-status")]
    return next((row["status"] for row in reversed(rows) if row["user"] == user_id), "new")
