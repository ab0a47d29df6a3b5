"""What goes wrong, and when: drawn from a seed before anything begins, so that a seed is always the same plan."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "kill worker",
    "kill all workers",
    "hang worker",
    "leave",
    "join",
    "kill sender",
    "hang sender",
    "clock",
    "slow disk",
    "kill broker",
    "hang broker",
]
ON_ANY: dict[Kind, int] = {
    "kill worker": 5,
    "kill all workers": 1,
    "hang worker": 4,
    "leave": 3,
    "join": 3,
    "kill sender": 3,
    "hang sender": 1,
    "clock": 2,
}
"""How often each kind comes beside the others."""
KINDS: dict[str, dict[Kind, int]] = {
    "sqlite": {**ON_ANY, "slow disk": 2},
    "kafka": {**ON_ANY, "kill broker": 2, "hang broker": 2},
}
EVERY_S = {"sqlite": 1.0, "kafka": 1.6}
"""The mean time between two faults. What they last for overlaps."""
CLOCK_S_MAX = 20.0
DISK_S_MAX = 0.15


@dataclass(frozen=True)
class Fault:
    """One of them. Whom it befalls is decided when it comes, by `pick`, from 0 to 1, of those who are there."""

    at_s: float
    kind: Kind
    pick: float
    lasts_s: float
    """How long it lasts, or until somebody comes in place of who has gone."""
    amount: float
    """Seconds by which a clock is set; seconds that each write of a slow disk takes."""


def plan(seed: int, log: str, seconds: float, session_s: float) -> list[Fault]:
    """All faults of so many seconds. None lasts beyond three sessions; every kind comes once before any is drawn."""
    draw = random.Random(f"{seed} {log}")
    kinds = KINDS[log]
    first = list(kinds)
    draw.shuffle(first)
    found: list[Fault] = []
    at = draw.uniform(0.2, 1.0)
    while at < seconds:
        kind = first.pop() if first else draw.choices(list(kinds), list(kinds.values()))[0]
        found.append(_fault(draw, at, kind, session_s))
        at += min(draw.expovariate(1 / EVERY_S[log]), 4 * EVERY_S[log])
    return found


def _fault(draw: random.Random, at: float, kind: Kind, session_s: float) -> Fault:
    lasts = draw.uniform(0, 1) if draw.random() < 0.6 else draw.uniform(0, 3 * session_s)
    amount = (
        draw.uniform(0.01, DISK_S_MAX) if kind == "slow disk" else draw.uniform(-CLOCK_S_MAX, CLOCK_S_MAX)
    )
    return Fault(at, kind, draw.random(), lasts, amount)
