"""Ids that are remembered for long after what they stood for is gone: 16 bytes each, so that a million fit.

An id is kept as a digest of 80 bits with a time in milliseconds. That two of a million ids have the same digest is less
likely than 1 in 10^12.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

DIGEST_BYTES = 10
TIME_BYTES = 6
WIDTH = DIGEST_BYTES + TIME_BYTES
SHARDS = 256
TIME_MAX = 2 ** (8 * TIME_BYTES) - 1


class OldIds:
    """Ids with a time each. The oldest are dropped when there are too many."""

    __slots__ = ("_shards",)

    def __init__(self) -> None:
        self._shards: dict[int, bytearray] = {}
        """Entries by the first byte of their digests, the oldest first."""

    def __len__(self) -> int:
        return sum(map(len, self._shards.values())) // WIDTH

    def add(self, name: str, time: int, ids_max: int) -> None:
        """Remembers an id with a time (µs). About `ids_max` are kept: each of 256 parts of them keeps its share."""
        digest = _digest(name)
        shard = self._shards.setdefault(digest[0], bytearray())
        shard += digest + min(max(time // 1_000, 0), TIME_MAX).to_bytes(TIME_BYTES, "big")
        excess = len(shard) - max(ids_max // SHARDS, 1) * WIDTH
        if excess > 0:
            del shard[:excess]

    def time_of(self, name: str) -> int | None:
        """The last time (µs, whole milliseconds) with which the id was added; None when it is not known."""
        digest = _digest(name)
        shard = self._shards.get(digest[0], b"")
        at = shard.rfind(digest)
        while at >= 0 and at % WIDTH:
            at = shard.rfind(digest, 0, at + DIGEST_BYTES - 1)
        if at < 0:
            return None
        return int.from_bytes(shard[at + DIGEST_BYTES : at + WIDTH], "big") * 1_000

    def parts(self) -> Iterator[bytes]:
        """Everything, in pieces that stand for themselves: `take` takes them back."""
        for _, shard in sorted(self._shards.items()):
            yield bytes(shard)

    def take(self, part: bytes) -> None:
        if part and not len(part) % WIDTH:
            self._shards[part[0]] = bytearray(part)


def _digest(name: str) -> bytes:
    return blake2b(name.encode(errors="surrogatepass"), digest_size=DIGEST_BYTES).digest()
