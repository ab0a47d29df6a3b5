"""How a journal came to its partitions: one record for each generation, in a partition of the registry topic.

Partitions can be added by anybody who may change topics, and how many there are says nothing of which were there at
first. But named things are hashed over the first ones for ever (A16), so that number is written down. A record counts
when it is the next generation and has more partitions than the one before; any other is void, for every reader alike.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, Final

from perdure.logs.contract import Entry

__all__ = ["LAYOUT_PARTITION", "REGISTRY_PARTITIONS", "Layout", "record_of"]

REGISTRY_PARTITIONS: Final = 2
"""The first is `Topic.REGISTRY` as everybody knows it."""
LAYOUT_PARTITION: Final = 1


class Layout:
    """The generations, as far as their records were read."""

    def __init__(self) -> None:
        self.next = 0
        """The offset from which on it is not yet read."""
        self.generations: tuple[int, ...] = ()

    def take(self, entries: Sequence[Entry]) -> None:
        """Reads on."""
        for entry in entries:
            self.next = entry.offset + 1
            try:
                told: Any = json.loads(entry.value)
                generation, partitions = int(told["generation"]), int(told["partitions"])
            except (ValueError, KeyError, TypeError):
                continue
            if generation == len(self.generations) + 1 and partitions > max(self.generations, default=0):
                self.generations = (*self.generations, partitions)


def record_of(generation: int, partitions: int) -> tuple[bytes, bytes]:
    """Key and value of a generation's record. Each has a key of its own, or compaction would keep the last alone."""
    key = f"{generation}-{os.urandom(8).hex()}"
    return key.encode(), json.dumps({"generation": generation, "partitions": partitions}).encode()
