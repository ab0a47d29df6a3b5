"""What is sent to the service, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

End = tuple[str, str, Any]
"""A run's function, its status, and its result or the message of its error."""


@dataclass(frozen=True)
class Scenario:
    """What a sender does with `n`, and how all runs that come of it end."""

    ends: Callable[[int], list[End]]
    events: tuple[str, ...] = ()
    """Names of events, sent in this order with `{"n": n}`."""
    start: str | None = None
    """A function that is started by a command."""
    signal: str | None = None
    """A signal that the started run is sent."""
    request: str | None = None
    """A request that the started run answers."""
    answer: Callable[[int], Any] = lambda n: None
    """What it answers."""


def one(function: str, result: Callable[[int], Any]) -> Callable[[int], list[End]]:
    return lambda n: [(function, "completed", result(n))]


SCENARIOS: dict[str, Scenario] = {
    "sequence": Scenario(one("sequence", lambda n: 2 * n + 1), ("crash/sequence",)),
    "fan-out": Scenario(one("fan-out", lambda n: 5 * n + 3), ("crash/fan_out",)),
    "retry": Scenario(one("retrying", lambda n: n), ("crash/retrying",)),
    "sleep": Scenario(one("sleeping", lambda n: n + 2), ("crash/sleeping",)),
    "wait": Scenario(
        lambda n: [("waiting", "completed", 100 * n + 1), ("paying", "completed", n)],
        ("crash/waiting",),
    ),
    "lookback": Scenario(
        lambda n: [("looking-back", "completed", 100 * n + 2), ("paying", "completed", n)],
        ("crash/pay", "crash/looking_back"),
    ),
    "choose": Scenario(one("choosing", lambda n: n + 5), ("crash/choosing",)),
    "loop": Scenario(one("looping", lambda n: 3 * n), ("crash/looping",)),
    "signal": Scenario(one("approval", lambda n: n + 7), start="approval", signal="approve"),
    "request": Scenario(
        one("haggling", lambda n: 7 * n + 1), start="haggling", request="offer", answer=lambda n: 7 * n
    ),
    "invoke": Scenario(
        lambda n: [("parent", "completed", 2 * n + 1), ("child", "completed", 2 * n)], ("crash/parent",)
    ),
    "failure": Scenario(
        lambda n: [("failing", "failed", f"never {n}"), ("failing:on-failure", "completed", n + 1)],
        ("crash/failing",),
    ),
    "cancel": Scenario(
        lambda n: [("cancelling", "cancelled", None)], ("crash/cancelling", "crash/called_off")
    ),
    "overdue": Scenario(lambda n: [("overdue", "cancelled", None)], ("crash/overdue",)),
    "admit": Scenario(
        lambda n: [
            *((name, "completed", n) for name in ("once", "rated")),
            ("together", "completed", 2 * n),
            *((name, "skipped", None) for name in ("once", "rated", "together")),
        ],
        ("crash/admit_first", "crash/admit_second"),
    ),
    "settle": Scenario(one("settled", lambda n: n), ("crash/settling",)),
    "race": Scenario(one("racing", lambda n: "quick"), ("crash/racing",)),
    "def": Scenario(one("plain", lambda n: 2 * n + 2), ("crash/plain",)),
}
SIGNAL_DATA = 7
