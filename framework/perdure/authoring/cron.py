"""`Cron`: what starts a function by the clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args
from zoneinfo import ZoneInfo

from perdure.authoring.calendar import calendar
from perdure.core.durations import Duration, to_us
from perdure.errors import UsageError

__all__ = ["CatchUp", "Cron", "Overlap"]

CatchUp = Literal["skip", "last", "all"]
Overlap = Literal["allow", "skip", "buffer", "cancel"]

_SAMPLE_US: Final = 1_767_225_600_000_000  # 2026-01-01T00:00Z


@dataclass(frozen=True, slots=True, init=False)
class Cron:
    """Starts a function by the clock: `Cron("0 9 * * mon-fri", tz="Europe/Berlin")`.

    `expression` has five fields, minute hour day month weekday, or six with seconds first, or is a name such as @daily.
    It is read on the clocks of `tz`: a time that they leave out fires once, at the jump; one that they show twice fires
    the first time. An expression that leaves the hour open, such as "*/15 * * * *", is about how much time passes.

    `jitter` starts each run by up to so much later, by a time that is drawn for each tick and stays the same.

    `catch_up` says what becomes of the ticks that no worker was there for: "last" starts one run for them, "all" one
    for each (of the newest thousand), "skip" none. A tick counts as missed when it is a minute late.

    `overlap` says what becomes of a tick while the run of the one before goes on: "allow" starts it beside, "skip"
    drops it, "buffer" starts it afterwards (up to a hundred wait), "cancel" cancels the run and starts the newest
    tick when that has ended. What is dropped is recorded, with its reason.

    There is one run for each tick, however many workers there are. Raises UsageError for what cannot be read.
    """

    expression: str
    tz: str
    jitter_us: int
    catch_up: CatchUp
    overlap: Overlap

    def __init__(
        self,
        expression: str,
        *,
        tz: str | ZoneInfo = "UTC",
        jitter: Duration = 0,
        catch_up: CatchUp = "last",
        overlap: Overlap = "allow",
    ) -> None:
        # Type checkers know better; callers without one do not.
        given: tuple[Any, Any] = (expression, tz.key if isinstance(tz, ZoneInfo) else tz)
        if not all(isinstance(text, str) for text in given):
            raise UsageError(
                f'Cron({expression!r}, tz={tz!r}): both are text, such as Cron("0 9 * * *", tz="UTC")'
            )
        fields, zone = " ".join(given[0].split()), given[1]
        what = f"Cron({expression!r:.80})"
        try:
            calendar(fields, zone).next(_SAMPLE_US)
            late = to_us(jitter)
        except UsageError as error:
            raise UsageError(f"{what}: {error}") from None
        for name, value, known in (("catch_up", catch_up, CatchUp), ("overlap", overlap, Overlap)):
            if value not in get_args(known):
                raise UsageError(f"{what}: {name}={value!r}; use {', '.join(map(repr, get_args(known)))}")
        made = {"expression": fields, "tz": zone, "jitter_us": late, "catch_up": catch_up, "overlap": overlap}
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def id_of(self, function_id: str) -> str:
        """What the schedule is called: the function, and when."""
        return f"{function_id} {self.expression}" + ("" if self.tz == "UTC" else f" {self.tz}")

    def __str__(self) -> str:
        return self.expression if self.tz == "UTC" else f"{self.expression} {self.tz}"
