"""What one app does with payloads: seals them on their way into a record, opens them on their way out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from perdure.core import sealed
from perdure.core.limits import DEFAULT_LIMITS, Limits
from perdure.core.sealed import JSON_TYPE, Header, Reference
from perdure.errors import PayloadDamaged, PayloadLocked
from perdure.payloads.chain import Chain
from perdure.payloads.store import PayloadStore

__all__ = ["Packed", "Vault"]


class Packed(NamedTuple):
    """A payload as it goes into a record, and what has to be in the store before the record is appended."""

    recorded: bytes
    name: str = ""
    """Of the object; empty when the record holds all of it."""
    data: bytes = b""


class Vault:
    """The codec chain and the store of an app. Everything that blocks says so; the rest does not wait for anything."""

    def __init__(
        self, chain: Chain | None = None, store: PayloadStore | None = None, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self.chain = chain or Chain()
        self.store = store
        self.seals = bool(self.chain)
        """Whether payloads are changed at all, apart from those that go to the store."""
        self.encrypts = self.chain.encrypts
        self.inline_max = limits.payload_bytes_max
        self.limits = limits if store is not None else replace(limits, stored_payload_bytes_max=0)
        """The limits as bodies and steps meet them: without a store, nothing is larger than a record."""
        self.plain_max = -1 if self.seals else self.inline_max
        """Values of up to so many bytes go into a record as they are."""

    # ------------------------------------------------------------------ writing

    def seal(self, data: bytes) -> bytes:
        """Plain JSON as a record holds it; what is sealed already stays as it is."""
        return data if not self.seals or sealed.is_sealed(data) else self.chain.seal(data)

    def pack(self, data: bytes, what: str) -> Packed:
        """Plain JSON of any size as a record holds it: by reference, when it is too large. Raises PayloadTooLarge."""
        applied, made = self.chain.write(data)
        if len(made) <= self.inline_max or (self.store is None and len(data) <= self.inline_max):
            return Packed(sealed.sealed(JSON_TYPE, applied, made) if applied else data)
        if (fault := self.limits.fault(what, len(data))) is not None:
            raise fault
        name = f"sha256-{hashlib.sha256(made).hexdigest()}"
        return Packed(sealed.reference(JSON_TYPE, applied, name, len(made)), name, made)

    def keep(self, packed: Packed) -> None:
        """Puts into the store what the record will refer to. Blocks; raises PayloadStoreError."""
        if packed.name:
            assert self.store is not None
            self.store.put(packed.name, packed.data)

    # ------------------------------------------------------------------ reading

    def wanted(self, data: bytes) -> Reference | None:
        """Which object has to be fetched before this can be opened."""
        return sealed.header_of(data).reference if sealed.is_sealed(data) else None

    def open(self, data: bytes, fetched: Mapping[str, bytes] | None = None) -> bytes:
        """The plain JSON of what a record holds; `fetched` has what `fetch` has brought, by the names of objects.

        Raises PayloadLocked and PayloadDamaged.
        """
        if not sealed.is_sealed(data):
            return data
        header = sealed.header_of(data)
        if header.reference is None:
            return self.chain.read(header, data[header.body :], self._size_max)
        return self._opened(header, (fetched or {})[header.reference.name])

    def fetch(self, wanted: Reference) -> bytes:
        """The bytes of an object, held against their digest. Blocks; raises PayloadMissing, PayloadDamaged, and
        PayloadStoreError."""
        if self.store is None:
            raise PayloadLocked(
                f"a payload of {wanted.size:,} bytes lies in a store of payloads, and this process knows of none: name "
                "it with App(payloads=Payloads(store=...)) or PERDURE_PAYLOAD_STORE"
            )
        data = self.store.get(wanted.name)
        if len(data) != wanted.size or f"sha256-{hashlib.sha256(data).hexdigest()}" != wanted.name:
            raise PayloadDamaged(
                f"the object {wanted.name} in the store of payloads at {self.store.where} has {len(data):,} bytes that "
                f"are not the {wanted.size:,} that were written: its disk has lost or changed some, or somebody has. "
                "Bring it back from a backup of the store, and resume the run"
            )
        return data

    def load(self, data: bytes) -> bytes:
        """The plain JSON of what a record holds, fetched if need be. Blocks then; raises any PayloadError."""
        wanted = self.wanted(data)
        return self.open(data) if wanted is None else self.open(data, {wanted.name: self.fetch(wanted)})

    def _opened(self, header: Header, body: bytes) -> bytes:
        return self.chain.read(header, body, self._size_max)

    @property
    def _size_max(self) -> int:
        # Whatever the limit is now: it may have been higher when this was written.
        return max(self.limits.stored_payload_bytes_max, _OPENED_MAX)


_OPENED_MAX = 1 << 30
