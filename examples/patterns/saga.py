"""Saga: book a flight and a hotel; when a later booking fails, undo the earlier ones, the last one first.

Each booking and each undoing is a step, so that a worker that dies in the middle of the undoing goes on with it.

    python examples/patterns/saga.py
"""

from __future__ import annotations

import asyncio
from typing import Any

from perdure import App, Context, Event, NonRetriableError, StepError

app = App("saga")


class TripWanted(Event, name="trip/wanted", key="data.traveller"):
    traveller: str
    city: str


def book(what: str, city: str) -> str:
    if what == "hotel" and city == "Atlantis":
        raise NonRetriableError("no hotel is left in Atlantis")
    return f"{what} in {city}"


def undo(booking: str) -> None:
    print(f"undone: {booking}")


@app.function(on=TripWanted)
async def plan_trip(ctx: Context[TripWanted]) -> dict[str, Any]:
    booked: list[str] = []
    try:
        for what in ("flight", "car", "hotel"):
            booking = await ctx.step.run(f"book-{what}", book, what, ctx.event.data.city)
            booked.append(booking)  # what is in the list is what has to be undone
    except StepError as error:
        for booking in reversed(booked):
            await ctx.step.run("undo", undo, booking)
        return {"booked": [], "why": error.message}
    return {"booked": booked}


async def main() -> None:
    async with app.worker():
        for city in ("Lisbon", "Atlantis"):
            run = await app.start(plan_trip, TripWanted(traveller="ada", city=city))
            print(await run.result(timeout="30s"))


if __name__ == "__main__":
    asyncio.run(main())
