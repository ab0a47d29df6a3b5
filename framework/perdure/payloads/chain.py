"""A chain of codecs: JSON to what is recorded, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from perdure.core import sealed
from perdure.core.sealed import JSON_TYPE, Header
from perdure.errors import PayloadDamaged, PayloadError, PayloadLocked, PerdureError, UsageError

__all__ = ["Chain", "PayloadCodec"]

_CODECS_MAX = 8


@runtime_checkable
class PayloadCodec(Protocol):
    """One link of the chain. What it writes has to be readable for as long as the log is kept: a codec whose form
    changes gets another name.

    It is called from the event loop and from threads, possibly at once.
    """

    @property
    def name(self) -> str:
        """Letters, digits, `.`, `_` and `-`; it stands before each payload that this codec has written."""
        ...

    @property
    def argument(self) -> str:
        """What `decode` has to know of how this was encoded: the id of a key. Empty for most; made like a name."""
        ...

    @property
    def encrypts(self) -> bool:
        """Whether what it writes tells nothing. Nothing that such a codec was to write is ever written without it."""
        ...

    def encode(self, data: bytes, bound: bytes) -> bytes | None:
        """What to write for these bytes; None to leave them as they are, which a codec that encrypts never does.
        `bound` is what will stand before them: an encryption binds its output to it."""
        ...

    def decode(self, data: bytes, argument: str, bound: bytes, size_max: int) -> bytes:
        """The bytes again, at most `size_max` of them. Raises PayloadLocked without the key that `argument` names, and
        PayloadDamaged for what this codec has not written."""
        ...


class Chain:
    """Codecs in the order in which they are applied. `readers` are those that are only read by: of earlier settings."""

    def __init__(self, codecs: Sequence[PayloadCodec] = (), readers: Iterable[PayloadCodec] = ()) -> None:
        _check(codecs)
        self._codecs = tuple(codecs)
        self._readers = {codec.name: codec for codec in (*readers, *codecs)}
        self.encrypts = any(codec.encrypts for codec in codecs)
        """Whether all that is written is encrypted."""

    def __bool__(self) -> bool:
        return bool(self._codecs)

    def write(self, data: bytes) -> tuple[tuple[tuple[str, str], ...], bytes]:
        """The codecs that were applied to plain JSON, and what they made of it."""
        applied: tuple[tuple[str, str], ...] = ()
        for codec in self._codecs:
            now = (*applied, (codec.name, codec.argument))
            try:
                made = codec.encode(data, sealed.preamble(JSON_TYPE, now))
            except PerdureError:
                raise
            except Exception as error:
                raise PayloadError(_failed(codec, "encode", error)) from error
            if made is not None:
                applied, data = now, made
            elif codec.encrypts:
                raise UsageError(
                    f"the codec {codec.name!r} encrypts and has left a payload as it was: it has to return bytes"
                )
        return applied, data

    def seal(self, data: bytes) -> bytes:
        """Plain JSON as it is recorded: unchanged, when no codec had anything to do."""
        applied, made = self.write(data)
        return sealed.sealed(JSON_TYPE, applied, made) if applied else data

    def open(self, data: bytes, size_max: int) -> bytes:
        """The plain JSON of what is recorded; `size_max` bounds it. Raises PayloadLocked and PayloadDamaged."""
        if not sealed.is_sealed(data):
            return data
        header = sealed.header_of(data)
        if header.reference is not None:
            raise PayloadDamaged(f"the bytes of this payload lie in the store, as {header.reference.name}")
        return self.read(header, data[header.body :], size_max)

    def read(self, header: Header, body: bytes, size_max: int) -> bytes:
        """The plain JSON of bytes that a header tells of."""
        if header.content_type != JSON_TYPE:
            raise PayloadLocked(
                f"a payload is of the type {header.content_type!r}; this version of perdure reads {JSON_TYPE}"
            )
        for index in range(len(header.codecs) - 1, -1, -1):
            name, argument = header.codecs[index]
            codec = self._readers.get(name)
            if codec is None:
                raise PayloadLocked(
                    f"a payload was written by the codec {name!r}, which this process has not; name it in "
                    "Payloads(codecs=[...]), or in readers=[...] if it is not to write with it"
                )
            bound = sealed.preamble(header.content_type, header.codecs[: index + 1])
            try:
                body = codec.decode(body, argument, bound, size_max)
            except PerdureError:
                raise
            except Exception as error:
                raise PayloadDamaged(_failed(codec, "decode", error)) from error
        if len(body) > size_max:
            raise PayloadDamaged(f"a payload has {len(body):,} bytes, more than the {size_max:,} that can be")
        return body


def _failed(codec: PayloadCodec, what: str, error: Exception) -> str:
    return f"the payload codec {codec.name!r} could not {what}: {type(error).__name__}: {error!s:.300}"


def _check(codecs: Sequence[PayloadCodec]) -> None:
    """Raises UsageError for a chain that could not be read again, or protects less than it seems to."""
    if len(codecs) > _CODECS_MAX:
        raise UsageError(f"at most {_CODECS_MAX} codecs make a chain, not {len(codecs)}")
    encrypted = ""
    names: set[str] = set()
    for codec in codecs:
        if not isinstance(codec, PayloadCodec):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                f"{codec!r:.80} is no payload codec; one has name, argument, encrypts, encode, decode"
            )
        for what, text in (("name", codec.name), ("argument", codec.argument)):
            if (what == "name" or text) and not sealed.TOKEN.fullmatch(text):
                raise UsageError(
                    f"the {what} {text!r:.80} of a payload codec has to be of letters, digits, '.', '_' and '-', at "
                    "most 64"
                )
        if codec.name in names:
            raise UsageError(
                f"the payload codec {codec.name!r} is twice in one chain; give each its own name"
            )
        if encrypted and not codec.encrypts:
            raise UsageError(
                f"the codec {codec.name!r} comes after {encrypted!r}, which encrypts: what is encrypted does not "
                "compress, and nothing but encryption may follow it. Put it before"
            )
        names.add(codec.name)
        encrypted = codec.name if codec.encrypts else encrypted
