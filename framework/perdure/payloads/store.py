"""Where large payloads are kept beside the log: the contract of a store, and one in memory."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from time import time
from typing import NamedTuple, Protocol, runtime_checkable

from perdure.errors import PayloadMissing

__all__ = ["MemoryStore", "PayloadStore", "Stored", "missing"]


class Stored(NamedTuple):
    """An object in a store."""

    name: str
    size: int
    written: float
    """When it was last put (seconds since the epoch, by the store's clock)."""


@runtime_checkable
class PayloadStore(Protocol):
    """Keeps objects by name. A name is the digest of what is in it, so that an object never changes, and to put it
    again changes only its time.

    All workers and clients of an app need the same store. Its methods block and are called in threads, several at once.
    They raise PayloadStoreError when the store cannot be reached or refuses: perdure tries again.
    """

    @property
    def where(self) -> str:
        """Where it is, for people; without secrets."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Keeps an object, whole and durably when this returns. One that is there already is as new from now on."""
        ...

    def get(self, name: str) -> bytes:
        """An object. Raises PayloadMissing when there is none."""
        ...

    def names(self) -> Iterator[Stored]:
        """All objects, in any order."""
        ...

    def remove(self, name: str, before: float) -> bool:
        """Removes an object that was last put before this time; whether it is gone. One that somebody puts meanwhile
        stays."""
        ...


def missing(name: str, where: str) -> PayloadMissing:
    """The error for an object that is not there."""
    return PayloadMissing(
        f"the object {name} is not in the store of payloads at {where}: it was removed by hand, the store is another "
        "one than that which it was written to, or the log is an older copy. Bring it back from a backup of the store, "
        "or name the right store, and resume the run"
    )


class MemoryStore:
    """Objects in this process, for tests: gone with it."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._objects)} objects>"

    @property
    def where(self) -> str:
        """Nowhere but here."""
        return "memory:"

    def put(self, name: str, data: bytes) -> None:
        """Keeps an object."""
        with self._lock:
            self._objects[name] = (data, time())

    def get(self, name: str) -> bytes:
        """An object."""
        try:
            return self._objects[name][0]
        except KeyError:
            raise missing(name, self.where) from None

    def names(self) -> Iterator[Stored]:
        """All objects."""
        with self._lock:
            found = [Stored(name, len(data), at) for name, (data, at) in self._objects.items()]
        return iter(found)

    def remove(self, name: str, before: float) -> bool:
        """Removes an object that is old enough."""
        with self._lock:
            found = self._objects.get(name)
            if found is None or found[1] >= before:
                return found is None
            del self._objects[name]
            return True
