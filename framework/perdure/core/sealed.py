"""The form of a payload that is not plain JSON: compressed, encrypted, or kept beside the log. Pure; opens nothing.

A sealed payload begins with a byte that no JSON begins with, and a line that says what it is:

    \\0perdure/1 application/json zstd aesgcm:2026-11\\n…bytes…
    \\0perdure/1 application/json zstd aesgcm:2026-11 @sha256-5f3c…:104857600\\n

The content type, then the codecs in the order in which they were applied, each with its argument. A name after `@` says
that the bytes lie in the store of payloads, and how many they are.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any, Final, cast

from perdure.errors import PayloadDamaged

__all__ = [
    "JSON_TYPE",
    "MARK",
    "Header",
    "Reference",
    "header_of",
    "is_sealed",
    "nested",
    "reference",
    "sealed",
    "shown_traceback",
    "unnested",
]

MARK: Final = b"\0perdure/1 "
JSON_TYPE: Final = "application/json"
HEADER_BYTES_MAX: Final = 1_024
TOKEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a codec's name and its argument are made of."""
_CODEC: Final = re.compile(rf"({TOKEN.pattern})(?::({TOKEN.pattern}))?")
_REFERENCE: Final = re.compile(r"@(sha256-[0-9a-f]{64}):([0-9]{1,15})")
_NESTED: Final = "$sealed"
_MARK_TEXT: Final = MARK.decode()


@dataclass(frozen=True, slots=True)
class Reference:
    """Where the bytes of a payload lie: the name of an object, which is the digest of its bytes, and their number."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a sealed payload says of itself."""

    content_type: str
    codecs: tuple[tuple[str, str], ...]
    """Name and argument of each, in the order in which they were applied."""
    reference: Reference | None
    body: int
    """Where its bytes begin."""


def is_sealed(data: bytes) -> bool:
    """Whether this is a sealed payload, and not plain JSON."""
    return data[:1] == b"\0"


def preamble(content_type: str, codecs: tuple[tuple[str, str], ...]) -> bytes:
    """What stands before the bytes, up to and without what ends it: each codec may bind its output to this."""
    words = [content_type, *(f"{name}:{argument}" if argument else name for name, argument in codecs)]
    return MARK + " ".join(words).encode()


def sealed(content_type: str, codecs: tuple[tuple[str, str], ...], body: bytes) -> bytes:
    """A sealed payload with its bytes in it."""
    return preamble(content_type, codecs) + b"\n" + body


def reference(content_type: str, codecs: tuple[tuple[str, str], ...], name: str, size: int) -> bytes:
    """A sealed payload whose bytes lie in the store."""
    return preamble(content_type, codecs) + f" @{name}:{size}\n".encode()


def header_of(data: bytes) -> Header:
    """What a sealed payload says of itself. Raises PayloadDamaged for what none could have been."""
    end = data.find(b"\n", 0, HEADER_BYTES_MAX)
    if not data.startswith(MARK) or end < 0:
        raise PayloadDamaged(
            f"a payload begins with {data[:16]!r}, which this version of perdure cannot read: it was written by a "
            "later one (upgrade this process), or its bytes were changed"
        )
    try:
        words = data[len(MARK) : end].decode("ascii").split(" ")
    except UnicodeDecodeError as error:
        raise _misread(data, end) from error
    codecs: list[tuple[str, str]] = []
    found: Reference | None = None
    for word in words[1:]:
        if (match := _CODEC.fullmatch(word)) and found is None:
            codecs.append((match[1], match[2] or ""))
        elif (match := _REFERENCE.fullmatch(word)) and found is None:
            found = Reference(match[1], int(match[2]))
        else:
            raise _misread(data, end)
    if not words[0] or (found is not None and end + 1 != len(data)):
        raise _misread(data, end)
    return Header(words[0], tuple(codecs), found, end + 1)


def _misread(data: bytes, end: int) -> PayloadDamaged:
    return PayloadDamaged(
        f"the head of a payload cannot be read, its bytes were changed: {data[:end][:200]!r}"
    )


def shown_traceback(text: str) -> str:
    """The traceback of an error as it is recorded, for those without keys: an encrypted one is none."""
    return "" if text.startswith(_MARK_TEXT) else text


def nested(data: bytes) -> dict[str, str]:
    """A sealed payload as a value inside of JSON: in what the engine itself tells of runs."""
    return {_NESTED: b64encode(data).decode()}


def unnested(value: object) -> bytes | None:
    """The sealed payload that such a value is; None for any other value."""
    if not isinstance(value, dict) or len(cast("dict[Any, Any]", value)) != 1:
        return None
    text = cast("dict[Any, Any]", value).get(_NESTED)
    if not isinstance(text, str):
        return None
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return None
    return data if data.startswith(MARK) else None
