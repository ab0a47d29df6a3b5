"""What follows a partition: who gets which entries of it, and from where on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from perdure.logs.contract import Entry, Sink

__all__ = ["Slot", "Tail"]


class Tail:
    """One follower of one partition. Made and taken from on the loop.

    `known`: there were entries up to its offset, so a partition that ends before it has lost some.
    """

    def __init__(self, offset: int, sink: Sink, *, known: bool = False) -> None:
        self.next = offset
        """The offset below which it wants nothing, as the thread sees it."""
        self.sink = sink
        self.known = known
        self.closed = False
        self.paused = False
        self._held: list[Entry] = []

    def take(self, entries: Sequence[Entry]) -> None:
        """Delivers, or keeps while it is paused."""
        if self.closed:
            return
        if self.paused or self._held:
            self._held.extend(entries)
            return
        self.sink(entries)

    def resume(self) -> None:
        """Delivers what was held back, from the loop and not from inside this call."""
        self.paused = False
        asyncio.get_running_loop().call_soon(self._release)

    def _release(self) -> None:
        if self._held and not self.paused and not self.closed:
            held, self._held = self._held, []
            self.sink(held)


@dataclass(slots=True)
class Slot:
    """A partition that is read, and its tails. Belongs to the thread that reads."""

    topic: str
    partition: int
    position: int
    """The next offset that will be read."""
    tails: list[Tail] = field(default_factory=list[Tail])
    read_any: bool = False
    """Whether it has given entries from this position on."""

    @property
    def known(self) -> bool:
        """Whether there were entries up to this position once."""
        return self.read_any or any(tail.known and tail.next == self.position for tail in self.tails)

    def share(self, entries: Sequence[Entry]) -> list[tuple[Tail, Sequence[Entry]]]:
        """Each tail's part of what was read, and where each goes on."""
        shares: list[tuple[Tail, Sequence[Entry]]] = []
        self.position = entries[-1].offset + 1
        self.read_any = True
        for tail in self.tails:
            mine = (
                entries if entries[0].offset >= tail.next else [e for e in entries if e.offset >= tail.next]
            )
            if mine:
                tail.next = mine[-1].offset + 1
                shares.append((tail, mine))
        return shares
