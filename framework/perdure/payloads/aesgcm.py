"""Encryption: AES-256-GCM, by cryptography."""

from __future__ import annotations

import hmac
import os
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final

from perdure.core.sealed import TOKEN
from perdure.errors import PayloadDamaged, PayloadLocked, UsageError

__all__ = ["AesGcm"]

_KEY_BYTES: Final = 32
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_PURPOSE: Final = b"perdure payload 1\0"


class AesGcm:
    """Encrypts payloads with AES-256-GCM, and sees each change of them.

    `keys` are secrets by their ids: 32 random bytes each, as bytes or in base64 (`openssl rand -base64 32`). `current`
    is the id of the one that is written with, by default the first; all others are read with. To rotate, give the new
    key to every process, then make it the current one, and take the old one away once nothing that it was written with
    is in the log any more. A worker that meets a payload whose key it has not parks the run.

    Each payload has a key of its own, derived from the secret and 128 random bits, so that one secret serves for any
    number of them. Needs `pip install "perdure[encryption]"`; raises UsageError without it, and for keys that are none.
    """

    def __init__(self, keys: Mapping[str, bytes | str], *, current: str | None = None) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise UsageError(
                'AesGcm needs the package cryptography: pip install "perdure[encryption]"'
            ) from error
        if not keys:
            raise UsageError("AesGcm needs at least one key; without one nothing could be encrypted")
        self._keys = {name: _key(name, secret) for name, secret in keys.items()}
        self._current = next(iter(self._keys)) if current is None else current
        if self._current not in self._keys:
            raise UsageError(f"AesGcm(current={current!r:.80}): the keys are {', '.join(self._keys)}")
        self._cipher: Any = AESGCM
        self._invalid = InvalidTag

    def __repr__(self) -> str:  # no secret is ever shown
        return f"AesGcm(keys {', '.join(self._keys)}; current {self._current})"

    @property
    def name(self) -> str:
        """`aesgcm`."""
        return "aesgcm"

    @property
    def argument(self) -> str:
        """The id of the key that is written with."""
        return self._current

    @property
    def encrypts(self) -> bool:
        """It does."""
        return True

    def encode(self, data: bytes, bound: bytes) -> bytes:
        """Salt, nonce, and what is encrypted with its tag."""
        salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
        cipher = self._cipher(_derived(self._keys[self._current], salt))
        return salt + nonce + cipher.encrypt(nonce, data, bound)

    def decode(self, data: bytes, argument: str, bound: bytes, size_max: int) -> bytes:
        """What was encrypted, if not a bit of it has changed."""
        secret = self._keys.get(argument)
        if secret is None:
            raise PayloadLocked(
                f"a payload was encrypted with the key {argument!r}, which this process has not (it has "
                f"{', '.join(self._keys)}); add it to its keys"
            )
        head = _SALT_BYTES + _NONCE_BYTES
        if len(data) < head + _TAG_BYTES:
            raise PayloadDamaged(f"an encrypted payload has {len(data)} bytes: it was cut")
        cipher = self._cipher(_derived(secret, data[:_SALT_BYTES]))
        try:
            return cipher.decrypt(data[_SALT_BYTES:head], data[head:], bound)
        except self._invalid:
            raise PayloadDamaged(
                f"a payload that was encrypted with the key {argument!r} does not open with it: its bytes were "
                "changed, or another secret has that id here"
            ) from None


def _derived(secret: bytes, salt: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + salt, "sha256")


def _key(name: str, secret: bytes | str) -> bytes:
    if not isinstance(name, str) or not TOKEN.fullmatch(name):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(
            f"the key id {name!r:.80} has to be of letters, digits, '.', '_' and '-', at most 64"
        )
    found = secret
    if isinstance(secret, str):
        try:
            found = b64decode(secret, validate=True)
        except ValueError:
            raise UsageError(
                f"the key {name!r} is no base64; make one with: openssl rand -base64 32"
            ) from None
    if not isinstance(found, bytes) or len(found) != _KEY_BYTES:
        raise UsageError(
            f"the key {name!r} has to be {_KEY_BYTES} random bytes, as bytes or in base64; make one with: openssl rand "
            "-base64 32"
        )
    return found
