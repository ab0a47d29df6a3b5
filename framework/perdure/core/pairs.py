"""Pairs of numbers in order, 16 bytes each: where a million packed things lie, and when they are due."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

__all__ = ["NUMBER_MAX", "Pairs"]

NUMBER_MAX = 2**64 - 1
LEAF = 512
"""Pairs that a piece has about: half of that to twice as many."""


class Pairs:
    """A sorted set of pairs of numbers from 0 to 2**64 - 1.

    Cut into pieces, so that one more pair moves a few KB at most. A dict of as many ints takes six times the memory.
    """

    __slots__ = ("_count", "_firsts", "_keys", "_values")

    def __init__(self) -> None:
        self._firsts: list[tuple[int, int]] = []
        """The first pair of each piece."""
        self._keys: list[array[int]] = []
        self._values: list[array[int]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for keys, values in zip(self._keys, self._values, strict=True):
            yield from zip(keys, values, strict=True)

    def add(self, key: int, value: int) -> None:
        """Adds a pair that is not among them."""
        self._count += 1
        if not self._firsts:
            self._firsts.append((key, value))
            self._keys.append(array("Q", (key,)))
            self._values.append(array("Q", (value,)))
            return
        piece, at, _ = self._find(key, value)
        keys, values = self._keys[piece], self._values[piece]
        keys.insert(at, key)
        values.insert(at, value)
        if not at:
            self._firsts[piece] = key, value
        if len(keys) >= 2 * LEAF:
            self._split(piece)

    def add_sorted(self, keys: array[int], values: array[int]) -> None:
        """Adds many pairs that are in order, and not among them. Those that come behind all others take no time."""
        if not keys:
            return
        if self._firsts and (self._keys[-1][-1], self._values[-1][-1]) >= (keys[0], values[0]):
            for key, value in zip(keys, values, strict=True):
                self.add(key, value)
            return
        for at in range(0, len(keys), LEAF):
            some, theirs = keys[at : at + LEAF], values[at : at + LEAF]
            self._firsts.append((some[0], theirs[0]))
            self._keys.append(some)
            self._values.append(theirs)
        self._count += len(keys)

    def remove(self, key: int, value: int) -> bool:
        """Takes a pair out; False when it is not there."""
        if not self._firsts:
            return False
        piece, at, found = self._find(key, value)
        if not found:
            return False
        keys, values = self._keys[piece], self._values[piece]
        del keys[at], values[at]
        self._count -= 1
        if len(keys) < LEAF // 4:
            self._join(piece)
        elif not at:
            self._firsts[piece] = keys[0], values[0]
        return True

    def value_of(self, key: int) -> int | None:
        """The value of a key that occurs once at most; None when it does not."""
        piece = bisect_right(self._firsts, (key, NUMBER_MAX)) - 1
        if piece < 0:
            return None
        keys = self._keys[piece]
        at = bisect_left(keys, key)
        return self._values[piece][at] if at < len(keys) and keys[at] == key else None

    def first(self) -> tuple[int, int] | None:
        """The least pair."""
        return self._firsts[0] if self._firsts else None

    def up_to(self, key: int, pairs_max: int) -> list[tuple[int, int]]:
        """The first pairs whose keys are not above this one."""
        found: list[tuple[int, int]] = []
        for keys, values in zip(self._keys, self._values, strict=True):
            end = bisect_right(keys, key)
            found += zip(keys[:end], values[:end], strict=True)
            if end < len(keys) or len(found) >= pairs_max:
                break
        return found[:pairs_max]

    def columns(self) -> tuple[array[int], array[int]]:
        """All keys, and the value of each: a copy."""
        keys, values = array("Q"), array("Q")
        for some_keys, some_values in zip(self._keys, self._values, strict=True):
            keys += some_keys
            values += some_values
        return keys, values

    def _find(self, key: int, value: int) -> tuple[int, int, bool]:
        """The piece and the place that a pair has or would have, and whether it is there."""
        piece = max(bisect_right(self._firsts, (key, value)) - 1, 0)
        keys, values = self._keys[piece], self._values[piece]
        low = bisect_left(keys, key)
        high = bisect_right(keys, key, low)
        at = bisect_left(values, value, low, high)
        return piece, at, at < high and values[at] == value

    def _split(self, piece: int) -> None:
        keys, values = self._keys[piece], self._values[piece]
        half = len(keys) // 2
        self._keys[piece : piece + 1] = [keys[:half], keys[half:]]
        self._values[piece : piece + 1] = [values[:half], values[half:]]
        self._firsts.insert(piece + 1, (keys[half], values[half]))

    def _join(self, piece: int) -> None:
        """A piece that has become small joins its neighbour."""
        if len(self._keys) == 1:
            if self._keys[0]:
                self._firsts[0] = self._keys[0][0], self._values[0][0]
            else:
                self._firsts, self._keys, self._values = [], [], []
            return
        left = piece - 1 if piece else 0
        keys, values = self._keys.pop(left + 1), self._values.pop(left + 1)
        self._keys[left] += keys
        self._values[left] += values
        del self._firsts[left + 1]
        self._firsts[left] = self._keys[left][0], self._values[left][0]
        if len(self._keys[left]) >= 2 * LEAF:
            self._split(left)
