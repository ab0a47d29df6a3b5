"""What can go wrong between a process and its log, and what is under way between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from perdure.logs.contract import Topic


class Fault(StrEnum):
    """What happens to one append instead of landing and being acknowledged."""

    LOST_ACK = "lost-ack"
    """It lands, and its producer is told `AppendFailed`."""
    FAIL = "fail"
    """It does not land, and its producer is told `AppendFailed`."""
    DUPLICATE = "duplicate"
    """It lands twice; the offset of the first is acknowledged."""
    LATE = "late"
    """Its producer is told `AppendFailed`; it stays under way as a `late` delivery that may land at any
    later time.
    """
    DELAY = "delay"
    """It stays under way until it is performed by hand, and what its producer appends behind it waits with
    it.
    """


Kind = Literal["append", "late", "ack", "entries", "assigned", "revoked", "lost"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing that may happen next.

    `append`: an entry lands · `late`: one lands whose producer was told that it failed · `ack`: a producer
    learns what became of its oldest unacknowledged append to that partition · `entries`: a follower gets the
    next batch · `assigned`, `revoked`, `lost`: a member learns of a change.
    """

    kind: Kind
    process: str
    topic: Topic
    partition: int
    subject: object = field(repr=False)
    """What it is about; opaque to the simulator."""
