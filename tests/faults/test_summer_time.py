"""The hour that is not there in spring and is there twice in autumn, and a process that moves to another time zone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest

from perdure import App, Context, UsageError
from perdure.core.durations import instant_us
from perdure.testing import environment

CENTRAL_EUROPE = "CET-1CEST,M3.5.0,M10.5.0/3"
NEW_YORK = "EST5EDT,M3.2.0,M11.1.0"
SPRING = datetime(2031, 3, 30, 1, tzinfo=UTC)
AUTUMN = datetime(2031, 10, 26, 1, tzinfo=UTC)
"""When the clocks of Central Europe go to three, and back to two."""
HOUR = timedelta(hours=1)


class CentralEurope(tzinfo):
    """In 2031. Of its own, since a bare machine has no zones."""

    def utcoffset(self, dt: datetime | None) -> timedelta:
        assert dt is not None
        wall = dt.replace(tzinfo=None)
        begins, ends = SPRING.replace(tzinfo=None) + HOUR, AUTUMN.replace(tzinfo=None) + 2 * HOUR
        missing = begins <= wall < begins + HOUR
        twice = ends - HOUR <= wall < ends
        summer = not dt.fold if twice else bool(dt.fold) if missing else begins < wall < ends
        return 2 * HOUR if summer else HOUR

    def dst(self, dt: datetime | None) -> timedelta:
        return self.utcoffset(dt) - HOUR

    def tzname(self, dt: datetime | None) -> str:
        return "CEST" if self.dst(dt) else "CET"


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setenv("TZ", CENTRAL_EUROPE)
    time.tzset()
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


def test_an_instant_is_one_whatever_the_wall_shows() -> None:
    zone = CentralEurope()
    for wall, fold, instant in [
        (datetime(2031, 3, 30, 1, 30), 0, SPRING - HOUR / 2),  # noqa: DTZ001 - gets its zone below
        (datetime(2031, 3, 30, 2, 30), 0, SPRING + HOUR / 2),  # noqa: DTZ001 - not there: as PEP 495 says
        (datetime(2031, 3, 30, 2, 30), 1, SPRING - HOUR / 2),  # noqa: DTZ001
        (datetime(2031, 3, 30, 3, 30), 0, SPRING + HOUR / 2),  # noqa: DTZ001
        (datetime(2031, 10, 26, 2, 30), 0, AUTUMN - HOUR / 2),  # noqa: DTZ001 - there twice
        (datetime(2031, 10, 26, 2, 30), 1, AUTUMN + HOUR / 2),  # noqa: DTZ001
    ]:
        aware = wall.replace(tzinfo=zone, fold=fold)
        assert instant_us(aware) == int(instant.timestamp() * 1e6), (wall, fold)
    with pytest.raises(UsageError, match="has no time zone"):
        instant_us(datetime(2031, 3, 30, 2, 30))  # noqa: DTZ001 - that it is refused is what is tested


def moved(local: pytest.MonkeyPatch, zone: str) -> None:
    local.setenv("TZ", zone)
    time.tzset()


@pytest.mark.parametrize("change", [SPRING, AUTUMN])
@pytest.mark.asyncio
async def test_sleeps_over_a_change_and_in_another_zone(local: pytest.MonkeyPatch, change: datetime) -> None:
    """A sleep lasts as long as it says, and ends when it says, though its process starts again in another zone."""
    app = App("zones")
    woke: list[tuple[str, timedelta]] = []

    @app.function
    async def naps(ctx: Context) -> str:
        await ctx.step.sleep_until("before", change - HOUR)
        woke.append(("until", ctx.now() - change))
        await ctx.step.sleep("three", "3h")
        woke.append(("for", ctx.now() - change))
        # Aware, of a local wall that stands elsewhere by now.
        await ctx.step.sleep_until("after", (change + 4 * HOUR).astimezone(timezone(2 * HOUR)))
        woke.append(("wall", ctx.now() - change))
        return ctx.now().isoformat()

    async with environment(app) as env:
        await env.advance(change - 2 * HOUR - env.now())
        run = await env.start(naps)
        await env.advance("1h 30m")
        moved(local, NEW_YORK)
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1d")
        assert run.result == (change + 4 * HOUR).isoformat()
    for what, after in [("until", -HOUR), ("for", 2 * HOUR), ("wall", 4 * HOUR)]:
        assert {late for name, late in woke if name == what} == {after}, woke


@pytest.mark.asyncio
async def test_a_naive_time_fails_its_run_and_says_so(local: pytest.MonkeyPatch) -> None:
    app = App("zones")

    @app.function(retries=0)
    async def naive(ctx: Context) -> None:
        await ctx.step.sleep_until("nap", datetime(2031, 3, 30, 2, 30))  # noqa: DTZ001 - what is tested

    async with environment(app) as env:
        await env.advance(SPRING - env.now())
        run = await env.start(naive)
        assert run.status == "failed"
        assert "has no time zone" in str(run.error)
