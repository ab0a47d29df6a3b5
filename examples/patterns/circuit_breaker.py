"""Circuit breaker: after three failures in a row nobody asks the provider for a minute.

What all runs have to know together is a run of its own, one for each provider: they ask it by `request`, and it begins
anew after each answer, so that it can go on for years.

    python examples/patterns/circuit_breaker.py
"""

from __future__ import annotations

import asyncio

from perdure import App, Context, Event, StepError

app = App("breaker")
FAILURES = 3
OPEN_FOR = 60.0


class QuoteWanted(Event, name="quote/wanted"):
    provider: str


@app.function
async def breaker(ctx: Context) -> None:
    """Answers whether the provider may be asked, and hears how that went."""
    failures, open_until = ctx.event.data["failures"], ctx.event.data["open_until"]
    told = await ctx.step.wait_for_signal("told", "call")
    assert told is not None
    now = ctx.now().timestamp()
    match told.data:
        case "may-i":
            told.reply(now >= open_until)
        case "went-well":
            failures = 0
            told.reply()
        case _:
            failures += 1
            open_until = now + OPEN_FOR if failures >= FAILURES else 0.0
            told.reply()
    await ctx.restart_with({"failures": failures, "open_until": open_until})


async def ask_breaker(provider: str, what: str) -> bool | None:
    """One breaker for each provider, however many start it."""
    run = await app.start(breaker, {"failures": 0, "open_until": 0.0}, id=provider)
    return await run.request("call", what, timeout="10s")


async def fetch_quote(provider: str) -> float:
    if provider == "down":
        raise ConnectionError(f"{provider} does not answer")
    return 4.2


@app.function(on=QuoteWanted, retries=0)
async def quote(ctx: Context[QuoteWanted]) -> float | str:
    provider = ctx.event.data.provider
    if not await ctx.step.run("may-i", ask_breaker, provider, "may-i"):
        return "not asked: the circuit is open"
    try:
        price = await ctx.step.run("fetch", fetch_quote, provider)
    except StepError as error:
        await ctx.step.run("tell", ask_breaker, provider, "went-wrong")
        return error.message
    await ctx.step.run("tell", ask_breaker, provider, "went-well")
    return price


async def main() -> None:
    async with app.worker():
        for provider in ("up", "down", "down", "down", "down"):
            run = await app.start(quote, QuoteWanted(provider=provider))
            print(provider, await run.result(timeout="30s"))


if __name__ == "__main__":
    asyncio.run(main())
