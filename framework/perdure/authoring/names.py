"""What the names, ids and keys of events and functions may look like."""

from __future__ import annotations

import re
from typing import Final

from perdure.core.limits import DEFAULT_LIMITS
from perdure.core.routing import INVOKED

__all__ = [
    "INVOKED",
    "NAME_BYTES_MAX",
    "RESERVED",
    "event_name_fault",
    "function_id_fault",
    "text_fault",
]

NAME_BYTES_MAX: Final = DEFAULT_LIMITS.event_name_bytes_max
"""For names, ids and keys, in UTF-8: they are in each record, and in the keys of indexes."""

RESERVED: Final = "perdure/"
"""Names of events that only the engine sends."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_FUNCTION_ID: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")


def text_fault(text: object) -> str | None:
    """What is wrong with a name, id or key, and what to do about it; None when it is fine."""
    if not isinstance(text, str):
        return f"is {_article(text)}; use a string"
    if not text:
        return "is empty; leave it out, or use one that says something"
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        return f"has a lone surrogate at index {error.start}, which is no character; decode the text properly"
    if size > NAME_BYTES_MAX:
        return f"has {size} bytes of UTF-8, more than {NAME_BYTES_MAX}; shorten it, or use a hash of it"
    if found := _CONTROL.search(text):
        return f"has the control character {found[0]!r} at index {found.start()}; remove it"
    if text != text.strip():
        return "begins or ends with white space; strip it"
    return None


def event_name_fault(name: object, *, sent: bool) -> str | None:
    """What is wrong with the name of an event; `sent` when somebody wants to send it rather than to receive it."""
    if fault := text_fault(name):
        return fault
    if not isinstance(name, str):
        return None
    if "*" in name:
        return "has a *, which is for triggers such as Trigger('order/*'); an event has one name"
    if sent and name.startswith(RESERVED):
        return f"begins with {RESERVED}, which is for the events of the engine itself; choose another prefix"
    return None


def function_id_fault(text: object) -> str | None:
    """What is wrong with the id of a function, and what to do about it; None when it is fine."""
    if fault := text_fault(text):
        return fault
    if isinstance(text, str) and not _FUNCTION_ID.fullmatch(text):
        return 'is not made of ASCII letters and digits, with - _ . between them; write one like "send-welcome-mail"'
    return None


def _article(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__qualname__}"
