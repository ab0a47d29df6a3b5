"""A mail server. It knows no idempotency keys: what is sent twice arrives twice, as with a real one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fakes import ledger


@dataclass(frozen=True)
class Mail:
    """A mail that was delivered."""

    to: str
    template: str
    values: dict[str, Any] = field(default_factory=dict[str, Any])


async def send(to: str, template: str, **values: Any) -> str:
    """Delivers a mail made from a template; its message id."""
    sent = ledger.act("mail", "send", {"to": to, "template": template, "values": values})
    await ledger.answer("mail", "send")
    return f"<{sent.id}@mail.example>"


def inbox(to: str | None = None) -> list[Mail]:
    """What arrived, for somebody or for all, in order."""
    mails = [Mail(**effect.data) for effect in ledger.effects("mail", "send")]
    return [mail for mail in mails if to in (None, mail.to)]
