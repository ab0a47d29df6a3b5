"""Saga: several systems and one outcome. When a later step fails, what the earlier ones did is undone, in reverse.

For work over systems that share no transaction. Not for what one database transaction can do; and what cannot be undone
at all (a mail, say) goes last. A step that failed may have had its effect, its answer lost: so each compensation is
noted before its step, and is harmless when there is nothing to undo. A cancelled run is compensated, too.

    perdure dev examples/patterns/saga.py:app
    perdure events send trip/requested '{"trip": "t1", "city": "Lisbon"}'
    perdure events send trip/requested '{"trip": "t2", "city": "Atlantis"}'     # no hotel: the flight is cancelled
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from perdure import App, Context, Event, NonRetriableError, Retry

app = App("saga")
UNTIL_IT_WORKS = Retry(limit=50, maximum="1h")
"""A compensation that is given up leaves the outside world half done."""


class TripRequested(Event, name="trip/requested", key="data.trip"):
    trip: str
    city: str


def book(what: str, trip: str, city: str) -> str:
    if (what, city) == ("hotel", "Atlantis"):
        raise NonRetriableError(f"there is no hotel in {city}")
    return f"{what} of {trip}"


def cancel(what: str, trip: str) -> str:
    return f"no {what} for {trip}"


@app.function(on=TripRequested)
async def book_trip(ctx: Context[TripRequested]) -> list[str]:
    trip, city = ctx.event.data.trip, ctx.event.data.city
    compensate = ctx.step.options(retry=UNTIL_IT_WORKS).run
    booked: list[str] = []
    async with AsyncExitStack() as undo:
        for what in ("flight", "hotel", "car"):
            undo.push_async_callback(compensate, f"cancel-{what}", cancel, what, trip)
            booked.append(await ctx.step.run(f"book-{what}", book, what, trip, city))
        undo.pop_all()  # all is booked: there is nothing to undo any more
    return booked
