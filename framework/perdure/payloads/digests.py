"""Digests of events where the app encrypts: sealed as the data is, since a digest of little data gives it away."""

from __future__ import annotations

from perdure.core import sealed
from perdure.core.repeats import Digests
from perdure.errors import PayloadError
from perdure.payloads.vault import Vault

__all__ = ["digests_of"]


def digests_of(vault: Vault) -> Digests:
    """Those of an app."""
    return _Sealed(vault) if vault.encrypts else Digests()


class _Sealed(Digests):
    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def _recorded(self, said: bytes) -> bytes:
        return self._vault.seal(f'"{said.hex()}"'.encode())

    def _known(self, recorded: bytes) -> bytes | None:
        if not sealed.is_sealed(recorded):  # of before the app encrypted
            return recorded
        try:
            return bytes.fromhex(self._vault.open(recorded).decode().strip('"'))
        except (PayloadError, ValueError):
            return None  # its key was taken away
